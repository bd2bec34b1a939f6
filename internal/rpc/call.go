package rpc

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Call is one RPC. What a handler may do with it, and until when, is in
// InlineHandler. A Call that was kept stays safe to use for ever: it is never
// recycled, and once it has been decided (answered, expired, cancelled, its
// connection lost) Reply and Fail do nothing.
type Call struct {
	conn     *Conn
	id       uint32
	m        *method // nil: a web request
	h        *headers
	own      headers // h of a call whose header block nobody else had
	deadline int64   // Server.now time; 0: none
	began    int64   // the same: of the burst that it came with
	turn     int64   // the same, for inline methods

	// Owned by the connection's goroutine.
	asm     assembler
	payload []byte
	kept    bool
	whole   bool // kept with its payload
	mark    any
	body    int64 // bytes of DATA so far, for content-length

	// Everything below is guarded by conn.mu.
	answered    bool // decided: the one reply, failure, deadline, reset or loss
	closed      bool // gone from conn.calls
	remoteEnded bool
	headersSent bool
	ended       bool // endBlock follows the queue
	lingers     bool // all is sent, the peer's half is still open (web only)
	code        codes.Code

	queue      [][]byte // DATA waiting for the peer's windows
	queueOff   int
	queued     int
	endBlock   []byte
	sendWindow int64
	bulk       bool
	inRing     bool
	heapIndex  int // in conn.deadlines, from 1; 0: not there

	recvWindow int64
	recvHeld   int64 // received and not yet handled
	early      int64
	granted    int64
	wants      int64

	inbox    []inMessage // of streams and web requests
	inboxEnd error       // what Recv says after the last message

	promised     int // of the connection's room, for a reply that is being made
	waitsForRoom bool
	recvable     *sync.Cond
	sendable     *sync.Cond
	waits        []roomWait
	stopped      bool // by StopRecv

	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
}

// Keep says that the Call leaves the handler's hands: it may be answered later,
// from any goroutine. It must be called before the Call is given away. It
// returns the Call.
func (call *Call) Keep() *Call {
	if !call.kept { // others may look at it, once it was kept
		call.kept = true
	}
	return call
}

// KeepPayload is Keep, and has Payload stay valid for whoever has the call. Who has it
// may call it again.
func (call *Call) KeepPayload() *Call {
	if call.whole {
		return call
	}
	call.payload, call.whole = slices.Clone(call.payload), true
	return call.Keep()
}

// SetMark leaves something with the call for whoever has it later. It must be called
// before the call is given away.
func (call *Call) SetMark(mark any) {
	call.conn.mu.Lock() // the call may end at any time
	call.mark = mark
	call.conn.mu.Unlock()
}

// Mark is what SetMark has left; nil without.
func (call *Call) Mark() any { return call.mark }

// SetMemo leaves something with the call's header block, for all calls of the connection
// whose block is the very same, and which so have the same metadata. It does nothing where
// the connection does not remember the block: few different ones are, and none that
// changes HPACK's table.
func (call *Call) SetMemo(memo any) {
	if call.h.memo != nil {
		call.h.memo.Store(&memo)
	}
}

// Memo is what SetMemo has left last; nil without.
func (call *Call) Memo() any {
	if call.h.memo == nil {
		return nil
	}
	if memo := call.h.memo.Load(); memo != nil {
		return *memo
	}
	return nil
}

// Turn is when the call's inline handler was about to run, since the server was
// made. It is taken anyway and costs nothing.
func (call *Call) Turn() time.Duration { return time.Duration(call.turn) }

// Now is the time since the server was made.
func (call *Call) Now() time.Duration { return time.Duration(call.conn.s.now()) }

// Lane is a number that the calls of a connection share, and few of other
// connections: who counts calls can spread the counts by it.
func (call *Call) Lane() uint32 { return call.conn.lane }

// Over says that the call was decided: nobody waits for an answer any more.
func (call *Call) Over() bool {
	call.conn.mu.Lock()
	defer call.conn.mu.Unlock()
	return call.answered || call.closed || call.deadline != 0 && call.conn.s.now() >= call.deadline
}

