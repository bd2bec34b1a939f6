package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
)

// Message is what handlers reply with; vtprotobuf's generated messages are one.
// MarshalToSizedBufferVT fills the end of b, as vtprotobuf does. Small messages
// are marshalled under the connection's lock: it must not block or call back.
type Message interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

// InlineHandler serves one unary call on its connection's goroutine. It must
// not block. It answers (Reply, Fail) before it returns, and then must not touch
// the Call afterwards; or it calls Keep before the Call leaves its hands and
// answers later from any goroutine.
type InlineHandler func(c *Call)

// StreamHandler serves one call on a goroutine of its own, streams and slow
// unary calls alike. ctx ends with the call. The returned error becomes the
// call's status (nil: OK). The Stream must not be used after the return.
type StreamHandler func(ctx context.Context, s *Stream) error

// Method is one RPC; exactly one of the handlers is set.
type Method struct {
	Path   string // "/etcdserverpb.KV/Put"
	Inline InlineHandler
	Stream StreamHandler
}

// Options are what a Server is made of.
type Options struct {
	Methods []Method
	// Web serves HTTP/1.1 and the HTTP/2 requests that are not gRPC. Nil: such
	// requests are refused.
	Web http.Handler
	// Limits bounds what peers can do; the zero value means the defaults.
	Limits Limits
	// Settled, if set, is called on a connection's goroutine each time it has
	// handled all it has read and ran at least one inline handler since, before
	// replies are flushed and the connection blocks. It must not block.
	Settled func()
	// NewState, if set, makes the value Conn.State returns; it is called once per
	// HTTP/2 connection, before its first call.
	NewState func(*Conn) any
	// Ended, if set, hears of every call with a mark that has ended, and how. It is called under locks: it must not wait, nor call back.
	Ended func(path string, mark any, code codes.Code)
	// Latency has the time that calls take counted, in MethodStats.Took. It costs
	// a look at the clock per call.
	Latency bool
	// SlowAfter, if above zero, has Slow hear of each call of an inline handler that
	// took so long or longer, at its end. Slow is called under locks: it must not wait, nor call back.
	// It costs what Latency costs, once.
	SlowAfter time.Duration
	Slow      func(path string, remote net.Addr, took time.Duration, code codes.Code)
	// Logger gets a few lines about listeners and refused connections, never one
	// per request. Nil: none.
	Logger *zap.Logger
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("rpc: server closed")

// method is a Method as the engine keeps it.
type method struct {
	Method
	index int // its counters
}

// Server serves gRPC and HTTP on any number of listeners.
type Server struct {
	opt      Options
	limits   Limits
	log      *zap.Logger
	epoch    time.Time // the zero of every int64 time in the engine
	methods  []*method
	byPath   map[string]*method
	services map[string]bool
	web      *webServer // nil without Options.Web

	wg    sync.WaitGroup // every goroutine of the engine
	lanes atomic.Uint32  // given to connections so far

	mu struct {
		sync.Mutex
		listeners map[net.Listener]bool
		conns     map[*Conn]bool
		locals    map[*Conn]bool    // those of calls from inside
		pending   map[net.Conn]bool // no HTTP/2 yet (true) or ever (false: HTTP/1.1)
		draining  bool
		closed    bool
		idle      chan struct{} // closed when draining and the last connection is gone
		done      counters      // of connections that are gone
	}
}

// NewServer checks the options and returns a server that serves nothing yet.
func NewServer(o Options) (*Server, error) {
	if err := o.Limits.Validate(); err != nil {
		return nil, err
	}
	s := &Server{opt: o, limits: o.Limits.withDefaults(), log: o.Logger, epoch: time.Now(), byPath: map[string]*method{}, services: map[string]bool{}}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	for _, m := range o.Methods {
		slash := strings.LastIndexByte(m.Path, '/')
		switch {
		case slash <= 1 || m.Path[0] != '/' || slash == len(m.Path)-1:
			return nil, fmt.Errorf("rpc: method path %q is not /service/method", m.Path)
		case (m.Inline == nil) == (m.Stream == nil):
			return nil, fmt.Errorf("rpc: method %s needs exactly one handler", m.Path)
		case s.byPath[m.Path] != nil:
			return nil, fmt.Errorf("rpc: method %s is given twice", m.Path)
		}
		e := &method{Method: m, index: len(s.methods)}
		s.methods = append(s.methods, e)
		s.byPath[m.Path] = e
		s.services[m.Path[1:slash]] = true
	}
	s.mu.listeners = map[net.Listener]bool{}
	s.mu.conns = map[*Conn]bool{}
	s.mu.locals = map[*Conn]bool{}
	s.mu.pending = map[net.Conn]bool{}
	s.mu.idle = make(chan struct{})
	s.mu.done = newCounters(len(s.methods))
	if o.Web != nil {
		s.web = newWebServer(s, o.Web)
	}
	return s, nil
}

// now is the time since the server was made; monotonic and cheap.
func (s *Server) now() int64 { return int64(time.Since(s.epoch)) }

// Serve accepts connections from l until the server is shut down or closed
// (then it returns ErrServerClosed) or l fails. It closes l. Connections may be
// plain TCP, unix sockets or *tls.Conn; others work, but each of their writes
// takes a hop through the connection's writer.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.mu.closed || s.mu.draining {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	s.mu.listeners[l] = true
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer func() {
		l.Close()
		s.mu.Lock()
		delete(s.mu.listeners, l)
		s.mu.Unlock()
	}()

	const minPause, maxPause = 5 * time.Millisecond, time.Second
	pause := minPause
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = minPause
			s.start(nc)
			continue
		}
		if s.stopping() {
			return ErrServerClosed
		}
		// Out of file descriptors is the world's failure of the moment: wait and
		// go on, as a listener that ends would take the server with it.
		if ne, ok := err.(net.Error); ok && (ne.Timeout() || isTemporary(err)) {
			s.log.Warn("accept failed, will retry", zap.Error(err), zap.Duration("pause", pause))
			time.Sleep(pause)
			pause = min(2*pause, maxPause)
			continue
		}
		return fmt.Errorf("rpc: accept on %s: %w", l.Addr(), err)
	}
}

func isTemporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closed || s.mu.draining
}

// start gives a new connection its goroutine, or closes it.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	full := s.limits.MaxConnections > 0 && len(s.mu.pending)+len(s.mu.conns) >= s.limits.MaxConnections
	if s.mu.closed || s.mu.draining || full {
		s.mu.Unlock()
		rawClose(nc)
		return
	}
	s.mu.pending[nc] = true
	s.wg.Add(1)
	s.mu.Unlock()
	go s.routineConn(nc)
}

// adopt moves a connection from pending to the HTTP/2 ones.
func (s *Server) adopt(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false
	}
	delete(s.mu.pending, c.nc)
	s.mu.conns[c] = true
	return true
}

// forget removes a connection, whichever kind it was.
func (s *Server) forget(nc net.Conn, c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		s.mu.done.add(c.takeCounters())
		delete(s.mu.conns, c)
	}
	delete(s.mu.pending, nc)
	if s.mu.draining && len(s.mu.conns)+len(s.mu.pending) == 0 {
		s.closeIdleLocked()
	}
}

func (s *Server) closeIdleLocked() {
	select {
	case <-s.mu.idle:
	default:
		close(s.mu.idle)
	}
}

// Shutdown stops listening, tells every peer to go away, lets running calls end
// and closes. When ctx ends first, what is left is cut. It returns ctx's error
// in that case.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.mu.draining = true
	for l := range s.mu.listeners {
		l.Close()
	}
	conns := make([]*Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	for nc, unknown := range s.mu.pending {
		if unknown {
			rawClose(nc) // it has asked for nothing yet
		}
	}
	if len(s.mu.conns)+len(s.mu.pending) == 0 {
		s.closeIdleLocked()
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.drain()
	}
	if s.web != nil {
		s.web.drain(ctx)
	}
	var err error
	select {
	case <-s.mu.idle:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, s.Close())
}

// Close cuts every connection, cancels every call and waits for all goroutines
// of the engine, stream and web handlers included.
func (s *Server) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	for l := range s.mu.listeners {
		l.Close()
	}
	for nc := range s.mu.pending {
		rawClose(nc)
	}
	conns := make([]*Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	for c := range s.mu.locals {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.cut(ErrServerClosed)
	}
	if s.web != nil {
		s.web.close()
	}
	s.wg.Wait()
	return nil
}
