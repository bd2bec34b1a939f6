package rpc

import (
	"errors"
	"time"

	"golang.org/x/net/http2"
)

// A connection has one timer for everything it must do at a time: expire calls,
// ask a silent peer for a sign of life, end its drain, release the reserve, give
// buffers back. It is set to the earliest of them and looks at all when it fires.

const (
	reserveStall = time.Second     // how long bulk may wait for the reserve alone
	drainWait    = 5 * time.Second // how long the drain PING may take
	quietAfter   = time.Second     // how long large buffers are kept for nothing
)

// wakeAtLocked makes sure that onTimer runs at t, or before.
func (c *Conn) wakeAtLocked(t int64) {
	if c.mu.dead || c.mu.timerAt != 0 && c.mu.timerAt <= t {
		return
	}
	d := time.Duration(max(t-c.s.now(), 0))
	c.mu.timerAt = t
	if c.mu.timer == nil {
		c.s.wg.Add(1)
		c.mu.timer = time.AfterFunc(d, c.onTimer)
	} else if !c.mu.timer.Reset(d) {
		c.s.wg.Add(1) // it had fired; this is one more run
	}
}

func (c *Conn) stopTimerLocked() {
	if c.mu.timer != nil && c.mu.timer.Stop() {
		c.s.wg.Done()
	}
	c.mu.timer = nil
}

// onTimer runs on a goroutine of the timer's; Server.Close waits for it.
func (c *Conn) onTimer() {
	defer c.s.wg.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.dead || c.mu.timer == nil {
		return
	}
	c.mu.timerAt = 0
	now := c.s.now()
	c.expireDueLocked(now)
	if c.local != nil {
		return // the rest is about the wire
	}
	c.keepaliveLocked(now)
	o := &c.mu.out
	if o.stalledAt != 0 && !o.reserveOff {
		if t := o.stalledAt + int64(reserveStall); now >= t {
			o.reserveOff = true
		} else {
			c.wakeAtLocked(t)
		}
	}
	c.giveBackLocked(now)
	if c.mu.drainPhase == drainAsked {
		if now >= c.mu.drainAt {
			c.drainLastLocked()
		} else {
			c.wakeAtLocked(c.mu.drainAt)
		}
	}
	if idle := int64(c.s.limits.IdleTimeout); idle > 0 && len(c.mu.calls) == 0 && c.mu.drainPhase == drainNo {
		if t := c.mu.idleAt + idle; now >= t {
			c.drainLocked()
		} else {
			c.wakeAtLocked(t)
		}
	}
	c.flushLocked()
}

// keepaliveLocked sends a PING to a peer not heard of for long, and closes one
// that did not answer it.
func (c *Conn) keepaliveLocked(now int64) {
	l := &c.s.limits
	heard := c.lastRead.Load()
	if c.mu.pingAt != 0 && heard > c.mu.pingAt {
		c.mu.pingAt = 0
	}
	switch {
	case c.mu.pingAt != 0:
		if now >= c.mu.pingAt+int64(l.KeepaliveTimeout) {
			c.dieLocked(errors.New("rpc: keepalive PING was not answered"))
			return
		}
		c.wakeAtLocked(c.mu.pingAt + int64(l.KeepaliveTimeout))
	case now >= heard+int64(l.KeepaliveInterval):
		c.mu.pingAt = now
		c.mu.out.ctl = appendPing(c.mu.out.ctl, false, keepalivePing)
		c.wakeAtLocked(now + int64(l.KeepaliveTimeout))
	default:
		c.wakeAtLocked(heard + int64(l.KeepaliveInterval))
	}
}

var (
	keepalivePing = [8]byte{'a', 'l', 'i', 'v', 'e', '?', 0, 0}
	drainPing     = [8]byte{'d', 'r', 'a', 'i', 'n', 0, 0, 0}
)

// Draining takes two steps, so that no call is lost that the peer sent before
// it heard: GOAWAY with the highest id and a PING; when that is answered, GOAWAY
// with the last id seen. The connection ends with its last call.
type drainPhase int

const (
	drainNo drainPhase = iota
	drainAsked
	drainDone
)

