package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// rawMessage is a message that is its own encoding.
type rawMessage []byte

func (m rawMessage) SizeVT() int { return len(m) }
func (m rawMessage) MarshalToSizedBufferVT(b []byte) (int, error) {
	return copy(b[len(b)-len(m):], m), nil
}

// rawCodec lets a grpc-go client speak rawMessage.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) {
	return *v.(*rawMessage), nil
}
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*rawMessage) = append([]byte(nil), b...)
	return nil
}

var _ encoding.Codec = rawCodec{}

// harness is a server on a free port and the calls its async method keeps.
type harness struct {
	*Server
	addr string
	kept chan *Call
	hits atomic.Int64
}

// start serves the test methods until the test ends, then checks that no
// goroutine of the engine is left.
func start(t testing.TB, change ...func(*Options)) *harness {
	t.Helper()
	h := &harness{kept: make(chan *Call, 100000)}
	o := Options{Methods: h.methods(), Web: http.HandlerFunc(webEcho)}
	for _, f := range change {
		f(&o)
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Server, h.addr = s, l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		within(t, "Close", func() { s.Close() })
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		noGoroutines(t)
	})
	return h
}

func webEcho(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, b)
}

func (h *harness) methods() []Method {
	return []Method{
		{Path: "/test.S/Echo", Inline: func(c *Call) {
			h.hits.Add(1)
			c.Reply(rawMessage(c.Payload()))
		}},
		{Path: "/test.S/Keep", Inline: func(c *Call) { h.kept <- c.Keep() }},
		{Path: "/test.S/Fail", Inline: func(c *Call) {
			st, _ := status.New(codes.NotFound, "no such thing: 100% ünknown\n").WithDetails(wrapperspb.String("why"))
			c.FailStatus(st, Field{"x-trailer-bin", "\x00\x01\xff"})
		}},
		{Path: "/test.S/Meta", Inline: func(c *Call) {
			a, _ := c.Metadata("x-text")
			b, _ := c.Metadata("x-raw-bin")
			c.Reply(rawMessage(a + "|" + b))
		}},
		{Path: "/test.S/Size", Inline: func(c *Call) {
			var n int
			fmt.Sscan(string(c.Payload()), &n)
			c.Reply(rawMessage(bytes.Repeat([]byte("z"), n)))
		}},
		{Path: "/test.S/Bidi", Stream: func(ctx context.Context, s *Stream) error {
			s.SetHeader(Field{"x-head", "h"})
			s.SetTrailer(Field{"x-tail", "t"})
			for {
				m, err := s.Recv()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if err := s.Send(rawMessage(m)); err != nil {
					return err
				}
			}
		}},
		{Path: "/test.S/Pour", Stream: func(ctx context.Context, s *Stream) error {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			var n, size int
			fmt.Sscan(string(m), &n, &size)
			for i := 0; i < n; i++ {
				if err := s.Send(rawMessage(bytes.Repeat([]byte{byte(i)}, size))); err != nil {
					return err
				}
			}
			return nil
		}},
		{Path: "/test.S/Sized", Stream: func(ctx context.Context, s *Stream) error {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			var say, write int
			fmt.Sscan(string(m), &say, &write)
			return s.SendSized(say, func(w io.Writer) error {
				_, err := w.Write(bytes.Repeat([]byte("s"), write))
				return err
			})
		}},
		{Path: "/test.S/Sum", Stream: func(ctx context.Context, s *Stream) error {
			total := 0
			for {
				m, err := s.Recv()
				if err == io.EOF {
					return s.Send(rawMessage(fmt.Sprint(total)))
				}
				if err != nil {
					return err
				}
				total += len(m)
			}
		}},
		{Path: "/test.S/Wait", Stream: func(ctx context.Context, s *Stream) error {
			h.hits.Add(1)
			<-ctx.Done()
			return ctx.Err()
		}},
	}
}

// within fails the test with all stacks when f takes too long.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s hangs\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// eventually polls cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// noGoroutines fails if a goroutine runs code of this package outside the test.
func noGoroutines(t testing.TB) {
	t.Helper()
	var left string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		left = ""
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "rpc.(*Conn).") || strings.Contains(g, "rpc.(*Server).") || strings.Contains(g, "rpc.(*webServer).") {
				left += g + "\n\n"
			}
		}
		if left == "" {
			return
		}
	}
	t.Errorf("goroutines left:\n%s", left)
}

