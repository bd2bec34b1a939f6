package mvcc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// View is the keyspace at one revision. It is immutable and may be read by any
// number of goroutines, for as long as they like.
type View struct {
	// Revision is the newest revision in the view.
	Revision int64
	// Compacted is the revision below which history is gone; -1 if none was
	// ever given up.
	Compacted int64
	// InUse is the bytes of all records that are not compacted, those that are not
	// swept yet left out. It is the same on every member.
	InUse int64

	keyspace *Keyspace
	tree     tree
	epochs   epochs // up to the tree's revision
}

// Keys is the number of live keys.
func (v *View) Keys() int { return v.tree.len() }

// Result is the answer to a range request, without its header.
type Result struct {
	// KVs holds encoded KeyValue messages. They are shared and must not be
	// changed.
	KVs [][]byte
	// Count is the number of keys in the range, whatever limit and filters say.
	Count int64
	// More says that the limit cut the list.
	More bool
}

// Range answers a request. It may read the disk. Errors: errs.Compacted,
// errs.FutureRev, errs.InvalidSortOption, or a failure of the store.
func (v *View) Range(r *etcdserverpb.RangeRequest) (Result, error) {
	res, _, err := v.read(r, v.keyspace.load)
	if err := v.fresh(r.Revision); err != nil {
		return Result{}, err
	}
	return res, err
}

// ErrStale is returned where a view was read at its newest revision while a
// compaction took away what it had. It is old by then; the published one is
// not, and the caller reads again.
var ErrStale = errors.New("mvcc: the view is older than the compaction")

// fresh looks, after a read at a revision (0 or less for the newest), whether
// the sweep may have taken from it.
func (v *View) fresh(revision int64) error {
	swept := v.keyspace.sweeping.Load()
	switch {
	case revision > 0 && revision < swept:
		return errs.Compacted
	case revision <= 0 && v.Revision < swept:
		return ErrStale
	}
	return nil
}

// RangeCached answers a request from memory alone. It reports false where that
// cannot be done: a value is not cached, or there is more to read than a
// connection should wait for.
func (v *View) RangeCached(r *etcdserverpb.RangeRequest) (Result, bool, error) {
	if !v.small(r) {
		return Result{}, false, nil
	}
	res, ok, err := v.read(r, v.keyspace.cached)
	if err := v.fresh(r.Revision); err != nil {
		return Result{}, true, err
	}
	return res, ok, err
}

// small says whether a request can be answered within the bounds of inline work.
// A limit bounds it only where keys are wanted in their own order.
func (v *View) small(r *etcdserverpb.RangeRequest) bool {
	rev := v.Revision
	if r.Revision > 0 {
		rev = r.Revision
	}
	s := newSpan(r.Key, r.RangeEnd)
	if !s.ranged {
		ver := v.tree.get(s.lo).liveAt(rev)
		return ver == nil || ver.size <= maxInlineBytes
	}
	if rev != v.Revision {
		return false // its count is a walk
	}
	if r.CountOnly {
		return true
	}
	most := int64(maxInlineKeys)
	if natural(r) && r.Limit > 0 && r.Limit < most {
		most = r.Limit + 1
	}
	var visited, live, size int64
	fits := true
	v.tree.ascend(s.lo, func(key string, head *version) bool {
		if !s.open && key >= s.hi {
			return false
		}
		if visited++; visited > maxInlineVisits {
			fits = false
			return false
		}
		ver := head.liveAt(rev)
		if ver == nil {
			return true
		}
		live++
		size += int64(ver.size)
		fits = live <= maxInlineKeys && size <= maxInlineBytes
		return fits && (live < most || most == maxInlineKeys)
	})
	return fits
}

// Bounds of what is answered on a connection's own goroutine: live keys, bytes of
// their records, and entries of the index looked at, dead ones included.
const (
	maxInlineKeys   = 16
	maxInlineBytes  = 64 << 10
	maxInlineVisits = 64
)

// natural says that the request asks for keys in key order, unfiltered, so that
// its limit bounds what must be walked.
func natural(r *etcdserverpb.RangeRequest) bool {
	return r.SortOrder == etcdserverpb.RangeRequest_NONE && !filtered(r)
}

