package watch

import (
	"errors"
	"fmt"

	"etcd.alt/api/errs"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/store"
)

// Bounds of one CatchUp: bytes of events that are found, bytes of records and
// revisions that are looked at. One revision is always read whole.
const (
	sliceBytes     = 64 << 10
	sliceRead      = 2 << 20
	sliceRevisions = 4096
)

// finding is a slice of the history, and whom it concerns.
type finding struct {
	batch  *batch     // while CatchUp is at it
	joined uint64     // of the stream, as of index
	list   []*watcher // in index
	index  *index
	bytes  int // of events so far

	view *mvcc.View
	from int64
	last map[string]past // by key, where somebody wants to know
}

// past is what is known of a key after a change: what was there before the revision
// of that change, and what is there after it. nil is nothing.
type past struct {
	main          int64
	before, after []byte
}

// Next has a stream that lags told a slice of what it has missed, and says whether
// there was one.
func (h *Hub) Next() bool {
	s := h.lagging.pop(false)
	if s != nil {
		h.CatchUp(s)
	}
	return s != nil
}

// CatchUp has the watchers of s that lag told a slice of the history. Either it puts
// s into the backlog again, or s waits for room, or its watchers are live.
func (h *Hub) CatchUp(s *Stream) {
	if !s.sink.Room(s.ready) {
		return
	}
	f, more := s.plan()
	s.sink.Flush()
	if f == nil {
		if more {
			h.lagging.push(s)
		}
		return
	}
	again := h.slice(s, f)
	f.end(h)
	if again { // from here on it may be somebody else's
		h.lagging.push(s)
	}
}

// slice reads a slice and tells of it. It returns false if the stream has ended.
func (h *Hub) slice(s *Stream, f *finding) (again bool) {
	next, err := f.read(h.matches)
	switch {
	case errors.Is(err, errs.Compacted), errors.Is(err, store.ErrReplaced), errors.Is(err, mvcc.ErrStale):
		// There is another view by now.
	case errors.Is(err, errTooMuch):
		s.share = max(1, len(f.list)/2)
	case err != nil:
		h.mu.Lock()
		s.behind = false
		h.mu.Unlock()
		s.sink.End(err)
		return false
	default:
		s.tell(f, next)
		s.sink.Flush()
		s.share *= 2
	}
	return true
}

// plan finds out what to read: nil for nothing, with more if it is to be asked again.
func (s *Stream) plan() (f *finding, more bool) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		s.found = nil
		return nil, false
	}
	view := h.o.View()
	kept := s.lagging[:0]
	full := false
	for _, w := range s.lagging {
		switch {
		case w.dead:
			continue
		case w.next < view.Compacted && !full:
			c := control{id: w.id, canceled: true, compacted: view.Compacted}
			if s.sink.Offer(c.appendTo(nil, s.sink.Header()), 1) {
				s.endLocked(w)
				continue
			}
			full = true
		case w.next > h.mu.position, plantRejoin && w.next == h.mu.position:
			w.live = true
			h.mu.slow--
			s.joined++
			continue
		}
		kept = append(kept, w)
	}
	clear(s.lagging[len(kept):])
	s.lagging, s.left = kept, 0
	switch {
	case full:
		return nil, true
	case len(kept) == 0:
		s.lagging, s.found, s.behind, s.share = nil, nil, false, 0
		s.answerLocked()
		return nil, false
	}
	return s.findingLocked(view), false
}

// findingLocked begins a slice for the watchers that lag, or for the share of them
// that is served.
func (s *Stream) findingLocked(view *mvcc.View) *finding {
	h := s.h
	if s.found == nil {
		s.found = &finding{}
	}
	f := s.found
	if s.share > 0 && s.share < len(s.lagging) {
		// In turn.
		n := s.share
		s.lagging = append(append(make([]*watcher, 0, len(s.lagging)), s.lagging[n:]...), s.lagging[:n]...)
		f.list, f.index = s.lagging[len(s.lagging)-n:], nil
	} else if f.index == nil || f.joined != s.joined {
		f.list, f.index = append([]*watcher(nil), s.lagging...), nil
	}
	if f.index == nil {
		f.index, f.joined = newIndex(), s.joined
		if len(f.list) < len(s.lagging) {
			f.joined = 0
		}
		for _, w := range f.list {
			f.index.add(w)
		}
	}
	f.view, f.from, f.bytes = view, 0, 0
	for _, w := range f.list {
		if !w.dead && (f.from == 0 || w.next < f.from) {
			f.from = w.next
		}
	}
	h.mu.batches++
	if f.batch, _ = h.spare.Get().(*batch); f.batch == nil {
		f.batch = &batch{}
	}
	f.batch.reset(h.mu.batches)
	return f
}

