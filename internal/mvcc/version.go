package mvcc

import (
	"sync/atomic"

	"etcd.alt/internal/store"
)

// version is one state of one key. Everything but cached and older is immutable
// once the version hangs in an item.
type version struct {
	main   int64 // mod_revision
	create int64 // create_revision
	count  int64 // puts since creation; 0 for a tombstone
	lease  int64
	// older is cleared by the sweep, when no reader may ask for what is there.
	older  atomic.Pointer[version]
	cached atomic.Pointer[value]
	sub    uint32
	size   uint32 // bytes of the encoded KeyValue; 0 for a tombstone
}

func (v *version) live() bool { return v != nil && v.count > 0 }

func (v *version) revision() store.Revision {
	return store.Revision{Main: v.main, Sub: int64(v.sub)}
}

// item is one key's versions, newest first. The head is set by the one writer
// and read by anybody.
type item struct {
	head atomic.Pointer[version]
}

// at returns the newest version at or below revision main, nil if the key did
// not exist yet.
func (it *item) at(main int64) *version {
	v := it.head.Load()
	for v != nil && v.main > main {
		v = v.older.Load()
	}
	return v
}

// liveAt returns the version that a reader at main sees: nil where the key does
// not exist or is deleted.
func (it *item) liveAt(main int64) *version {
	if v := it.at(main); v.live() {
		return v
	}
	return nil
}
