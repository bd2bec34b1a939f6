package mvcc

import (
	"encoding/binary"

	"etcd.alt/internal/store"
)

// Change is one version that an Update made: an event, to whom watches it.
type Change struct {
	Revision  store.Revision
	Tombstone bool
	// Record is what the store keeps: the encoded KeyValue, for a tombstone one
	// with the key alone. It is shared and never changed.
	Record []byte

	key     string // in Record
	version *version
}

// Key is the key that has changed.
func (c *Change) Key() string { return c.key }

// Move is a key that goes from one lease to another; 0 is none.
type Move struct {
	Key      string // shared, and never changed
	From, To int64
}

// Moves are the keys that have come to another lease since the last call, in
// order; after Load, those on leases at all. The slice holds until the next change.
func (u *Update) Moves() []Move {
	moves := u.moves
	u.moves = u.moves[:0]
	return moves
}

// Update is the keyspace in the making. It belongs to the state machine, which
// applies any number of entries to it, each closed by End, then has Save write
// the changes to the store, calls Publish once they are committed, and begins
// anew.
//
// Readers of published views see nothing of it.
type Update struct {
	keyspace  *Keyspace
	revision  int64 // newest closed revision
	sub       int64 // changes of the open entry so far
	compacted int64
	saved     int64    // compacted as the store has it
	changes   []Change // since the last Publish, in order
	published []Change // by the last Publish
	moves     []Move   // since the last Moves
	garbage   garbage
	epochs    epochs
	entry     []byte // for Save
	inUse     int64  // bytes of the records that no compaction has made garbage
	swept     Swept
}

// Save writes what the store does not have yet into b, whose commit must come
// before Publish.
func (u *Update) Save(b *store.Batch) {
	for i := range u.changes {
		c := &u.changes[i]
		b.SetRecord(c.Revision, c.Tombstone, c.Record)
		u.entry = appendEntry(u.entry[:0], c.key, c.version)
		b.SetEntry(c.Revision, c.Tombstone, u.entry)
	}
	if u.compacted != u.saved {
		b.SetMeta(compactedMeta, binary.BigEndian.AppendUint64(nil, uint64(u.compacted)))
		u.saved = u.compacted
	}
}

// Revision is the newest revision; inside an entry that has changed something,
// the revision it makes.
func (u *Update) Revision() int64 {
	if u.sub > 0 {
		return u.revision + 1
	}
	return u.revision
}

// InUse is View.InUse, the open entry's changes included.
func (u *Update) InUse() int64 { return u.inUse }

// End closes an entry: whatever it changed is one revision. It returns the
// revision that holds after it.
func (u *Update) End() int64 {
	if u.sub > 0 {
		u.revision++
		u.sub = 0
	}
	return u.revision
}

// mostSpareChanges is the largest list of changes that is kept for the next ones.
const mostSpareChanges = 1 << 14

// Changes are what the last Publish has published, in order. The slice holds
// until the next Publish; the records may be kept.
func (u *Update) Changes() []Change { return u.published }

// Publish returns the view after all closed entries. The changes are the
// store's by now; Changes has them until the next Publish.
func (u *Update) Publish() *View {
	for i := range u.changes {
		c := &u.changes[i]
		if !c.Tombstone {
			u.keyspace.cache.admit(c.version)
		}
	}
	clear(u.published)
	if cap(u.published) > mostSpareChanges {
		u.published = nil
	}
	u.changes, u.published = u.published[:0], u.changes
	t := u.keyspace.writer.publish(u.revision)
	u.expectHashes(t)
	return u.view(t)
}

// view is the update as a view over t.
func (u *Update) view(t tree) *View {
	return &View{Revision: t.revision, Compacted: u.compacted, InUse: u.inUse, keyspace: u.keyspace, tree: t, epochs: u.epochs}
}

// Now is the update as a view, its open entry's changes included. It holds
// until the next change.
func (u *Update) Now() *View {
	return u.view(tree{root: u.keyspace.writer.root, revision: u.Revision()})
}

