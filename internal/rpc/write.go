package rpc

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// outbox is what waits to be sent on a connection, and the peer's windows.
// Guarded by Conn.mu.
type outbox struct {
	ctl     []byte // control frames, sent before out
	out     []byte // whole frames, within the peer's windows
	sending []byte // being written: a rest of buf
	buf     []byte // backing of sending, swapped with out
	writing bool   // someone is in a write of sending, outside the lock
	blocked bool   // the socket is the writer's until all is sent
	running bool   // routineWrite was started
	large   int64  // when to look whether out and buf are still used for much; 0: never
	busy    bool   // they were, since the last look

	window       int64 // what the peer's connection window still takes
	streamWindow int64 // the peer's initial window of a stream
	shrinkTable  bool  // the next header block begins with a table size update

	small, bulk ring // calls with queued DATA, by size
	bulkTurn    bool
	gone        int   // about how many calls in small and bulk are over
	queued      int   // bytes in the calls' queues
	streamed    int   // of them, those of streams
	stalledAt   int64 // since when bulk waits for the reserve alone; 0: it does not
	reserveOff  bool  // the reserve is released until the next WINDOW_UPDATE
	wrote       bool  // HEADERS or DATA since the peer's last PING
	answers     int   // WINDOW_UPDATE and PING frames the peer owes us for DATA
}

func newOutbox() outbox {
	return outbox{window: defaultWindow, streamWindow: defaultWindow}
}

// backlog is what only the socket holds up; pending counts what waits for the
// peer's windows as well.
func (o *outbox) backlog() int { return len(o.ctl) + len(o.out) + len(o.sending) }
func (o *outbox) pending() int { return o.backlog() + o.queued }

// replies is pending without what streams have waiting for their own windows:
// that is bounded stream by stream, and who leaves one stream unread may still
// call.
func (o *outbox) replies() int { return o.pending() - o.streamed }

// rawWriter makes one write(2) that does not block. It is used by whoever set
// outbox.writing, one at a time.
type rawWriter struct {
	ok  bool
	rc  syscall.RawConn
	fn  func(fd uintptr) bool // made once: a closure per write would allocate
	b   []byte
	n   int
	err error
}

