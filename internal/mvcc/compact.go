package mvcc

import (
	"strings"

	"etcd.alt/api/errs"
	"etcd.alt/internal/store"
)

// garbage is what compactions will take: in the order of the revisions at which
// it becomes due, so that a sweep works from the front and never searches.
type garbage struct {
	// replaced are versions with an older one behind them, which goes once the
	// compacted revision has reached the version itself.
	replaced queue[*version]
	// tombstones go once the compacted revision is above them: one exactly at it
	// stays, for watchers that begin there.
	tombstones queue[tombstone]
}

type tombstone struct {
	key     string
	version *version
}

// pushGarbage hangs v on top of old and takes note of what v makes garbage.
// Versions come in the order of their revisions.
func (u *Update) pushGarbage(key string, v, old *version) {
	if old != nil {
		v.older.Store(old)
		u.garbage.replaced.push(v)
	}
	if !v.live() {
		u.garbage.tombstones.push(tombstone{strings.Clone(key), v})
	}
}

// Compact gives up the history before revision. Readers are refused it from the
// next Publish on; Sweep gives its space back. Errors: errs.Compacted,
// errs.FutureRev.
func (u *Update) Compact(revision int64) error {
	switch {
	case revision <= u.compacted:
		return errs.Compacted
	case revision > u.revision:
		return errs.FutureRev
	}
	u.compacted = revision
	return nil
}

// Sweep takes up to n versions that the compaction has made garbage out of the
// index, and their records out of the store by way of b, which the caller
// commits. It reports whether there is more to do now. It may only be called
// when everything up to the compaction is published. What a pinned reader stands
// on is left for later.
//
// A key's older versions go before its tombstone: were it the other way round, a
// crash in between would bring the key back.
func (u *Update) Sweep(b *store.Batch, n int) (more bool) {
	c, g := u.keyspace.pins.below(u.compacted), &u.garbage
	if !g.due(c) {
		return false
	}
	u.keyspace.sweeping.Store(c)
	// A pin that came in between has seen what is being swept, or is seen now.
	c = u.keyspace.pins.below(c)
	for ; n > 0 && !g.replaced.empty() && (*g.replaced.front()).main <= c; n-- {
		v := g.replaced.pop()
		// A tombstone's own record goes with the tombstones.
		if old := v.older.Swap(nil); old.live() {
			b.DeleteRecord(old.revision(), false)
		}
	}
	for ; n > 0 && !g.tombstones.empty() && g.tombstones.front().version.main < c; n-- {
		t := g.tombstones.pop()
		b.DeleteRecord(t.version.revision(), true)
		if u.keyspace.writer.get(t.key) == t.version {
			u.keyspace.writer.remove(t.key)
		}
	}
	return g.due(c)
}

// SweepDue says whether the compaction has left garbage that is not swept yet,
// for now or for later.
func (u *Update) SweepDue() bool { return u.garbage.due(u.compacted) }

// due says whether a sweep up to c has something to take.
func (g *garbage) due(c int64) bool {
	return (!g.replaced.empty() && (*g.replaced.front()).main <= c) ||
		(!g.tombstones.empty() && g.tombstones.front().version.main < c)
}

// queue is a first-in-first-out list in chunks, which are let go as they are
// emptied.
type queue[T any] struct {
	chunks [][]T
	head   int // in chunks[0]
}

const chunkLen = 1024

func (q *queue[T]) empty() bool { return len(q.chunks) == 0 }

func (q *queue[T]) push(x T) {
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1]) == cap(q.chunks[n-1]) {
		q.chunks = append(q.chunks, make([]T, 0, chunkLen))
	}
	last := &q.chunks[len(q.chunks)-1]
	*last = append(*last, x)
}

func (q *queue[T]) front() *T { return &q.chunks[0][q.head] }

func (q *queue[T]) pop() T {
	x := q.chunks[0][q.head]
	var zero T
	q.chunks[0][q.head] = zero
	q.head++
	if q.head == len(q.chunks[0]) {
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
		q.head = 0
	}
	return x
}
