package rpc

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawPeer is a client made of frames. What it does not read stays unread.
type rawPeer struct {
	t  testing.TB
	nc net.Conn
	fr *http2.Framer
	w  bytes.Buffer // frames not sent yet
	hb bytes.Buffer
	he *hpack.Encoder
	hd *hpack.Decoder

	bad uint32 // malformed requests so far
}

// event is a frame as far as the tests care.
type event struct {
	typ    http2.FrameType
	id     uint32
	ack    bool
	end    bool
	code   http2.ErrCode
	data   string
	fields map[string]string
	incr   uint32
	last   uint32
}

func rawDial(t testing.TB, h *harness, settings ...http2.Setting) *rawPeer {
	t.Helper()
	p := rawConnect(t, h)
	p.w.WriteString(http2.ClientPreface)
	p.fr.WriteSettings(settings...)
	p.push()
	return p
}

func rawConnect(t testing.TB, h *harness) *rawPeer {
	t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	p := &rawPeer{t: t, nc: nc}
	p.fr = http2.NewFramer(&p.w, nc)
	p.fr.AllowIllegalWrites = true
	p.he = hpack.NewEncoder(&p.hb)
	p.hd = hpack.NewDecoder(4096, nil)
	return p
}

// push sends what was written; errors are seen by the next read.
func (p *rawPeer) push() {
	p.nc.Write(p.w.Bytes())
	p.w.Reset()
}

func (p *rawPeer) headers(id uint32, path string, end bool, extra ...string) {
	p.hb.Reset()
	fields := append([]string{":method", "POST", ":scheme", "http", ":path", "/test.S/" + path, ":authority", "x", "content-type", "application/grpc", "te", "trailers"}, extra...)
	for i := 0; i < len(fields); i += 2 {
		p.he.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	block := p.hb.Bytes()
	first := block[:min(len(block), maxFrame)]
	block = block[len(first):]
	p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		k := min(len(block), maxFrame)
		p.fr.WriteContinuation(id, k == len(block), block[:k])
		block = block[k:]
	}
}

func message(m string) []byte {
	b := make([]byte, 5, 5+len(m))
	binary.BigEndian.PutUint32(b[1:], uint32(len(m)))
	return append(b, m...)
}

func (p *rawPeer) data(id uint32, b []byte, end bool) {
	for {
		k := min(len(b), maxFrame)
		p.fr.WriteData(id, end && k == len(b), b[:k])
		if b = b[k:]; len(b) == 0 {
			return
		}
	}
}

// call writes a whole unary request.
func (p *rawPeer) call(id uint32, method, m string) {
	p.headers(id, method, false)
	p.data(id, message(m), true)
}

// next reads one frame; io.EOF for any end of the connection.
func (p *rawPeer) next() (event, error) {
	f, err := p.fr.ReadFrame()
	if err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			p.t.Fatal("the server is silent")
		}
		return event{}, io.EOF
	}
	e := event{typ: f.Header().Type, id: f.Header().StreamID}
	switch f := f.(type) {
	case *http2.DataFrame:
		e.data, e.end = string(f.Data()), f.StreamEnded()
	case *http2.HeadersFrame:
		e.end = f.StreamEnded()
		e.fields = map[string]string{}
		fields, err := p.hd.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, x := range fields {
			e.fields[x.Name] = x.Value
		}
	case *http2.RSTStreamFrame:
		e.code = f.ErrCode
	case *http2.GoAwayFrame:
		e.code, e.data, e.last = f.ErrCode, string(f.DebugData()), f.LastStreamID
	case *http2.PingFrame:
		e.ack, e.data = f.IsAck(), string(f.Data[:])
	case *http2.SettingsFrame:
		e.ack = f.IsAck()
	case *http2.WindowUpdateFrame:
		e.incr = f.Increment
	}
	return e, nil
}

// until reads frames up to one that fits.
func (p *rawPeer) until(what string, fits func(e event) bool) event {
	p.t.Helper()
	for {
		e, err := p.next()
		if err != nil {
			p.t.Fatalf("connection ended before %s", what)
		}
		if fits(e) {
			return e
		}
		if e.typ == http2.FrameGoAway && e.code != http2.ErrCodeNo {
			p.t.Fatalf("GOAWAY %v %q before %s", e.code, e.data, what)
		}
	}
}

func (p *rawPeer) wantReset(id uint32, code http2.ErrCode) {
	p.t.Helper()
	if e := p.until("RST_STREAM", func(e event) bool { return e.typ == http2.FrameRSTStream && e.id == id }); e.code != code {
		p.t.Errorf("stream %d: reset with %v, want %v", id, e.code, code)
	}
}

// wantStatus reads to the end of a stream and compares its grpc-status.
func (p *rawPeer) wantStatus(id uint32, status string) event {
	p.t.Helper()
	e := p.until("the trailers", func(e event) bool { return e.typ == http2.FrameHeaders && e.id == id && e.end })
	if e.fields["grpc-status"] != status {
		p.t.Errorf("stream %d: %v, want status %s", id, e.fields, status)
	}
	return e
}

