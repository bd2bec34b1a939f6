package client

import "etcd.alt/api/etcdserverpb"

// OpOption changes an operation. One that does not go with the operation is an
// error of the call.
type OpOption func(*Op)

// SortTarget is what a get sorts by.
type SortTarget = etcdserverpb.RangeRequest_SortTarget

// SortOrder is the direction a get sorts in.
type SortOrder = etcdserverpb.RangeRequest_SortOrder

// What a get may be sorted by, and how.
const (
	SortByKey            = etcdserverpb.RangeRequest_KEY
	SortByVersion        = etcdserverpb.RangeRequest_VERSION
	SortByCreateRevision = etcdserverpb.RangeRequest_CREATE
	SortByModRevision    = etcdserverpb.RangeRequest_MOD
	SortByValue          = etcdserverpb.RangeRequest_VALUE

	SortNone    = etcdserverpb.RangeRequest_NONE
	SortAscend  = etcdserverpb.RangeRequest_ASCEND
	SortDescend = etcdserverpb.RangeRequest_DESCEND
)

func flag(o option) OpOption { return func(op *Op) { op.set |= o } }

// WithPrefix takes every key that begins with the key; every key there is if
// that is empty.
func WithPrefix() OpOption { return flag(optPrefix) }

// WithFromKey takes every key from the key on; every key there is if that is
// empty.
func WithFromKey() OpOption { return flag(optFromKey) }

// WithRange takes the keys from the key up to end, which is not among them.
func WithRange(end string) OpOption {
	return func(op *Op) { op.set, op.end = op.set|optRange, []byte(end) }
}

// WithRev gets what was there at a revision; 0 is now. A watch begins with it.
func WithRev(rev int64) OpOption {
	return func(op *Op) { op.set, op.rev = op.set|optRev, rev }
}

// WithLimit gets at most so many keys; 0 is all.
func WithLimit(limit int64) OpOption {
	return func(op *Op) { op.set, op.limit = op.set|optLimit, limit }
}

// WithSort sorts what is got. Without it, and in ascending order of the key, a
// list is as the server has it, which is the same.
func WithSort(target SortTarget, order SortOrder) OpOption {
	return func(op *Op) {
		if target == SortByKey && order == SortAscend {
			order = SortNone
		}
		op.set, op.target, op.order = op.set|optSort, target, order
	}
}

// WithSerializable lets the member that is asked answer from what it has, which
// may be old. It needs no quorum.
func WithSerializable() OpOption { return flag(optSerializable) }

// WithKeysOnly leaves the values out.
func WithKeysOnly() OpOption { return flag(optKeysOnly) }

// WithCountOnly gets nothing but the count.
func WithCountOnly() OpOption { return flag(optCountOnly) }

// WithMinModRev leaves out keys that were written before a revision.
func WithMinModRev(rev int64) OpOption {
	return func(op *Op) { op.set, op.minMod = op.set|optMinMod, rev }
}

// WithMaxModRev leaves out keys that were written after a revision.
func WithMaxModRev(rev int64) OpOption {
	return func(op *Op) { op.set, op.maxMod = op.set|optMaxMod, rev }
}

// WithMinCreateRev leaves out keys that were created before a revision.
func WithMinCreateRev(rev int64) OpOption {
	return func(op *Op) { op.set, op.minCreate = op.set|optMinCreate, rev }
}

// WithMaxCreateRev leaves out keys that were created after a revision.
func WithMaxCreateRev(rev int64) OpOption {
	return func(op *Op) { op.set, op.maxCreate = op.set|optMaxCreate, rev }
}

// WithPrevKV has a put or delete return what was there before, and a watch tell it
// with each event.
func WithPrevKV() OpOption { return flag(optPrevKV) }

// WithLease attaches the key to a lease.
func WithLease(id LeaseID) OpOption {
	return func(op *Op) { op.set, op.lease = op.set|optLease, id }
}

// WithIgnoreValue keeps the value that the key has.
func WithIgnoreValue() OpOption { return flag(optIgnoreValue) }

// WithIgnoreLease keeps the lease that the key has.
func WithIgnoreLease() OpOption { return flag(optIgnoreLease) }

// WithProgressNotify has a watch say now and then how far it is when it has nothing
// to tell. How often, the server knows: every ten minutes unless it was told
// otherwise.
func WithProgressNotify() OpOption { return flag(optProgress) }

// WithCreatedNotify has a watch say when it has begun.
func WithCreatedNotify() OpOption { return flag(optCreated) }

// WithFilterPut has a watch leave out puts.
func WithFilterPut() OpOption { return flag(optNoPut) }

// WithFilterDelete has a watch leave out deletes.
func WithFilterDelete() OpOption { return flag(optNoDelete) }

// WithFragment lets the server cut the events of a revision, or of several, into
// messages of a bounded size. A watch tells them whole all the same.
func WithFragment() OpOption { return flag(optFragment) }
