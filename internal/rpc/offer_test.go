package rpc

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// offering serves a stream whose handler gives it away and waits to be stopped.
func offering(t *testing.T) (*harness, chan *Stream) {
	given := make(chan *Stream, 10)
	h := start(t, func(o *Options) {
		o.Methods = append(o.Methods, Method{Path: "/test.S/Offer", Stream: func(ctx context.Context, s *Stream) error {
			given <- s
			for {
				if _, err := s.Recv(); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
		}})
	})
	return h, given
}

// Messages are taken while less than the budget waits for the peer, and go out when
// its window opens.
func TestOfferStaysWithinItsBudget(t *testing.T) {
	h, given := offering(t)
	p := rawDial(t, h, window(0))
	p.headers(1, "Offer", false)
	p.push()
	s := <-given
	one := message(strings.Repeat("x", 95)) // 100 bytes
	taken := 0
	for s.Offer(append(append([]byte(nil), one...), one...), 2, 1000) {
		taken++
	}
	if taken != 5 {
		t.Errorf("%d pairs of 200 bytes were taken, want 5", taken)
	}
	var ready atomic.Int32
	if s.Room(500, func() { ready.Add(1) }) || !s.Room(1000, func() { t.Error("there was room") }) {
		t.Error("there is room for 500 bytes where 1000 wait")
	}
	s.Flush()
	p.fr.WriteWindowUpdate(1, 499)
	p.push()
	got := 0
	for got < 499 {
		got += len(p.until("data", func(e event) bool { return e.typ == http2.FrameData }).data)
	}
	if ready.Load() != 0 {
		t.Error("room was told of where there was none")
	}
	if !s.Offer(one, 1, 600) && s.Offer(one, 1, 601) {
		p.fr.WriteWindowUpdate(1, 501+100)
	} else {
		t.Error("501 bytes wait, and 100 more are within 601 and not within 600")
	}
	p.push()
	for got < 1100 {
		got += len(p.until("data", func(e event) bool { return e.typ == http2.FrameData }).data)
	}
	if got != 1100 || ready.Load() != 1 {
		t.Errorf("%d bytes came, and room was told of %d times", got, ready.Load())
	}
	s.StopRecv()
	p.wantStatus(1, "0")
}

// A message that is larger than all of the budget is taken where there is room, and
// then nothing beside it: a stream of large messages holds one of them.
func TestOfferOfLargeMessages(t *testing.T) {
	h, given := offering(t)
	p := rawDial(t, h, window(0))
	p.headers(1, "Offer", false)
	p.push()
	s := <-given
	large := message(strings.Repeat("x", 5000))
	if !s.Offer(message(strings.Repeat("x", 395)), 1, 800) || !s.Room(400, func() { t.Error("there was room") }) {
		t.Error("there is no room where half of the budget waits")
	}
	if !s.Offer(large, 1, 800) {
		t.Error("there was room, and a large message was not taken")
	}
	if s.Offer(large, 1, 800) || s.Offer(message("x"), 1, 800) {
		t.Error("something was taken beside a message that is larger than the budget")
	}
	s.StopRecv()
}

// A connection that was sent a lot gives its buffers back when it is silent, and goes
// on with others.
func TestASilentConnectionGivesItsBuffersBack(t *testing.T) {
	h, given := offering(t)
	p := rawDial(t, h)
	p.headers(1, "Offer", false)
	p.push()
	s := <-given
	c, o := s.call.conn, &s.call.conn.mu.out
	large := message(strings.Repeat("x", 10_000))
	send := func() {
		if !s.Offer(large, 1, 1<<20) {
			t.Fatal("there was room")
		}
		s.Flush()
		for got := 0; got < len(large); {
			got += len(p.until("data", func(e event) bool { return e.typ == http2.FrameData }).data)
		}
	}
	holds := func() int { return cap(o.out) + cap(o.buf) + cap(o.sending) }
	send()
	c.mu.Lock()
	if holds() < len(large) || o.large == 0 {
		t.Errorf("buffers of %d bytes, to be looked at at %d", holds(), o.large)
	}
	c.giveBackLocked(o.large - 1)
	c.giveBackLocked(o.large)
	if holds() < len(large) {
		t.Error("buffers that are in use were given back")
	}
	c.giveBackLocked(o.large)
	if holds() != 0 || o.large != 0 {
		t.Errorf("buffers of %d bytes are kept for nothing", holds())
	}
	c.mu.Unlock()
	send()
	c.mu.Lock()
	if o.large == 0 {
		t.Error("nobody looks at the buffers any more")
	}
	c.mu.Unlock()
	s.StopRecv()
	p.wantStatus(1, "0")
}

// Whoever waits for room hears of the end of the call, and offers to a call that has
// ended are swallowed.
func TestOfferToACallThatEnds(t *testing.T) {
	h, given := offering(t)
	p := rawDial(t, h, window(0))
	p.headers(1, "Offer", false)
	p.push()
	s := <-given
	if !s.Offer(message("x"), 1, 1) || s.Offer(message("x"), 1, 1) {
		t.Error("a budget of one byte takes one message")
	}
	ready := make(chan struct{})
	if s.Room(0, func() { close(ready) }) {
		t.Error("there is room")
	}
	p.fr.WriteRSTStream(1, http2.ErrCodeCancel)
	p.push()
	within(t, "ready", func() { <-ready })
	if !s.Offer(message("x"), 1, 1) || !s.Room(0, nil) {
		t.Error("a call that has ended holds up its sender")
	}
	p.fr.WriteSettings(window(65535))
	p.alive(3)
}

// Where the windows are open, what is offered goes out at once, behind what was
// offered before, and other calls of the connection go on.
func TestOfferGoesOutInOrder(t *testing.T) {
	h, given := offering(t)
	p := rawDial(t, h)
	p.headers(1, "Offer", false)
	p.push()
	s := <-given
	var want strings.Builder
	for i := range 40 {
		m := message(strings.Repeat(string(rune('a'+i%26)), 1+i*37%2000))
		if !s.Offer(m, 1, 1<<20) {
			t.Fatal("there was room")
		}
		want.Write(m)
		s.Flush()
	}
	var got strings.Builder
	for got.Len() < want.Len() {
		got.WriteString(p.until("data", func(e event) bool { return e.typ == http2.FrameData }).data)
	}
	if got.String() != want.String() {
		t.Error("messages came out of order")
	}
	p.alive(3)
	for _, m := range h.Stats().Methods {
		if m.Path == "/test.S/Offer" && (m.SentMsgs != 40 || m.SentBytes != uint64(want.Len()-5*40)) {
			t.Errorf("counted as %d messages of %d bytes", m.SentMsgs, m.SentBytes)
		}
	}
}

// StopRecv wakes a handler that waits for a message, and drops those that wait.
func TestStopRecv(t *testing.T) {
	h, given := offering(t)
	p := rawDial(t, h)
	p.headers(1, "Offer", false)
	p.push()
	s := <-given
	time.AfterFunc(time.Millisecond, s.StopRecv)
	p.wantStatus(1, "0")
	p.alive(3)
}