func (p *rawPeer) wantGoAway(code http2.ErrCode, debug string) {
	p.t.Helper()
	for {
		e, err := p.next()
		if err != nil {
			p.t.Fatalf("connection ended before GOAWAY %v", code)
		}
		if e.typ == http2.FrameGoAway {
			if e.code != code || e.data != debug {
				p.t.Errorf("GOAWAY %v %q, want %v %q", e.code, e.data, code, debug)
			}
			break
		}
	}
	p.wantEnd()
}

func (p *rawPeer) wantEnd() {
	p.t.Helper()
	for {
		if _, err := p.next(); err != nil {
			return
		}
	}
}

// alive proves that the connection still serves.
func (p *rawPeer) alive(id uint32) {
	p.t.Helper()
	p.call(id, "Echo", "alive")
	p.push()
	p.until("an echo", func(e event) bool { return e.typ == http2.FrameData && e.id == id })
	p.wantStatus(id, "0")
}

// theConn is the server's side of the only connection.
func (h *harness) theConn() *Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.mu.conns {
		return c
	}
	return nil
}

func (h *harness) pending() int {
	c := h.theConn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.out.pending()
}

func window(v uint32) http2.Setting {
	return http2.Setting{ID: http2.SettingInitialWindowSize, Val: v}
}

func TestFirstBytes(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	if e, _ := p.next(); e.typ != http2.FrameSettings || e.ack {
		t.Errorf("first frame: %+v", e)
	}
	if e, _ := p.next(); e.typ != http2.FrameWindowUpdate || e.incr != 4<<20-65535 {
		t.Errorf("second frame: %+v", e)
	}
	if e, _ := p.next(); e.typ != http2.FrameSettings || !e.ack {
		t.Errorf("third frame: %+v", e)
	}
	p.alive(1)

	p = rawConnect(t, h)
	p.w.WriteString(http2.ClientPreface)
	p.fr.WritePing(false, [8]byte{})
	p.push()
	p.wantGoAway(http2.ErrCodeProtocol, "")
}

// A frame that stops in its middle must not hold back replies that are ready.
func TestHalfFrame(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	p.call(1, "Echo", "one")
	whole := p.w.Len()
	p.call(3, "Echo", "two")
	rest := append([]byte(nil), p.w.Bytes()[whole+20:]...)
	p.w.Truncate(whole + 20)
	p.push()
	p.wantStatus(1, "0")
	p.w.Write(rest)
	p.push()
	p.wantStatus(3, "0")
}

func TestTrailersOnlyAndContentType(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	p.headers(1, "Nothing", false, "content-type", "application/grpc+proto")
	p.push()
	e := p.wantStatus(1, "12")
	if e.fields[":status"] != "200" || e.fields["grpc-message"] != "unknown method Nothing for service test.S" {
		t.Error(e.fields)
	}
	p.wantReset(1, http2.ErrCodeNo)

	p.hb.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/test.S/Echo"}, {"content-type", "application/grpc+proto"}} {
		p.he.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.hb.Bytes(), EndStream: true, EndHeaders: true})
	p.push()
	if e := p.wantStatus(3, "13"); e.fields[":status"] != "405" || e.fields["content-type"] != "application/grpc+proto" {
		t.Error(e.fields)
	}
	p.headers(5, "Echo", false, "grpc-encoding", "lzma")
	p.push()
	if e := p.wantStatus(5, "12"); e.fields["grpc-message"] != `grpc: Decompressor is not installed for grpc-encoding "lzma"` {
		t.Error(e.fields)
	}
	p.headers(7, "Echo", false, "grpc-timeout", "5x")
	p.push()
	if e := p.wantStatus(7, "13"); e.fields[":status"] != "400" {
		t.Error(e.fields)
	}
	// No message, two messages, half a message.
	p.headers(9, "Echo", true)
	p.headers(11, "Echo", false)
	p.data(11, append(message("a"), message("b")...), true)
	p.headers(13, "Echo", false)
	p.data(13, message("abc")[:6], true)
	p.push()
	p.wantStatus(9, "13")
	p.wantStatus(11, "13")
	p.wantStatus(13, "13")
	// A deadline before the request is whole.
	p.headers(15, "Echo", false, "grpc-timeout", "20m")
	p.push()
	p.wantStatus(15, "4")
	p.wantReset(15, http2.ErrCodeNo)
}

// A deadline behind the first message can only reset.
func TestDeadlineAfterMessage(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	p.headers(1, "Bidi", false, "grpc-timeout", "50m")
	p.data(1, message("m"), false)
	p.push()
	p.until("the echo", func(e event) bool { return e.typ == http2.FrameData })
	p.wantReset(1, http2.ErrCodeCancel)
}

func dataBytes(p *rawPeer, id uint32, n int) {
	p.t.Helper()
	for got := 0; got < n; {
		e := p.until("DATA", func(e event) bool { return e.typ == http2.FrameData && e.id == id })
		if got += len(e.data); got > n {
			p.t.Fatalf("%d bytes of DATA, the window was %d", got, n)
		}
	}
}