// end gives back what a slice took: a stream that waits for room keeps none of it.
func (f *finding) end(h *Hub) {
	f.batch.reset(0)
	h.spare.Put(f.batch)
	f.batch, f.last, f.view = nil, nil, nil
}

// errTooMuch says that a revision has more to tell than should be held at once.
var errTooMuch = errors.New("watch: too many events for too many watchers")

// read reads a slice of at most most matches, where that can be. It does not hold the lock: watchers that lag are CatchUp's,
// but for being cancelled, at which it does not look.
func (f *finding) read(most int) (next int64, err error) {
	b := f.batch
	var c *mvcc.Change
	var known bool
	visit := func(w *watcher) {
		if !w.wants(c) {
			return
		}
		if !known {
			known = true
			b.event(c)
			b.events[len(b.events)-1].change = nil
			f.bytes += len(c.Record)
		}
		b.add(w, c.Revision.Main)
	}
	var failed error
	next, err = f.view.Changes(f.from, sliceRevisions, sliceRead, func(change *mvcc.Change) bool {
		if failed != nil {
			return false
		}
		c, known = change, false
		f.index.match(c.Key(), visit)
		failed = f.complete(c, known)
		if len(b.matches) > most && len(f.list) > 1 {
			failed = errTooMuch
		}
		return f.bytes < sliceBytes && failed == nil
	})
	return next, errors.Join(failed, err)
}

// complete gives the last event, if c is one, what it has replaced, should somebody
// want that. What a key was is looked up once in a slice: from then on the slice
// tells, whether others of its changes are events or not.
func (f *finding) complete(c *mvcc.Change, event bool) (err error) {
	at := len(f.batch.events) - 1
	wanted := event && f.batch.events[at].wanted
	p, known := f.last[c.Key()]
	switch {
	case !known && !wanted:
		return nil
	case known && p.main < c.Revision.Main:
		p.before = p.after
	case !known:
		if p.before, err = f.view.Previous(c); err != nil {
			return err
		}
	}
	if p.main, p.after = c.Revision.Main, nil; !c.Tombstone {
		p.after = append([]byte(nil), c.Record...)
	}
	if f.last == nil {
		f.last = map[string]past{}
	}
	f.last[string([]byte(c.Key()))] = p
	if wanted && c.Creates() {
		f.batch.complete(at, c, nil)
	} else if wanted {
		f.batch.complete(at, c, p.before)
	}
	return nil
}

// tell offers the slice's responses, as long as there is room, and moves the
// cursors.
func (s *Stream) tell(f *finding, next int64) {
	h, b := s.h, f.batch
	header := s.sink.Header()
	h.mu.Lock()
	for _, w := range f.list {
		if w.batch != b.number {
			w.next = max(w.next, next)
		}
	}
	h.mu.Unlock()
	for left := s.withinReach(b); len(left) > 0; {
		n, messages, events := 0, 0, 0
		b.out = b.out[:0]
		for n < len(left) && (n == 0 || len(b.out) < h.chunk) {
			w := left[n]
			var m, e int
			b.out, m, e = b.appendResponse(b.out, w, header, f.view.Revision, b.size(w), s.fragment)
			messages, events, n = messages+m, events+e, n+1
		}
		switch s.offer(b.out, messages, left[:n], next) {
		case full:
			return
		case taken:
			h.events.Add(uint64(events))
			left = left[n:]
		case stale:
			left = s.living(left)
		}
	}
}

// withinReach are the batch's watchers, but for those who are cancelled because a
// message cannot hold what they would have to be told at once.
func (s *Stream) withinReach(b *batch) []*watcher {
	if len(b.arena) <= s.h.largest {
		return b.watchers
	}
	kept := b.watchers[:0]
	for _, w := range b.watchers {
		if w.fragment || b.size(w) <= s.h.largest {
			kept = append(kept, w)
			continue
		}
		s.h.mu.Lock()
		if !w.dead {
			reason := fmt.Sprintf("etcdserver: the events up to revision %d are larger than a message can be; watch with fragments", w.revision)
			s.pushLocked(&control{id: w.id, canceled: true, reason: reason, revision: s.h.mu.position})
			s.endLocked(w)
		}
		s.h.mu.Unlock()
	}
	return kept
}

// offered is what became of an offer.
type offered int

const (
	taken offered = iota
	full
	stale // somebody whom it concerns was cancelled
)

func (s *Stream) offer(out []byte, messages int, to []*watcher, next int64) offered {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, w := range to {
		if w.dead {
			return stale
		}
	}
	if !s.sink.Offer(out, messages) {
		return full
	}
	for _, w := range to {
		w.next, w.told = next, true
	}
	return taken
}

// living leaves out who was cancelled.
func (s *Stream) living(list []*watcher) (alive []*watcher) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, w := range list {
		if !w.dead {
			alive = append(alive, w)
		}
	}
	return alive
}
