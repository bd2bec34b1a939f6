package rpc

import (
	"context"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Kept calls are promised room up to WriteBuffer. The others are told, in their order,
// when somebody was answered, or is over, and never twice.
func TestRoomForReplies(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.WriteBuffer = 1000 })
	p := rawDial(t, h, window(0))
	var calls []*Call
	for i := range uint32(6) {
		p.call(2*i+1, "Keep", "x")
	}
	p.push()
	for range 6 {
		calls = append(calls, <-h.kept)
	}
	var told []int
	ask := func(i int) bool { return calls[i].Room(800, func() { told = append(told, i) }) }
	for i, want := range []bool{true, true, false, false, false, false} {
		if got := ask(i); got != want {
			t.Fatalf("room for call %d: %v, want %v", i, got, want)
		}
	}
	if !ask(0) {
		t.Error("what was promised is not there any more")
	}
	look := func(why string, want ...int) {
		t.Helper()
		c := calls[0].conn
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(told) != len(want) {
			t.Fatalf("%s: %v were told, want %v", why, told, want)
		}
		for i := range want {
			if told[i] != want[i] {
				t.Fatalf("%s: %v were told, want %v", why, told, want)
			}
		}
	}
	look("nobody has answered")
	calls[0].Reply(rawMessage(strings.Repeat("x", 800))) // which the peer does not take
	look("a reply waits in the place of a promise")
	calls[1].Fail(5, "there is none")
	look("one has failed, whose room is free", 2)
	p.fr.WriteRSTStream(7, http2.ErrCodeCancel) // call 3, which waits
	p.push()
	eventually(t, "it is over", calls[3].Over)
	look("one that waited is over, and the room is taken", 2)
	p.fr.WriteRSTStream(5, http2.ErrCodeCancel) // call 2, which was promised room
	p.push()
	eventually(t, "it is over", calls[2].Over)
	look("one that was promised room is over", 2, 4)
	p.fr.WriteSettings(window(65535))
	p.push()
	p.wantStatus(1, "0")
	eventually(t, "the writer has come back", func() bool {
		c := calls[0].conn
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(told) == 3
	})
	look("a reply was taken", 2, 4, 5)
	calls[4].Reply(rawMessage("x"))
	calls[5].Reply(rawMessage("x"))
	calls[5].Flush()
	p.wantStatus(11, "0")
	look("all were answered", 2, 4, 5)
	c := calls[0].conn
	c.mu.Lock()
	if r := c.mu.rooms; r.promised != 0 || len(r.waiting) != 0 {
		t.Errorf("%d bytes are promised to nobody, and %d wait", r.promised, len(r.waiting))
	}
	c.mu.Unlock()
}

// A call that goes on as a stream needs no promise: what streams have waiting is their own.
func TestAStreamGivesItsRoomBack(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.WriteBuffer = 1000 })
	p := rawDial(t, h)
	p.call(1, "Keep", "x")
	p.call(3, "Keep", "x")
	p.push()
	let := make(chan struct{})
	for range 2 {
		call := <-h.kept
		if !call.Room(800, func() { t.Error("there was room") }) {
			t.Fatal("there is no room")
		}
		if !call.Stream(func(context.Context, *Stream) error { <-let; return nil }) {
			t.Fatal("the call is over")
		}
	}
	p.alive(5)
	close(let)
	p.wantStatus(1, "0")
}
