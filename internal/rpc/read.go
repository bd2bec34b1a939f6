package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// errDead says that the connection was ended by dieLocked, which has the reason.
var errDead = errors.New("rpc: connection closed")

// greeting is what the server says first: its SETTINGS, and a wider window.
func (l *Limits) greeting() []byte {
	b := appendSettings(nil,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: l.MaxStreams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(l.StreamWindow)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(l.HeaderListBytes)})
	if extra := int64(l.ConnWindow - defaultWindow); extra > 0 {
		b = appendWindowUpdate(b, 0, extra)
	}
	return b
}

// readFrames runs the connection: the peer's preface, then frames until the
// end. A fault of the peer's is answered here with GOAWAY.
func (c *Conn) readFrames() error {
	var preface [len(http2.ClientPreface)]byte
	if _, err := io.ReadFull(c.br, preface[:]); err != nil {
		return err
	}
	if string(preface[:]) != http2.ClientPreface {
		c.goAway(http2.ErrCodeProtocol, "")
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	for {
		f, err := c.fr.ReadFrame()
		if err == nil {
			err = c.onFrame(f)
		}
		if err == nil {
			continue
		}
		var se http2.StreamError
		if errors.As(err, &se) {
			if err = c.streamError(se.StreamID, se.Code); err == nil {
				continue
			}
		}
		var ce http2.ConnectionError
		switch {
		case errors.As(err, &ce):
			c.goAway(http2.ErrCode(ce), "")
		case errors.Is(err, http2.ErrFrameTooLarge):
			c.goAway(http2.ErrCodeFrameSize, "")
		case errors.As(err, new(calmDown)):
			c.goAway(http2.ErrCodeEnhanceYourCalm, err.Error())
		}
		return err
	}
}

// calmDown ends a connection with ENHANCE_YOUR_CALM and says why.
type calmDown string

func (e calmDown) Error() string { return string(e) }

// goAway tells the peer why the connection ends; finish delivers it.
func (c *Conn) goAway(code http2.ErrCode, debug string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.dead {
		return
	}
	c.mu.out.out = appendGoAway(c.mu.out.out, c.maxID, code, debug)
	c.mu.closing = true
	if c.mu.err == nil {
		c.mu.err = fmt.Errorf("rpc: connection ended with %v", code)
	}
}

// streamError resets one stream for a fault of the peer's.
func (c *Conn) streamError(id uint32, code http2.ErrCode) error {
	if id > c.maxID && id%2 == 1 {
		// A faulty HEADERS frame, say: the stream is used up all the same.
		c.maxID = id
	}
	if err := c.flood(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.mu.calls[id]; call != nil {
		c.resetLocked(call, code, codes.Internal)
	} else {
		c.resetFrameLocked(id, code)
	}
	return nil
}

func (c *Conn) onFrame(f http2.Frame) error {
	if !c.gotPreface {
		if sf, ok := f.(*http2.SettingsFrame); !ok || sf.IsAck() {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.onData(f)
	case *http2.HeadersFrame:
		return c.onHeaders(f)
	case *http2.ContinuationFrame:
		return c.onContinuation(f)
	case *http2.WindowUpdateFrame:
		return c.onWindowUpdate(f)
	case *http2.PingFrame:
		return c.onPing(f)
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.RSTStreamFrame:
		return c.onReset(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
		return c.flood()
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.flood() // GOAWAY of the peer's, unknown types
}

// widenLocked gives all streams the peer's new initial window, which was widest for a
// moment. That takes a look at each open call, while others wait for the lock, so that a
// peer may not have it done often.
func (c *Conn) widenLocked(window, widest int64) error {
	for range len(c.mu.calls) / callsForAFrame {
		if err := c.flood(); err != nil {
			return err
		}
	}
	o := &c.mu.out
	for _, call := range c.mu.calls {
		// May go below zero; must not go above the maximum.
		if call.sendWindow+widest-o.streamWindow > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		call.sendWindow += window - o.streamWindow
		c.enrolLocked(call)
	}
	o.streamWindow = window
	return nil
}

// callsForAFrame is how many calls may be looked at for what a control frame costs.
const callsForAFrame = 32

func (c *Conn) onSettings(f *http2.SettingsFrame) error {
	if err := c.flood(); err != nil {
		return err
	}
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.mu.out
	window, widest := o.streamWindow, o.streamWindow
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			window = int64(s.Val)
			widest = max(widest, window)
		case http2.SettingHeaderTableSize:
			// We use no dynamic table; a peer that shrinks its own expects to
			// be told that we noticed.
			if s.Val < 4096 {
				o.shrinkTable = true
			}
		}
		return nil
	})
	if err == nil && (widest > o.streamWindow || window != o.streamWindow) {
		err = c.widenLocked(window, widest)
	}
	if err != nil {
		return err
	}
	// Behind out: what stands there was measured by the old windows.
	o.out = appendFrameHeader(o.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	if !c.gotPreface {
		c.gotPreface = true
		if !c.mu.kicked {
			c.nc.SetReadDeadline(time.Time{})
		}
		c.wakeAtLocked(c.s.now() + int64(c.s.limits.KeepaliveInterval))
		if c.s.limits.IdleTimeout > 0 {
			c.wakeAtLocked(c.s.now() + int64(c.s.limits.IdleTimeout))
		}
	}
	return nil
}

func (c *Conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID > c.maxID {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.floodLocked(); err != nil {
		return err
	}
	if f.StreamID == 0 {
		return c.windowLocked(int64(f.Increment))
	}
	call := c.mu.calls[f.StreamID]
	if call == nil {
		return nil
	}
	if call.sendWindow += int64(f.Increment); call.sendWindow > maxWindow {
		c.resetLocked(call, http2.ErrCodeFlowControl, codes.Internal)
		return nil
	}
	c.enrolLocked(call)
	return nil
}

func (c *Conn) onReset(f *http2.RSTStreamFrame) error {
	if f.StreamID > c.maxID {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if !c.resets.take(c.s) {
		return calmDown("too_many_resets")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.mu.calls[f.StreamID]; call != nil {
		c.loseLocked(call)
	}
	return nil
}

// onData takes a frame's bytes off the windows and gives them to the call.
func (c *Conn) onData(f *http2.DataFrame) error {
	data, end := f.Data(), f.StreamEnded()
	n := int64(f.Length)
	if len(data) == 0 && !end {
		if err := c.flood(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	in := &c.mu.in
	if in.window -= n; in.window < 0 {
		c.mu.Unlock()
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	call := c.mu.calls[f.StreamID]
	if call == nil || call.remoteEnded {
		c.creditLocked(n)
		known := call == nil && in.wasReset(f.StreamID)
		c.mu.Unlock()
		switch {
		case f.StreamID > c.maxID:
			return http2.ConnectionError(http2.ErrCodeProtocol)
		case known:
			return c.flood() // on its way when we reset the stream, no fault
		}
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	call.recvWindow -= n
	if call.recvWindow < 0 {
		c.creditLocked(n)
		c.mu.Unlock()
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	call.remoteEnded = end
	if pad := n - int64(len(data)); pad > 0 {
		c.creditLocked(pad)
	}
	room, answered := c.roomLocked(), call.answered
	if answered {
		c.creditLocked(int64(len(data)))
		if call.lingers && end {
			c.closeLocked(call)
		}
	}
	c.mu.Unlock()

	call.body += int64(len(data))
	if want := call.h.contentLength; want >= 0 && (call.body > want || end && call.body != want) {
		if !answered {
			c.mu.Lock()
			c.creditLocked(int64(len(data)))
			c.mu.Unlock()
		}
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	switch {
	case answered:
	case call.m == nil:
		c.webData(call, data, end)
	case call.m.Inline != nil:
		c.unaryData(call, data, end, room)
	default:
		c.streamData(call, data, end)
	}
	return nil
}

// blockReader collects and decodes one header block, HEADERS and CONTINUATION.
type blockReader struct {
	id        uint32
	endStream bool
	selfDep   bool
	raw       []byte // the block so far
	h         *headers
	cache     blockCache
}

func (c *Conn) onHeaders(f *http2.HeadersFrame) error {
	b := &c.block
	b.id, b.endStream = f.StreamID, f.StreamEnded()
	b.selfDep = f.HasPriority() && f.Priority.StreamDep == f.StreamID
	b.raw = b.raw[:0]
	return c.blockFragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

func (c *Conn) onContinuation(f *http2.ContinuationFrame) error {
	if err := c.flood(); err != nil {
		return err
	}
	return c.blockFragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

func (c *Conn) blockFragment(p []byte, end bool) error {
	b := &c.block
	if len(b.raw)+len(p) > 2*c.s.limits.HeaderListBytes {
		return calmDown("header_list_too_large")
	}
	if end && len(b.raw) == 0 {
		return c.onBlock(p)
	}
	b.raw = append(b.raw, p...)
	if end {
		err := c.onBlock(b.raw)
		if cap(b.raw) > maxFrame {
			b.raw = nil
		}
		return err
	}
	return nil
}

// onBlock decodes a complete header block, which must happen whatever becomes
// of it, and opens a call or ends one's request.
func (c *Conn) onBlock(raw []byte) error {
	b := &c.block
	if h := b.cache.find(raw); h != nil {
		return c.onRequest(nil, h)
	}
	call := c.newCall()
	h := &call.own
	if b.cache.cacheable(raw) {
		h = &headers{contentLength: -1, memo: &atomic.Pointer[any]{}}
	}
	b.h = h
	_, err := c.dec.Write(raw)
	if err == nil {
		err = c.dec.Close()
	}
	if err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	if h == &call.own {
		b.cache.clear()
	} else {
		b.cache.put(raw, h)
	}
	return c.onRequest(call, h)
}

// blockCache remembers header blocks that leave HPACK's table as it is: indices
// and literals without indexing. Such a block decodes to the same fields until
// the table changes, and ordinary clients send few different ones.
type blockCache struct {
	entries [8]struct {
		raw []byte
		h   *headers
	}
	next int
}

// cacheable walks over the block's fields. Whatever it does not understand, it
// leaves to the decoder.
func (b *blockCache) cacheable(raw []byte) bool {
	if len(raw) > 256 {
		return false
	}
	for len(raw) > 0 {
		first := raw[0]
		switch {
		case first >= 0x80: // an index
			if first == 0xff {
				return false // of several bytes
			}
			raw = raw[1:]
			continue
		case first >= 0x20: // a literal for the table, or a size update
			return false
		}
		texts := 1
		if index := first & 0x0f; index == 0 {
			texts = 2 // the name is spelled out
			raw = raw[1:]
		} else if index < 0x0f {
			raw = raw[1:]
		} else if len(raw) > 1 && raw[1] < 0x80 {
			raw = raw[2:]
		} else {
			return false
		}
		for ; texts > 0; texts-- {
			if len(raw) == 0 || raw[0]&0x7f == 0x7f || len(raw) < 1+int(raw[0]&0x7f) {
				return false
			}
			raw = raw[1+int(raw[0]&0x7f):]
		}
	}
	return true
}

func (b *blockCache) find(raw []byte) *headers {
	for i := range b.entries {
		if e := &b.entries[i]; e.h != nil && bytes.Equal(e.raw, raw) {
			return e.h
		}
	}
	return nil
}

func (b *blockCache) put(raw []byte, h *headers) {
	e := &b.entries[b.next%len(b.entries)]
	b.next++
	e.raw, e.h = append(e.raw[:0], raw...), h
}

// clear forgets all: the block just decoded may have changed the table.
func (b *blockCache) clear() {
	if b.next == 0 {
		return
	}
	for i := range b.entries {
		b.entries[i].h = nil
	}
	b.next = 0
}

// assembler puts a gRPC message together from pieces of DATA.
type assembler struct {
	prefix [5]byte
	have   int // bytes of prefix
	size   int // from the prefix
	buf    []byte
}

type feedState int

const (
	feedMore    feedState = iota // the message is not complete
	feedDone                     // it is; flag and buf are valid
	feedTooBig                   // its prefix says more than max
	feedBadFlag                  // its first byte is neither 0 nor 1
)

// feed takes bytes until the message is complete and returns the rest. It never
// holds more than it was given.
func (a *assembler) feed(p []byte, max int) ([]byte, feedState) {
	if a.have < 5 {
		n := copy(a.prefix[a.have:], p)
		a.have += n
		p = p[n:]
		if a.have < 5 {
			return nil, feedMore
		}
		size := binary.BigEndian.Uint32(a.prefix[1:])
		if a.prefix[0] > 1 {
			return nil, feedBadFlag
		}
		if a.size = int(size); uint64(size) > uint64(max) {
			return nil, feedTooBig
		}
	}
	n := min(len(p), a.size-len(a.buf))
	a.buf = append(a.buf, p[:n]...)
	if len(a.buf) < a.size {
		return nil, feedMore
	}
	return p[n:], feedDone
}

func (a *assembler) complete() bool { return a.have == 5 && len(a.buf) == a.size }
func (a *assembler) missing() int64 { return int64(a.size - len(a.buf)) }
