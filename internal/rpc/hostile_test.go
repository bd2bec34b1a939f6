package rpc

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// openCalls is how many calls the server's side of the only connection has open.
func (h *harness) openCalls() int {
	c := h.theConn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.calls)
}

// One frame of SETTINGS may name INITIAL_WINDOW_SIZE 2,730 times. Open calls are gone
// through once for it at most, under the lock that whoever answers a call of the
// connection waits for: the loop that applies, the hub of the watches.
func TestSettingsDoNotHoldTheLock(t *testing.T) {
	h := start(t)
	p := rawDial(t, h)
	const calls = 50_000 // 65,536 are allowed
	p.call(1, "Keep", "x")
	for i := range uint32(calls) {
		p.headers(2*i+3, "Echo", false)
		if p.w.Len() > 1<<20 {
			p.push()
		}
	}
	p.push()
	eventually(t, "all calls are open", func() bool { return h.openCalls() == calls+1 })
	k := <-h.kept
	many := make([]http2.Setting, maxFrame/6)
	for i := range many {
		many[i] = window(65535)
	}
	p.fr.WriteSettings(many...)
	p.push()
	longest := time.Duration(0)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		began := time.Now()
		k.Over() // takes the connection's lock, as Reply does
		longest = max(longest, time.Since(began))
	}
	k.Reply(rawMessage("x"))
	k.Flush()
	t.Logf("one frame of %d bytes held the lock for %v", 6*len(many), longest)
	if longest > 200*time.Millisecond {
		t.Errorf("whoever answers a call of this connection waited %v for one frame", longest)
	}
}

// A call whose reply waits for the connection's window stands in a ring. It does not stay
// there when it is reset, or its deadline is over, however long the peer keeps the window
// shut.
func TestCallsThatEndedLeaveTheRing(t *testing.T) {
	for _, name := range []string{"reset", "deadline"} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			p := rawDial(t, h)
			p.call(1, "Size", "65530") // all of the connection's window
			p.push()
			p.wantStatus(1, "0")
			const calls = 20_000
			go func() { // what it says is not of interest
				for {
					if _, err := p.next(); err != nil {
						return
					}
				}
			}()
			for i := range uint32(calls) {
				id := 2*i + 3
				if name == "deadline" {
					p.headers(id, "Echo", false, "grpc-timeout", "500m")
				} else {
					p.headers(id, "Echo", false)
				}
				p.data(id, message("x"), true)
				if i%500 != 499 {
					continue
				}
				p.push()
				eventually(t, "they were served", func() bool { return h.hits.Load() == int64(i)+1 })
				if name == "reset" {
					for one := id - 998; one <= id; one += 2 {
						p.fr.WriteRSTStream(one, http2.ErrCodeCancel)
					}
				}
			}
			p.push()
			eventually(t, "all calls were served", func() bool { return h.hits.Load() == calls })
			eventually(t, "all calls are over", func() bool { return h.openCalls() == 0 })
			c := h.theConn()
			c.mu.Lock()
			left := len(c.mu.out.small.q) - c.mu.out.small.head
			c.mu.Unlock()
			if left > 1000 {
				t.Errorf("%d of %d calls that are over are kept in the ring, %d bytes each and more", left, calls, unsafe.Sizeof(Call{}))
			}
		})
	}
}

// The same for calls that wait for a larger window for a large request, behind one that
// does not send what it was granted.
func TestCallsThatEndedLeaveTheQueueOfGrants(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.PartialBytes = 4 << 20 })
	p := rawDial(t, h)
	p.fr.WriteWindowUpdate(0, 1<<30)
	large := []byte{0, 0, 0x1f, 0, 0} // just below 2 MiB
	for id := uint32(1); id <= 3; id += 2 {
		p.headers(id, "Echo", false)
		p.data(id, large, false) // and nothing else: the second waits for the first
	}
	p.push()
	go func() {
		for {
			if _, err := p.next(); err != nil {
				return
			}
		}
	}()
	const calls = 20_000
	for i := range uint32(calls) {
		id := 4*i + 5
		p.headers(id, "Echo", false)
		p.data(id, large, false)
		p.fr.WriteRSTStream(id, http2.ErrCodeCancel)
		p.call(id+2, "Echo", "x") // which makes up for the reset
		if i%200 == 199 {
			p.push()
			eventually(t, "they were served", func() bool { return h.hits.Load() == int64(i)+1 })
		}
	}
	eventually(t, "all are over", func() bool { return h.openCalls() == 2 })
	c := h.theConn()
	c.mu.Lock()
	left := len(c.mu.in.waiting)
	c.mu.Unlock()
	if left > 1000 {
		t.Errorf("%d of %d calls that are over are kept in the queue of grants", left, calls)
	}
}

