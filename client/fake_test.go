package client

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// fake is a server that answers as a test says, and counts what it has got.
type fake struct {
	t       *testing.T
	address string
	server  *grpc.Server
	handle  func(c *received) error

	mu struct {
		sync.Mutex
		conns    map[string]net.Conn
		received map[string]int // by method
	}
}

// received is one call as the server sees it.
type received struct {
	fake   *fake
	method string
	nth    int // from 1, of this method
	ctx    context.Context
	stream grpc.ServerStream
}

func startFake(t *testing.T, handle func(c *received) error, options ...grpc.ServerOption) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return startFakeOn(t, l, handle, options...)
}

func startFakeOn(t *testing.T, l net.Listener, handle func(c *received) error, options ...grpc.ServerOption) *fake {
	t.Helper()
	f := &fake{t: t, address: l.Addr().String(), handle: handle}
	f.mu.conns, f.mu.received = map[string]net.Conn{}, map[string]int{}
	f.server = grpc.NewServer(append(options, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		f.mu.Lock()
		f.mu.received[method]++
		nth := f.mu.received[method]
		f.mu.Unlock()
		return f.handle(&received{fake: f, method: method, nth: nth, ctx: stream.Context(), stream: stream})
	}))...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.server.Serve(tracked{l, f})
	}()
	t.Cleanup(func() {
		f.server.Stop()
		<-done
	})
	return f
}

// tracked notes the connections, so that they can be cut.
type tracked struct {
	net.Listener
	f *fake
}

func (l tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.f.mu.Lock()
		l.f.mu.conns[c.RemoteAddr().String()] = c
		l.f.mu.Unlock()
	}
	return c, err
}

// cut closes every connection under the server's feet.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.mu.conns {
		c.Close()
	}
	clear(f.mu.conns)
}

func (f *fake) count(m method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.received[m.path]
}

// cutOff drops the connection once the request is there, and so the answer.
func (c *received) cutOff() error {
	c.fake.cut()
	<-c.ctx.Done()
	return c.ctx.Err()
}

// request reads the request into m.
func (c *received) request(m proto.Message) {
	require.NoError(c.fake.t, c.stream.RecvMsg(m))
}

func (c *received) token() string {
	md, _ := metadata.FromIncomingContext(c.ctx)
	if t := md.Get("token"); len(t) > 0 {
		return t[0]
	}
	return ""
}

func connectTo(t *testing.T, config Config) *Client {
	t.Helper()
	if config.Logger == nil {
		config.Logger = zaptest.NewLogger(t)
	}
	c, err := New(within(t, 20*time.Second), config)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func answer(code codes.Code, text string) error { return status.Error(code, text) }
