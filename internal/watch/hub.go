package watch

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"etcd.alt/internal/mvcc"
)

// Options are what a Hub is made with. View must be set.
type Options struct {
	// View is the published keyspace. The changes of a batch are published when Take
	// is called.
	View func() *mvcc.View
	// InboxBytes bounds what was taken in and not handed out. Above it everybody
	// reads from the store. Default 64 MiB.
	InboxBytes int
	// Watchers and WatcherBytes bound the watchers of all streams, and what they take
	// in memory. Defaults 1,000,000 and 1 GiB.
	Watchers     int
	WatcherBytes int64
}

func (o Options) withDefaults() Options {
	if o.InboxBytes == 0 {
		o.InboxBytes = 64 << 20
	}
	if o.Watchers == 0 {
		o.Watchers = 1_000_000
	}
	if o.WatcherBytes == 0 {
		o.WatcherBytes = 1 << 30
	}
	return o
}

// Hub hands out what has changed. Take and Replaced are called by whoever applies;
// Step and Tick by one goroutine at a time each; CatchUp by any number, and all that
// a Stream has by anybody.
type Hub struct {
	o       Options
	active  atomic.Bool // there are watchers
	inbox   inbox
	lagging backlog
	chunk   int // how much is offered to a sink at once
	largest int // bytes of a response
	matches int // pairs of an event and a watcher, in one go

	events atomic.Uint64 // handed to sinks
	spare  sync.Pool     // of *batch, for CatchUp

	mu struct {
		sync.Mutex
		position int64 // live watchers have been told everything up to here
		index    *index
		streams  set
		asking   set    // for progress, and not told yet
		notified set    // with watchers that want progress now and then
		batches  uint64 // so far
		watchers int    // those that are dead and whose ids are taken among them
		bytes    int64  // of their memory
		slow     int    // watchers that lag
	}

	// Step's.
	batch   batch
	out     []byte
	flushes []*Stream
}

// New returns a hub without streams.
func New(o Options) *Hub {
	h := &Hub{o: o.withDefaults(), chunk: chunkBytes, largest: largestResponse, matches: maxMatches}
	h.inbox.limit, h.inbox.signal = h.o.InboxBytes, make(chan struct{}, 1)
	h.lagging.more.L = &h.lagging.mu.Mutex
	h.mu.index = newIndex()
	return h
}

// Take takes in what a batch has changed, once it is published and before anybody
// hears of it. The slice is not kept, the records are. It never waits, and where
// there are no watchers it does nothing.
func (h *Hub) Take(changes []mvcc.Change) {
	if len(changes) > 0 && h.active.Load() {
		h.inbox.put(changes)
	}
}

// Replaced says that another state was published in the place of the one before, by
// way of no changes: everybody reads them from the store.
func (h *Hub) Replaced() {
	if h.active.Load() {
		h.inbox.lose(h.o.View().Revision)
	}
}

// Due delivers when there may be work for Step.
func (h *Hub) Due() <-chan struct{} { return h.inbox.signal }

// Bounds of what is handed out under the lock in one go, in changes and bytes of
// their records. Revisions are not split.
const (
	stepChanges = 512
	stepBytes   = 64 << 10
)

// Step hands out what was taken in. It never waits.
func (h *Hub) Step() {
	all, lost := h.inbox.take()
	if lost > 0 {
		h.mu.Lock()
		h.loseLocked(lost)
		h.mu.Unlock()
	}
	for left := all; len(left) > 0; {
		n := cut(left)
		h.handOut(left[:n])
		left = left[n:]
	}
	h.inbox.giveBack(all)
}

// cut says how many changes to hand out in one go.
func cut(changes []mvcc.Change) int {
	n, bytes := 0, 0
	for ; n < len(changes); n++ {
		whole := n > 0 && changes[n].Revision.Main != changes[n-1].Revision.Main
		if whole && (n >= stepChanges || bytes >= stepBytes) {
			break
		}
		bytes += len(changes[n].Record)
	}
	return n
}

// loseLocked has all watchers read up to revision from the store.
func (h *Hub) loseLocked(revision int64) {
	if revision <= h.mu.position {
		return
	}
	for _, s := range h.mu.streams.list {
		s.lagLocked()
	}
	h.mu.position = revision
}

// maxMatches bounds who is told what in one go, in pairs of an event and a watcher.
const maxMatches = 1 << 21