// Payload is the request message. It is valid until the handler returns;
// whoever needs it longer copies it.
func (call *Call) Payload() []byte { return call.payload }

// Held is about how many bytes the call takes for as long as it is kept with its
// payload: of the message, of metadata that is its own, and of itself.
func (call *Call) Held() int {
	const itself = 1 << 10
	n := itself + len(call.payload)
	if call.h.memo == nil {
		n += 2 * call.h.size // texts, and what refers to them
	}
	return n
}

// Path is the method's path.
func (call *Call) Path() string { return call.h.path }

// Conn is the connection the call came in on.
func (call *Call) Conn() *Conn { return call.conn }

// Metadata returns the first value of a request header. Keys are lower case;
// values of "-bin" keys are decoded. The string stays valid. A field that the
// peer sent by index into HPACK's table is the same string each time, so
// comparing it with the last one costs a pointer comparison.
func (call *Call) Metadata(key string) (string, bool) { return call.h.get(key) }

// EachMetadata calls f with every request header in order, undecoded, until f
// returns false.
func (call *Call) EachMetadata(f func(key, value string) bool) {
	for _, h := range call.h.fields {
		if !f(h.Name, h.Value) {
			return
		}
	}
}

// Deadline is when the engine answers DeadlineExceeded by itself.
func (call *Call) Deadline() (time.Time, bool) {
	if call.deadline == 0 {
		return time.Time{}, false
	}
	return call.conn.s.epoch.Add(time.Duration(call.deadline)), true
}

// Context is made when first asked for. It ends with the call: answered,
// expired, cancelled or its connection lost. Within an inline handler it may be
// used only if the call is kept.
func (call *Call) Context() context.Context {
	call.conn.mu.Lock()
	defer call.conn.mu.Unlock()
	if call.ctx == nil {
		ctx, cancel := context.WithCancelCause(context.Background())
		call.cancel = cancel
		if d, ok := call.Deadline(); ok {
			ctx, call.stop = context.WithDeadline(ctx, d)
		}
		call.ctx = ctx
		if call.answered {
			call.endContextLocked()
		}
	}
	return call.ctx
}

func (call *Call) endContextLocked() {
	if call.cancel == nil {
		return
	}
	call.cancel(context.Canceled)
	if call.stop != nil {
		call.stop()
	}
}

// Reply answers the call with m and status OK. It appends to the connection's
// out-buffer and never blocks; it does not send (Flush, Batch, or the end of the
// connection's burst does). m is not kept. After another decision it does
// nothing.
func (call *Call) Reply(m Message) { call.reply(m, nil) }

func (call *Call) reply(m Message, b *Batch) {
	n := m.SizeVT()
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.answered || c.mu.dead {
		return
	}
	if b != nil {
		b.addLocked(c)
	}
	call.answered = true
	call.countLocked(n)
	if n+5 <= maxFrame && int64(n+5) <= call.sendWindow && int64(n+5) <= c.mu.out.window {
		if !call.replyNowLocked(m, n) {
			call.failLocked(status.New(codes.Internal, "grpc: error while marshaling"), nil)
		}
		return
	}
	// A large one is marshalled outside the lock; the call is ours already.
	c.mu.Unlock()
	buf := make([]byte, 5+n)
	binary.BigEndian.PutUint32(buf[1:], uint32(n))
	k, err := m.MarshalToSizedBufferVT(buf[5:])
	c.mu.Lock()
	if call.closed {
		return
	}
	if err != nil || k != n {
		call.failLocked(status.New(codes.Internal, "grpc: error while marshaling"), nil)
		return
	}
	call.sendHeadersLocked(nil)
	c.queueLocked(call, buf)
	call.code = codes.OK
	c.endLocked(call, []byte(okTrailers))
}

