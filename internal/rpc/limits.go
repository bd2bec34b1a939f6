package rpc

import (
	"fmt"
	"math"
	"time"
)

// Limits bounds what peers can make the engine do or hold. The zero value of a
// field means its default.
type Limits struct {
	// MaxConnections is how many connections may be open at once; one more is
	// closed as soon as it is accepted. Default 0: no bound.
	MaxConnections int
	// MaxStreams is the number of streams a peer may have open on a connection,
	// announced in SETTINGS; one more is refused with REFUSED_STREAM. Default
	// 65,536: a call costs a few hundred bytes, so a connection stays under
	// 32 MiB, and no client we know comes near it.
	MaxStreams uint32
	// MaxMessage is the size of a request message, checked against its 5-byte
	// prefix and again while it is decompressed. Default 2 MiB.
	MaxMessage int
	// HeaderListBytes is the size of a request's header list as RFC 9113 counts
	// it (32 bytes more per field). A larger one is answered with status 431; a
	// header block of more than twice as many bytes on the wire (CONTINUATION
	// included) ends the connection. Default 64 KiB: a token fits many times.
	HeaderListBytes int
	// ControlBurst and ControlRate bound frames that bring no work forward:
	// SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, CONTINUATION, unknown
	// types, frames for closed streams. Each takes one token from a bucket of
	// ControlBurst that gains ControlRate per second, and every call or DATA
	// frame served gives some back, so only a flood empties it. Then the
	// connection ends with ENHANCE_YOUR_CALM. Defaults 10,000 and 1,000.
	ControlBurst, ControlRate int
	// ResetBurst and ResetRate bound streams the peer cancels (rapid reset): one
	// token each, one back for each call that was answered. Defaults 1,000 and 200.
	ResetBurst, ResetRate int
	// ControlBytes bounds the control frames (acks, resets) waiting to be sent
	// to a peer that sends and does not read. Default 64 KiB.
	ControlBytes int
	// HandshakeTimeout is the time from accept to the first SETTINGS frame, TLS
	// handshake included; for HTTP/1.1, to the end of each request's header.
	// Default 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout drains a connection that had no open call for so long.
	// Default 0: never, as gRPC servers do.
	IdleTimeout time.Duration
	// WriteBuffer is how many bytes of replies may wait on a connection before
	// no further handler is run (and, when it is the socket that does not take
	// them, before nothing more is read). What streams have waiting for the
	// peer's windows is StreamBuffer's. Default 1 MiB.
	WriteBuffer int
	// StreamBuffer is how many bytes one Stream may have waiting before Send
	// blocks. Default 64 KiB.
	StreamBuffer int
	// WriteStall closes a connection whose peer took no byte for so long while
	// some were waiting. Default 20 s.
	WriteStall time.Duration
	// InlineBudget is the time a connection spends on handlers in one go before
	// it turns to its frames again. Default 200 µs.
	InlineBudget time.Duration
	// ConnWindow is the receive window of a connection: request bytes received
	// and not yet handled. Default 4 MiB.
	ConnWindow int
	// StreamWindow is the initial receive window of a stream; more is granted
	// only for a message whose prefix was accepted. Default 64 KiB.
	StreamWindow int
	// PartialBytes bounds the bytes of incomplete messages held per connection;
	// the call that exceeds it fails with ResourceExhausted. What is granted
	// beyond StreamWindow at a time is half of it more, or one message, which may
	// always end. Default 64 MiB: 1,000 large requests arriving side by side.
	PartialBytes int
	// PingInterval is the least time between a peer's PINGs while a stream is
	// open and nothing is sent to it; PingIdleInterval the same without an open
	// stream. The third PING too many is answered with GOAWAY "too_many_pings".
	// Defaults 5 s and 2 h.
	PingInterval, PingIdleInterval time.Duration
	// KeepaliveInterval is how long nothing may be heard from a peer before the
	// server sends a PING; KeepaliveTimeout how long the answer may take before
	// the connection is closed. Defaults 2 h and 20 s.
	KeepaliveInterval, KeepaliveTimeout time.Duration
}