// handOut tells live watchers of changes, which are whole revisions.
func (h *Hub) handOut(changes []mvcc.Change) {
	h.mu.Lock()
	to := changes[len(changes)-1].Revision.Main
	if to <= h.mu.position {
		h.mu.Unlock()
		return
	}
	h.mu.batches++
	b := &h.batch
	b.reset(h.mu.batches)
	if h.collectLocked(changes) {
		for _, s := range b.streams {
			if !h.deliverLocked(s, to) {
				s.lagLocked()
			}
		}
		h.mu.position = to
	} else {
		h.loseLocked(to)
	}
	h.flushes = append(h.flushes[:0], b.streams...)
	for i := len(h.mu.asking.list) - 1; i >= 0; i-- { // who is answered leaves the list
		if s := h.mu.asking.list[i]; s.answerLocked() {
			h.flushes = append(h.flushes, s)
		}
	}
	h.mu.Unlock()
	for i, s := range h.flushes {
		s.sink.Flush()
		h.flushes[i] = nil
	}
}

// collectLocked finds who is to be told of what. It returns false where that cannot
// be done here, and is to be read from the store.
func (h *Hub) collectLocked(changes []mvcc.Change) bool {
	b := &h.batch
	var c *mvcc.Change
	var known bool // the change is an event of the batch
	visit := func(w *watcher) {
		if !w.live || !w.wants(c) {
			return
		}
		if !known {
			known = true
			b.event(c)
		}
		if b.add(w, c.Revision.Main) {
			s := w.stream
			if s.batch != b.number {
				s.batch = b.number
				s.touched = s.touched[:0]
				b.streams = append(b.streams, s)
			}
			s.touched = append(s.touched, w)
		}
	}
	for i := range changes {
		if c = &changes[i]; c.Revision.Main <= h.mu.position {
			continue
		}
		known = false
		h.mu.index.match(c.Key(), visit)
		if len(b.matches) > h.matches {
			return false
		}
	}
	var view *mvcc.View
	for i := range b.events {
		e := &b.events[i]
		if !e.wanted {
			continue
		}
		if view == nil {
			view = h.o.View()
		}
		prev, err := view.Previous(e.change)
		if err != nil {
			return false // who reads it from the store will meet it again
		}
		b.complete(i, e.change, prev)
	}
	return true
}

const (
	// largestResponse is what clients take at most: a message's length is read as a
	// signed number.
	largestResponse = math.MaxInt32 - 1<<16
	// chunkBytes is one frame of HTTP/2.
	chunkBytes = 16 << 10
	// liveBytes is the largest response that is encoded under the lock.
	liveBytes = 256 << 10
)

// deliverLocked offers a stream the responses of those of its watchers that the
// batch touches. It returns false where the stream has no room; next of those who
// were told is above to then.
func (h *Hub) deliverLocked(s *Stream, to int64) bool {
	b, header := &h.batch, s.sink.Header()
	out, first, messages, events := h.out[:0], 0, 0, 0
	offer := func(end int) bool {
		if messages == 0 {
			return true
		}
		if !s.sink.Offer(out, messages) {
			return false
		}
		for _, w := range s.touched[first:end] {
			w.next, w.told = to+1, true
		}
		h.events.Add(uint64(events))
		out, first, messages, events = out[:0], end, 0, 0
		return true
	}
	for i, w := range s.touched {
		size := b.size(w)
		if size > liveBytes {
			offer(i)
			return false
		}
		if len(out)+size+maxResponseOverhead > h.chunk && !offer(i) {
			return false
		}
		var m, e int
		out, m, e = b.appendResponse(out, w, header, w.revision, size, s.fragment)
		messages, events = messages+m, events+e
	}
	ok := offer(len(s.touched))
	if h.out = out; cap(out) > keepArena {
		h.out = nil
	}
	clear(s.touched)
	return ok
}

// Tick has streams say how far they are to those of their watchers that have asked
// for that and have not been told anything for an interval. now is a time, since
// whenever; jitter is by how much the next one of a stream may be later.
func (h *Hub) Tick(now, interval time.Duration, jitter func(most time.Duration) time.Duration) {
	var flushes []*Stream
	h.mu.Lock()
	for _, s := range h.mu.notified.list {
		if s.due == 0 {
			s.due = now + interval + jitter(interval/10)
		}
		if now < s.due {
			continue
		}
		s.due = now + interval + jitter(interval/10)
		if s.notifyLocked() {
			flushes = append(flushes, s)
		}
	}
	h.mu.Unlock()
	for _, s := range flushes {
		s.sink.Flush()
	}
}

// Stats is what a hub can say of itself.
type Stats struct {
	// Streams and Watchers there are; Slow are watchers that read from the store.
	Streams, Watchers, Slow int
	// Events were handed to sinks, each for each watcher; Pending are changes that
	// were taken in and not handed out.
	Events  uint64
	Pending int
}

// Stats reads them.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	n := Stats{Streams: len(h.mu.streams.list), Watchers: h.mu.watchers, Slow: h.mu.slow, Events: h.events.Load()}
	h.mu.Unlock()
	n.Pending = h.inbox.waiting()
	return n
}
