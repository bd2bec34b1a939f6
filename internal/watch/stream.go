package watch

import (
	"errors"
	"fmt"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/internal/mvcc"
)

// Sink is where a stream's responses go. Messages are framed as gRPC does it, a zero
// byte and four of length before each. They are not kept. But for End and Flush,
// which may wait for locks of their own, its methods are called under the hub's lock:
// they must not call back, and never wait.
type Sink interface {
	// Header is what headers say now.
	Header() Header
	// Offer takes n messages, or returns false if too much waits already.
	Offer(messages []byte, n int) bool
	// Push takes a message whatever waits. There is one for each of the client's
	// requests, which it is for the caller to bound.
	Push(message []byte)
	// Room says whether there is room for a good deal of messages; if not, ready is
	// called when there is. It must not call ready itself.
	Room(ready func()) bool
	// Flush sends what was taken.
	Flush()
	// End ends the client's stream with an error.
	End(err error)
}

// Stream is a row of watchers with one sink.
type Stream struct {
	h        *Hub
	sink     Sink
	fragment int
	ready    func() // puts it into the backlog

	// All below is guarded by the hub's lock.
	watchers map[int64]*watcher
	all      []*watcher // the same, in an order
	nextID   int64
	closed   bool

	lagging []*watcher // some of them dead
	left    int        // about how many
	joined  uint64     // how often somebody has begun or ceased to lag
	behind  bool       // it is in the backlog, with CatchUp, or waits for room

	asked     bool // for progress
	askedAt   int64
	ahead     int64         // a watcher begins here: no progress below
	notifiers int           // watchers that want progress now and then
	due       time.Duration // of the next progress that nobody asks for

	batch   uint64 // the batch that touches it
	touched []*watcher

	// CatchUp's, of which a stream has one at a time.
	found *finding
	share int
}

// Open begins a stream. Where watchers allow it, their responses are cut below
// fragment bytes. The caller closes it.
func (h *Hub) Open(sink Sink, fragment int) *Stream {
	s := &Stream{h: h, sink: sink, fragment: fragment, watchers: map[int64]*watcher{}}
	s.ready = func() { h.lagging.push(s) }
	h.mu.Lock()
	h.mu.streams.add(s)
	h.mu.Unlock()
	return s
}

// Close forgets the stream and its watchers. The sink is given no more messages.
func (s *Stream) Close() {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	for len(s.all) > 0 {
		s.forgetLocked(s.all[len(s.all)-1])
	}
	s.closed = true
	h.mu.streams.remove(s)
	h.mu.asking.remove(s)
	s.lagging = nil
}

// Why a watcher is refused. The texts are upstream's where it has the case.
const (
	reasonDuplicate = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonEmpty     = "mvcc: watcher range is empty"
)

// refusedID is the watcher's id in responses that speak of none.
const refusedID = -1

// ErrRefused is why a watcher was not made; its client was told more.
var ErrRefused = errors.New("watch: refused")

// Create makes a watcher, or tells the client why not, and the caller that it did:
// errs.Compacted, ErrRefused.
func (s *Stream) Create(r Request) (refused error) {
	w := newWatcher(s, r)
	s.control(func(view *mvcc.View) *control {
		if reason := s.admitLocked(w, r); reason != "" {
			refused = ErrRefused
			return &control{id: refusedID, created: true, canceled: true, reason: reason, revision: view.Revision}
		}
		answer := s.createLocked(w, r)
		if w.dead {
			refused = errs.Compacted
		}
		return answer
	})
	return refused
}

// Refuse answers a request for a watcher that may not be.
func (s *Stream) Refuse(reason string) {
	s.control(func(view *mvcc.View) *control {
		return &control{id: refusedID, created: true, canceled: true, reason: reason, revision: view.Revision}
	})
}

