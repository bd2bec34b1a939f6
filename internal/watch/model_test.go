package watch

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// client is a stream, and what it may be told.
type client struct {
	r        *rig
	sink     *sink
	stream   *Stream
	watchers map[int64]*watched // as far as the client has heard
	creating []*watched         // not answered yet, in order
	told     int                // answers to that
	events   int
}

// watched is a watcher as its client sees it.
type watched struct {
	Request
	id       int64
	at       int // in the history: what comes next
	revision int64
	partial  bool // a fragment came, and more of it is to come
	canceled bool
	leaving  bool // it is asked to be cancelled
}

// concerns says whether an event is for the watcher.
func (w *watched) concerns(one *told) bool {
	key, end := string(w.Key), string(w.End)
	if key == "" {
		key = "\x00"
	}
	in := one.key == key
	if end == "\x00" {
		in = one.key >= key
	} else if end != "" {
		in = one.key >= key && one.key < end
	}
	return in && one.revision >= w.revision && !(one.tombstone && w.NoDelete) && !(!one.tombstone && w.NoPut)
}

// next is the event that comes next, nil for none so far. What a later change of
// the same revision has replaced may be gone once that revision is compacted.
func (w *watched) next(r *rig) *told {
	for ; w.at < len(r.history); w.at++ {
		if w.concerns(&r.history[w.at]) {
			return &r.history[w.at]
		}
	}
	return nil
}

func (c *client) read() bool {
	m := c.sink.read()
	if m == nil {
		return false
	}
	t := c.r.t
	switch {
	case m.Created && m.Canceled:
		t.Fatalf("refused: %v", m)
	case m.Created:
		require.NotEmpty(t, c.creating)
		w := c.creating[0]
		c.creating = c.creating[1:]
		if w.ID != 0 {
			require.Equal(t, w.ID, m.WatchId)
		}
		require.Nil(t, c.watchers[m.WatchId])
		if w.id = m.WatchId; w.Start == 0 {
			w.revision = m.Header.Revision + 1
		}
		c.watchers[w.id] = w
	case m.Canceled && m.CompactRevision > 0:
		w := c.watchers[m.WatchId]
		require.NotNil(t, w)
		require.False(t, w.canceled)
		require.Zero(t, m.Header.Revision)
		if one := w.next(c.r); one != nil {
			// Nobody is cancelled who could still be told what comes next, but for what
			// does not concern him.
			require.LessOrEqual(t, w.revision, c.r.view.Compacted)
		}
		w.canceled = true
	case m.Canceled:
		w := c.watchers[m.WatchId]
		require.NotNil(t, w)
		require.True(t, w.leaving)
		delete(c.watchers, m.WatchId)
	case len(m.Events) == 0:
		c.progress(m)
	default:
		c.take(m)
	}
	return true
}

// progress holds that everything up to a revision has come.
func (c *client) progress(m *etcdserverpb.WatchResponse) {
	t := c.r.t
	if m.WatchId == -1 {
		c.told++
	}
	for id, w := range c.watchers {
		if m.WatchId != -1 && m.WatchId != id || w.canceled {
			continue
		}
		if one := w.next(c.r); one != nil {
			require.Greater(t, one.revision, m.Header.Revision, "progress is ahead of watcher %d", id)
		}
		require.GreaterOrEqual(t, m.Header.Revision+1, w.Start, "progress before the beginning of watcher %d", id)
		require.False(t, w.partial)
	}
}

func (c *client) take(m *etcdserverpb.WatchResponse) {
	t := c.r.t
	w := c.watchers[m.WatchId]
	require.NotNil(t, w, "an event for nobody: %v", m)
	require.False(t, w.canceled)
	for i, e := range m.Events {
		one := w.next(c.r)
		kv, err := e.Kv.MarshalVT()
		require.NoError(t, err)
		for one != nil && one.replaced && one.revision <= c.r.view.Compacted && one.kv != string(kv) {
			w.at++
			one = w.next(c.r)
		}
		require.NotNil(t, one, "watcher %d of %q is told what is not to come: %v", w.id, w.Key, e)
		require.Equal(t, one.revision, e.Kv.ModRevision, "watcher %d of [%q, %q): %v", w.id, w.Key, w.End, e)
		require.Equal(t, one.kv, string(kv))
		require.Equal(t, one.tombstone, e.Type == mvccpb.Event_DELETE)
		require.GreaterOrEqual(t, m.Header.Revision, one.revision)
		switch {
		case !w.Prev:
			require.Nil(t, e.PrevKv)
		case e.PrevKv != nil:
			prev, err := e.PrevKv.MarshalVT()
			require.NoError(t, err)
			require.Equal(t, one.prev, string(prev))
		case one.prev != "":
			require.Less(t, one.revision-1, c.r.view.Compacted, "what %q had before %d is missing", one.key, one.revision)
		}
		if i == 0 && !w.partial && w.at > 0 {
			before := &c.r.history[w.at-1]
			require.False(t, before.revision == one.revision && w.concerns(before) && !before.replaced, "revision %d is in two responses", one.revision)
		}
		w.at++
		c.events++
	}
	require.True(t, w.Fragment || !m.Fragment)
	w.partial = m.Fragment
}

// scenario is how the watchers of a run are told.
type scenario struct {
	name     string
	budget   int
	past     bool // they begin in the past
	fragment int
	inbox    int
	matches  int
}

var scenarios = []scenario{
	{name: "live", budget: 1 << 30, fragment: 1 << 20},
	{name: "resumed", budget: 1 << 30, past: true, fragment: 1 << 20},
	{name: "without room", budget: 1 << 10, fragment: 1 << 20},
	{name: "everything", budget: 4 << 10, past: true, fragment: 300, inbox: 4 << 10, matches: 20},
}

