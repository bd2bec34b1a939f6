package watch

import (
	"etcd.alt/internal/mvcc"
)

// Request is what a client asks of a new watcher.
type Request struct {
	// Key and End are the key, or the range, as in requests of ranges; an empty Key
	// is the least key, a zero byte. They are copied.
	Key, End []byte
	// Start is the first revision of interest; 0 for the next one.
	Start int64
	// ID is the watcher's; 0 has the stream pick one.
	ID int64
	// NoPut and NoDelete leave out events.
	NoPut, NoDelete bool
	// Prev has events carry what they have replaced.
	Prev bool
	// Notify asks for progress now and then.
	Notify bool
	// Fragment allows a response to be cut in pieces.
	Fragment bool
}

// watcher is one of a stream's. All is guarded by the hub's lock, but for what
// belongs to a batch: that is Step's while the watcher is live, and CatchUp's while
// it lags.
type watcher struct {
	stream *Stream
	id     int64
	span   span
	ranged bool

	noPut, noDelete, prev, notify, fragment bool

	live bool
	dead bool // cancelled; its id is still taken if a compaction did it
	told bool // something was sent since the last progress
	// next is the cursor of a watcher that lags. A live one is told nothing below it.
	next int64

	at    int    // its place in the stream's list
	group *group // its place in the hub's index
	slot  int

	batch       uint64 // the batch that has events for it, if it is the one at hand
	first, last int32  // of them
	revision    int64  // of the last
}

func newWatcher(s *Stream, r Request) *watcher {
	w := &watcher{
		stream: s, id: r.ID,
		noPut: r.NoPut, noDelete: r.NoDelete, prev: r.Prev, notify: r.Notify, fragment: r.Fragment,
	}
	w.span.lo = string(r.Key)
	if len(r.Key) == 0 {
		w.span.lo = "\x00"
	}
	switch {
	case len(r.End) == 1 && r.End[0] == 0:
		w.ranged, w.span.open = true, true
	case len(r.End) > 0:
		w.ranged, w.span.hi = true, string(r.End)
	}
	return w
}

// keys are the watcher's as its Request had them.
func (w *watcher) keys() (key, end []byte) {
	switch {
	case w.span.open:
		end = []byte{0}
	case w.ranged:
		end = []byte(w.span.hi)
	}
	return []byte(w.span.lo), end
}

// empty says that no key can be in the watcher's range.
func (w *watcher) empty() bool { return w.ranged && !w.span.open && w.span.lo >= w.span.hi }

// wants says whether a change of its keys is for the watcher.
func (w *watcher) wants(c *mvcc.Change) bool {
	if c.Tombstone {
		return !w.noDelete && c.Revision.Main >= w.next
	}
	return !w.noPut && c.Revision.Main >= w.next
}

// watcherOverhead is about what a watcher takes beside its keys, with its places in
// maps and lists.
const watcherOverhead = 512

// size is the memory that a watcher takes.
func (w *watcher) size() int64 {
	return watcherOverhead + int64(len(w.span.lo)) + int64(len(w.span.hi))
}
