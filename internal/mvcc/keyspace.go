package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"etcd.alt/internal/store"
)

// Keyspace ties the versions to their values: in the cache, else in the store.
type Keyspace struct {
	store  *store.Store
	cache  *cache
	writer *writer
	// sweeping is the compaction that is being swept, or was last: below it,
	// versions may be missing. A reader of an older view looks at it when it has
	// read.
	sweeping atomic.Int64
	pins     pins
}

// compactedMeta is the store's record of the compaction: 8 bytes, big-endian.
const compactedMeta = "compacted"

// never is the compacted revision of a keyspace that was never compacted.
const never = -1

// Load reads the keyspace out of the store, at revision, which is the one of
// the store's applied record, and with room for cacheBytes of values. The
// Update it returns is the only one there is.
func Load(s *store.Store, revision, cacheBytes int64) (*Update, error) {
	k := &Keyspace{store: s, cache: newCache(cacheBytes), writer: newWriter()}
	u := &Update{keyspace: k, revision: max(revision, 1), compacted: never}
	meta, ok, err := s.Meta(compactedMeta)
	switch {
	case err != nil:
		return nil, fmt.Errorf("mvcc: read the compacted revision: %w", err)
	case ok && len(meta) != 8:
		return nil, fmt.Errorf("mvcc: the record of the compacted revision has %d bytes", len(meta))
	case ok:
		u.compacted = int64(binary.BigEndian.Uint64(meta))
	}
	u.saved = u.compacted
	if err := u.readIndex(); err != nil {
		return nil, err
	}
	return u, nil
}

// readIndex makes the index from the records, which come in the order of their
// revisions. The keys are sorted before they go into the tree, so that its
// nodes come out full.
func (u *Update) readIndex() error {
	k := u.keyspace
	items := map[string]*item{}
	records := k.store.Records(store.Revision{}, store.Revision{})
	defer records.Close()
	for records.Next() {
		if err := u.readRecord(items, records); err != nil {
			return err
		}
	}
	if err := records.Close(); err != nil {
		return fmt.Errorf("mvcc: read the index: %w", err)
	}
	keys := make([]string, 0, len(items))
	for key := range items {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		k.writer.insert(key, items[key])
	}
	return nil
}

// readRecord puts the version of a record on top of its key's chain.
func (u *Update) readRecord(items map[string]*item, r *store.Records) error {
	rev := r.Revision()
	record, err := r.Value()
	if err != nil {
		return fmt.Errorf("mvcc: revision %d.%d: %w", rev.Main, rev.Sub, err)
	}
	kv, err := decodeKeyValue(record)
	if err != nil {
		return fmt.Errorf("mvcc: revision %d.%d: %w", rev.Main, rev.Sub, err)
	}
	v := &version{main: rev.Main, sub: uint32(rev.Sub)}
	if !r.Tombstone() {
		v.create, v.count, v.lease, v.size = kv.create, kv.count, kv.lease, uint32(len(record))
	}
	it := items[string(kv.key)]
	if it == nil {
		it = &item{}
		items[string(kv.key)] = it
	}
	u.pushGarbage(string(kv.key), v, it.head.Load())
	it.head.Store(v)
	return nil
}

// load finds the record of a version, in the cache or in the store.
func (k *Keyspace) load(v *version) ([]byte, error) {
	kv, err := k.loadOnce(v)
	if err == nil {
		k.cache.put(v, kv)
	}
	return kv, err
}

// loadOnce is load for a value that will hardly be asked for again soon: one of
// many in a long list. The cache is not filled with it.
func (k *Keyspace) loadOnce(v *version) ([]byte, error) {
	if kv := k.cache.get(v); kv != nil {
		return kv, nil
	}
	if v.size == 0 {
		return nil, errors.New("the version is a tombstone")
	}
	kv, _, err := k.store.Record(v.revision(), make([]byte, 0, v.size))
	return kv, err
}

// cached is load without the store.
func (k *Keyspace) cached(v *version) ([]byte, error) { return k.cache.get(v), nil }