func dial(t testing.TB, h *harness, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)),
	}, opts...)
	cc, err := grpc.NewClient("passthrough:///"+h.addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func call(ctx context.Context, cc *grpc.ClientConn, method, req string, opts ...grpc.CallOption) (string, error) {
	in, out := rawMessage(req), rawMessage(nil)
	err := cc.Invoke(ctx, "/test.S/"+method, &in, &out, opts...)
	return string(out), err
}

func wantStatus(t testing.TB, err error, code codes.Code, msg string) {
	t.Helper()
	if st := status.Convert(err); st.Code() != code || st.Message() != msg {
		t.Errorf("got %v %q, want %v %q", st.Code(), st.Message(), code, msg)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestUnary(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	for _, size := range []int{0, 1, 100, 16379, 16380, 65536, 1 << 20} {
		req := strings.Repeat("q", size)
		got, err := call(ctx, cc, "Echo", req)
		if err != nil || got != req {
			t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
		}
		got, err = call(ctx, cc, "Echo", req, grpc.UseCompressor("gzip"))
		if err != nil || got != req {
			t.Fatalf("size %d, gzip: %d bytes, %v", size, len(got), err)
		}
	}
	st := h.Stats()
	if m := st.Methods[0]; m.Path != "/test.S/Echo" || m.Started != 14 || m.Handled[codes.OK] != 14 || m.ReceivedMsgs != 14 || m.SentMsgs != 14 || m.SentBytes != m.ReceivedBytes {
		t.Errorf("stats: %+v", m)
	}
}

func TestAsync(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	const n = 500
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if got, err := call(ctx, cc, "Keep", fmt.Sprint(i)); err != nil || got != "late" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	var b Batch
	for range n {
		b.Reply(<-h.kept, rawMessage("late"))
		if len(h.kept) == 0 {
			b.Flush()
		}
	}
	b.Flush()
	wg.Wait()
}

func TestErrors(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)

	var trailer metadata.MD
	_, err := call(ctx, cc, "Fail", "x", grpc.Trailer(&trailer))
	wantStatus(t, err, codes.NotFound, "no such thing: 100% ünknown\n")
	if d := status.Convert(err).Details(); len(d) != 1 || d[0].(*wrapperspb.StringValue).Value != "why" {
		t.Errorf("details %v", d)
	}
	if got := trailer.Get("x-trailer-bin"); len(got) != 1 || got[0] != "\x00\x01\xff" {
		t.Errorf("trailer %q", got)
	}

	_, err = call(ctx, cc, "Nothing", "x")
	wantStatus(t, err, codes.Unimplemented, "unknown method Nothing for service test.S")
	in, out := rawMessage("x"), rawMessage(nil)
	wantStatus(t, cc.Invoke(ctx, "/no.Such/M", &in, &out), codes.Unimplemented, "unknown service no.Such")
	wantStatus(t, cc.Invoke(ctx, "/nothing", &in, &out), codes.Unimplemented, `malformed method name: "/nothing"`)

	_, err = call(ctx, cc, "Echo", strings.Repeat("x", 2<<20+1))
	wantStatus(t, err, codes.ResourceExhausted, "grpc: received message larger than max (2097153 vs. 2097152)")
	_, err = call(ctx, cc, "Echo", strings.Repeat("x", 2<<20+1), grpc.UseCompressor("gzip"))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("inflated: %v", err)
	}
}

func TestMetadata(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := metadata.AppendToOutgoingContext(testContext(t), "x-text", "plain", "x-raw-bin", "\x00\xfe\xff")
	for range 3 {
		got, err := call(ctx, cc, "Meta", "")
		if err != nil || got != "plain|\x00\xfe\xff" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestDeadlineAndCancel(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	for _, method := range []string{"Keep", "Wait"} {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err := call(short, cc, method, "x")
		cancel()
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", method, err)
		}
	}
	late := <-h.kept
	eventually(t, "the kept call ends", func() bool { return late.Context().Err() != nil })
	late.Reply(rawMessage("too late")) // must do nothing
	late.Flush()

	cancelled, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { _, err := call(cancelled, cc, "Keep", "x"); done <- err }()
	kept := <-h.kept
	gone := kept.Context()
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	within(t, "cancellation", func() { <-gone.Done() })
	kept.Fail(codes.Internal, "nobody hears")
}

func TestManyCalls(t *testing.T) {
	h := start(t)
	ctx := testContext(t)
	var wg sync.WaitGroup
	for range 3 {
		cc := dial(t, h)
		for i := range 20 {
			wg.Go(func() {
				for j := range 50 {
					req := strings.Repeat(fmt.Sprint(i, j), 1+j*i)
					if got, err := call(ctx, cc, "Echo", req); err != nil || got != req {
						t.Errorf("%d %d: %v", i, j, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

func newStream(t testing.TB, ctx context.Context, cc *grpc.ClientConn, method string) grpc.ClientStream {
	t.Helper()
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.S/"+method)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t testing.TB, s grpc.ClientStream, m string) {
	t.Helper()
	raw := rawMessage(m)
	if err := s.SendMsg(&raw); err != nil {
		t.Fatal(err)
	}
}

func recv(s grpc.ClientStream) (string, error) {
	var m rawMessage
	err := s.RecvMsg(&m)
	return string(m), err
}

func TestBidi(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	s := newStream(t, testContext(t), cc, "Bidi")
	for i := range 200 {
		m := strings.Repeat("b", i*i*10)
		send(t, s, m)
		if got, err := recv(s); err != nil || got != m {
			t.Fatalf("%d: %d bytes, %v", i, len(got), err)
		}
	}
	s.CloseSend()
	if _, err := recv(s); err != io.EOF {
		t.Fatal(err)
	}
	head, _ := s.Header()
	if head.Get("x-head")[0] != "h" || s.Trailer().Get("x-tail")[0] != "t" {
		t.Error(head, s.Trailer())
	}
}

func TestSlowReader(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	s := newStream(t, ctx, cc, "Pour")
	send(t, s, "200 20000")
	// Other calls of the connection go on while this stream's window is shut.
	for range 100 {
		if _, err := call(ctx, cc, "Echo", "quick"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		m, err := recv(s)
		if err != nil || len(m) != 20000 || m[19999] != byte(i) {
			t.Fatalf("%d: %d bytes, %v", i, len(m), err)
		}
	}
	if _, err := recv(s); err != io.EOF {
		t.Fatal(err)
	}
}

func TestClientStream(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	s := newStream(t, testContext(t), cc, "Sum")
	total := 0
	for i := range 100 {
		send(t, s, strings.Repeat("c", i*1000))
		total += i * 1000
	}
	s.CloseSend()
	if got, err := recv(s); err != nil || got != fmt.Sprint(total) {
		t.Fatal(got, err)
	}
}

func TestSendSized(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	got, err := call(ctx, cc, "Sized", "300000 300000")
	if err != nil || len(got) != 300000 {
		t.Fatal(len(got), err)
	}
	for _, bad := range []string{"100 99", "100 101"} {
		if _, err := call(ctx, cc, "Sized", bad); status.Code(err) != codes.Internal {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Many large requests at once must not wait for each other for ever.
func TestLargeRequestsTogether(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	var wg sync.WaitGroup
	req := strings.Repeat("L", 1<<20)
	for range 120 {
		wg.Go(func() {
			if got, err := call(ctx, cc, "Sum", req); err != nil || got != "1048576" {
				t.Error(got, err)
			}
		})
		wg.Go(func() {
			if got, err := call(ctx, cc, "Echo", req); err != nil || len(got) != len(req) {
				t.Error(len(got), err)
			}
		})
	}
	wg.Wait()
}

func TestShutdownUnderLoad(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	var wg sync.WaitGroup
	var ok atomic.Int64
	for range 20 {
		wg.Go(func() {
			for {
				_, err := call(ctx, cc, "Echo", "x")
				if err == nil {
					ok.Add(1)
					continue
				}
				// A call that was accepted is answered; what comes later is refused
				// by the closed port, before it is sent.
				if status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
				return
			}
		})
	}
	eventually(t, "load", func() bool { return ok.Load() > 1000 })
	done := make(chan error, 1)
	go func() { _, err := call(ctx, cc, "Keep", "x"); done <- err }()
	kept := <-h.kept
	down := make(chan error, 1)
	go func() { down <- h.Shutdown(ctx) }()
	wg.Wait()
	select {
	case err := <-down:
		t.Fatal("Shutdown did not wait for a call", err)
	default:
	}
	kept.Reply(rawMessage("at last"))
	kept.Flush()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestWeb(t *testing.T) {
	h := start(t)
	h1 := &http.Client{Transport: &http.Transport{}}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	h2 := &http.Client{Transport: &http.Transport{Protocols: p}}
	for name, c := range map[string]*http.Client{"h1": h1, "h2": h2} {
		defer c.CloseIdleConnections()
		body := strings.Repeat("w", 300000)
		r, err := c.Post("http://"+h.addr+"/path", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || string(got) != "POST /path "+body || name == "h2" && r.ProtoMajor != 2 {
			t.Errorf("%s: %s, %d bytes, %v", name, r.Proto, len(got), err)
		}
	}
}