// replyNowLocked is the hot path: headers, one DATA frame and trailers straight
// into the out-buffer. False: the message did not marshal, and nothing was
// written.
func (call *Call) replyNowLocked(m Message, n int) bool {
	c := call.conn
	o := &c.mu.out
	if o.shrinkTable || call.h.contentType != plainContentType || call.headersSent {
		start := len(o.out)
		shrink, sent := o.shrinkTable, call.headersSent
		call.sendHeadersLocked(nil)
		if !call.appendMessageLocked(m, n) {
			o.out, o.shrinkTable, call.headersSent = o.out[:start], shrink, sent
			return false
		}
	} else {
		start := len(o.out)
		o.out = appendFrameHeader(o.out, len(replyHeaders), http2.FrameHeaders, http2.FlagHeadersEndHeaders, call.id)
		o.out = append(o.out, replyHeaders...)
		if !call.appendMessageLocked(m, n) {
			o.out = o.out[:start]
			return false
		}
		call.headersSent = true
	}
	o.out = appendFrameHeader(o.out, len(okTrailers), http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, call.id)
	o.out = append(o.out, okTrailers...)
	o.sentLocked(n + 5)
	call.sendWindow -= int64(n + 5)
	if !call.remoteEnded {
		c.resetFrameLocked(call.id, http2.ErrCodeNo)
	}
	call.code = codes.OK
	c.closeLocked(call)
	return true
}

func (call *Call) appendMessageLocked(m Message, n int) bool {
	o := &call.conn.mu.out
	b := slices.Grow(o.out, 9+5+n)
	b = appendFrameHeader(b, 5+n, http2.FrameData, 0, call.id)
	b = append(b, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	end := len(b) + n
	k, err := m.MarshalToSizedBufferVT(b[len(b):end])
	if err != nil || k != n {
		return false
	}
	o.out = b[:end]
	return true
}

const plainContentType = "application/grpc"

// sendHeadersLocked writes the reply's header block once.
func (call *Call) sendHeadersLocked(extra []Field) {
	if call.headersSent {
		return
	}
	call.headersSent = true
	call.conn.headersLocked(call.id, appendFields(call.headerBlock(), extra), false)
}

// headerBlock starts a reply's header block; the content type is the request's.
func (call *Call) headerBlock() []byte {
	if call.h.contentType == plainContentType {
		return []byte(replyHeaders)
	}
	return appendIndexedField([]byte{hpackStatus200}, staticContentTyp, call.h.contentType)
}

// Fail answers the call with an error. As Reply, it never blocks, does not
// send, and does nothing after another decision.
func (call *Call) Fail(code codes.Code, msg string) { call.FailStatus(status.New(code, msg)) }

// FailStatus is Fail with a whole status, details included, and trailing
// metadata.
func (call *Call) FailStatus(st *status.Status, trailer ...Field) {
	call.fail(st, trailer, nil)
}

func (call *Call) fail(st *status.Status, trailer []Field, b *Batch) {
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.answered || c.mu.dead {
		return
	}
	if b != nil {
		b.addLocked(c)
	}
	call.answered = true
	call.failLocked(st, trailer)
}

// failLocked ends a call that is answered with a status: one HEADERS frame if
// nothing was sent before, trailers behind the queue otherwise.
func (call *Call) failLocked(st *status.Status, trailer []Field) {
	call.code = st.Code()
	if l := call.conn.local; l != nil {
		l.failure = st
	}
	var block []byte
	if !call.headersSent {
		call.headersSent = true
		block = call.headerBlock()
	}
	call.conn.endLocked(call, appendFields(appendStatus(block, st), trailer))
}

// Flush makes one attempt to send what waits on the call's connection. It never
// blocks; what does not fit leaves later by itself. Inside an inline handler
// there is no need for it.
func (call *Call) Flush() { call.conn.flush() }

func (c *Conn) flush() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
}

func (call *Call) countLocked(n int) {
	if call.m != nil {
		st := call.conn.mu.counters.of(call.m)
		st.SentMsgs++
		st.SentBytes += uint64(n)
	}
}

// resetLocked ends a call with RST_STREAM, decided or not.
func (c *Conn) resetLocked(call *Call, code http2.ErrCode, why codes.Code) {
	if call.closed {
		return
	}
	if !call.answered {
		call.answered = true
		call.code = why
	}
	c.resetFrameLocked(call.id, code)
	c.closeLocked(call)
}

// loseLocked ends a call the peer reset, or whose connection is gone.
func (c *Conn) loseLocked(call *Call) {
	if !call.answered {
		call.answered = true
		call.code = codes.Canceled
	}
	c.closeLocked(call)
}

