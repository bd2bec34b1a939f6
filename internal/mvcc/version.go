package mvcc

import (
	"sync/atomic"
	"unsafe"

	"etcd.alt/internal/store"
)

// version is one state of one key. Everything but cached and older is immutable
// once the version can be reached from a tree. There is one for every record of
// the store, so it is kept to 48 bytes.
type version struct {
	main   int64 // mod_revision
	create int64 // create_revision
	count  int64 // puts since creation; 0 for a tombstone
	// older is cleared by the sweep, when no reader may ask for what is there.
	older  atomic.Pointer[version]
	cached atomic.Pointer[value]
	sub    uint32 // its top bit says that the version is a leased one
	size   uint32 // bytes of the encoded KeyValue; 0 for a tombstone
}

// leased is a version with a lease, which few have.
type leased struct {
	version
	lease int64
}

const leasedBit = 1 << 31

// newVersion makes a version that only its maker knows yet.
func newVersion(rev store.Revision, create, count, lease int64) *version {
	if lease == 0 {
		return &version{main: rev.Main, sub: uint32(rev.Sub), create: create, count: count}
	}
	return &(&leased{version{main: rev.Main, sub: uint32(rev.Sub) | leasedBit, create: create, count: count}, lease}).version
}

func (v *version) live() bool { return v != nil && v.count > 0 }

func (v *version) revision() store.Revision {
	return store.Revision{Main: v.main, Sub: int64(v.sub &^ leasedBit)}
}

// lease is the lease that the version hangs on, 0 for none.
func (v *version) lease() int64 {
	if v.sub&leasedBit == 0 {
		return 0
	}
	return (*leased)(unsafe.Pointer(v)).lease // newVersion made it as one
}

// at returns the newest version at or below revision main, out of v and what is
// older; nil if the key did not exist yet.
func (v *version) at(main int64) *version {
	for v != nil && v.main > main {
		v = v.older.Load()
	}
	return v
}

// liveAt returns the version that a reader at main sees: nil where the key does
// not exist or is deleted.
func (v *version) liveAt(main int64) *version {
	if v := v.at(main); v.live() {
		return v
	}
	return nil
}