func (w *rawWriter) init(nc net.Conn) {
	var sc syscall.Conn
	switch t := nc.(type) {
	case *net.TCPConn:
		sc = t
	case *net.UnixConn:
		sc = t
	default:
		return // TLS, or a wrapper whose bytes are not the socket's
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	w.rc, w.ok = rc, true
	w.fn = func(fd uintptr) bool {
		for {
			w.n, w.err = syscall.Write(int(fd), w.b)
			if w.err != syscall.EINTR {
				return true
			}
		}
	}
}

// try writes what the socket takes at once.
func (w *rawWriter) try(b []byte) (int, error) {
	w.b, w.n, w.err = b, 0, nil
	err := w.rc.Write(w.fn)
	w.b = nil
	if err == nil {
		err = w.err
	}
	if err == syscall.EAGAIN {
		err = nil
	}
	return max(w.n, 0), err
}

// flushLocked makes one attempt to send what waits and never blocks: what the
// socket does not take is left to the writer. It releases the lock during the
// system call; when another write is under way it returns at once, because that
// one's end looks again.
func (c *Conn) flushLocked() {
	o := &c.mu.out
	for !o.writing && !o.blocked && !c.mu.dead {
		c.takeLocked()
		if len(o.sending) == 0 {
			return
		}
		if !c.raw.ok {
			c.handOverLocked()
			return
		}
		b := o.sending
		o.writing = true
		c.mu.Unlock()
		n, err := c.raw.try(b)
		c.mu.Lock()
		o.writing = false
		o.sending = o.sending[n:]
		if err != nil {
			c.dieLocked(err)
			return
		}
		if len(o.sending) > 0 {
			c.handOverLocked()
			return
		}
		c.roomNowLocked()
	}
}

// takeLocked makes the next buffer to write, if the last one is gone.
func (c *Conn) takeLocked() {
	o := &c.mu.out
	if len(o.sending) > 0 {
		return
	}
	c.pumpLocked()
	if len(o.ctl)+len(o.out) == 0 {
		return
	}
	spare := o.buf
	if cap(spare) > keepBuffer {
		spare = nil
	}
	if len(o.ctl) == 0 {
		o.sending, o.out = o.out, spare[:0]
		o.buf = o.sending
	} else {
		// Control frames are few: copying behind them is cheaper than a second write.
		o.buf = append(append(spare[:0], o.ctl...), o.out...)
		o.sending, o.ctl, o.out = o.buf, o.ctl[:0], o.out[:0]
		if cap(o.out) > keepBuffer {
			o.out = nil
		}
	}
	if len(o.sending) > quietBuffer {
		o.busy = true
	}
	if o.large == 0 && cap(o.buf)+cap(o.out) > quietBuffer {
		o.large = c.s.now() + int64(quietAfter)
		c.wakeAtLocked(o.large)
	}
}

// giveBackLocked drops large buffers that have not been needed for a while: most
// connections are silent most of the time, and many have had a large answer once.
func (c *Conn) giveBackLocked(now int64) {
	o := &c.mu.out
	switch {
	case o.large == 0:
		return
	case now < o.large:
	case o.busy, o.backlog() > 0:
		o.busy, o.large = false, now+int64(quietAfter)
	default:
		o.out, o.buf, o.sending, o.large = nil, nil, nil, 0 // sending is the end of buf
		return
	}
	c.wakeAtLocked(o.large)
}

func (c *Conn) handOverLocked() {
	c.mu.out.blocked = true
	c.startWriterLocked()
	c.writer.Signal()
}

func (c *Conn) startWriterLocked() {
	if !c.mu.out.running && !c.mu.dead {
		c.mu.out.running = true
		c.s.wg.Add(1)
		go c.routineWrite()
	}
}

// routineWrite is the only goroutine that blocks on the socket's write side. A
// plain connection gets one when a write first does not fit. It ends with the
// connection and is waited for by Server.Close.
func (c *Conn) routineWrite() {
	defer c.s.wg.Done()
	// A TLS write that timed out cannot be continued, so its pieces are small; a
	// plain one says how far it came.
	piece := 64 << 10
	if !c.raw.ok {
		piece = 16 << 10
	}
	o := &c.mu.out
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for !o.blocked && !c.mu.dead {
			c.writer.Wait()
		}
		if c.mu.dead {
			return
		}
		c.takeLocked()
		if len(o.sending) == 0 {
			// The past deadline would fail the next non-blocking attempt.
			c.nc.SetWriteDeadline(time.Time{})
			o.blocked = false
			c.roomNowLocked()
			continue
		}
		b := o.sending[:min(len(o.sending), piece)]
		o.writing = true
		c.mu.Unlock()
		c.nc.SetWriteDeadline(time.Now().Add(c.s.limits.WriteStall))
		n, err := c.nc.Write(b)
		c.mu.Lock()
		o.writing = false
		o.sending = o.sending[n:]
		if err != nil && !(c.raw.ok && n > 0 && errors.Is(err, os.ErrDeadlineExceeded)) {
			c.dieLocked(err)
			return
		}
		c.roomNowLocked()
	}
}

// roomNowLocked tells those who wait for a smaller out-buffer.
func (c *Conn) roomNowLocked() {
	c.room.Broadcast()
	c.giveRoomLocked()
	if c.mu.kickOn && c.roomLocked() {
		c.mu.kickOn = false
		c.kickLocked()
	}
}

// controlLocked says whether the peer may have one more control frame waiting;
// if not, it sends and does not read, and the connection ends.
func (c *Conn) controlLocked() bool {
	if len(c.mu.out.ctl) > c.s.limits.ControlBytes {
		c.dieLocked(errors.New("rpc: peer does not read its control frames"))
	}
	return !c.mu.dead
}