// The frame and buffer sizes below are not limits to tune: the wire format or
// the fairness between streams rests on them.
const (
	maxFrame      = 16384     // we neither accept nor send larger frames
	connReserve   = 16384     // of a peer's connection window, never taken by bulk replies
	bulkSize      = 16384     // a queue above this is bulk
	outTarget     = 64 << 10  // queued DATA moves to the out-buffer up to this fill
	readBuffer    = 32 << 10  // one burst of requests
	keepBuffer    = 256 << 10 // a larger buffer is not kept for reuse
	quietBuffer   = 4 << 10   // what a connection's buffers may take while it is silent
	defaultWindow = 65535     // HTTP/2's windows before SETTINGS and WINDOW_UPDATE
	maxWindow     = math.MaxInt32
	maxAnswers    = 100000 // control frames a peer may save up by taking DATA
)

func or[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

func (l Limits) withDefaults() Limits {
	l.MaxStreams = or(l.MaxStreams, 1<<16)
	l.MaxMessage = or(l.MaxMessage, 2<<20)
	l.HeaderListBytes = or(l.HeaderListBytes, 64<<10)
	l.ControlBurst = or(l.ControlBurst, 10000)
	l.ControlRate = or(l.ControlRate, 1000)
	l.ResetBurst = or(l.ResetBurst, 1000)
	l.ResetRate = or(l.ResetRate, 200)
	l.ControlBytes = or(l.ControlBytes, 64<<10)
	l.HandshakeTimeout = or(l.HandshakeTimeout, 10*time.Second)
	l.WriteBuffer = or(l.WriteBuffer, 1<<20)
	l.StreamBuffer = or(l.StreamBuffer, 64<<10)
	l.WriteStall = or(l.WriteStall, 20*time.Second)
	l.InlineBudget = or(l.InlineBudget, 200*time.Microsecond)
	l.ConnWindow = or(l.ConnWindow, 4<<20)
	l.StreamWindow = or(l.StreamWindow, 64<<10)
	l.PartialBytes = or(l.PartialBytes, 64<<20)
	l.PingInterval = or(l.PingInterval, 5*time.Second)
	l.PingIdleInterval = or(l.PingIdleInterval, 2*time.Hour)
	l.KeepaliveInterval = or(l.KeepaliveInterval, 2*time.Hour)
	l.KeepaliveTimeout = or(l.KeepaliveTimeout, 20*time.Second)
	return l
}

// Validate reports the first field that makes no sense; zero fields are fine.
func (l Limits) Validate() error {
	ints := []struct {
		name string
		v    int
	}{
		{"MaxConnections", l.MaxConnections}, {"MaxMessage", l.MaxMessage}, {"HeaderListBytes", l.HeaderListBytes},
		{"ControlBurst", l.ControlBurst}, {"ControlRate", l.ControlRate}, {"ResetBurst", l.ResetBurst}, {"ResetRate", l.ResetRate},
		{"ControlBytes", l.ControlBytes}, {"WriteBuffer", l.WriteBuffer}, {"StreamBuffer", l.StreamBuffer}, {"PartialBytes", l.PartialBytes},
		{"HandshakeTimeout", int(l.HandshakeTimeout)}, {"IdleTimeout", int(l.IdleTimeout)}, {"WriteStall", int(l.WriteStall)},
		{"InlineBudget", int(l.InlineBudget)}, {"PingInterval", int(l.PingInterval)}, {"PingIdleInterval", int(l.PingIdleInterval)},
		{"KeepaliveInterval", int(l.KeepaliveInterval)}, {"KeepaliveTimeout", int(l.KeepaliveTimeout)},
	}
	for _, f := range ints {
		if f.v < 0 {
			return fmt.Errorf("rpc: limit %s is negative: %d", f.name, f.v)
		}
	}
	d := l.withDefaults()
	switch {
	case d.MaxMessage > math.MaxInt32-5:
		return fmt.Errorf("rpc: limit MaxMessage %d does not fit a gRPC prefix", d.MaxMessage)
	case d.ConnWindow < defaultWindow || d.ConnWindow > maxWindow:
		return fmt.Errorf("rpc: limit ConnWindow %d is outside [%d, %d]", d.ConnWindow, defaultWindow, maxWindow)
	case d.StreamWindow < 5 || d.StreamWindow > d.ConnWindow:
		return fmt.Errorf("rpc: limit StreamWindow %d is outside [5, ConnWindow]", d.StreamWindow)
	case d.PartialBytes < d.StreamWindow:
		return fmt.Errorf("rpc: limit PartialBytes %d is below StreamWindow %d", d.PartialBytes, d.StreamWindow)
	}
	return nil
}