// Cancel ends a watcher. One that there is not is not spoken of.
func (s *Stream) Cancel(id int64) {
	s.control(func(view *mvcc.View) *control {
		w := s.watchers[id]
		if w == nil {
			return nil
		}
		s.forgetLocked(w)
		s.ahead = 0
		return &control{id: id, canceled: true, revision: view.Revision}
	})
}

// Review ends the watchers that verdict has a reason against, which the client is
// told. They hear of nothing any more, also of what they should have been told by
// then. verdict is called under the hub's lock, with keys as in Request; it must not
// keep them.
func (s *Stream) Review(verdict func(key, end []byte) (reason string)) {
	s.control(func(view *mvcc.View) *control {
		for i := len(s.all) - 1; i >= 0; i-- { // who goes gives his place to one behind
			w := s.all[i]
			if w.dead {
				continue
			}
			if reason := verdict(w.keys()); reason != "" {
				s.forgetLocked(w)
				s.ahead = 0
				s.pushLocked(&control{id: w.id, canceled: true, reason: reason, revision: view.Revision})
			}
		}
		return nil
	})
}

// Ask has the stream say how far it is, once all of its watchers are as far as the
// published keyspace is now. A stream without watchers says nothing.
func (s *Stream) Ask() {
	s.control(func(view *mvcc.View) *control {
		if s.livingLocked() {
			s.asked, s.askedAt = true, max(s.askedAt, view.Revision)
			s.h.mu.asking.add(s)
		}
		return nil
	})
}

// control answers a request of the client's, and then what others wait for.
func (s *Stream) control(answer func(view *mvcc.View) *control) {
	h := s.h
	h.mu.Lock()
	if s.closed {
		h.mu.Unlock()
		return
	}
	if c := answer(h.o.View()); c != nil {
		s.pushLocked(c)
	}
	s.answerLocked()
	h.mu.Unlock()
	s.sink.Flush()
}

func (s *Stream) pushLocked(c *control) { s.sink.Push(c.appendTo(nil, s.sink.Header())) }

// admitLocked says why a watcher cannot be, "" if it can.
func (s *Stream) admitLocked(w *watcher, r Request) string {
	h := s.h
	switch {
	case w.empty():
		return reasonEmpty
	case r.Start < 0:
		return errs.Compacted.Error()
	case r.ID != 0 && s.watchers[r.ID] != nil:
		return reasonDuplicate
	case h.mu.watchers >= h.o.Watchers:
		return fmt.Sprintf("etcdserver: this member has %d watchers, and takes no more", h.mu.watchers)
	case h.mu.bytes+w.size() > h.o.WatcherBytes:
		return fmt.Sprintf("etcdserver: the watchers of this member take %d bytes, and there is no room for more", h.mu.bytes)
	}
	return ""
}

// createLocked makes a watcher that is admitted.
func (s *Stream) createLocked(w *watcher, r Request) *control {
	h := s.h
	if h.mu.watchers == 0 {
		// What is published from here on is taken in; what was before is in the view.
		h.active.Store(true)
		h.mu.position = h.o.View().Revision
	}
	view := h.o.View()
	if w.id == 0 {
		for s.watchers[s.nextID] != nil {
			s.nextID++
		}
		w.id = s.nextID
		s.nextID++
	}
	s.watchers[w.id], w.at = w, len(s.all)
	s.all = append(s.all, w)
	h.mu.watchers++
	h.mu.bytes += w.size()
	created := &control{id: w.id, created: true, revision: view.Revision}
	if r.Start > 0 && r.Start < view.Compacted {
		w.dead = true
		s.pushLocked(created)
		return &control{id: w.id, canceled: true, compacted: view.Compacted}
	}
	if w.next = r.Start; w.next == 0 {
		w.next = view.Revision + 1
	}
	h.mu.index.place(w)
	if w.notify {
		s.notifiers++
		h.mu.notified.add(s)
	}
	if w.live = w.next > h.mu.position; !w.live {
		h.mu.slow++
		s.lagging = append(s.lagging, w)
		s.scheduleLocked()
	}
	return created
}

