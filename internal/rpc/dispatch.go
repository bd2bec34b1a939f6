package rpc

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// newCall takes a finished call nobody holds, or makes one.
func (c *Conn) newCall() *Call {
	if n := len(c.free); n > 0 {
		call := c.free[n-1]
		c.free = c.free[:n-1]
		return call
	}
	call := &Call{conn: c}
	call.own.contentLength = -1
	return call
}

const (
	maxFree     = 256     // finished calls kept per connection
	keepMessage = 4 << 10 // a call's larger message buffer is not kept
)

// recycle takes back a call that its handler answered in place.
func (c *Conn) recycle(call *Call) {
	if call.kept || call.inRing || call.ctx != nil || len(c.free) >= maxFree {
		return
	}
	own, buf := call.own, call.asm.buf[:0]
	own.reset()
	if cap(buf) > keepMessage {
		buf = nil
	}
	*call = Call{conn: c, own: own}
	call.asm.buf = buf
	c.free = append(c.free, call)
}

// onRequest opens a call for a header block, or ends one's request (trailers).
// fresh holds h unless h came from the cache.
func (c *Conn) onRequest(fresh *Call, h *headers) error {
	id, end := c.block.id, c.block.endStream
	if id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if id <= c.maxID {
		return c.onTrailers(id, end, h)
	}
	c.maxID = id
	if c.block.selfDep {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	c.mu.Lock()
	if c.mu.drainPhase == drainDone && id > c.mu.lastOK {
		c.mu.Unlock()
		return nil // after our GOAWAY: the peer knows that it does not count
	}
	if uint32(len(c.mu.calls)) >= c.s.limits.MaxStreams {
		c.resetFrameLocked(id, http2.ErrCodeRefusedStream)
		c.mu.Unlock()
		return c.flood()
	}
	c.mu.lastID = id
	c.mu.Unlock()
	if h.tooBig {
		return c.refuse(id, end, 431, "", status.Newf(codes.ResourceExhausted, "header list larger than %d bytes", c.s.limits.HeaderListBytes))
	}
	if h.problem() != "" {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	if end && h.contentLength > 0 {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	call := fresh
	if call == nil {
		call = c.newCall()
	}
	call.id, call.h = id, h
	call.sendWindow, call.recvWindow = 0, int64(c.s.limits.StreamWindow)
	call.remoteEnded = end

	if !h.isGRPC() {
		if c.s.web == nil {
			return c.refuse(id, end, 415, "", status.Newf(codes.Internal, "invalid gRPC request content-type %q", h.contentType))
		}
		c.open(call)
		c.served()
		c.s.web.serveH2(call)
		return nil
	}
	if h.method != "POST" {
		return c.refuse(id, end, 405, h.contentType, status.Newf(codes.Internal, "Received a HEADERS frame with :method %q which should be POST", h.method))
	}
	if h.timeout != "" {
		d, err := ParseTimeout(h.timeout)
		if err != nil {
			return c.refuse(id, end, 400, h.contentType, status.New(codes.Internal, err.Error()))
		}
		call.deadline = c.burstAt + int64(d)
	}
	m := c.s.byPath[h.path]
	if m == nil {
		return c.refuse(id, end, 200, h.contentType, c.s.unknown(h.path))
	}
	if e := h.encoding; e != "" && e != "identity" && e != "gzip" {
		return c.refuse(id, end, 200, h.contentType,
			status.Newf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", e),
			Field{"grpc-accept-encoding", "gzip,identity"})
	}
	call.m = m
	c.open(call)
	if m.Stream != nil {
		c.startStream(call)
	} else if end {
		c.endUnary(call)
	}
	return nil
}

// open puts a call on the connection.
func (c *Conn) open(call *Call) {
	c.mu.Lock()
	call.sendWindow = c.mu.out.streamWindow
	c.mu.calls[call.id] = call
	if call.m != nil {
		c.mu.counters.of(call.m).Started++
		call.began = c.burstAt
	}
	c.scheduleLocked(call)
	c.mu.Unlock()
}

// onTrailers takes a second header block of a stream. gRPC clients send none;
// HTTP allows it at the end of a request.
func (c *Conn) onTrailers(id uint32, end bool, h *headers) error {
	c.mu.Lock()
	call := c.mu.calls[id]
	if call == nil {
		known := c.mu.in.wasReset(id)
		c.mu.Unlock()
		if known {
			return c.flood()
		}
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	}
	if call.remoteEnded {
		c.mu.Unlock()
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeStreamClosed}
	}
	if !end || h.bad != "" || h.method != "" || h.path != "" || h.scheme != "" || h.authority != "" {
		c.mu.Unlock()
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	call.remoteEnded = true
	answered := call.answered
	room := c.roomLocked()
	if call.lingers {
		c.closeLocked(call)
	}
	c.mu.Unlock()
	if want := call.h.contentLength; want >= 0 && call.body != want {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	switch {
	case answered:
	case call.m == nil:
		c.webData(call, nil, true)
	case call.m.Inline != nil:
		c.unaryData(call, nil, true, room)
	default:
		c.streamData(call, nil, true)
	}
	return nil
}

// refuse answers a request that becomes no call.
func (c *Conn) refuse(id uint32, end bool, httpStatus int, contentType string, st *status.Status, extra ...Field) error {
	if contentType == "" {
		contentType = plainContentType
	}
	block := []byte{hpackStatus200}
	if httpStatus != 200 {
		block = appendIndexedField(block[:0], staticStatus, strconv.Itoa(httpStatus))
	}
	block = appendIndexedField(block, staticContentTyp, contentType)
	block = appendFields(appendStatus(block, st), extra)
	c.mu.Lock()
	c.headersLocked(id, block, true)
	if !end {
		c.resetFrameLocked(id, http2.ErrCodeNo)
	}
	c.mu.counters.unknown++
	c.mu.Unlock()
	return nil
}

// unknown is what a path without a method is answered with.
func (s *Server) unknown(path string) *status.Status {
	name := strings.TrimPrefix(path, "/")
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	}
	service, m := name[:slash], name[slash+1:]
	if s.services[service] {
		return status.Newf(codes.Unimplemented, "unknown method %v for service %v", m, service)
	}
	return status.Newf(codes.Unimplemented, "unknown service %v", service)
}

// refuseCall answers an open call with an error of the engine's.
func (c *Conn) refuseCall(call *Call, st *status.Status) { call.fail(st, nil, nil) }

func tooLarge(n uint32, max int) *status.Status {
	return status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, max)
}

// feedStatus is the error of a message that cannot be.
func (c *Conn) feedStatus(a *assembler, s feedState) *status.Status {
	if s == feedTooBig {
		return tooLarge(binary.BigEndian.Uint32(a.prefix[1:]), c.s.limits.MaxMessage)
	}
	return status.Newf(codes.Internal, "grpc: received unexpected payload format %d", a.prefix[0])
}

// unaryData collects an inline method's request and runs it when it is whole.
func (c *Conn) unaryData(call *Call, data []byte, end, room bool) {
	a, max := &call.asm, c.s.limits.MaxMessage
	if a.have == 0 && end && len(data) >= 5 && data[0] <= 1 {
		// The whole message in one frame, as nearly always: no copy.
		size := binary.BigEndian.Uint32(data[1:])
		if int(size) == len(data)-5 && int(size) <= max {
			a.prefix[0], a.have = data[0], 5
			call.payload = data[5:]
			c.ready(call, int64(len(data)), room, true)
			return
		}
	}
	whole, hadPrefix := a.complete(), a.have == 5
	rest, state := a.feed(data, max)
	n := int64(len(data))
	c.mu.Lock()
	if call.closed {
		c.creditLocked(n)
		c.mu.Unlock()
		return
	}
	fits := c.partialLocked(call, n)
	if state == feedMore && !hadPrefix && a.have == 5 {
		c.grantLocked(call, a.missing())
	}
	c.mu.Unlock()
	switch {
	case state == feedTooBig || state == feedBadFlag:
		c.refuseCall(call, c.feedStatus(a, state))
	case len(rest) > 0 || whole && n > 0:
		c.refuseCall(call, status.New(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC"))
	case !fits:
		c.refuseCall(call, status.New(codes.ResourceExhausted, "too many large requests arriving on one connection"))
	case end:
		c.endUnary(call)
	}
}

// endUnary is called when an inline call's request has ended.
func (c *Conn) endUnary(call *Call) {
	a := &call.asm
	switch {
	case a.have == 0:
		c.refuseCall(call, status.New(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC"))
	case !a.complete():
		c.refuseCall(call, status.New(codes.Internal, "unexpected EOF"))
	default:
		call.payload = a.buf
		c.mu.Lock()
		total := call.early
		c.completeLocked(call)
		room := c.roomLocked()
		c.mu.Unlock()
		c.ready(call, total, room, false)
	}
}

// ready runs a complete call, or lets it wait behind others: when the
// connection spent its time on handlers and has frames to look at, or when too
// many replies wait.
func (c *Conn) ready(call *Call, bytes int64, room, aliased bool) {
	call.body = bytes // from here on: what to credit once it is handled
	if len(c.held) == 0 && room {
		if call.turn = c.s.now(); call.turn-c.burstAt < int64(c.s.limits.InlineBudget) {
			c.run(call)
			return
		}
	}
	if aliased {
		call.asm.buf = append(call.asm.buf[:0], call.payload...)
		call.payload = call.asm.buf
	}
	if c.held = append(c.held, call); len(c.held) > c.sweepAt {
		c.sweepHeld()
	}
}

// fewHeld is how many calls may wait for their turn before it is looked whether they are
// over.
const fewHeld = 1024

// sweepHeld lets go of calls that are over before their turn has come.
func (c *Conn) sweepHeld() {
	kept := c.held[:0]
	for _, call := range c.held {
		if call.Over() {
			c.run(call) // which only tidies up
		} else {
			kept = append(kept, call)
		}
	}
	clear(c.held[len(kept):])
	c.held, c.sweepAt = kept, fewHeld+2*len(kept)
}

// runHeld runs calls that waited, for one budget's time.
func (c *Conn) runHeld() {
	if len(c.held) == 0 {
		return
	}
	c.burstAt = c.s.now()
	now, done := c.burstAt, 0
	for done < len(c.held) {
		c.mu.Lock()
		room := c.roomLocked() && !c.mu.dead
		c.mu.Unlock()
		if !room {
			break
		}
		call := c.held[done]
		c.held[done] = nil
		done++
		call.turn = now
		c.run(call)
		if now = c.s.now(); now-c.burstAt >= int64(c.s.limits.InlineBudget) {
			break
		}
	}
	n := copy(c.held, c.held[done:])
	clear(c.held[n:])
	c.held = c.held[:n]
}

// run calls an inline handler.
func (c *Conn) run(call *Call) {
	admitted := call.admit()
	size := len(call.payload) // as the handler sees it
	if admitted {
		call.m.Inline(call)
		c.ran = true
	}
	if !call.whole {
		call.payload = nil
	}
	c.mu.Lock()
	c.creditLocked(call.body)
	st := c.mu.counters.of(call.m)
	st.ReceivedMsgs++
	st.ReceivedBytes += uint64(size)
	closed := call.closed
	if !closed {
		// Not answered, or its reply waits for windows: it is not ours to reuse.
		call.Keep()
	}
	c.mu.Unlock()
	c.served()
	if closed {
		c.recycle(call)
	}
}

// admit does what is left to do before a handler may see the call. False: it
// was answered, or nobody waits for it any more.
func (call *Call) admit() bool {
	c := call.conn
	if call.deadline != 0 && c.s.now() >= call.deadline {
		call.Fail(codes.DeadlineExceeded, "context deadline exceeded")
		return false
	}
	if call.asm.prefix[0] == 1 {
		msg, st := c.s.inflate(call.payload, call.h.encoding)
		if st != nil {
			c.refuseCall(call, st)
			return false
		}
		call.payload = msg
	}
	c.mu.Lock()
	open := !call.answered && !call.closed
	c.mu.Unlock()
	return open
}

func (c *Conn) served() {
	c.control.give(2)
	c.resets.give(1)
}
