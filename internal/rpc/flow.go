package rpc

import (
	"slices"

	"golang.org/x/net/http2"
)

// ring is a first-in first-out queue of calls that take turns.
type ring struct {
	q    []*Call
	head int
}

func (r *ring) empty() bool { return r.head == len(r.q) }

func (r *ring) push(c *Call) {
	if r.head > 64 && r.head*2 > len(r.q) {
		n := copy(r.q, r.q[r.head:])
		clear(r.q[n:])
		r.q, r.head = r.q[:n], 0
	}
	r.q = append(r.q, c)
}

func (r *ring) pop() *Call {
	c := r.q[r.head]
	r.q[r.head] = nil
	r.head++
	if r.empty() {
		r.q, r.head = r.q[:0], 0
	}
	return c
}

func (r *ring) len() int { return len(r.q) - r.head }

// sweep takes out the calls that are over.
func (r *ring) sweep() {
	r.q = slices.DeleteFunc(r.q[r.head:], func(c *Call) bool { return c.closed })
	r.head = 0
}

// fewGone is how many calls that are over may stand in a queue for nothing. Above it
// they are at most half of it: a peer that shuts its window and gives up its calls must
// not have them kept.
const fewGone = 64

// leaveRingsLocked is for a call that is over.
func (o *outbox) leaveRingsLocked() {
	if o.gone++; o.gone > max(fewGone, (o.small.len()+o.bulk.len())/2) {
		o.small.sweep()
		o.bulk.sweep()
		o.gone = 0
	}
}

// sentLocked notes a DATA frame of n bytes.
func (o *outbox) sentLocked(n int) {
	o.wrote = true
	o.window -= int64(n)
	o.answers = min(o.answers+3, maxAnswers)
}

// queueLocked gives a call DATA to send. b is the engine's from here on.
func (c *Conn) queueLocked(call *Call, b []byte) {
	if len(b) == 0 {
		return
	}
	call.queue = append(call.queue, b)
	c.mu.out.countQueued(call, len(b))
	if call.queued > bulkSize {
		call.bulk = true
	}
	if c.local != nil {
		c.local.moved.Broadcast()
		return
	}
	c.enrolLocked(call)
}

// countQueued changes by n what a call has queued.
func (o *outbox) countQueued(call *Call, n int) {
	call.queued += n
	o.queued += n
	if call.sendable != nil {
		o.streamed += n
	}
}

// enrolLocked lets a call take turns, if it has DATA and its window is open.
func (c *Conn) enrolLocked(call *Call) {
	if call.inRing || call.queued == 0 || call.sendWindow <= 0 {
		return
	}
	call.inRing = true
	if call.bulk {
		c.mu.out.bulk.push(call)
	} else {
		c.mu.out.small.push(call)
	}
}

// dropQueueLocked forgets what a call had waiting.
func (c *Conn) dropQueueLocked(call *Call) {
	c.mu.out.countQueued(call, -call.queued)
	call.queue, call.queueOff = nil, 0
}

// nextTurnLocked picks whose DATA goes next: small and bulk calls in turn, each
// kind in its own order. Bulk leaves connReserve of the peer's connection
// window to the others, so that a watch event never waits for a large reply.
// allow is what may be sent of the connection's window; nil: nobody can.
func (c *Conn) nextTurnLocked() (call *Call, allow int64) {
	o := &c.mu.out
	reserve := int64(connReserve)
	if o.reserveOff {
		reserve = 0
	}
	smallOK := !o.small.empty() && o.window > 0
	bulkOK := !o.bulk.empty() && o.window > reserve
	switch {
	case smallOK && (!bulkOK || !o.bulkTurn):
		o.bulkTurn = true
		return o.small.pop(), o.window
	case bulkOK:
		o.bulkTurn = false
		return o.bulk.pop(), o.window - reserve
	}
	if !o.bulk.empty() && o.window > 0 && o.stalledAt == 0 {
		// Only the reserve holds bulk up. A peer may well wait for its window to
		// be used up before it opens it again, so this must not last.
		o.stalledAt = c.s.now()
		c.wakeAtLocked(o.stalledAt + int64(reserveStall))
	}
	return nil, 0
}