// Calls that wait for their handler's turn, since too many replies wait for the peer, do
// not stay when they are over.
func TestCallsThatEndedWaitForNoTurn(t *testing.T) {
	h := start(t)
	p := rawDial(t, h, window(0))
	p.call(1, "Size", "1100000") // more than WriteBuffer, and nobody takes it
	p.push()
	eventually(t, "the reply waits", func() bool { return h.theConn() != nil && h.pending() > 1<<20 })
	go func() {
		for {
			if _, err := p.next(); err != nil {
				return
			}
		}
	}()
	const calls = 100_000
	for i := range uint32(calls) {
		id := 2*i + 3
		p.headers(id, "Echo", false, "grpc-timeout", "1m")
		p.data(id, message(""), true)
		if i%1000 == 999 {
			p.push()
		}
	}
	p.push()
	var id uint32 = 2*calls + 3
	eventually(t, "all calls are over", func() bool {
		// Something to read has the connection's goroutine look at what it holds.
		c := h.theConn()
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.lastID == id-2 && len(c.mu.calls) == 1
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p.nc.Close()
	eventually(t, "the connection is gone", func() bool { return h.Stats().Connections == 0 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := int64(before.HeapAlloc) - int64(after.HeapAlloc)
	t.Logf("%d calls that are over held %d KiB", calls, held>>10)
	if held > 20<<20 {
		t.Errorf("%d calls that are over held %d MiB, %d bytes for each 5 of the window of 4 MiB", calls, held>>20, held/calls)
	}
}

// A body that comes in frames of one byte takes about its size until a handler reads it.
func TestFramesOfOneByte(t *testing.T) {
	let := make(chan struct{})
	h := start(t, func(o *Options) {
		o.Web = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-let })
	})
	defer close(let)
	p := rawDial(t, h)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const streams, each = 32, 65_535
	for i := range uint32(streams) {
		id := 2*i + 1
		p.hb.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/v3/lock/lock"}, {":authority", "x"}} {
			p.he.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.hb.Bytes(), EndHeaders: true})
		for range each {
			p.fr.WriteData(id, false, []byte("x"))
		}
		p.push()
	}
	const all = streams * each
	eventually(t, "all has come", func() bool {
		c := h.theConn()
		c.mu.Lock()
		defer c.mu.Unlock()
		n := 0
		for _, call := range c.mu.calls {
			n += int(call.recvHeld)
		}
		return n == all
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes of bodies take %d KiB", all, held>>10)
	if held > 10*all {
		t.Errorf("%d KiB of bodies, half of what a connection's window allows, take %d MiB", all>>10, held>>20)
	}
}

// A stream that waits for the connection's out-buffer to shrink is told when the
// connection dies under it, by WriteStall or by Server.Close.
func TestAStreamThatWaitsForRoomEndsWithItsConnection(t *testing.T) {
	let, returned := make(chan struct{}), make(chan error, 1)
	h := start(t, func(o *Options) {
		o.Limits.WriteBuffer, o.Limits.WriteStall = 64<<10, 2*time.Second
		o.Methods = append(o.Methods, Method{Path: "/test.S/Late", Stream: func(_ context.Context, s *Stream) error {
			<-let
			err := s.Send(rawMessage("x"))
			returned <- err
			return err
		}})
	})
	p := rawDial(t, h, window(1<<30))
	p.fr.WriteWindowUpdate(0, 1<<30)
	p.headers(1, "Late", false)
	for i := range uint32(2000) {
		p.call(2*i+3, "Size", "16000") // which nobody reads
	}
	go p.push()
	var c *Conn
	last, since := -1, time.Now()
	eventually(t, "the socket takes nothing any more", func() bool {
		if c = h.theConn(); c == nil {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.mu.out.backlog(); n != last {
			last, since = n, time.Now()
		}
		return last > 64<<10 && time.Since(since) > 500*time.Millisecond
	})
	close(let)
	eventually(t, "the connection is gone", func() bool { return h.Stats().Connections == 0 })
	select {
	case <-returned:
	case <-time.After(3 * time.Second):
		t.Error("the handler waits for the room of a connection that is gone")
		c.mu.Lock()
		c.room.Broadcast() // lest the test waits, too
		c.mu.Unlock()
	}
}
