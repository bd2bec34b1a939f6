package watch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// tell puts a response in words.
func tell(m *etcdserverpb.WatchResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d@%d", m.WatchId, m.Header.Revision)
	if m.Created {
		b.WriteString(" created")
	}
	if m.Canceled {
		b.WriteString(" canceled")
	}
	if m.CompactRevision > 0 {
		fmt.Fprintf(&b, " compacted %d", m.CompactRevision)
	}
	if m.CancelReason != "" {
		fmt.Fprintf(&b, " %q", m.CancelReason)
	}
	for _, e := range m.Events {
		fmt.Fprintf(&b, " %s=%s@%d", e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
		if e.Type == mvccpb.Event_DELETE {
			b.WriteString("(deleted)")
		}
		if e.PrevKv != nil {
			fmt.Fprintf(&b, "(was %s@%d)", e.PrevKv.Value, e.PrevKv.ModRevision)
		}
	}
	return b.String()
}

// hear reads all that waits in a sink.
func hear(s *sink) (told []string) {
	for m := s.read(); m != nil; m = s.read() {
		told = append(told, tell(m))
	}
	return told
}

func (r *rig) client(budget int) (*sink, *Stream) {
	s := &sink{t: r.t, budget: budget}
	return s, r.hub.Open(s, 1<<20)
}

func key(k string) Request { return Request{Key: []byte(k)} }

// What is taken in while nobody watches is not handed out to who comes then, and
// what comes after him is, though the hub slept until he came.
func TestAHubThatSleeps(t *testing.T) {
	r := newRig(t)
	r.put("a", "1") // 2
	r.commit()
	require.Zero(t, r.hub.inbox.waiting())
	s, stream := r.client(1000)
	stream.Create(key("a"))
	r.put("a", "2") // 3
	r.commit()
	require.Equal(t, 1, r.hub.inbox.waiting())
	r.hub.Step()
	require.Equal(t, []string{"0@2 created", "0@3 a=2@3"}, hear(s))
	stream.Cancel(0)
	r.put("a", "3")
	r.commit()
	require.Zero(t, r.hub.inbox.waiting())
	stream.Create(Request{Key: []byte("a"), Start: 4})
	r.settle()
	require.Equal(t, []string{"0@3 canceled", "1@4 created", "1@4 a=3@4"}, hear(s))
}

// A watcher that is made when the hub has not handed out yet what is published is
// not told what was there before it.
func TestAWatcherThatOvertakesTheHub(t *testing.T) {
	r := newRig(t)
	s, stream := r.client(1000)
	stream.Create(key("b"))
	r.put("a", "1") // 2
	r.commit()
	stream.Create(key("a"))
	r.hub.Step()
	r.put("a", "2") // 3
	r.commit()
	r.hub.Step()
	require.Equal(t, []string{"0@1 created", "1@2 created", "1@3 a=2@3"}, hear(s))
}

// Progress speaks of what was handed out, not of what is published: its answer waits
// for the events before it.
func TestProgressIsNotAhead(t *testing.T) {
	r := newRig(t)
	s, stream := r.client(1000)
	stream.Create(key("a"))
	r.put("a", "1") // 2
	r.commit()
	stream.Ask()
	require.Equal(t, []string{"0@1 created"}, hear(s))
	r.hub.Step()
	require.Equal(t, []string{"0@2 a=1@2", "-1@2"}, hear(s))
	// Nor while a watcher lags: it is answered when that one is there.
	stream.Create(Request{Key: []byte("a"), Start: 1})
	stream.Ask()
	require.Equal(t, []string{"1@2 created"}, hear(s))
	r.settle()
	require.Equal(t, []string{"1@2 a=1@2", "-1@2"}, hear(s))
	// Nor for one that begins later; when that one is gone, it is.
	stream.Create(Request{Key: []byte("a"), Start: 9})
	stream.Ask()
	require.Equal(t, []string{"2@2 created"}, hear(s))
	stream.Cancel(2)
	require.Equal(t, []string{"2@2 canceled", "-1@2"}, hear(s))
}

// A revision that is still to come brings nothing of what was before it, however the
// watcher is told.
func TestARevisionToCome(t *testing.T) {
	for _, budget := range []int{1000, 1} {
		r := newRig(t)
		s, stream := r.client(budget)
		stream.Create(Request{Key: []byte("a"), Start: 4})
		var told []string
		for i := range 4 {
			r.put("a", fmt.Sprint(i)) // 2, 3, 4, 5
			r.commit()
			r.settle()
			told = append(told, hear(s)...)
			r.settle()
		}
		told = append(told, hear(s)...)
		require.Equal(t, []string{"0@1 created", "0@4 a=2@4", "0@5 a=3@5"}, told)
	}
}

// Who lags keeps a place, not his events: what is compacted meanwhile is lost to him,
// and he is told so; who has a place above it is told everything.
func TestLaggingPastACompaction(t *testing.T) {
	r := newRig(t)
	s, stream := r.client(1)
	stream.Create(key("a"))
	r.put("a", "1") // 2: there is no room, since "created" waits
	r.delete("a", "")
	r.put("a", "2") // 4
	r.commit()
	r.hub.Step()
	stream.Create(Request{Key: []byte("a"), Start: 3, Prev: true})
	r.compact(3)
	r.sweep()
	r.settle()
	require.Equal(t, []string{"0@1 created", "1@4 created"}, hear(s))
	for range 3 {
		r.settle()
		if told := hear(s); told != nil {
			t.Log(told)
			if strings.Contains(told[0], "compacted") {
				require.Equal(t, []string{"0@0 canceled compacted 3"}, told)
			} else {
				require.Equal(t, []string{"1@4 a=@3(deleted) a=2@4"}, told)
			}
		}
	}
	// The id is taken until the client lets it go.
	stream.Create(Request{ID: 0, Key: []byte("a")})
	stream.Cancel(0)
	require.Equal(t, []string{"2@4 created", "0@4 canceled"}, hear(s))
}

// Nothing comes after "canceled", though it was found before.
func TestNothingAfterCanceled(t *testing.T) {
	r := newRig(t)
	s, stream := r.client(1000)
	stream.Create(key("a"))
	r.put("a", "1")
	r.commit()
	stream.Cancel(0)
	r.settle()
	require.Equal(t, []string{"0@1 created", "0@2 canceled"}, hear(s))
	// The same where it was read, and is about to be offered.
	stream.Create(Request{Key: []byte("a"), Start: 1})
	f, _ := stream.plan()
	next, err := f.read(100)
	require.NoError(t, err)
	require.Len(t, f.batch.events, 1)
	stream.Cancel(1)
	stream.tell(f, next)
	require.Equal(t, []string{"1@2 created", "1@2 canceled"}, hear(s))
}

// Progress that nobody asks for each time comes when a watcher has heard nothing for
// an interval, and is there.
func TestProgressByItself(t *testing.T) {
	r := newRig(t)
	s, stream := r.client(1000)
	stream.Create(Request{Key: []byte("a"), Notify: true})
	stream.Create(key("a"))
	stream.Create(Request{Key: []byte("a"), Notify: true, Start: 100})
	hear(s)
	now := time.Duration(0)
	tick := func(by time.Duration) []string {
		now += by
		r.hub.Tick(now, 100, func(most time.Duration) time.Duration {
			require.Equal(t, time.Duration(10), most)
			return most - 1
		})
		return hear(s)
	}
	require.Empty(t, tick(1))
	require.Empty(t, tick(108))
	require.Equal(t, []string{"0@1"}, tick(1))
	r.put("a", "1")
	r.commit()
	r.settle()
	require.Equal(t, []string{"0@2 a=1@2", "1@2 a=1@2"}, hear(s))
	require.Empty(t, tick(109), "it has heard of an event")
	require.Equal(t, []string{"0@2"}, tick(109))
}

// A member takes so many watchers, and so much memory of them.
func TestWatchersAreBounded(t *testing.T) {
	r := newRig(t)
	r.hub.o.Watchers, r.hub.o.WatcherBytes = 3, 3*watcherOverhead+300
	s, stream := r.client(1000)
	stream.Create(key(strings.Repeat("k", 200)))
	stream.Create(key(strings.Repeat("k", 90)))
	stream.Create(Request{Key: []byte("k"), End: []byte(strings.Repeat("l", 600))})
	stream.Create(key("k"))
	stream.Create(key("k"))
	stream.Create(key("k"))
	require.Equal(t, []string{
		`0@1 created`, `1@1 created`,
		`-1@1 created canceled "etcdserver: the watchers of this member take 1314 bytes, and there is no room for more"`,
		`2@1 created`,
		`-1@1 created canceled "etcdserver: this member has 3 watchers, and takes no more"`,
		`-1@1 created canceled "etcdserver: this member has 3 watchers, and takes no more"`,
	}, hear(s))
	stream.Close()
	require.Zero(t, r.hub.Stats().Watchers)
}

// Who would have to be told more at once than a message can hold is cancelled with a
// word, unless he takes fragments.
func TestMoreThanAMessage(t *testing.T) {
	r := newRig(t)
	r.hub.largest = 500
	s, stream := r.client(1000)
	stream.fragment = 300
	for i := range 10 {
		r.update.Put(fmt.Appendf(nil, "a%d", i), make([]byte, 100), 0)
	}
	r.update.End()
	r.commit()
	all := Request{Key: []byte("a"), End: []byte("b"), Start: 1}
	stream.Create(all)
	all.Fragment = true
	stream.Create(all)
	r.settle()
	require.Contains(t, tell(s.read()), "0@2 created")
	require.Contains(t, tell(s.read()), "1@2 created")
	require.Equal(t, `0@2 canceled "etcdserver: the events up to revision 2 are larger than a message can be; watch with fragments"`, tell(s.read()))
	events := 0
	for m := s.read(); m != nil; m = s.read() {
		events += len(m.Events)
		require.Equal(t, events < 10, m.Fragment)
	}
	require.Equal(t, 10, events)
}

// The compacted revision itself can be watched: what was deleted there is told, to who
// begins there and to who lagged there, before the sweep and after it. Below it nothing
// is.
func TestADeletionAtTheCompaction(t *testing.T) {
	r := newRig(t)
	late, lagging := r.client(1)
	lagging.Create(key("a")) // 2 is what it is to be told first, and there is no room
	r.put("a", "1")          // 2
	r.put("b", "1")
	r.commit()
	r.hub.Step()
	require.Equal(t, "0@1 created", tell(late.read()))
	r.settle()
	require.Equal(t, "0@3 a=1@2", tell(late.read()))
	r.settle()
	lagging.Create(key("none")) // which fills its room again
	r.delete("a", "")           // 4
	r.put("b", "2")             // 5
	r.commit()
	r.hub.Step()
	r.compact(4)
	for _, sweep := range []func(){func() {}, r.sweep} {
		sweep()
		s, stream := r.client(1000)
		for _, start := range []int64{3, 4, 5} {
			stream.Create(Request{Key: []byte("a"), End: []byte("c"), Start: start})
		}
		r.settle()
		require.ElementsMatch(t, []string{
			"0@5 created", "0@0 canceled compacted 4",
			"1@5 created", "1@5 a=@4(deleted) b=2@5",
			"2@5 created", "2@5 b=2@5",
		}, hear(s))
	}
	require.Equal(t, []string{"1@3 created"}, hear(late))
	r.settle()
	require.Equal(t, []string{"0@5 a=@4(deleted)"}, hear(late))
}