// pumpLocked moves queued DATA into the out-buffer as far as the peer's windows
// and outTarget allow, one frame per turn.
func (c *Conn) pumpLocked() {
	o := &c.mu.out
	for o.queued > 0 && len(o.out) < outTarget {
		call, allow := c.nextTurnLocked()
		if call == nil {
			return
		}
		call.inRing = false
		if call.closed {
			o.gone = max(o.gone-1, 0)
		}
		if call.closed || call.queued == 0 || call.sendWindow <= 0 {
			continue
		}
		n := int(min(int64(call.queued), call.sendWindow, allow, maxFrame))
		last := n == call.queued && call.ended && call.endBlock == nil
		var flags http2.Flags
		if last {
			flags = http2.FlagDataEndStream
		}
		o.out = appendFrameHeader(o.out, n, http2.FrameData, flags, call.id)
		o.sentLocked(n)
		call.sendWindow -= int64(n)
		o.countQueued(call, -n)
		for n > 0 {
			head := call.queue[0][call.queueOff:]
			k := min(n, len(head))
			o.out = append(o.out, head[:k]...)
			n -= k
			call.queueOff += k
			if k == len(head) {
				call.queue[0] = nil
				call.queue, call.queueOff = call.queue[1:], 0
			}
		}
		if call.queued == 0 {
			call.queue, call.bulk = nil, false
			if call.ended {
				c.endedLocked(call, last)
				continue
			}
		}
		if call.sendable != nil {
			call.sendable.Signal()
			call.tellRoomLocked()
		}
		c.enrolLocked(call)
	}
}

// endLocked ends the call's own half once its queue has drained: with a header
// block, or (block nil) with an empty DATA frame.
func (c *Conn) endLocked(call *Call, block []byte) {
	call.ended, call.endBlock = true, block
	c.madeLocked(call)
	if c.local != nil {
		call.remoteEnded = true // there is nobody to tell
		c.local.moved.Broadcast()
	}
	if call.queued == 0 {
		c.endedLocked(call, false)
	}
}

// endedLocked writes the call's last frame, unless DATA carried the end, and
// closes it. A peer that has not ended its half is told not to bother.
func (c *Conn) endedLocked(call *Call, done bool) {
	o := &c.mu.out
	switch {
	case done:
	case call.endBlock != nil:
		c.headersLocked(call.id, call.endBlock, true)
	default:
		o.out = appendFrameHeader(o.out, 0, http2.FrameData, http2.FlagDataEndStream, call.id)
		o.wrote = true
	}
	if !call.remoteEnded {
		if call.m == nil {
			// An HTTP client may still be sending its body. Let it: it is thrown
			// away, and only one that goes on for long is told to stop.
			call.lingers = true
			call.deadline = c.s.now() + int64(lingerTime)
			c.scheduleLocked(call)
			return
		}
		c.resetFrameLocked(call.id, http2.ErrCodeNo)
	}
	c.closeLocked(call)
}

// headersLocked writes a header block. It goes to out at once: HEADERS are not
// flow controlled.
func (c *Conn) headersLocked(id uint32, block []byte, end bool) {
	if c.local != nil {
		return
	}
	o := &c.mu.out
	if o.shrinkTable {
		o.shrinkTable = false
		block = append([]byte{hpackTableSize0}, block...)
	}
	o.out = appendHeaders(o.out, id, block, end)
	o.wrote = true
}

// resetFrameLocked writes RST_STREAM behind what the stream has in out: nothing
// may follow a reset on its stream.
func (c *Conn) resetFrameLocked(id uint32, code http2.ErrCode) {
	if c.local != nil {
		return
	}
	c.mu.out.out = appendRST(c.mu.out.out, id, code)
	c.mu.in.noteReset(id)
}

