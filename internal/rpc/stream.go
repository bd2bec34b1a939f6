package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Stream is a call seen by its StreamHandler. Recv and Send may be used by two
// goroutines at a time, one each.
type Stream struct {
	*streamCall
	header, trailer []Field
}

// streamCall hides those methods of Call that a stream must not use.
type streamCall struct{ call *Call }

// Conn is the connection the call came in on.
func (s *Stream) Conn() *Conn { return s.call.conn }

// Path is the method's path.
func (s *Stream) Path() string { return s.call.h.path }

// Metadata is Call.Metadata.
func (s *Stream) Metadata(key string) (string, bool) { return s.call.Metadata(key) }

// SetMark is Call.SetMark. It must be called before the stream's handler does anything
// else.
func (s *Stream) SetMark(mark any) {
	s.call.conn.mu.Lock()
	s.call.mark = mark
	s.call.conn.mu.Unlock()
}

// Mark is Call.Mark.
func (s *Stream) Mark() any { return s.call.mark }

// EachMetadata is Call.EachMetadata.
func (s *Stream) EachMetadata(f func(key, value string) bool) { s.call.EachMetadata(f) }

// SetHeader sets the metadata sent before the first message. It must be called
// before Send or SendHeader.
func (s *Stream) SetHeader(fields ...Field) { s.header = append(s.header, fields...) }

// SetTrailer adds metadata sent behind the last message.
func (s *Stream) SetTrailer(fields ...Field) { s.trailer = append(s.trailer, fields...) }

// inMessage is a received message that waits for Recv.
type inMessage struct {
	data       []byte
	bytes      int64 // what it took of the windows
	compressed bool
}

// startStream gives a call its goroutine.
func (c *Conn) startStream(call *Call) {
	call.kept = true
	call.Context()
	c.mu.Lock()
	call.recvable, call.sendable = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	if call.remoteEnded {
		call.inboxEnd = io.EOF
	}
	c.mu.Unlock()
	c.s.wg.Add(1)
	go c.routineStream(call, call.m.Stream)
}

// Stream goes on with a kept call on a goroutine of its own, for a reply that
// is to be sent piece by piece. Nobody may touch the Call afterwards; if it has
// been decided already, h is not called and Stream returns false. Recv says
// io.EOF: the request was the handler's.
func (call *Call) Stream(h StreamHandler) bool {
	c := call.conn
	call.Context()
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.answered || call.closed || c.mu.dead {
		return false
	}
	call.recvable, call.sendable = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	call.inboxEnd = io.EOF
	c.madeLocked(call) // what a stream sends waits for its own windows
	// The connection lives, so Server.Close still waits for it.
	c.s.wg.Add(1)
	go c.routineStream(call, h)
	return true
}

// routineStream runs a StreamHandler; it is waited for by Server.Close, which
// has cancelled its context.
func (c *Conn) routineStream(call *Call, h StreamHandler) {
	defer c.s.wg.Done()
	s := &Stream{streamCall: &streamCall{call}}
	err := h(call.Context(), s)
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.answered || c.mu.dead {
		return
	}
	call.answered = true
	if st := statusOf(err); st != nil {
		if !call.headersSent && len(s.header) > 0 {
			call.sendHeadersLocked(s.header)
		}
		call.failLocked(st, s.trailer)
	} else {
		call.sendHeadersLocked(s.header)
		call.code = codes.OK
		c.endLocked(call, appendFields([]byte(okTrailers), s.trailer))
	}
	c.flushLocked()
}

// endErrLocked is what a stream's verbs return once its call is decided.
func (call *Call) endErrLocked() error {
	switch call.code {
	case codes.DeadlineExceeded:
		return status.Error(codes.DeadlineExceeded, "context deadline exceeded")
	case codes.OK, codes.Canceled:
		return status.Error(codes.Canceled, "context canceled")
	}
	return status.Error(call.code, "rpc: the call has ended")
}

// Reset ends the stream at once, with RST_STREAM; what its verbs wait for ends
// with an error. It may be called by anybody, at any time.
func (s *Stream) Reset() {
	c := s.call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.call.closed || c.mu.dead {
		return
	}
	c.resetLocked(s.call, http2.ErrCodeInternal, codes.Internal)
	c.flushLocked()
}

// Recv waits for the next message, which is the caller's to keep. io.EOF: the
// peer has ended its half. Other errors are statuses that a handler returns as
// they are.
func (s *Stream) Recv() ([]byte, error) {
	call := s.call
	c := call.conn
	c.mu.Lock()
	for len(call.inbox) == 0 && call.inboxEnd == nil && !call.stopped && !call.answered && !call.closed {
		call.recvable.Wait()
	}
	if call.answered || call.closed {
		defer c.mu.Unlock()
		return nil, call.endErrLocked()
	}
	if call.stopped {
		defer c.mu.Unlock()
		return nil, io.EOF
	}
	if len(call.inbox) == 0 {
		defer c.mu.Unlock()
		return nil, call.inboxEnd
	}
	m := call.popLocked()
	c.mu.Unlock()
	if m.compressed {
		raw, st := c.s.inflate(m.data, call.h.encoding)
		if st != nil {
			return nil, st.Err()
		}
		m.data = raw
	}
	c.mu.Lock()
	n := c.mu.counters.of(call.m)
	n.ReceivedMsgs++
	n.ReceivedBytes += uint64(len(m.data))
	c.mu.Unlock()
	return m.data, nil
}