func filtered(r *etcdserverpb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

// At checks that the view can be read at revision and returns the revision to
// read at; 0 or less means the newest.
func (v *View) At(revision int64) (int64, error) {
	switch {
	case revision <= 0:
		return v.Revision, nil
	case revision > v.Revision:
		return 0, errs.FutureRev
	case revision < v.Compacted:
		return 0, errs.Compacted
	}
	return revision, nil
}

// State is a key's state in a view, as comparisons see it. Its zero value is a
// key that does not exist.
type State struct {
	Create, Mod, Version, Lease int64

	version  *version
	keyspace *Keyspace
}

// Record returns the key's encoded KeyValue.
func (s State) Record() ([]byte, error) { return s.keyspace.load(s.version) }

// Each calls fn for the state of each live key of a range, in key order, until
// fn returns false or an error.
func (v *View) Each(key, end []byte, fn func(State) (bool, error)) error {
	for _, f := range v.collect(newSpan(key, end), v.Revision, 0) {
		s := State{Create: f.version.create, Mod: f.version.main, Version: f.version.count, Lease: f.version.lease(), version: f.version, keyspace: v.keyspace}
		if more, err := fn(s); err != nil || !more {
			return errors.Join(v.fresh(0), err)
		}
	}
	return v.fresh(0)
}

// CheckRange finds what would be wrong with a range request inside a
// transaction, where a negative revision is taken as one.
func (v *View) CheckRange(r *etcdserverpb.RangeRequest) error {
	if err := checkSort(r); err != nil {
		return err
	}
	switch {
	case r.Revision > v.Revision:
		return errs.FutureRev
	case r.Revision != 0 && r.Revision < v.Compacted:
		return errs.Compacted
	}
	return nil
}

// found is a key and the version of it that a request sees.
type found struct {
	key     string
	version *version
	kv      []byte // once loaded
}

// loader finds the encoded KeyValue of a version; nil without an error where
// the loader does not reach that far.
type loader func(*version) ([]byte, error)

// read is Range over a loader. It reports false if the loader missed.
func (v *View) read(r *etcdserverpb.RangeRequest, load loader) (Result, bool, error) {
	if err := checkSort(r); err != nil {
		return Result{}, true, err
	}
	rev, err := v.At(r.Revision)
	if err != nil {
		return Result{}, true, err
	}
	if len(r.RangeEnd) == 0 && !r.CountOnly && !filtered(r) {
		return v.readOne(r, rev, load)
	}
	span := newSpan(r.Key, r.RangeEnd)
	var res Result
	if r.CountOnly {
		res.Count = int64(v.count(span, rev))
		return res, true, nil
	}
	// Where keys are wanted in their own order only the limit's worth is
	// walked, and one more: sorting by something else takes those.
	most := 0
	if natural(r) && r.Limit > 0 {
		most = int(min(r.Limit, 1<<31)) + 1
	}
	list := v.collect(span, rev, most)
	if most > 0 && len(list) == most {
		res.Count = int64(v.count(span, rev))
	} else {
		res.Count = int64(len(list))
	}
	list = filter(list, r)
	byValue := r.SortTarget == etcdserverpb.RangeRequest_VALUE
	if byValue {
		if ok, err := fill(list, load); !ok || err != nil {
			return Result{}, ok, err
		}
	}
	order(list, r)
	if r.Limit > 0 && int64(len(list)) > r.Limit {
		list, res.More = list[:r.Limit], true
	}
	switch {
	case r.KeysOnly:
		stripValues(list, byValue)
	case !byValue:
		if ok, err := fill(list, load); !ok || err != nil {
			return Result{}, ok, err
		}
	}
	res.KVs = make([][]byte, len(list))
	for i, f := range list {
		res.KVs[i] = f.kv
	}
	return res, true, nil
}

// readOne is the request that outnumbers all others: one key.
func (v *View) readOne(r *etcdserverpb.RangeRequest, rev int64, load loader) (Result, bool, error) {
	ver := v.tree.get(view(r.Key)).liveAt(rev)
	if ver == nil {
		return Result{}, true, nil
	}
	list := [1]found{{key: string(r.Key), version: ver}}
	if r.KeysOnly && r.SortTarget != etcdserverpb.RangeRequest_VALUE {
		stripValues(list[:], false)
	} else {
		if ok, err := fill(list[:], load); !ok || err != nil {
			return Result{}, ok, err
		}
		if r.KeysOnly {
			stripValues(list[:], true)
		}
	}
	return Result{KVs: [][]byte{list[0].kv}, Count: 1}, true, nil
}

// collect returns the live keys of span at rev, in key order, at most most of
// them (0 for all).
func (v *View) collect(s span, rev int64, most int) []found {
	if !s.ranged {
		if ver := v.tree.get(s.lo).liveAt(rev); ver != nil {
			return []found{{key: s.lo, version: ver}}
		}
		return nil
	}
	var list []found
	v.tree.ascend(s.lo, func(key string, head *version) bool {
		if !s.open && key >= s.hi {
			return false
		}
		if ver := head.liveAt(rev); ver != nil {
			list = append(list, found{key: key, version: ver})
		}
		return most == 0 || len(list) < most
	})
	return list
}

// count counts the live keys of span at rev: from the tree's sums, less what has
// changed since; by a walk where that is too long ago.
func (v *View) count(s span, rev int64) int {
	if !s.ranged {
		return len(v.collect(s, rev, 0))
	}
	if rev == v.tree.revision {
		return v.tree.count(s)
	}
	if net, ok := v.epochs.since(s, rev); ok {
		return v.tree.count(s) - net
	}
	n := 0
	v.tree.ascend(s.lo, func(key string, head *version) bool {
		if !s.open && key >= s.hi {
			return false
		}
		if head.liveAt(rev) != nil {
			n++
		}
		return true
	})
	return n
}

// count counts the live keys of a ranged span at the tree's own revision.
func (t tree) count(s span) int {
	switch {
	case s.open:
		return t.len() - t.below(s.lo)
	case s.hi <= s.lo:
		return 0
	}
	return t.below(s.hi) - t.below(s.lo)
}

func fill(list []found, load loader) (bool, error) {
	for i := range list {
		kv, err := load(list[i].version)
		if err != nil {
			return true, fmt.Errorf("mvcc: value of revision %d.%d: %w", list[i].version.main, list[i].version.sub, err)
		}
		if kv == nil {
			return false, nil
		}
		list[i].kv = kv
	}
	return true, nil
}

// stripValues makes the records of a keys-only reply. They come from the index,
// which is why the lease is 0, unless the values had to be read for sorting.
func stripValues(list []found, loaded bool) {
	for i := range list {
		f := &list[i]
		lease := int64(0)
		if loaded {
			lease = f.version.lease()
		}
		b := make([]byte, 0, len(f.key)+maxKeyValueOverhead)
		f.kv = appendKeyValue(b, f.key, f.version.create, f.version.main, f.version.count, "", lease)
	}
}

func checkSort(r *etcdserverpb.RangeRequest) error {
	if r.SortOrder < etcdserverpb.RangeRequest_NONE || r.SortOrder > etcdserverpb.RangeRequest_DESCEND ||
		r.SortTarget < etcdserverpb.RangeRequest_KEY || r.SortTarget > etcdserverpb.RangeRequest_VALUE {
		return errs.InvalidSortOption
	}
	return nil
}

// filter drops what the revision bounds of the request exclude; 0 is no bound.
func filter(list []found, r *etcdserverpb.RangeRequest) []found {
	if !filtered(r) {
		return list
	}
	return slices.DeleteFunc(list, func(f found) bool {
		m, c := f.version.main, f.version.create
		return (r.MinModRevision != 0 && m < r.MinModRevision) ||
			(r.MaxModRevision != 0 && m > r.MaxModRevision) ||
			(r.MinCreateRevision != 0 && c < r.MinCreateRevision) ||
			(r.MaxCreateRevision != 0 && c > r.MaxCreateRevision)
	})
}

// order sorts list as the request says. It comes in key order, and equals keep
// that order.
func order(list []found, r *etcdserverpb.RangeRequest) {
	var by func(a, b found) int
	switch r.SortTarget {
	case etcdserverpb.RangeRequest_VERSION:
		by = func(a, b found) int { return cmp.Compare(a.version.count, b.version.count) }
	case etcdserverpb.RangeRequest_CREATE:
		by = func(a, b found) int { return cmp.Compare(a.version.create, b.version.create) }
	case etcdserverpb.RangeRequest_MOD:
		by = func(a, b found) int { return cmp.Compare(a.version.main, b.version.main) }
	case etcdserverpb.RangeRequest_VALUE:
		by = func(a, b found) int { return bytes.Compare(Value(a.kv), Value(b.kv)) }
	default:
		if r.SortOrder == etcdserverpb.RangeRequest_DESCEND {
			slices.Reverse(list)
		}
		return
	}
	if r.SortOrder == etcdserverpb.RangeRequest_DESCEND {
		asc := by
		by = func(a, b found) int { return asc(b, a) }
	}
	slices.SortStableFunc(list, by)
}

// span is a range of keys as requests give it.
type span struct {
	lo, hi string
	ranged bool // more than the one key lo
	open   bool // no upper end
}

// has says whether key is in a ranged span.
func (s *span) has(key string) bool { return key >= s.lo && (s.open || key < s.hi) }

// newSpan reads key and range_end. The strings alias the slices, so a span
// lives no longer than its request.
func newSpan(key, end []byte) span {
	switch {
	case len(end) == 0:
		return span{lo: view(key)}
	case len(end) == 1 && end[0] == 0:
		return span{lo: view(key), ranged: true, open: true}
	}
	return span{lo: view(key), hi: view(end), ranged: true}
}

// view is b as a string, for a look-up that does not outlive b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
