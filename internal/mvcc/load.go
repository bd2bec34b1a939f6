package mvcc

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"etcd.alt/internal/store"
)

// loaded is a version on its way from the store into the index. Most keys
// differ in their first bytes, so these are compared as one number before the
// keys are.
type loaded struct {
	prefix  uint64
	key     string
	version *version
}

func (a loaded) compare(b loaded) int {
	if a.prefix != b.prefix {
		return cmp.Compare(a.prefix, b.prefix)
	}
	if c := strings.Compare(a.key, b.key); c != 0 {
		return c
	}
	return compareRevisions(a.version, b.version)
}

func compareRevisions(a, b *version) int { return a.revision().Compare(b.revision()) }

// readIndex makes the index from the entries of the records: they are read in the order of
// their revisions, sorted by key, chained, and the tree is built in one go.
func (u *Update) readIndex() error {
	lists, err := u.readVersions()
	if err != nil {
		return err
	}
	var garbage []loaded // what push must hear of
	b := builder{w: u.keyspace.writer}
	push := func(key string, v *version) {
		b.push(key, v)
		if lease := v.lease(); lease != 0 {
			u.moves = append(u.moves, Move{key, 0, lease})
		}
	}
	var key string
	var newest *version
	for l := range merged(lists) {
		v := l.version
		switch {
		case newest != nil && l.key == key:
			v.older.Store(newest)
		case newest != nil:
			push(key, newest)
		}
		key, newest = l.key, v
		if !v.live() || v.older.Load() != nil {
			garbage = append(garbage, l)
		}
		u.inUse += recordBytes(key, v)
	}
	if newest != nil {
		push(key, newest)
	}
	b.finish()
	slices.SortFunc(garbage, func(a, b loaded) int { return compareRevisions(a.version, b.version) })
	for _, l := range garbage {
		u.garbage.push(l.key, l.version, l.version.older.Load())
	}
	return nil
}

// loadPiece is how many revisions are read at a time by one of the goroutines
// that read the index.
const loadPiece = 1 << 16

// readVersions reads all entries, on as many goroutines as there are processors
// where there are many, and returns sorted lists of them.
func (u *Update) readVersions() ([][]loaded, error) {
	first := u.keyspace.store.Entries(store.Revision{}, store.Revision{})
	base := int64(0)
	if first.Next() {
		base = first.Revision().Main / loadPiece
	}
	if err := first.Close(); err != nil {
		return nil, fmt.Errorf("mvcc: read the index: %w", err)
	}
	pieces := max(u.revision/loadPiece-base, 0) + 1
	lists := make([][]loaded, min(int64(runtime.GOMAXPROCS(0)), pieces))
	errs := make([]error, len(lists))
	var next atomic.Int64
	var readers sync.WaitGroup
	for i := range lists {
		readers.Go(func() {
			r := indexReader{store: u.keyspace.store}
			for errs[i] == nil {
				piece := next.Add(1) - 1
				if piece >= pieces {
					break
				}
				to := store.Revision{Main: (base + piece + 1) * loadPiece}
				if piece == pieces-1 {
					to = store.Revision{} // the end
				}
				errs[i] = r.read(store.Revision{Main: (base + piece) * loadPiece}, to)
			}
			lists[i] = slices.Concat(r.pieces...)
			r.pieces = nil
			slices.SortFunc(lists[i], loaded.compare)
		})
	}
	readers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// keySlab is how many bytes of keys share an allocation while the index is read.
const keySlab = 64 << 10

// indexReader gathers what stands in entries about their versions.
type indexReader struct {
	store  *store.Store
	pieces [][]loaded // one for each call of read
	keys   []byte
}

// read reads the entries from ≤ revision < to. Values are not touched.
func (r *indexReader) read(from, to store.Revision) error {
	entries := r.store.Entries(from, to)
	defer entries.Close()
	var piece []loaded
	for entries.Next() {
		rev := entries.Revision()
		entry, err := entries.Value()
		if err != nil {
			return fmt.Errorf("mvcc: revision %d.%d: %w", rev.Main, rev.Sub, err)
		}
		key, v, err := decodeEntry(entry, rev, entries.Tombstone())
		if err != nil {
			return fmt.Errorf("mvcc: revision %d.%d: %w", rev.Main, rev.Sub, err)
		}
		piece = append(piece, loaded{prefix: keyPrefix(key), key: r.keep(key), version: v})
	}
	r.pieces = append(r.pieces, piece)
	if err := entries.Close(); err != nil {
		return fmt.Errorf("mvcc: read the index: %w", err)
	}
	return nil
}

// keep copies key to where it stays until the tree is built.
func (r *indexReader) keep(key []byte) string {
	if len(r.keys)+len(key) > cap(r.keys) {
		r.keys = make([]byte, 0, max(keySlab, len(key)))
	}
	begin := len(r.keys)
	r.keys = append(r.keys, key...)
	return view(r.keys[begin:])
}

// keyPrefix is the first eight bytes of key as a number that orders as they do;
// what is missing counts as zeros, so keys of one prefix must still be compared.
func keyPrefix(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// merged walks over sorted lists, of which there are few, in their common order.
func merged(lists [][]loaded) iter.Seq[loaded] {
	return func(yield func(loaded) bool) {
		for {
			least := -1
			for i, l := range lists {
				if len(l) > 0 && (least < 0 || l[0].compare(lists[least][0]) < 0) {
					least = i
				}
			}
			if least < 0 || !yield(lists[least][0]) {
				return
			}
			lists[least] = lists[least][1:]
		}
	}
}

// builder makes a tree of keys that come in their order. Its nodes come out
// full.
type builder struct {
	w     *writer
	next  node // the leaf being filled
	level []*node
}

func (b *builder) push(key string, v *version) {
	b.next.keys.insert(b.next.keys.len(), key)
	b.next.heads = append(b.next.heads, v)
	if b.packed() {
		b.flush()
	}
}

func (b *builder) packed() bool {
	n := b.next.keys.len()
	return n == fanout || (n >= 3 && b.next.keys.size() > fatNode)
}

// flush makes a leaf, or an inner node, of what next holds.
func (b *builder) flush() {
	n := b.w.part(&b.next, 0, fanout+1, 0)
	n.sum()
	b.level = append(b.level, n)
	b.next = node{keys: b.next.keys, heads: b.next.heads[:0], kids: b.next.kids[:0]}
	b.next.keys.cut(0)
}

// finish puts the upper levels on the leaves and hands the tree to the writer.
func (b *builder) finish() {
	if b.next.keys.len() > 0 {
		b.flush()
	}
	b.next.heads = nil
	for len(b.level) > 1 {
		kids := b.level
		b.level = nil
		for i, kid := range kids {
			b.next.keys.insert(b.next.keys.len(), kid.keys.at(0))
			b.next.kids = append(b.next.kids, kid)
			if b.packed() || i == len(kids)-1 {
				b.flush()
			}
		}
	}
	if len(b.level) == 1 {
		b.w.root = b.level[0]
	}
}
