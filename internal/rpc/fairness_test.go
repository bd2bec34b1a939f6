package rpc

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Clients that never read cost the others nothing: whoever answers calls of
// many connections is never held up by one of them.
func TestNeverReading(t *testing.T) {
	h := start(t)
	const deaf = 100
	for range deaf {
		p := rawDial(t, h, window(1<<30))
		p.fr.WriteWindowUpdate(0, 1<<30)
		for i := range uint32(20) {
			p.call(4*i+1, "Size", "1000000")
			p.call(4*i+3, "Pour", "1000 10000")
		}
		for i := range uint32(100) {
			p.call(2*i+3001, "Keep", "x")
		}
		go p.push()
	}
	eventually(t, "their sockets are full", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		full := 0
		for c := range h.mu.conns {
			c.mu.Lock()
			if c.mu.out.blocked && c.mu.out.pending() > 0 {
				full++
			}
			c.mu.Unlock()
		}
		return full == deaf
	})
	stop := make(chan struct{})
	var answering sync.WaitGroup
	answering.Go(func() {
		var b Batch
		for {
			select {
			case k := <-h.kept:
				b.Reply(k, rawMessage(strings.Repeat("k", 1000)))
				b.Flush()
			case <-stop:
				return
			}
		}
	})
	cc := dial(t, h)
	ctx := testContext(t)
	var took []time.Duration
	for range 1000 {
		at := time.Now()
		for _, method := range []string{"Echo", "Keep"} {
			if _, err := call(ctx, cc, method, "x"); err != nil {
				t.Fatal(err)
			}
		}
		took = append(took, time.Since(at))
	}
	close(stop)
	answering.Wait()
	slices.Sort(took)
	t.Logf("beside %d clients that never read: median %v, p99 %v, longest %v", deaf, took[500], took[990], took[999])
	// The kind of fault this is about costs seconds, not what a busy machine does.
	if took[990] > 500*time.Millisecond {
		t.Errorf("p99 %v", took[990])
	}
}

// Streams that a client leaves unread do not stop its other calls, however much
// they have waiting.
func TestUnreadStreams(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.WriteBuffer = 64 << 10 })
	p := rawDial(t, h, window(1000))
	p.fr.WriteWindowUpdate(0, 1<<30)
	for i := range uint32(5) {
		p.call(2*i+1, "Pour", "10 50000")
	}
	p.push()
	eventually(t, "they have more waiting than replies may", func() bool { return h.theConn() != nil && h.pending() > 200_000 })
	p.alive(101)
}

func TestConnState(t *testing.T) {
	type state struct{ last string }
	var settled, same, calls int // touched on the one connection's goroutine
	h := start(t, func(o *Options) {
		o.NewState = func(c *Conn) any { return &state{} }
		o.Settled = func() { settled++ }
		o.Methods = []Method{{Path: "/test.S/Token", Inline: func(c *Call) {
			st := c.Conn().State().(*state)
			token, _ := c.Metadata("token")
			calls++
			if st.last != "" && unsafe.StringData(token) == unsafe.StringData(st.last) {
				same++
			}
			st.last = token
			c.Reply(rawMessage("ok"))
		}}}
	})
	cc := dial(t, h)
	ctx := metadata.AppendToOutgoingContext(testContext(t), "token", "secret")
	for range 10 {
		// A deadline makes each header block a different one.
		short, cancel := context.WithTimeout(ctx, time.Minute)
		if _, err := call(short, cc, "Token", ""); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	h.Close()
	if same < 8 || settled == 0 || settled > calls {
		t.Errorf("of %d calls %d had the token's string of before; Settled ran %d times", calls, same, settled)
	}
}

// A watcher's events overtake bulk replies of the same connection.
func TestEventsBesideBulk(t *testing.T) {
	h := start(t)
	cc := dial(t, h)
	ctx := testContext(t)
	watch := newStream(t, ctx, cc, "Bidi")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := call(ctx, cc, "Size", "4000000"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		send(t, watch, "event")
		if got, err := recv(watch); err != nil || got != "event" {
			t.Fatal(got, err)
		}
	}
	close(stop)
	wg.Wait()
	watch.CloseSend()
	if _, err := recv(watch); err != io.EOF {
		t.Error(err)
	}
}

// A client stream whose handler does not read is stopped by its window and goes
// on when the handler does.
func TestSlowHandler(t *testing.T) {
	gate := make(chan struct{})
	h := start(t, func(o *Options) {
		o.Methods = append(o.Methods, Method{Path: "/test.S/Late", Stream: func(ctx context.Context, s *Stream) error {
			<-gate
			n := 0
			for {
				m, err := s.Recv()
				if err == io.EOF {
					break
				}
				if err != nil {
					return err
				}
				n += len(m)
			}
			if n != 50*20000 {
				t.Errorf("%d bytes", n)
			}
			return s.Send(rawMessage("done"))
		}})
	})
	cc := dial(t, h, grpc.WithInitialWindowSize(1<<20))
	s := newStream(t, testContext(t), cc, "Late")
	var sent sync.WaitGroup
	sent.Go(func() {
		for range 50 {
			send(t, s, strings.Repeat("d", 20000))
		}
		s.CloseSend()
	})
	eventually(t, "the window is used", func() bool {
		c := h.theConn()
		if c == nil {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, call := range c.mu.calls {
			return call.recvWindow < 1000
		}
		return false
	})
	close(gate)
	if got, err := recv(s); err != nil || got != "done" {
		t.Error(got, err)
	}
	sent.Wait()
}

// Draining works while the connection goroutine sits in a read.
func TestDrainIdle(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	p.alive(1)
	go h.Shutdown(testContext(t))
	ping := p.until("the drain PING", func(e event) bool { return e.typ == http2.FramePing })
	var d [8]byte
	copy(d[:], ping.data)
	p.fr.WritePing(true, d)
	p.push()
	p.wantEnd()
}