func (c *Conn) drain() {
	c.mu.Lock()
	c.drainLocked()
	c.flushLocked()
	c.mu.Unlock()
}

func (c *Conn) drainLocked() {
	if c.mu.dead || c.mu.drainPhase != drainNo {
		return
	}
	c.mu.drainPhase = drainAsked
	c.mu.out.out = appendGoAway(c.mu.out.out, 1<<31-1, http2.ErrCodeNo, "")
	c.mu.out.out = appendPing(c.mu.out.out, false, drainPing)
	c.mu.drainAt = c.s.now() + int64(drainWait)
	c.wakeAtLocked(c.mu.drainAt)
}

// onPingAck ends a keepalive, or continues a drain. It runs on the connection's goroutine, so maxID
// counts every stream the peer opened before it answered.
func (c *Conn) onPingAck(data [8]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case data == drainPing && c.mu.drainPhase == drainAsked:
		c.drainLastLocked()
	case data == keepalivePing && c.mu.pingAt != 0:
		c.mu.pingAt = 0
		c.wakeAtLocked(c.lastRead.Load() + int64(c.s.limits.KeepaliveInterval))
	}
}

// drainLastLocked is the second step: streams above the last id do not count.
func (c *Conn) drainLastLocked() {
	c.mu.drainPhase = drainDone
	c.mu.lastOK = c.mu.lastID
	c.mu.out.out = appendGoAway(c.mu.out.out, c.mu.lastOK, http2.ErrCodeNo, "")
	if len(c.mu.calls) == 0 {
		c.emptyLocked()
	}
}

// emptyLocked is called when the last open call has ended.
func (c *Conn) emptyLocked() {
	c.mu.idleAt = c.s.now()
	if c.mu.drainPhase == drainDone && !c.mu.closing {
		c.mu.closing = true
		if c.mu.err == nil {
			c.mu.err = errDrained
		}
		c.kickLocked()
	} else if c.s.limits.IdleTimeout > 0 && c.mu.drainPhase == drainNo {
		c.wakeAtLocked(c.mu.idleAt + int64(c.s.limits.IdleTimeout))
	}
}

// deadlineHeap orders the open calls that have a deadline, earliest first.
// Guarded by Conn.mu.
type deadlineHeap struct{ h []*Call }

func (d *deadlineHeap) push(call *Call) {
	d.h = append(d.h, call)
	call.heapIndex = len(d.h)
	d.up(len(d.h) - 1)
}

func (d *deadlineHeap) remove(call *Call) {
	i, last := call.heapIndex-1, len(d.h)-1
	call.heapIndex = 0
	if i != last {
		d.h[i] = d.h[last]
		d.h[i].heapIndex = i + 1
	}
	d.h[last] = nil
	d.h = d.h[:last]
	if i != last {
		d.down(i)
		d.up(i)
	}
}

func (d *deadlineHeap) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if d.h[p].deadline <= d.h[i].deadline {
			return
		}
		d.swap(i, p)
		i = p
	}
}

func (d *deadlineHeap) down(i int) {
	for {
		k := 2*i + 1
		if k >= len(d.h) {
			return
		}
		if k+1 < len(d.h) && d.h[k+1].deadline < d.h[k].deadline {
			k++
		}
		if d.h[i].deadline <= d.h[k].deadline {
			return
		}
		d.swap(i, k)
		i = k
	}
}

func (d *deadlineHeap) swap(i, j int) {
	d.h[i], d.h[j] = d.h[j], d.h[i]
	d.h[i].heapIndex, d.h[j].heapIndex = i+1, j+1
}

// scheduleLocked makes an open call expire at its deadline.
func (c *Conn) scheduleLocked(call *Call) {
	if call.deadline == 0 || call.closed || call.heapIndex > 0 {
		return
	}
	c.mu.deadlines.push(call)
	c.wakeAtLocked(c.mu.deadlines.h[0].deadline)
}

func (c *Conn) expireDueLocked(now int64) {
	d := &c.mu.deadlines
	for len(d.h) > 0 && d.h[0].deadline <= now {
		call := d.h[0]
		d.remove(call)
		c.expireLocked(call)
	}
	if len(d.h) > 0 {
		c.wakeAtLocked(d.h[0].deadline)
	}
}
