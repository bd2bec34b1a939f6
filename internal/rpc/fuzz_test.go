package rpc

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// oneListener gives one connection.
type oneListener struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *oneListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// FuzzFrames throws bytes behind the preface at a server: it must not panic,
// hold more than its limits, or leave a goroutine.
func FuzzFrames(f *testing.F) {
	seed := func(write func(fr *http2.Framer, block func(fields ...string) []byte)) {
		var b, hb bytes.Buffer
		enc := hpack.NewEncoder(&hb)
		fr := http2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		fr.WriteSettings()
		write(fr, func(fields ...string) []byte {
			hb.Reset()
			for i := 0; i < len(fields); i += 2 {
				enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
			}
			return hb.Bytes()
		})
		f.Add(b.Bytes())
	}
	for _, path := range []string{"/test.S/Echo", "/test.S/Bidi", "/test.S/Sum", "/test.S/Fail", "/none"} {
		seed(func(fr *http2.Framer, block func(...string) []byte) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true,
				BlockFragment: block(":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc", "grpc-timeout", "1m")})
			fr.WriteData(1, false, message("hello"))
			fr.WriteWindowUpdate(1, 100)
			fr.WriteData(1, true, message("hello"))
			fr.WriteRSTStream(1, http2.ErrCodeCancel)
		})
	}
	seed(func(fr *http2.Framer, block func(...string) []byte) {
		b := block(":method", "PUT", ":scheme", "http", ":path", "/x", "content-length", "3")
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:2]})
		fr.WriteContinuation(1, true, b[2:])
		fr.WriteDataPadded(1, true, []byte("abc"), make([]byte, 9))
		fr.WritePing(false, [8]byte{1})
		fr.WriteSettings(window(0), http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		h := &harness{kept: make(chan *Call, 1000)}
		s, err := NewServer(Options{Methods: h.methods(), Limits: Limits{MaxMessage: 1 << 16, PartialBytes: 1 << 17, HandshakeTimeout: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		l := &oneListener{conn: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan struct{})
		go func() { defer close(served); s.Serve(l) }()
		here, there := net.Pipe()
		l.conn <- there
		read := make(chan struct{})
		go func() { defer close(read); io.Copy(io.Discard, here) }()
		here.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := here.Write(append([]byte(http2.ClientPreface), in...)); err == nil {
			s.mu.Lock()
			for c := range s.mu.conns {
				c.mu.Lock()
				if n := c.mu.in.partial; n > 1<<17+1<<16+1<<14 {
					t.Errorf("%d bytes of incomplete messages", n)
				}
				c.mu.Unlock()
			}
			s.mu.Unlock()
		}
		here.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
		defer cancel()
		within(t, "Shutdown", func() { s.Shutdown(ctx) })
		<-served
		<-read
		noGoroutines(t)
	})
}

// FuzzMessage cuts bytes into pieces for the assembler and compares it with a
// parser that sees them whole; then it reads them as a header block.
func FuzzMessage(f *testing.F) {
	f.Add(message("hello"), 3)
	f.Add(append(message(""), message("x")...), 1)
	f.Add([]byte{1, 0, 0, 0, 2, 9}, 6)
	f.Add([]byte{2, 0, 0, 0, 0}, 2)
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0}, 4)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		const most = 1000
		cut = 1 + int(uint(cut)%64)
		var got [][]byte
		var a assembler
		state := feedMore
	pieces:
		for p := in; len(p) > 0; {
			piece := p[:min(cut, len(p))]
			p = p[len(piece):]
			for len(piece) > 0 {
				piece, state = a.feed(piece, most)
				if len(a.buf) > most {
					t.Fatal("holds more than the limit")
				}
				switch state {
				case feedDone:
					got = append(got, a.buf)
					a = assembler{}
				case feedTooBig, feedBadFlag:
					break pieces
				}
			}
		}
		rest := in
		for i := 0; len(rest) >= 5; i++ {
			n := int(uint32(rest[1])<<24 | uint32(rest[2])<<16 | uint32(rest[3])<<8 | uint32(rest[4]))
			if rest[0] > 1 || n > most {
				if state != feedBadFlag && state != feedTooBig {
					t.Fatalf("bad prefix taken, state %d", state)
				}
				break
			}
			if len(rest)-5 < n {
				break
			}
			if i >= len(got) || !bytes.Equal(got[i], rest[5:5+n]) {
				t.Fatalf("message %d differs", i)
			}
			rest = rest[5+n:]
		}

		// A block held to be cacheable must decode to the same fields twice.
		if new(blockCache).cacheable(in) {
			var fields [2][]hpack.HeaderField
			d := hpack.NewDecoder(4096, nil)
			var err [2]error
			for i := range fields {
				fields[i], err[i] = d.DecodeFull(in)
			}
			if err[0] == nil && (err[1] != nil || !slices.Equal(fields[0], fields[1])) {
				t.Fatalf("%x changes the table", in)
			}
		}

		h := &headers{contentLength: -1}
		d := hpack.NewDecoder(4096, func(f hpack.HeaderField) { h.add(f, 4096) })
		d.Write(in)
		h.problem()
		for _, f := range h.fields {
			h.get(f.Name)
		}
		ParseTimeout(string(in[:min(len(in), 9)]))
	})
}
