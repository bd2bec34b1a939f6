package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
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
	hashes   hashes
	turns    chan struct{} // loadInTurn's
}

// compactedMeta is the store's record of the compaction: 8 bytes, big-endian.
const compactedMeta = "compacted"

// never is the compacted revision of a keyspace that was never compacted.
const never = -1

// Load reads the keyspace out of the store, at revision, which is the one of
// the store's applied record, and with room for cacheBytes of values. The
// Update it returns is the only one there is.
func Load(s *store.Store, revision, cacheBytes int64) (*Update, error) {
	k := &Keyspace{store: s, cache: newCache(cacheBytes), writer: newWriter(), turns: make(chan struct{}, max(fewTurns, runtime.GOMAXPROCS(0)))}
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
	k.sweeping.Store(never)
	if err := u.readIndex(); err != nil {
		return nil, err
	}
	u.epochs = epochs{floor: u.revision, kept: keptEpochs}
	u.inUse -= u.garbage.compact(u.compacted)
	if u.garbage.due(u.compacted) { // of a sweep that was cut short
		u.garbage.compactions = append(u.garbage.compactions, compaction{revision: u.compacted, before: never})
	}
	return u, nil
}

// load finds the record of a version, in the cache or in the store.
func (k *Keyspace) load(v *version) ([]byte, error) {
	if kv := k.cache.get(v); kv != nil {
		return kv, nil
	}
	if v.size == 0 {
		return nil, errors.New("the version is a tombstone")
	}
	kv, _, err := k.store.Record(v.revision(), make([]byte, 0, v.size))
	if err == nil {
		k.cache.put(v, kv)
	}
	return kv, err
}

// aloneBelow is how few records are read by one goroutine.
const aloneBelow = 64

// loadMany finds the records of a part of a list, and leaves the cache as it is:
// they will hardly be asked for again soon.
func (k *Keyspace) loadMany(list []found) error {
	cold := k.warm(list)
	if len(cold) < 2*aloneBelow {
		return k.readCold(cold)
	}
	// Each half touches blocks of its own.
	var err error
	var other sync.WaitGroup
	half := len(cold) / 2
	other.Go(func() { err = k.readCold(cold[half:]) })
	first := k.readCold(cold[:half])
	other.Wait()
	return errors.Join(first, err)
}

// fewTurns is how many lists may read at a time on a small machine: a disk that is slow is
// not asked for one block after the other.
const fewTurns = 4

// loadInTurn is loadMany for lists of any length, of which there may be a thousand: a few
// read at a time, lest everybody else waits for all of them. It calls turn, unless that is
// nil, when it has its turn, and waits for none once done is closed: context.Canceled.
func (k *Keyspace) loadInTurn(list []found, done <-chan struct{}, turn func()) error {
	cold := k.warm(list)
	if len(cold) == 0 {
		return nil
	}
	select {
	case k.turns <- struct{}{}:
	case <-done:
		return context.Canceled
	}
	defer func() { <-k.turns }()
	if turn != nil {
		turn()
	}
	return k.readCold(cold)
}

// warm fills in what is cached, and returns the others in the order of their revisions.
func (k *Keyspace) warm(list []found) (cold []*found) {
	for i := range list {
		f := &list[i]
		if f.kv != nil {
			continue
		}
		if f.kv = k.cache.get(f.version); f.kv == nil {
			cold = append(cold, f)
		}
	}
	slices.SortFunc(cold, func(a, b *found) int { return compareRevisions(a.version, b.version) })
	return cold
}

// readCold reads records out of the store. Their revisions ascend.
func (k *Keyspace) readCold(list []*found) error {
	if len(list) == 0 {
		return nil
	}
	revs, size := make([]store.Revision, len(list)), 0
	for i, f := range list {
		revs[i] = f.version.revision()
		size += int(f.version.size)
	}
	buf := make([]byte, 0, size)
	return k.store.ReadRecords(revs, func(i int, value []byte) {
		begin := len(buf)
		buf = append(buf, value...)
		list[i].kv = buf[begin:len(buf):len(buf)]
	})
}

// cached is load without the store.
func (k *Keyspace) cached(v *version) ([]byte, error) { return k.cache.get(v), nil }
