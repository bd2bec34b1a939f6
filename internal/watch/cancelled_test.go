package watch

import (
	"fmt"
	"testing"
)

// Watchers that begin in the past and are cancelled, on a stream whose client leaves a
// little more than half of its budget unread and reads as much as it causes, so that it
// is not its turn to catch up, are forgotten all the same.
func TestCancelledWatchersAreForgotten(t *testing.T) {
	r := newRig(t)
	for i := range 700 {
		r.put("key", fmt.Sprint(i))
	}
	r.commit()
	client := &sink{t: t, budget: 20_000}
	s := r.hub.Open(client, 1<<20)
	s.Create(Request{Key: []byte("key"), Start: 2})
	r.settle() // the client has not read: there is no room
	if client.bytes <= client.budget/2 {
		t.Fatalf("%d bytes wait", client.bytes)
	}
	const watchers = 10_000
	for i := range int64(watchers) {
		s.Create(Request{Key: fmt.Appendf(nil, "%01000d", i), Start: 2, ID: i + 10})
		s.Cancel(i + 10)
		for client.bytes > 3*client.budget/2 { // the service reads no request above budget and 64 KiB
			client.read()
		}
		r.settle()
	}
	st := r.hub.Stats()
	t.Logf("%d watchers of %d bytes by the hub's account, %d in the stream's list", st.Watchers, r.hub.mu.bytes, len(s.lagging))
	if len(s.lagging) > 1000 {
		t.Errorf("%d watchers that were cancelled are kept, with keys of 1,000 bytes each", len(s.lagging)-1)
	}
}
