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
	replaced queue[replaced]
	// tombstones go once the compacted revision is above them: one exactly at it
	// stays, for watchers that begin there.
	tombstones queue[tombstone]
	// Totals as of the last compaction, of what was due by then.
	replacedTotal, tombstoneTotal int64
	// compactions are those that are not swept yet.
	compactions []compaction
}

// replaced is a version that has replaced another. Total is the bytes of the
// records that go with it and with all that came into the queue before.
type replaced struct {
	version *version
	total   int64
}

type tombstone struct {
	key     string
	version *version
	total   int64
}

// recordBytes is what a version's record takes in the store: its key there and
// the encoded KeyValue.
func recordBytes(key string, v *version) int64 {
	const revisionKey, mark = 17, 1
	if !v.live() {
		return revisionKey + mark + int64(fieldSize(len(key)))
	}
	return revisionKey + int64(v.size)
}

// push takes note of what v makes garbage where it hangs on top of old. Versions
// come in the order of their revisions.
func (g *garbage) push(key string, v, old *version) {
	if old != nil {
		n := int64(0)
		if old.live() { // a tombstone's record goes with the tombstones
			n = recordBytes(key, old)
		}
		if last := g.replaced.last(); last != nil {
			n += last.total
		} else {
			n += g.replacedTotal
		}
		g.replaced.push(replaced{v, n})
	}
	if !v.live() {
		n := recordBytes(key, v)
		if last := g.tombstones.last(); last != nil {
			n += last.total
		} else {
			n += g.tombstoneTotal
		}
		g.tombstones.push(tombstone{strings.Clone(key), v, n})
	}
}

// compact returns the bytes of the records that become due at revision.
func (g *garbage) compact(revision int64) (bytes int64) {
	if r := g.replaced.lastOf(func(r *replaced) bool { return r.version.main <= revision }); r != nil {
		bytes += r.total - g.replacedTotal
		g.replacedTotal = r.total
	}
	if t := g.tombstones.lastOf(func(t *tombstone) bool { return t.version.main < revision }); t != nil {
		bytes += t.total - g.tombstoneTotal
		g.tombstoneTotal = t.total
	}
	return bytes
}

// hashedCompactions is how many compactions may wait to be hashed. One that
// comes while so many wait leaves no hash behind.
const hashedCompactions = 2

// compaction is one that is not swept yet.
type compaction struct {
	revision int64
	before   int64 // the compacted revision until then
	hashed   bool  // it is to leave its hash behind, before anything is swept
	hashing  *hashing
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
	g := &u.garbage
	g.compactions = append(g.compactions, compaction{
		revision: revision,
		before:   u.compacted,
		hashed:   revision > 0 && len(g.compactions) < hashedCompactions,
	})
	u.inUse -= g.compact(revision)
	u.compacted = revision
	return nil
}

// expectHashes lets readers see which views the compactions that are not hashed
// yet will be hashed in.
func (u *Update) expectHashes(t tree) {
	for i := range u.garbage.compactions {
		c := &u.garbage.compactions[i]
		if c.hashed && c.hashing == nil {
			v := u.view(t)
			v.Compacted = c.before
			c.hashing = v.newHashing(c.revision)
			u.keyspace.hashes.expect(c.revision, v)
		}
	}
}

// Sweep does up to n versions' worth of the work that compactions have left: it
// hashes what they are about to take, for Hash, then takes it out of the index,
// and the records out of the store by way of b, which the caller commits. It
// reports whether there is more to do now. It may only be called when everything
// up to the compaction is published. What a pinned reader stands on is left for
// later. Its error is a failure of the store.
//
// A key's older versions go before its tombstone: were it the other way round, a
// crash in between would bring the key back.
func (u *Update) Sweep(b *store.Batch, n int) (more bool, err error) {
	g := &u.garbage
	if len(g.compactions) == 0 {
		return false, nil
	}
	front := &g.compactions[0]
	if front.hashed {
		done, err := front.hashing.step(n)
		if err != nil || !done {
			return true, err
		}
		u.keyspace.hashes.keep(front.hashing.result())
		front.hashed, front.hashing = false, nil
	}
	more = u.sweepTo(front.revision, b, n)
	if !g.due(front.revision) {
		g.compactions = g.compactions[1:]
		u.swept.Compactions++
		more = len(g.compactions) > 0
	}
	return more, nil
}

// sweepTo takes up to n versions that are due at revision, and reports whether
// there is more to take now.
func (u *Update) sweepTo(revision int64, b *store.Batch, n int) (more bool) {
	c, g := u.keyspace.pins.below(revision), &u.garbage
	if !g.due(c) {
		return false
	}
	// It never goes back, though a pin may come that lies lower: what was taken is
	// gone for readers that begin now, too.
	u.keyspace.sweeping.Store(max(c, u.keyspace.sweeping.Load()))
	// A pin that came in between has seen what is being swept, or is seen now.
	c = u.keyspace.pins.below(c)
	for ; n > 0 && !g.replaced.empty() && g.replaced.front().version.main <= c; n-- {
		v := g.replaced.pop().version
		// A tombstone's own record goes with the tombstones.
		if old := v.older.Swap(nil); old.live() {
			b.DeleteRecord(old.revision(), false)
			u.swept.Records++
		}
	}
	for ; n > 0 && !g.tombstones.empty() && g.tombstones.front().version.main < c; n-- {
		t := g.tombstones.pop()
		b.DeleteRecord(t.version.revision(), true)
		u.swept.Records++
		if u.keyspace.writer.get(t.key) == t.version {
			u.keyspace.writer.remove(t.key)
		}
	}
	return g.due(c)
}

// Swept is what sweeps have done since the keyspace was loaded: records taken
// away, and compactions of which nothing was left.
type Swept struct{ Records, Compactions uint64 }

// Swept counts them. It is a Sweep's to change.
func (u *Update) Swept() Swept { return u.swept }

// SweptTo is the compacted revision up to which nothing is left to do.
func (u *Update) SweptTo() int64 {
	if len(u.garbage.compactions) > 0 {
		return u.garbage.compactions[0].before
	}
	return u.compacted
}

// SweepDue says whether compactions have left work that is not done yet, for now
// or for later.
func (u *Update) SweepDue() bool { return len(u.garbage.compactions) > 0 }

// due says whether a sweep up to c has something to take.
func (g *garbage) due(c int64) bool {
	return (!g.replaced.empty() && g.replaced.front().version.main <= c) ||
		(!g.tombstones.empty() && g.tombstones.front().version.main < c)
}