// Get returns the present record of key, nil if it does not exist.
func (u *Update) Get(key []byte) ([]byte, error) {
	v := u.keyspace.writer.get(view(key))
	if !v.live() {
		return nil, nil
	}
	return u.keyspace.load(v)
}

// Exists says whether key is there, and with which lease.
func (u *Update) Exists(key []byte) (lease int64, ok bool) {
	v := u.keyspace.writer.get(view(key))
	if !v.live() {
		return 0, false
	}
	return v.lease(), true
}

// Put writes key. The slices are copied.
func (u *Update) Put(key, val []byte, lease int64) {
	rev := store.Revision{Main: u.revision + 1, Sub: u.sub}
	w := u.keyspace.writer
	leaf, i, known := w.root.place(view(key))
	var old *version
	if known {
		old = leaf.head(i)
	}
	create, count := rev.Main, int64(1)
	var was int64 // the lease before
	if old.live() {
		create, count, was = old.create, old.count+1, old.lease()
	}
	v := newVersion(rev, create, count, lease)
	b := make([]byte, 0, len(key)+len(val)+maxKeyValueOverhead)
	kv := appendKeyValue(b, key, create, rev.Main, count, val, lease)
	v.size = uint32(len(kv))
	at := fieldSize(len(key)) - len(key) // where the key lies in the record
	v.cached.Store(&value{kv: kv})       // not in the cache's queue, so it stays until Publish
	u.inUse += recordBytes(view(key), v)
	u.hang(view(key), v, old)
	if known {
		leaf.setHead(i, v)
	} else {
		w.insert(view(key), v)
	}
	if known && !old.live() {
		w.add(view(key), 1)
	}
	if !old.live() {
		u.epochs.add(view(key), v.main, 1)
	}
	if lease != was {
		u.moves = append(u.moves, Move{view(kv[at : at+len(key)]), was, lease})
	}
	u.changes = append(u.changes, Change{Revision: v.revision(), Record: kv, key: view(kv[at : at+len(key)]), version: v})
	u.sub++
}

// hang puts v, which nobody else knows yet, on top of old.
func (u *Update) hang(key string, v, old *version) {
	v.older.Store(old)
	u.garbage.push(key, v, old)
}

// DeleteRange deletes the keys of a range and says how many there were. With
// prev it returns their records, in key order.
func (u *Update) DeleteRange(key, end []byte, prev bool) (deleted int64, records [][]byte, err error) {
	s := newSpan(key, end)
	now := u.Now()
	list := now.collect(s, now.Revision, 0)
	if prev {
		if _, err := fill(list, u.keyspace.load); err != nil {
			return 0, nil, err
		}
		for _, f := range list {
			records = append(records, f.kv)
		}
	}
	for _, f := range list {
		u.delete(f.key, f.version)
	}
	return int64(len(list)), records, nil
}

// Delete deletes a key, and says whether it was there.
func (u *Update) Delete(key string) bool {
	v := u.keyspace.writer.get(key)
	if !v.live() {
		return false
	}
	u.delete(key, v)
	return true
}

// delete puts a tombstone on a live key.
func (u *Update) delete(key string, old *version) {
	w := u.keyspace.writer
	v := newVersion(store.Revision{Main: u.revision + 1, Sub: u.sub}, 0, 0, 0)
	u.inUse += recordBytes(key, v)
	u.hang(key, v, old)
	w.set(key, v)
	w.add(key, -1)
	u.epochs.add(key, v.main, -1)
	record := appendKeyValue(make([]byte, 0, len(key)+8), key, 0, 0, 0, "", 0)
	own := view(record[len(record)-len(key):])
	if was := old.lease(); was != 0 {
		u.moves = append(u.moves, Move{own, was, 0})
	}
	u.changes = append(u.changes, Change{Revision: v.revision(), Tombstone: true, Record: record, key: own, version: v})
	u.sub++
}
