package rpc

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// attacks has one attack per field of Limits; TestLimits holds the two lists
// against each other.
var attacks = map[string]func(t *testing.T){
	"MaxConnections": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.MaxConnections = 2 })
		rawDial(t, h).alive(1)
		b := rawDial(t, h)
		b.alive(1)
		rawDial(t, h).wantEnd()
		b.nc.Close()
		eventually(t, "a connection is gone", func() bool { return h.Stats().Connections == 1 })
		rawDial(t, h).alive(1)
	},
	"MaxStreams": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.MaxStreams = 3 })
		p := rawDial(t, h)
		for id := uint32(1); id <= 7; id += 2 {
			p.call(id, "Keep", "x")
		}
		p.push()
		p.wantReset(7, http2.ErrCodeRefusedStream)
		k := <-h.kept
		k.Reply(rawMessage("x"))
		k.Flush()
		p.wantStatus(1, "0")
		p.alive(9)
	},
	"MaxMessage": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.MaxMessage = 1000 })
		p := rawDial(t, h)
		for i, method := range []string{"Echo", "Bidi"} {
			id := uint32(2*i + 1)
			p.headers(id, method, false)
			p.fr.WriteData(id, false, []byte{0, 0, 0, 3, 0xe9}) // the prefix alone
			p.push()
			if e := p.wantStatus(id, "8"); e.fields["grpc-message"] != "grpc: received message larger than max (1001 vs. 1000)" {
				t.Error(e.fields)
			}
		}
		p.alive(5)
	},
	"HeaderListBytes": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.HeaderListBytes = 8 << 10 })
		p := rawDial(t, h)
		var extra []string
		for i := range 200 {
			extra = append(extra, fmt.Sprintf("x-%d", i), "some value")
		}
		p.headers(1, "Echo", true, extra...)
		p.push()
		if e := p.wantStatus(1, "8"); e.fields[":status"] != "431" {
			t.Error(e.fields)
		}
		p.alive(3)
		// CONTINUATION without an end.
		p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: make([]byte, 10000)})
		p.fr.WriteContinuation(5, false, make([]byte, 10000))
		p.push()
		p.wantGoAway(http2.ErrCodeEnhanceYourCalm, "header_list_too_large")
	},
	"ControlBurst": func(t *testing.T) {
		floods := map[string]func(p *rawPeer){
			"settings":      func(p *rawPeer) { p.fr.WriteSettings() },
			"ping":          func(p *rawPeer) { p.fr.WritePing(false, [8]byte{}) },
			"ping ack":      func(p *rawPeer) { p.fr.WritePing(true, [8]byte{}) },
			"priority":      func(p *rawPeer) { p.fr.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
			"window update": func(p *rawPeer) { p.fr.WriteWindowUpdate(0, 1) },
			"empty data":    func(p *rawPeer) { p.fr.WriteData(1, false, nil) },
			"unknown":       func(p *rawPeer) { p.fr.WriteRawFrame(99, 0, 0, nil) },
			"closed stream": func(p *rawPeer) { p.fr.WriteData(3, false, []byte("x")) },
			"bad streams": func(p *rawPeer) {
				p.bad += 2
				p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3 + p.bad, EndHeaders: true})
			},
		}
		for name, flood := range floods {
			t.Run(name, func(t *testing.T) {
				h := start(t, func(o *Options) {
					o.Limits.ControlBurst, o.Limits.ControlRate, o.Limits.PingInterval = 50, 1, 1
				})
				p := rawDial(t, h)
				p.headers(1, "Wait", false)
				p.headers(3, "Nothing", true)
				for range 100 {
					flood(p)
				}
				p.push()
				p.wantGoAway(http2.ErrCodeEnhanceYourCalm, "too_many_control_frames")
			})
		}
	},
	"ControlRate": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.ControlBurst, o.Limits.ControlRate = 50, 1e9 })
		p := rawDial(t, h)
		for range 500 {
			p.fr.WriteRawFrame(99, 0, 0, nil)
		}
		p.push()
		p.alive(1)
	},
	"ResetBurst": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.ResetBurst, o.Limits.ResetRate = 20, 1 })
		p := rawDial(t, h)
		for i := range uint32(100) {
			p.headers(2*i+1, "Wait", false)
			p.fr.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}
		p.push()
		p.wantGoAway(http2.ErrCodeEnhanceYourCalm, "too_many_resets")
		if n := h.hits.Load(); n > 21 {
			t.Errorf("%d handlers ran", n)
		}
	},
	"ResetRate": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.ResetBurst, o.Limits.ResetRate = 20, 1e9 })
		p := rawDial(t, h)
		for i := range uint32(100) {
			p.headers(2*i+1, "Wait", false)
			p.fr.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}
		p.push()
		p.alive(1001)
	},
	"ControlBytes": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.ControlBytes, o.Limits.PingInterval = 1000, 1 })
		p := rawDial(t, h, window(1<<30))
		p.fr.WriteWindowUpdate(0, 1<<30)
		p.call(1, "Pour", "2000 100000") // never read: the socket fills
		p.push()
		eventually(t, "the socket is full", func() bool {
			c := h.theConn()
			if c == nil {
				return false
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.mu.out.blocked && c.mu.out.queued > 0
		})
		for range 500 {
			p.fr.WritePing(false, [8]byte{})
		}
		p.push()
		eventually(t, "the connection ends", func() bool { return h.Stats().Connections == 0 })
	},
	"HandshakeTimeout": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.HandshakeTimeout = 50 * time.Millisecond })
		rawConnect(t, h).wantEnd()
		p := rawConnect(t, h)
		p.w.WriteString(http2.ClientPreface)
		p.push()
		p.wantEnd()
		p = rawConnect(t, h)
		p.w.WriteString("GET / HTTP/1.1\r\nHost: x\r\n")
		p.push()
		p.wantEnd()
	},
	"IdleTimeout": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.IdleTimeout = 50 * time.Millisecond })
		p := rawDial(t, h)
		p.alive(1)
		p.until("GOAWAY", func(e event) bool { return e.typ == http2.FrameGoAway && e.code == http2.ErrCodeNo })
		ping := p.until("the drain PING", func(e event) bool { return e.typ == http2.FramePing })
		var d [8]byte
		copy(d[:], ping.data)
		p.fr.WritePing(true, d)
		p.push()
		p.wantEnd()
	},
	"WriteBuffer": func(t *testing.T) {
		const calls, size, limit = 2000, 10000, 64 << 10
		for _, win := range []uint32{1 << 30, 0} { // the socket holds it up, or the peer's windows
			t.Run(fmt.Sprint(win), func(t *testing.T) {
				h := start(t, func(o *Options) { o.Limits.WriteBuffer = limit })
				p := rawDial(t, h, window(win))
				p.fr.WriteWindowUpdate(0, 1<<30)
				p.push()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for i := range uint32(calls) {
						p.call(2*i+1, "Size", fmt.Sprint(size))
						p.push()
					}
				}()
				eventually(t, "a full buffer", func() bool { return h.theConn() != nil && h.pending() > limit })
				for range 50 {
					if n := h.pending(); n > limit+2*size {
						t.Fatalf("%d bytes are waiting", n)
					}
					<-time.After(time.Millisecond)
				}
				if win == 0 {
					<-sent
					p.fr.WriteSettings(window(1 << 30))
					p.push()
				}
				for range calls {
					p.until("trailers", func(e event) bool { return e.typ == http2.FrameHeaders && e.end && e.fields["grpc-status"] == "0" })
				}
				<-sent
			})
		}
	},
	"StreamBuffer": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.StreamBuffer = 20000 })
		p := rawDial(t, h, window(0))
		p.call(1, "Pour", "100 10000")
		p.push()
		eventually(t, "a full stream", func() bool { return h.theConn() != nil && h.pending() > 20000 })
		p.quiet()
		if n := h.pending(); n > 20000+10005 {
			t.Errorf("%d bytes are waiting", n)
		}
	},
	"WriteStall": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.WriteStall = 50 * time.Millisecond })
		p := rawDial(t, h, window(1<<30))
		p.fr.WriteWindowUpdate(0, 1<<30)
		p.call(1, "Pour", "2000 100000")
		p.push()
		eventually(t, "it is served", func() bool { return h.Stats().Connections == 1 })
		eventually(t, "the connection ends", func() bool { return h.Stats().Connections == 0 })
	},
	"InlineBudget": func(t *testing.T) {
		h := start(t, func(o *Options) {
			o.Limits.InlineBudget = time.Nanosecond
			o.Methods = append(o.Methods, Method{Path: "/test.S/Slow", Inline: func(c *Call) {
				for end := time.Now().Add(2 * time.Millisecond); time.Now().Before(end); {
				}
				c.Reply(rawMessage(c.Payload()))
			}})
		})
		p := rawDial(t, h)
		for i := range uint32(50) {
			p.call(2*i+1, "Slow", fmt.Sprint(i))
		}
		p.fr.WritePing(false, [8]byte{'h', 'i'})
		p.push()
		before := 0
		p.until("the PING's answer", func(e event) bool {
			if e.typ == http2.FrameData {
				before++
			}
			return e.typ == http2.FramePing && e.ack
		})
		if before > 5 {
			t.Errorf("%d calls ran before the PING was looked at", before)
		}
		for i := before; i < 50; i++ {
			e := p.until("an answer", func(e event) bool { return e.typ == http2.FrameData })
			if e.data[5:] != fmt.Sprint(i) {
				t.Errorf("answer %d is %q", i, e.data[5:])
			}
		}
	},
	"ConnWindow": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.ConnWindow = 128 << 10 })
		p := rawDial(t, h)
		full := message(strings.Repeat("w", 16<<10-5))
		for id := uint32(1); id <= 3; id += 2 {
			p.headers(id, "Wait", false)
			for range 4 {
				p.data(id, full, false)
			}
		}
		p.push()
		p.alive0(t)
		p.headers(5, "Wait", false)
		p.data(5, []byte("x"), false)
		p.push()
		p.wantGoAway(http2.ErrCodeFlowControl, "")
	},
	"StreamWindow": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.StreamWindow = 10000 })
		p := rawDial(t, h)
		p.headers(1, "Wait", false)
		p.data(1, message(strings.Repeat("w", 9995)), false)
		p.data(1, []byte("x"), false)
		p.push()
		p.wantReset(1, http2.ErrCodeFlowControl)
		p.alive(3)
	},
	"PartialBytes": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.PartialBytes = 128 << 10 })
		p := rawDial(t, h, window(1<<30))
		p.fr.WriteWindowUpdate(0, 1<<30)
		part := message(strings.Repeat("w", 1<<20))[:60<<10]
		for i, method := range []string{"Echo", "Sum", "Echo"} {
			p.headers(uint32(2*i+1), method, false)
			p.data(uint32(2*i+1), part, false)
		}
		p.push()
		if e := p.wantStatus(5, "8"); e.fields["grpc-message"] != "too many large requests arriving on one connection" {
			t.Error(e.fields)
		}
		// The first was granted the rest and can end.
		p.data(1, message(strings.Repeat("w", 1<<20))[60<<10:], true)
		p.push()
		p.wantStatus(1, "0")
	},
	"PingInterval": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.PingInterval, o.Limits.PingIdleInterval = time.Hour, 1 })
		p := rawDial(t, h)
		for range 20 {
			p.fr.WritePing(false, [8]byte{}) // idle: these are welcome
		}
		p.push()
		p.alive(1)
		p.headers(3, "Wait", false)
		for range 5 {
			p.fr.WritePing(false, [8]byte{})
		}
		p.push()
		p.wantGoAway(http2.ErrCodeEnhanceYourCalm, "too_many_pings")
	},
	"PingIdleInterval": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.PingInterval = 1 })
		p := rawDial(t, h)
		for i := range uint32(20) {
			p.fr.WritePing(false, [8]byte{}) // one per answer, as BDP pings come
			p.alive(2*i + 1)
		}
		for range 5 {
			p.fr.WritePing(false, [8]byte{})
		}
		p.push()
		p.wantGoAway(http2.ErrCodeEnhanceYourCalm, "too_many_pings")
	},
	"KeepaliveInterval": func(t *testing.T) {
		h := start(t, func(o *Options) { o.Limits.KeepaliveInterval = 30 * time.Millisecond })
		p := rawDial(t, h)
		for range 3 {
			e := p.until("a keepalive PING", func(e event) bool { return e.typ == http2.FramePing && !e.ack })
			var d [8]byte
			copy(d[:], e.data)
			p.fr.WritePing(true, d)
			p.push()
		}
		p.alive(1)
	},
	"KeepaliveTimeout": func(t *testing.T) {
		h := start(t, func(o *Options) {
			o.Limits.KeepaliveInterval, o.Limits.KeepaliveTimeout = 20*time.Millisecond, 30*time.Millisecond
		})
		rawDial(t, h).wantEnd()
	},
}

// alive0 proves that the connection is served without using its window.
func (p *rawPeer) alive0(t *testing.T) {
	t.Helper()
	p.fr.WritePing(false, [8]byte{'0'})
	p.push()
	p.until("the PING's answer", func(e event) bool { return e.typ == http2.FramePing && e.ack })
}

func TestLimits(t *testing.T) {
	fields := map[string]bool{}
	for i := range reflect.TypeFor[Limits]().NumField() {
		name := reflect.TypeFor[Limits]().Field(i).Name
		fields[name] = true
		attack := attacks[name]
		if attack == nil {
			t.Errorf("no attack on limit %s", name)
			continue
		}
		t.Run(name, attack)
	}
	for name := range attacks {
		if !fields[name] {
			t.Errorf("attack on %s, which is no limit", name)
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Limits{{MaxMessage: -1}, {WriteStall: -1}, {MaxMessage: 1 << 32}, {ConnWindow: 1000}, {StreamWindow: 5 << 20}, {PartialBytes: 100}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
