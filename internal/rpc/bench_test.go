package rpc

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// BenchmarkInlineUnary measures a small inline call: 100 streams at a time on
// one connection, the client as thin as can be. ns/op holds both sides;
// allocs/op is the server's, as the client allocates nothing per call.
func BenchmarkInlineUnary(b *testing.B) {
	reply := rawMessage(bytes.Repeat([]byte("v"), 330))
	h := start(b, func(o *Options) {
		o.Methods = []Method{{Path: "/test.S/Get", Inline: func(c *Call) { c.Reply(reply) }}}
	})
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	var hb bytes.Buffer
	enc := hpack.NewEncoder(&hb)
	block := func() []byte {
		hb.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/test.S/Get"}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		return append([]byte(nil), hb.Bytes()...)
	}
	first, later := block(), block()
	out := appendSettings([]byte(http2.ClientPreface), window(1<<30))
	out = appendWindowUpdate(out, 0, 1<<30)
	body := message("abcdefghijklmnopqrstuvwxyz0123456789")
	id := uint32(1)
	request := func(blk []byte) {
		out = appendHeaders(out, id, blk, false)
		out = appendFrameHeader(out, len(body), http2.FrameData, http2.FlagDataEndStream, id)
		out = append(out, body...)
		id += 2
	}
	const reply1 = 9 + len(replyHeaders) + 9 + 5 + 330 + 9 + len(okTrailers)
	buf := make([]byte, 64<<10)
	got := 0
	exchange := func(n int) {
		if _, err := nc.Write(out); err != nil {
			b.Fatal(err)
		}
		out = out[:0]
		for want := got + n*reply1; got < want; {
			k, err := nc.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			got += k
		}
	}
	request(first)
	exchange(1)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(100, b.N-done)
		for range n {
			request(later)
		}
		// The flow of bytes is known but for SETTINGS and WINDOW_UPDATE frames,
		// which make exchange return a little early at most.
		exchange(n)
		done += n
		if done%100000 == 0 {
			out = appendWindowUpdate(out, 0, 100000*335)
		}
	}
}
