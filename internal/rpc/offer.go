package rpc

import "golang.org/x/net/http2"

// Offer appends n messages, each behind its five-byte prefix, to what the stream
// has to send, if they and what waits there for the peer are within budget bytes.
// Where no more than half of the budget waits, they are taken whatever their size.
// The bytes are copied. It never blocks and does not send: Flush does, or whatever
// else is sent on the connection. It may be called by anybody, beside Send and Recv.
// It returns false if nothing was taken; where the call is over, true, since nobody
// will miss it.
func (s *Stream) Offer(messages []byte, n, budget int) bool {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.answered || call.closed || c.mu.dead {
		return true
	}
	if call.queued > budget/2 && call.queued+len(messages) > budget {
		return false
	}
	call.sendHeadersLocked(s.header)
	if !call.writeNowLocked(messages) {
		// In pieces, so that what is sent gives its memory back.
		for rest := messages; len(rest) > 0; {
			piece := rest[:min(len(rest), maxFrame)]
			c.queueLocked(call, append([]byte(nil), piece...))
			rest = rest[len(piece):]
		}
	}
	st := c.mu.counters.of(call.m)
	st.SentMsgs += uint64(n)
	st.SentBytes += uint64(len(messages) - 5*n)
	return true
}

// writeNowLocked writes one frame straight into the out-buffer where nothing is
// before it in the stream's queue and the windows take it.
func (call *Call) writeNowLocked(b []byte) bool {
	o := &call.conn.mu.out
	n := int64(len(b))
	if call.queued > 0 || n > maxFrame || n > call.sendWindow || n > o.window || len(o.out) >= outTarget {
		return false
	}
	o.out = appendFrameHeader(o.out, len(b), http2.FrameData, 0, call.id)
	o.out = append(o.out, b...)
	o.sentLocked(len(b))
	call.sendWindow -= n
	return true
}

// Flush makes one attempt to send what waits on the stream's connection. It never
// blocks.
func (s *Stream) Flush() { s.call.conn.flush() }

// roomWait is somebody who waits until a stream has less to send.
type roomWait struct {
	below int
	ready func()
}

// Room says whether below bytes or fewer wait on the stream for its peer. If there
// are more, ready is called once when there are not, or when the call is over. It
// is called under the connection's lock: it may hand something over, and nothing
// else.
func (s *Stream) Room(below int, ready func()) bool {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.queued <= below || call.answered || call.closed || c.mu.dead {
		return true
	}
	call.waits = append(call.waits, roomWait{below, ready})
	return false
}

// tellRoomLocked tells those who waited for what there is now.
func (call *Call) tellRoomLocked() {
	kept := call.waits[:0]
	for _, w := range call.waits {
		if call.queued <= w.below || call.closed {
			w.ready()
		} else {
			kept = append(kept, w)
		}
	}
	clear(call.waits[len(kept):])
	call.waits = kept
}

// StopRecv has Recv return io.EOF from now on, where it waits too; what has come
// and was not taken is dropped. So a handler can be told to end by others.
func (s *Stream) StopRecv() {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(call.inbox) > 0 {
		call.popLocked()
	}
	call.stopped = true
	call.recvable.Broadcast()
}