// Random histories, watchers of all kinds, and clients that read when they like: all
// are told what they are to be told, once and in order.
func TestWatchersAreToldEverything(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 8
	}
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			for seed := range seeds {
				runModel(t, sc, seed)
			}
		})
	}
}

func runModel(t *testing.T, sc scenario, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	if r.hub.chunk = 200; sc.inbox > 0 {
		r.hub.inbox.limit, r.hub.matches = sc.inbox, sc.matches
	}
	key := func() string { return fmt.Sprintf("k%02d", dice.IntN(30)) }
	var clients []*client
	now := time.Duration(0)
	open := func() {
		c := &client{r: r, sink: &sink{t: t, budget: sc.budget, strict: true}, watchers: map[int64]*watched{}}
		c.stream = r.hub.Open(c.sink, sc.fragment)
		clients = append(clients, c)
	}
	create := func(c *client) {
		w := &watched{Request: Request{Key: []byte(key()), Prev: dice.IntN(2) == 0, Notify: dice.IntN(3) == 0, Fragment: dice.IntN(2) == 0}}
		switch dice.IntN(6) {
		case 0, 1:
			w.End = []byte(key())
		case 2:
			w.End = []byte{0}
		case 3:
			w.Key, w.End = nil, []byte{0}
		}
		if len(w.End) > 1 && string(w.Key) >= string(w.End) {
			w.End = nil
		}
		switch dice.IntN(6) {
		case 0:
			w.NoPut = true
		case 1:
			w.NoDelete = true
		}
		if dice.IntN(5) == 0 {
			w.ID = 1000 + int64(len(c.watchers)+len(c.creating)) + int64(c.events)*1000
			if c.stream.watchers[w.ID] != nil {
				w.ID = 0
			}
		}
		if w.revision = r.view.Revision + 1; sc.past || dice.IntN(10) == 0 {
			w.Start = max(1, r.view.Revision-int64(dice.IntN(100))+int64(dice.IntN(10)))
			w.revision = w.Start
		}
		c.creating = append(c.creating, w)
		c.stream.Create(w.Request)
	}
	change := func() {
		for range 1 + dice.IntN(4) {
			for range 1 + dice.IntN(3) {
				if dice.IntN(4) == 0 {
					end := ""
					if dice.IntN(4) == 0 {
						end = "\x00"
					}
					_, _, err := r.update.DeleteRange([]byte(key()), []byte(end), false)
					require.NoError(t, err)
				} else {
					r.update.Put([]byte(key()), []byte(strings.Repeat("v", dice.IntN(100))), 0)
				}
			}
			r.update.End()
		}
	}
	open()
	for range 1500 {
		switch n := dice.IntN(100); {
		case n < 25:
			change()
			r.commit()
		case n < 50:
			r.hub.Step()
		case n < 60:
			r.hub.Next()
		case n < 80:
			for c := clients[dice.IntN(len(clients))]; dice.IntN(10) > 0 && c.read(); {
			}
		case n < 88:
			create(clients[dice.IntN(len(clients))])
		case n < 90 && len(clients) < 6:
			open()
		case n < 92:
			c := clients[dice.IntN(len(clients))]
			for id := int64(0); id < 2000; id++ {
				if w := c.watchers[id]; w != nil && !w.leaving {
					w.leaving = true
					c.stream.Cancel(id)
					break
				}
			}
			c.stream.Cancel(77777)
		case n < 94:
			c := clients[dice.IntN(len(clients))]
			if c.stream.livingLocked() { // else nothing is said
				c.sink.asked = append(c.sink.asked, r.view.Revision)
			}
			c.stream.Ask()
		case n < 95:
			now += time.Minute
			r.hub.Tick(now, 3*time.Minute, func(most time.Duration) time.Duration { return most / 2 })
		case n < 96 && r.view.Revision > 50:
			if at := r.view.Revision - int64(dice.IntN(50)); at > r.view.Compacted {
				r.compact(at)
			}
		case n < 98:
			r.sweep()
		case n < 99 && dice.IntN(4) == 0:
			r.replace(change)
		case len(clients) > 1 && dice.IntN(8) == 0:
			i := dice.IntN(len(clients))
			clients[i].stream.Close()
			clients = append(clients[:i], clients[i+1:]...)
		}
	}
	for again := true; again; {
		r.settle()
		again = false
		for _, c := range clients {
			for c.read() {
				again = true
			}
		}
	}
	for _, c := range clients {
		require.NoError(t, c.sink.ended)
		require.Empty(t, c.creating)
		future, living := false, false
		for id, w := range c.watchers {
			if w.canceled {
				continue
			}
			one := w.next(r)
			for one != nil && one.replaced && one.revision <= r.view.Compacted {
				w.at++
				one = w.next(r)
			}
			require.Nil(t, one, "watcher %d of [%q, %q) was not told", id, w.Key, w.End)
			require.False(t, w.partial)
			living = true
			future = future || w.Start > r.view.Revision+1
		}
		if living && !future {
			told := c.told
			c.sink.asked = append(c.sink.asked, r.view.Revision)
			c.stream.Ask()
			for c.read() {
			}
			require.Equal(t, told+1, c.told)
		}
		c.stream.Close()
	}
	stats := r.hub.Stats()
	require.Zero(t, stats.Streams)
	require.Zero(t, stats.Watchers)
	require.Zero(t, stats.Slow)
	require.Zero(t, r.hub.mu.bytes)
	require.Empty(t, r.hub.mu.index.keys)
	require.Nil(t, r.hub.mu.index.ranges.root)
	require.Empty(t, r.hub.mu.asking.list)
	require.Empty(t, r.hub.mu.notified.list)
}