// endLocked ends a watcher that lives. Its id stays taken.
func (s *Stream) endLocked(w *watcher) {
	h := s.h
	w.dead = true
	h.mu.index.remove(w)
	if !w.live {
		h.mu.slow--
	}
	if w.notify {
		if s.notifiers--; s.notifiers == 0 {
			h.mu.notified.remove(s)
			s.due = 0
		}
	}
}

// forgetLocked ends a watcher, and frees its id.
func (s *Stream) forgetLocked(w *watcher) {
	h := s.h
	if !w.dead {
		s.endLocked(w)
		if !w.live {
			s.leaveLaggingLocked()
		}
	}
	delete(s.watchers, w.id)
	end := len(s.all) - 1
	s.all[w.at] = s.all[end]
	s.all[w.at].at = w.at
	s.all[end] = nil
	s.all = s.all[:end]
	h.mu.bytes -= w.size()
	if h.mu.watchers--; h.mu.watchers == 0 {
		h.active.Store(false)
	}
}

// fewLeft is how many watchers that were cancelled may stand among those that lag. Above
// it they are at most half: CatchUp, which leaves them out, may not come by for long.
const fewLeft = 64

// leaveLaggingLocked is for a watcher that lagged when it was cancelled. The list is
// CatchUp's to read, so that it is not changed where it lies.
func (s *Stream) leaveLaggingLocked() {
	if s.left++; s.left > max(fewLeft, len(s.lagging)/2) {
		var kept []*watcher
		for _, w := range s.lagging {
			if !w.dead {
				kept = append(kept, w)
			}
		}
		s.lagging, s.left = kept, 0
	}
}

// livingLocked says whether there is a watcher that is not dead.
func (s *Stream) livingLocked() bool {
	for _, w := range s.all {
		if !w.dead {
			return true
		}
	}
	return false
}

// lagLocked has all watchers that are live lag.
func (s *Stream) lagLocked() {
	for _, w := range s.all {
		if w.live && !w.dead {
			w.live = false
			w.next = max(w.next, s.h.mu.position+1)
			s.lagging = append(s.lagging, w)
			s.h.mu.slow++
		}
	}
	s.scheduleLocked()
}

// scheduleLocked sees to it that CatchUp comes by.
func (s *Stream) scheduleLocked() {
	s.joined++
	if !s.behind && len(s.lagging) > 0 {
		s.behind = true
		s.h.lagging.push(s)
	}
}

// answerLocked says how far the stream is, if that was asked and all of its watchers
// are there.
func (s *Stream) answerLocked() bool {
	h := s.h
	at := h.mu.position
	if !s.asked || at < s.askedAt || at+1 < s.ahead || len(s.lagging) > 0 {
		return false
	}
	living := false
	for _, w := range s.all {
		switch {
		case w.dead:
			continue
		case w.next > at+1:
			// Whoever hears of a revision goes on behind it, should the stream break: one
			// that begins later must not hear of it.
			s.ahead = w.next
			return false
		case !w.live:
			return false
		}
		living = true
	}
	s.asked, s.askedAt, s.ahead = false, 0, 0
	h.mu.asking.remove(s)
	if living {
		s.pushLocked(&control{id: refusedID, revision: at})
	}
	return living
}

// notifyLocked says how far the stream is to those who want that now and then.
func (s *Stream) notifyLocked() (any bool) {
	header, at := s.sink.Header(), s.h.mu.position
	if plantProgress {
		at = s.h.o.View().Revision
	}
	for _, w := range s.all {
		switch {
		case !w.notify || w.dead:
		case w.told:
			w.told = false
		case w.live && w.next <= at+1:
			c := control{id: w.id, revision: at}
			if !s.sink.Offer(c.appendTo(nil, header), 1) {
				return any
			}
			any = true
		}
	}
	return any
}