// expireLocked ends a call whose deadline is over.
func (c *Conn) expireLocked(call *Call) {
	switch {
	case call.lingers:
		c.resetFrameLocked(call.id, http2.ErrCodeNo)
		c.closeLocked(call)
	case call.answered || call.headersSent:
		c.resetLocked(call, http2.ErrCodeCancel, codes.DeadlineExceeded)
	default:
		call.answered = true
		call.failLocked(status.New(codes.DeadlineExceeded, "context deadline exceeded"), nil)
	}
}

// closeLocked takes a call off the connection: nothing more is sent or received
// for it. Everyone who waits on it is told.
func (c *Conn) closeLocked(call *Call) {
	if call.closed {
		return
	}
	call.closed = true
	delete(c.mu.calls, call.id)
	if call.heapIndex > 0 {
		c.mu.deadlines.remove(call)
	}
	if call.queued > 0 {
		c.dropQueueLocked(call)
	}
	if call.inRing {
		c.mu.out.leaveRingsLocked()
	}
	if call.early > 0 {
		c.mu.in.partial -= call.early
		call.early = 0
	}
	c.ungrantLocked(call)
	if len(c.mu.rooms.waiting) > 0 || call.promised > 0 {
		c.leaveRoomsLocked(call)
	}
	for _, m := range call.inbox {
		c.creditLocked(m.bytes)
	}
	call.inbox = nil
	if call.m != nil {
		if call.mark != nil && c.s.opt.Ended != nil {
			c.s.opt.Ended(call.h.path, call.mark, call.code)
		}
		st := c.mu.counters.of(call.m)
		st.Handled[call.code%codes.Code(numCodes)]++
		if slow := c.s.opt.SlowAfter; c.s.opt.Latency || slow > 0 {
			took := time.Duration(c.s.now() - call.began)
			if c.s.opt.Latency {
				st.Took.observe(took)
			}
			if slow > 0 && took >= slow && call.m.Inline != nil {
				c.s.opt.Slow(call.h.path, c.RemoteAddr(), took, call.code)
			}
		}
	}
	call.endContextLocked()
	if call.recvable != nil {
		call.recvable.Broadcast()
		call.sendable.Broadcast()
		c.room.Broadcast() // it may wait for that too
	}
	call.tellRoomLocked()
	if c.local != nil {
		c.local.moved.Broadcast()
		return
	}
	if c.mu.kickOn && c.roomLocked() {
		c.mu.kickOn = false
		c.kickLocked()
	}
	if len(c.mu.calls) == 0 {
		c.emptyLocked()
	}
}

// Batch answers calls from a goroutine that serves many connections, and sends
// each connection's replies together. It belongs to one goroutine. The zero
// value is ready; it can be used again after Flush.
type Batch struct{ conns []*Conn }

// Reply is Call.Reply.
func (b *Batch) Reply(c *Call, m Message) { c.reply(m, b) }

// Fail is Call.Fail.
func (b *Batch) Fail(c *Call, code codes.Code, msg string) { c.fail(status.New(code, msg), nil, b) }

// FailStatus is Call.FailStatus.
func (b *Batch) FailStatus(c *Call, st *status.Status, trailer ...Field) { c.fail(st, trailer, b) }

// Add notes the connection of a call answered by other means.
func (b *Batch) Add(c *Call) {
	c.conn.mu.Lock()
	b.addLocked(c.conn)
	c.conn.mu.Unlock()
}

// addLocked notes a connection once. Two batches that share a connection may
// both flush it: harmless.
func (b *Batch) addLocked(c *Conn) {
	if c.mu.batch != b {
		c.mu.batch = b
		b.conns = append(b.conns, c)
	}
}

// Flush makes one attempt to send on each connection; it never blocks.
func (b *Batch) Flush() {
	for i, c := range b.conns {
		c.mu.Lock()
		if c.mu.batch == b {
			c.mu.batch = nil
		}
		c.flushLocked()
		c.mu.Unlock()
		b.conns[i] = nil
	}
	b.conns = b.conns[:0]
}