// windowLocked takes a WINDOW_UPDATE for the connection.
func (c *Conn) windowLocked(n int64) error {
	o := &c.mu.out
	if o.window += n; o.window > maxWindow {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	o.stalledAt, o.reserveOff = 0, false
	return nil
}

// inbound is the connection's receive side. Guarded by Conn.mu.
type inbound struct {
	window  int64 // what the peer may still send
	credit  int64 // to be given back; below zero while early credit is owed
	partial int64 // bytes of incomplete messages, credited early
	granted int64 // stream windows given beyond the initial one
	waiting []*Call
	gone    int // about how many of waiting are over

	resets [64]uint32 // streams we reset last: their frames in flight are no fault
	nreset int
}

func (in *inbound) noteReset(id uint32) {
	in.resets[in.nreset%len(in.resets)] = id
	in.nreset++
}

func (in *inbound) wasReset(id uint32) bool {
	for _, r := range in.resets {
		if r == id {
			return true
		}
	}
	return false
}

// creditLocked gives n bytes of the connection's receive window back, in
// quarters of it so that the frames are few.
func (c *Conn) creditLocked(n int64) {
	if c.local != nil {
		c.local.moved.Broadcast()
		return
	}
	in := &c.mu.in
	in.credit += n
	if in.credit >= int64(c.s.limits.ConnWindow)/4 {
		c.mu.out.ctl = appendWindowUpdate(c.mu.out.ctl, 0, in.credit)
		in.window += in.credit
		in.credit = 0
	}
}

// creditStreamLocked opens the stream's window up to its initial size again,
// less what the stream holds, when it is worth a frame.
func (c *Conn) creditStreamLocked(call *Call) {
	if c.local != nil {
		return
	}
	initial := int64(c.s.limits.StreamWindow)
	owed := initial - call.recvWindow - call.recvHeld
	if owed < max(initial/2, 1) || call.remoteEnded || call.closed {
		return
	}
	call.recvWindow += owed
	c.mu.out.ctl = appendWindowUpdate(c.mu.out.ctl, call.id, owed)
}

// partialLocked accounts for n bytes of a message that is not complete. They
// are credited to the connection at once, so that large messages arriving side
// by side cannot use up its window and wait for each other for ever; what
// bounds them is PartialBytes. It says false when that is exceeded; a message
// that was granted its bytes may end.
func (c *Conn) partialLocked(call *Call, n int64) bool {
	in := &c.mu.in
	in.partial += n
	call.early += n
	c.creditLocked(n)
	return call.granted > 0 || in.partial <= int64(c.s.limits.PartialBytes)
}

// completeLocked ends a message's partial account: from here on its bytes are
// owed to the window until it is handled.
func (c *Conn) completeLocked(call *Call) {
	in := &c.mu.in
	in.partial -= call.early
	in.credit -= call.early
	call.early = 0
	c.ungrantLocked(call)
}

// grantLocked opens the stream's window for the rest of an accepted message, now
// or when others have finished theirs.
func (c *Conn) grantLocked(call *Call, rest int64) {
	// One byte more: some peers send nothing at all on a stream whose window is shut, not
	// even its end.
	need := rest + 1 - call.recvWindow
	if need <= 0 {
		return
	}
	call.wants = need
	in := &c.mu.in
	in.waiting = append(in.waiting, call)
	c.grantNextLocked()
}

func (c *Conn) grantNextLocked() {
	in := &c.mu.in
	for len(in.waiting) > 0 {
		call := in.waiting[0]
		if !call.closed && call.wants > 0 {
			if in.granted > 0 && in.granted+call.wants > int64(c.s.limits.PartialBytes)/2 {
				return
			}
			in.granted += call.wants
			call.granted = call.wants
			call.recvWindow += call.wants
			c.mu.out.ctl = appendWindowUpdate(c.mu.out.ctl, call.id, call.wants)
			call.wants = 0
		} else {
			in.gone = max(in.gone-1, 0)
		}
		in.waiting[0] = nil
		in.waiting = in.waiting[1:]
	}
}

// ungrantLocked frees a call's grant for the next.
func (c *Conn) ungrantLocked(call *Call) {
	if in := &c.mu.in; call.wants > 0 {
		call.wants = 0
		if in.gone++; in.gone > max(fewGone, len(in.waiting)/2) {
			in.waiting = slices.DeleteFunc(in.waiting, func(one *Call) bool { return one.wants == 0 })
			in.gone = 0
		}
	}
	if call.granted == 0 {
		return
	}
	c.mu.in.granted -= call.granted
	call.granted = 0
	c.grantNextLocked()
}