// quiet proves that nothing but a PING's answer comes.
func (p *rawPeer) quiet() {
	p.t.Helper()
	p.fr.WritePing(false, [8]byte{'q'})
	p.push()
	p.until("the PING's answer", func(e event) bool {
		if e.typ == http2.FrameData {
			p.t.Fatalf("DATA of %d bytes against a closed window", len(e.data))
		}
		return e.typ == http2.FramePing && e.ack
	})
}

func TestTinyWindows(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.PingInterval = 1 })
	p := rawDial(t, h, window(100))
	p.call(1, "Size", "1000")
	p.push()
	dataBytes(p, 1, 100)
	p.quiet()
	p.fr.WriteSettings(window(40)) // the stream's window is now -60
	p.push()
	p.quiet()
	p.fr.WriteWindowUpdate(1, 60) // 0
	p.push()
	p.quiet()
	p.fr.WriteWindowUpdate(1, 7)
	p.push()
	dataBytes(p, 1, 7)
	p.quiet()
	p.fr.WriteSettings(window(1 << 20))
	p.push()
	dataBytes(p, 1, 1005-107)
	p.wantStatus(1, "0")
	p.alive(3)
}

func TestWindowOverflow(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	p.headers(1, "Wait", false)
	p.fr.WriteWindowUpdate(1, 1<<31-1)
	p.push()
	p.wantReset(1, http2.ErrCodeFlowControl)
	p.headers(3, "Wait", false)
	p.fr.WriteWindowUpdate(3, 1<<31-1-65535)
	p.fr.WriteSettings(window(65536)) // one too many for stream 3
	p.push()
	p.wantGoAway(http2.ErrCodeFlowControl, "")
	p = rawDial(t, h)
	p.fr.WriteWindowUpdate(0, 1<<31-1)
	p.push()
	p.wantGoAway(http2.ErrCodeFlowControl, "")
}

// Bulk leaves the last 16 KiB of the connection's window to others, but not for ever.
func TestReserve(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.PingInterval = 1 })
	p := rawDial(t, h, window(1<<30))
	p.call(1, "Size", "1000000")
	p.push()
	dataBytes(p, 1, 65535-connReserve)
	p.alive(3) // takes 10 bytes
	dataBytes(p, 1, connReserve-10)
	p.quiet()
	p.fr.WriteWindowUpdate(0, 1<<30)
	p.push()
	dataBytes(p, 1, 1000005-(65535-10))
	p.wantStatus(1, "0")
}

// Streams take turns: a large reply does not hold up a small one behind it.
func TestTurns(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.WriteBuffer, o.Limits.InlineBudget = 64<<20, time.Minute })
	p := rawDial(t, h, window(1<<30))
	p.call(1, "Size", "2000000")
	p.call(3, "Size", "2000000")
	p.push()
	last, changes := uint32(0), 0
	p.fr.WriteWindowUpdate(0, 1<<30)
	p.push()
	for n := 0; n < 4000010; {
		e := p.until("DATA", func(e event) bool { return e.typ == http2.FrameData })
		if n += len(e.data); e.id != last {
			last = e.id
			changes++
		}
	}
	if changes < 100 {
		t.Errorf("the streams took turns %d times only", changes)
	}
}

func TestDrain(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	p.call(1, "Keep", "x")
	p.push()
	kept := <-h.kept
	down := make(chan error, 1)
	go func() { down <- h.Shutdown(testContext(t)) }()
	e := p.until("the first GOAWAY", func(e event) bool { return e.typ == http2.FrameGoAway })
	if e.last != 1<<31-1 {
		t.Errorf("%+v", e)
	}
	ping := p.until("the drain PING", func(e event) bool { return e.typ == http2.FramePing })
	p.call(3, "Echo", "sent before the answer")
	var d [8]byte
	copy(d[:], ping.data)
	p.fr.WritePing(true, d)
	p.call(5, "Echo", "too late")
	p.push()
	// A connection that has spent its time on handlers looks at its frames first,
	// so either may come before the other.
	for answered, second := false, false; !answered || !second; {
		e := p.until("the answer and the second GOAWAY", func(e event) bool {
			return e.typ == http2.FrameGoAway || e.typ == http2.FrameHeaders && e.id == 3 && e.end
		})
		if e.typ == http2.FrameGoAway {
			second = true
			if e.last != 3 {
				t.Errorf("%+v", e)
			}
			continue
		}
		answered = true
		if e.fields["grpc-status"] != "0" {
			t.Errorf("%v", e.fields)
		}
	}
	kept.Reply(rawMessage("done"))
	kept.Flush()
	p.wantStatus(1, "0")
	p.wantEnd()
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// A peer that shrinks its table is told so in the next header block.
func TestTableSize(t *testing.T) {
	h := start(t)
	p := rawDial(t, h, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	p.call(1, "Echo", strings.Repeat("x", 10))
	p.push()
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if hf, ok := f.(*http2.HeadersFrame); ok {
			if hf.HeaderBlockFragment()[0] != hpackTableSize0 {
				t.Errorf("block begins with %x", hf.HeaderBlockFragment()[0])
			}
			return
		}
	}
}