// popLocked takes the first message off the inbox and gives its bytes back to
// the windows.
func (call *Call) popLocked() inMessage {
	m := call.inbox[0]
	call.inbox[0] = inMessage{}
	if call.inbox = call.inbox[1:]; len(call.inbox) == 0 {
		call.inbox = nil
	}
	call.handledLocked(m.bytes)
	return m
}

func (call *Call) handledLocked(n int64) {
	c := call.conn
	call.recvHeld -= n
	c.creditLocked(n)
	c.creditStreamLocked(call)
	if len(c.mu.out.ctl) > 0 {
		c.flushLocked()
	}
}

// streamData cuts a stream's DATA into messages for its inbox.
func (c *Conn) streamData(call *Call, data []byte, end bool) {
	max := c.s.limits.MaxMessage
	a := &call.asm
	c.mu.Lock()
	call.recvHeld += int64(len(data))
	c.mu.Unlock()
	for len(data) > 0 {
		hadPrefix := a.have == 5
		rest, state := a.feed(data, max)
		n := int64(len(data) - len(rest))
		c.mu.Lock()
		if call.closed {
			c.creditLocked(int64(len(data)))
			c.mu.Unlock()
			return
		}
		fits := true
		switch state {
		case feedDone:
			bytes := call.early + n
			c.completeLocked(call)
			call.inbox = append(call.inbox, inMessage{data: a.buf, bytes: bytes, compressed: a.prefix[0] == 1})
			call.recvable.Signal()
			*a = assembler{}
		default:
			n = int64(len(data))
			fits = c.partialLocked(call, n)
			if state == feedMore && !hadPrefix && a.have == 5 {
				c.grantLocked(call, a.missing())
			}
		}
		c.mu.Unlock()
		switch {
		case state == feedTooBig || state == feedBadFlag:
			c.refuseCall(call, c.feedStatus(a, state))
			return
		case !fits:
			c.refuseCall(call, status.New(codes.ResourceExhausted, "too many large requests arriving on one connection"))
			return
		case state == feedDone:
			c.served()
		}
		data = rest
	}
	if end {
		c.mu.Lock()
		call.inboxEnd = io.EOF
		if a.have > 0 {
			call.inboxEnd = status.Error(codes.Internal, "unexpected EOF")
		}
		call.recvable.Signal()
		c.mu.Unlock()
	}
}

// SendHeader sends the metadata set so far without waiting for a message.
func (s *Stream) SendHeader() error {
	c := s.call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.call.answered || s.call.closed {
		return s.call.endErrLocked()
	}
	s.call.sendHeadersLocked(s.header)
	c.flushLocked()
	return nil
}

// Send sends m, waiting while the stream has more than Limits.StreamBuffer
// queued. m is not kept. An error means that the call is over.
func (s *Stream) Send(m Message) error {
	n := m.SizeVT()
	buf := make([]byte, 5+n)
	binary.BigEndian.PutUint32(buf[1:], uint32(n))
	if k, err := m.MarshalToSizedBufferVT(buf[5:]); err != nil || k != n {
		return status.Errorf(codes.Internal, "grpc: error while marshaling: %d of %d bytes, %v", k, n, err)
	}
	return s.send(buf, n)
}

// send queues one message, or a piece of one (n < 0).
func (s *Stream) send(buf []byte, n int) error {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.waitToSendLocked(call); err != nil {
		return err
	}
	call.sendHeadersLocked(s.header)
	c.queueLocked(call, buf)
	if n >= 0 {
		call.countLocked(n)
	}
	c.flushLocked()
	return nil
}

// waitToSendLocked waits until a stream may queue more.
func (c *Conn) waitToSendLocked(call *Call) error {
	for !call.answered && !call.closed && call.queued > c.s.limits.StreamBuffer {
		call.sendable.Wait()
	}
	for !call.answered && !call.closed && c.mu.out.backlog() > c.s.limits.WriteBuffer {
		c.room.Wait()
	}
	if call.answered || call.closed {
		return call.endErrLocked()
	}
	return nil
}

// ErrSizeMismatch is what SendSized returns when fill did not write what was
// announced; the stream has been reset.
var ErrSizeMismatch = errors.New("rpc: message is not of the announced size")

// SendSized sends one message of exactly size bytes that fill writes piece by
// piece; it is never held whole. Once the first byte is written the message
// cannot be taken back: if fill fails, or writes more or less, the stream is
// reset and the handler's status does not reach the peer.
func (s *Stream) SendSized(size int, fill func(w io.Writer) error) error {
	var prefix [5]byte
	binary.BigEndian.PutUint32(prefix[1:], uint32(size))
	if err := s.send(prefix[:], -1); err != nil {
		return err
	}
	w := &sizedWriter{s: s, left: size}
	err := fill(w)
	if err == nil && w.left == 0 {
		c := s.call.conn
		c.mu.Lock()
		s.call.countLocked(size)
		c.mu.Unlock()
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: %d bytes missing", ErrSizeMismatch, w.left)
	}
	c := s.call.conn
	c.mu.Lock()
	c.resetLocked(s.call, http2.ErrCodeInternal, codes.Internal)
	c.flushLocked()
	c.mu.Unlock()
	return err
}

type sizedWriter struct {
	s    *Stream
	left int
}

// Write copies p: what waits for a window outlives the caller's buffer.
func (w *sizedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, fmt.Errorf("%w: %d bytes too many", ErrSizeMismatch, len(p)-w.left)
	}
	for n := 0; n < len(p); {
		k := min(len(p)-n, maxFrame)
		if err := w.s.send(append([]byte(nil), p[n:n+k]...), -1); err != nil {
			return n, err
		}
		n += k
		w.left -= k
	}
	return len(p), nil
}
