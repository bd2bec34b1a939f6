package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// local is what a Conn has in place of a socket where its one call comes from
// inside. Nothing of it is ever written as frames: replies gather in the call's
// queue, whose windows stay shut, until LocalCall.Recv takes them. failure and
// the conditions are guarded by Conn.mu.
type local struct {
	remote, at net.Addr
	moved      sync.Cond      // on Conn.mu: something came, was taken, or has ended
	failure    *status.Status // what the call failed with
}

// serverKey is under which a request's context has the Server it came in on.
type serverKey struct{}

// LocalCall is a call of a server's method from inside the process. Send and
// Recv may be used by two goroutines at a time, one each. Close is always called,
// by the goroutine that called Local.
type LocalCall struct {
	c    *Conn
	call *Call
	stop func() bool // ends the watch over the request's context

	sent []byte // an inline method's request, until CloseSend
	has  bool
}

// errNoServer says that a request did not come in on a Server.
var errNoServer = errors.New("rpc: the request is not served by an rpc.Server")

// Local begins a call of the method at path of the server that serves r, on
// behalf of r's client: the handler sees its address, its TLS and metadata, and
// the call ends when r's context does; a deadline of the context is the call's.
// r must be in the hands of Options.Web. Values of "-bin" metadata are base64, as
// on the wire. The error is a status, as the same call over the wire would get.
func Local(r *http.Request, path string, metadata []Field) (*LocalCall, error) {
	ctx := r.Context()
	s, ok := ctx.Value(serverKey{}).(*Server)
	if !ok {
		return nil, errNoServer
	}
	m := s.byPath[path]
	if m == nil {
		return nil, s.unknown(path).Err()
	}
	c := &Conn{s: s, tls: r.TLS, local: &local{remote: address(r.RemoteAddr), at: address("local")}}
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		c.local.at = a
	}
	c.room.L, c.writer.L, c.local.moved.L = &c.mu, &c.mu, &c.mu
	c.mu.calls = map[uint32]*Call{}
	c.mu.counters = newCounters(len(s.methods))
	if s.opt.NewState != nil {
		c.state = s.opt.NewState(c)
	}
	h := &headers{method: http.MethodPost, path: path, authority: r.Host, contentType: plainContentType, contentLength: -1}
	for _, f := range metadata {
		h.fields = append(h.fields, hpack.HeaderField{Name: f.Name, Value: f.Value})
	}
	call := &Call{conn: c, id: 1, m: m, h: h, kept: true, began: s.now(), turn: s.now()}
	if t, ok := ctx.Deadline(); ok {
		call.deadline = max(int64(t.Sub(s.epoch)), 1)
	}
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil, status.Error(codes.Unavailable, ErrServerClosed.Error())
	}
	s.mu.locals[c] = true
	s.mu.Unlock()
	c.mu.Lock()
	c.mu.calls[call.id] = call
	c.mu.counters.of(m).Started++
	c.scheduleLocked(call)
	c.mu.Unlock()
	if m.Stream != nil {
		c.startStream(call)
	}
	l := &LocalCall{c: c, call: call}
	l.stop = context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return // the call's own
		}
		c.mu.Lock()
		c.loseLocked(call)
		c.mu.Unlock()
	})
	return l, nil
}

// address is a peer's as HTTP knows it.
type address string

// Network is net.Addr's.
func (a address) Network() string { return "tcp" }

// String is net.Addr's.
func (a address) String() string { return string(a) }

// Send gives the method a request message, which is the method's from here on.
// It waits while the method has one that it has not received. io.EOF says that
// the call is over; Recv has the reason.
func (l *LocalCall) Send(m []byte) error {
	c, call := l.c, l.call
	if limit := c.s.limits.MaxMessage; len(m) > limit {
		call.FailStatus(tooLarge(uint32(len(m)), limit))
		return io.EOF
	}
	if call.m.Inline != nil {
		if l.has {
			call.Fail(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")
			return io.EOF
		}
		l.sent, l.has = m, true
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(call.inbox) > 0 && !call.answered && !call.closed {
		c.local.moved.Wait()
	}
	if call.answered || call.closed {
		return io.EOF
	}
	call.recvHeld += int64(len(m))
	call.inbox = append(call.inbox, inMessage{data: m, bytes: int64(len(m))})
	call.recvable.Signal()
	return nil
}

// CloseSend says that there is no further request. An inline method runs now,
// on the caller's goroutine.
func (l *LocalCall) CloseSend() {
	c, call := l.c, l.call
	if call.m.Stream != nil {
		c.mu.Lock()
		call.inboxEnd = io.EOF
		call.recvable.Signal()
		c.mu.Unlock()
		return
	}
	if !l.has {
		call.Fail(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
		return
	}
	call.payload = l.sent
	if call.admit() {
		call.m.Inline(call)
		if c.s.opt.Settled != nil {
			c.s.opt.Settled()
		}
	}
	c.mu.Lock()
	st := c.mu.counters.of(call.m)
	st.ReceivedMsgs++
	st.ReceivedBytes += uint64(len(l.sent))
	c.mu.Unlock()
	if !call.whole {
		call.payload = nil
	}
}

// Recv waits for the next reply message, which is the caller's to keep; io.EOF
// after the last of a call that ended well, else the status it failed with.
// Before memory is taken for a message, admit is asked with its size; it may
// wait, and an error of its ends the call.
func (l *LocalCall) Recv(admit func(size int) error) ([]byte, error) {
	var prefix [5]byte
	if err := l.read(prefix[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(prefix[1:])
	if err := admit(int(n)); err != nil {
		l.Cancel()
		return nil, err
	}
	m := make([]byte, n)
	if err := l.read(m); err != nil {
		if errors.Is(err, io.EOF) {
			err = status.Error(codes.Internal, "unexpected EOF")
		}
		return nil, err
	}
	return m, nil
}

// read fills b from the call's queue.
func (l *LocalCall) read(b []byte) error {
	c, call := l.c, l.call
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(b) > 0 {
		for call.queued == 0 && !call.ended && !call.closed {
			c.local.moved.Wait()
		}
		if call.queued == 0 {
			return l.endLocked()
		}
		head := call.queue[0][call.queueOff:]
		n := copy(b, head)
		b = b[n:]
		call.queueOff += n
		c.mu.out.countQueued(call, -n)
		if n == len(head) {
			call.queue[0] = nil
			call.queue, call.queueOff = call.queue[1:], 0
		}
		if call.queued == 0 && call.ended {
			c.endedLocked(call, false)
		}
		if call.sendable != nil {
			call.sendable.Signal()
			call.tellRoomLocked()
		}
	}
	return nil
}

// endLocked says how a call has ended.
func (l *LocalCall) endLocked() error {
	switch {
	case l.c.local.failure != nil:
		return l.c.local.failure.Err()
	case l.call.code != codes.OK:
		return l.call.endErrLocked()
	}
	return io.EOF
}

// Cancel ends the call, if it has not ended; Send and Recv return. It may be
// called by any goroutine.
func (l *LocalCall) Cancel() {
	l.c.mu.Lock()
	l.c.loseLocked(l.call)
	l.c.mu.Unlock()
}

// Close ends the call, if it has not ended, and gives back what it holds. A
// stream's handler may go on for a moment; Server.Close waits for it.
func (l *LocalCall) Close() {
	l.stop()
	c, s := l.c, l.c.s
	c.mu.Lock()
	c.loseLocked(l.call)
	c.stopTimerLocked()
	c.mu.Unlock()
	s.mu.Lock()
	s.mu.done.add(c.takeCounters())
	delete(s.mu.locals, c)
	s.mu.Unlock()
}
