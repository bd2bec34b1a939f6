package mvcc

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

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

func compareRevisions(a, b *version) int {
	if a.main != b.main {
		return cmp.Compare(a.main, b.main)
	}
	return cmp.Compare(a.sub, b.sub)
}

// slabLen is how many versions and items share an allocation when the index is
// read, and keySlab how many bytes of keys do. What is left of a slab keeps all
// of it, so they are small.
const (
	slabLen = 64
	keySlab = 16 << 10
)

// readIndex makes the index from the records. They come in the order of their
// revisions; they are sorted by key, chained, and the tree is built in one go.
func (u *Update) readIndex() error {
	all, err := u.readVersions()
	if err != nil {
		return err
	}
	slices.SortFunc(all, loaded.compare)
	var entries []entry
	var items []item
	var replaced []*version
	var tombstones []tombstone
	for i, l := range all {
		v := l.version
		switch same := i > 0 && all[i-1].key == l.key; {
		case same:
			v.older.Store(all[i-1].version)
			replaced = append(replaced, v)
		default:
			if len(items) == 0 {
				items = make([]item, slabLen)
			}
			entries = append(entries, entry{l.key, &items[0]})
			items = items[1:]
		}
		entries[len(entries)-1].item.head.Store(v)
		if !v.live() {
			tombstones = append(tombstones, tombstone{l.key, v})
		}
	}
	u.keyspace.writer.build(entries)
	slices.SortFunc(replaced, compareRevisions)
	slices.SortFunc(tombstones, func(a, b tombstone) int { return compareRevisions(a.version, b.version) })
	for _, v := range replaced {
		u.garbage.replaced.push(v)
	}
	for _, t := range tombstones {
		u.garbage.tombstones.push(t)
	}
	return nil
}

// readVersions reads all records, in the order of their revisions.
func (u *Update) readVersions() ([]loaded, error) {
	records := u.keyspace.store.Records(store.Revision{}, store.Revision{})
	defer records.Close()
	var all []loaded
	var versions []version
	keys := make([]byte, 0, keySlab)
	for records.Next() {
		rev := records.Revision()
		record, err := records.Value()
		if err != nil {
			return nil, fmt.Errorf("mvcc: revision %d.%d: %w", rev.Main, rev.Sub, err)
		}
		kv, err := decodeKeyValue(record)
		if err != nil {
			return nil, fmt.Errorf("mvcc: revision %d.%d: %w", rev.Main, rev.Sub, err)
		}
		if len(versions) == 0 {
			versions = make([]version, slabLen)
		}
		v := &versions[0]
		versions = versions[1:]
		v.main, v.sub = rev.Main, uint32(rev.Sub)
		if !records.Tombstone() {
			v.create, v.count, v.lease, v.size = kv.create, kv.count, kv.lease, uint32(len(record))
		}
		if len(keys)+len(kv.key) > cap(keys) {
			keys = make([]byte, 0, max(keySlab, len(kv.key)))
		}
		begin := len(keys)
		keys = append(keys, kv.key...)
		all = append(all, loaded{prefix: keyPrefix(kv.key), key: view(keys[begin:]), version: v})
	}
	if err := records.Close(); err != nil {
		return nil, fmt.Errorf("mvcc: read the index: %w", err)
	}
	return all, nil
}

// keyPrefix is the first eight bytes of key as a number that orders as they do;
// what is missing counts as zeros, so keys of one prefix must still be compared.
func keyPrefix(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
