package mvcc

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
)

// everything is the request for all keys.
func everything(rev int64) *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev}
}

func open(t testing.TB, fs *disk.FS) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{FS: fs, Dir: "store"})
	require.NoError(t, err)
	return s
}

func commit(t testing.TB, s *store.Store, u *Update) *View {
	t.Helper()
	b := s.NewBatch()
	u.Save(b)
	require.NoError(t, b.Commit())
	return u.Publish()
}

// What is read back from the store is what was written to it: every revision,
// its hash, and what a compaction still has to take.
func TestLoadedIndexIsTheWrittenOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	fs := disk.New()
	s := open(t, fs)
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	var view *View
	for i := range 3000 {
		key := fmt.Appendf(nil, "key/%03d", r.IntN(200))
		if r.IntN(4) == 0 {
			_, _, err := u.DeleteRange(key, nil, false)
			require.NoError(t, err)
		} else {
			u.Put(key, fmt.Append(nil, i), 0)
		}
		u.End()
		if i%10 == 9 {
			view = commit(t, s, u)
		}
		if i == 2000 {
			require.NoError(t, u.Compact(u.Revision()-50))
			commit(t, s, u)
			b := s.NewBatch()
			for range 20 { // hashing comes first, then not all of it
				_, err := u.Sweep(b, 100)
				require.NoError(t, err)
			}
			require.NoError(t, b.Commit())
			require.True(t, u.SweepDue())
		}
	}
	require.NoError(t, s.Close())
	s = open(t, fs)
	again, err := Load(s, u.Revision(), 1<<20)
	require.NoError(t, err)
	loaded := again.Publish()
	require.Equal(t, view.Compacted, loaded.Compacted)
	require.Equal(t, view.Keys(), loaded.Keys())
	check(t, loaded.tree)
	for rev := view.Compacted; rev <= view.Revision; rev += 13 {
		a, err := countAt(view, rev)
		require.NoError(t, err)
		b, err := loaded.Range(everything(rev))
		require.NoError(t, err)
		require.Equal(t, a, b.Count)
		_, err = loaded.Hash(rev)
		require.NoError(t, err)
	}
	before, err := loaded.Hash(0)
	require.NoError(t, err)
	for more := true; more; {
		b := s.NewBatch()
		more, err = again.Sweep(b, 100)
		require.NoError(t, err)
		require.NoError(t, b.Commit())
	}
	require.False(t, again.SweepDue())
	after, err := again.Publish().Hash(0)
	require.NoError(t, err)
	require.Equal(t, before, after, "the hash does not tell how far the sweep has come")
	require.NoError(t, s.Close())
}

// A long history is read in pieces by several goroutines.
func TestLongHistoryIsLoadedInPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	for u.Revision() < loadPiece+loadPiece/4 {
		for range 1 + r.IntN(3) {
			key := fmt.Appendf(nil, "key/%05d", r.IntN(40_000))
			if r.IntN(8) == 0 {
				_, _, err := u.DeleteRange(key, nil, false)
				require.NoError(t, err)
			} else {
				u.Put(key, []byte("v"), int64(r.IntN(3)))
			}
		}
		u.End()
		if u.Revision()%1000 == 0 {
			commit(t, s, u)
		}
	}
	written := commit(t, s, u)
	again, err := Load(s, u.Revision(), 1<<20)
	require.NoError(t, err)
	loaded := again.Publish()
	check(t, loaded.tree)
	for _, rev := range []int64{2, loadPiece - 1, loadPiece, u.Revision()} {
		var a, b []State
		for list, v := range map[*[]State]*View{&a: written, &b: loaded} {
			for _, f := range v.collect(newSpan([]byte{0}, []byte{0}), rev, 0) {
				*list = append(*list, State{Create: f.version.create, Mod: f.version.main, Version: f.version.count, Lease: f.version.lease()})
			}
		}
		require.Equal(t, a, b, "at %d", rev)
	}
}

// countAt counts without reading values: the view's store is closed.
func countAt(v *View, rev int64) (int64, error) {
	res, err := v.Range(&etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev, CountOnly: true})
	return res.Count, err
}

// A sweep leaves exactly the records that a compaction keeps.
func TestSweepLeavesWhatCounts(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	put := func(key string) { u.Put([]byte(key), []byte("v"), 0); u.End() }
	del := func(key string) {
		_, _, err := u.DeleteRange([]byte(key), nil, false)
		require.NoError(t, err)
		u.End()
	}
	put("a") // 2
	put("a") // 3
	put("b") // 4
	del("b") // 5
	put("c") // 6
	del("c") // 7
	put("a") // 8
	commit(t, s, u)
	require.NoError(t, u.Compact(7))
	view := commit(t, s, u)
	listing, err := view.List(everything(0), 1<<20)
	require.NoError(t, err)
	require.NoError(t, listing.Pin(false))
	b := s.NewBatch()
	sweep(t, u, b)
	require.NoError(t, b.Commit())
	records := s.Records(store.Revision{}, store.Revision{})
	var left []string
	for records.Next() {
		left = append(left, fmt.Sprint(records.Revision().Main, records.Tombstone()))
	}
	require.NoError(t, records.Close())
	// a's version of 3 lived at 7; the tombstone exactly at 7 stays.
	require.Equal(t, []string{"3 false", "7 true", "8 false"}, left)
	// A reader that stands on a revision holds back what was replaced after it.
	put("a") // 9
	commit(t, s, u)
	require.NoError(t, u.Compact(9))
	commit(t, s, u)
	b = s.NewBatch()
	sweep(t, u, b)
	require.NoError(t, b.Commit())
	require.True(t, u.SweepDue())
	n := 0
	require.NoError(t, listing.Each(func([]byte) error { n++; return nil }))
	require.Equal(t, 1, n)
	listing.Close()
	b = s.NewBatch()
	sweep(t, u, b)
	require.NoError(t, b.Commit())
	require.False(t, u.SweepDue())
	require.Equal(t, 1, u.Publish().Keys())
}

func BenchmarkLoad(b *testing.B) {
	const n = 1_000_000
	s, err := store.Open(store.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(b, err)
	r := rand.New(rand.NewPCG(1, 2))
	val := make([]byte, 256)
	for i := range n {
		u.Put(fmt.Appendf(nil, "%016x%016x", r.Uint64(), r.Uint64()), val, 0)
		u.End()
		if i%1000 == 999 {
			commit(b, s, u)
		}
	}
	rev := u.Revision()
	require.NoError(b, s.Flush())
	u = nil
	before := heap()
	for b.Loop() {
		u, err = Load(s, rev, 1<<20)
		require.NoError(b, err)
	}
	b.ReportMetric((heap()-before)/n, "B/key")
	runtime.KeepAlive(u)
}

// heap is what is alive on the heap, in bytes.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkPage reads pages of 500 keys, in key order, out of a million keys
// that were written in no order.
func BenchmarkPage(b *testing.B) {
	const n = 1_000_000
	s, err := store.Open(store.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer s.Close()
	u, err := Load(s, 1, 64<<20)
	require.NoError(b, err)
	r := rand.New(rand.NewPCG(1, 2))
	val := make([]byte, 256)
	for i := range n {
		for j := range val {
			val[j] = byte(r.Uint32())
		}
		u.Put(fmt.Appendf(nil, "%016x%016x", r.Uint64(), r.Uint64()), val, 0)
		u.End()
		if i%1000 == 999 {
			commit(b, s, u)
		}
	}
	require.NoError(b, s.Flush())
	view := u.Publish()
	for b.Loop() {
		l, err := view.List(&etcdserverpb.RangeRequest{Key: fmt.Appendf(nil, "%016x", r.Uint64()), RangeEnd: []byte{0}, Limit: 500}, 1<<20)
		require.NoError(b, err)
		require.NoError(b, l.Each(func([]byte) error { return nil }))
		l.Close()
	}
}

// sweep does all of the compactions' work that can be done now.
func sweep(t testing.TB, u *Update, b *store.Batch) {
	t.Helper()
	for more := true; more; {
		var err error
		more, err = u.Sweep(b, 100)
		require.NoError(t, err)
	}
}

// A compaction leaves behind the hash of its revision as it was before: while it
// waits to be swept, after that, and when ten others have come, no more.
func TestCompactionsLeaveTheirHashes(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	var left []Hash
	for i := range 12 {
		for j := range 7 {
			u.Put(fmt.Appendf(nil, "k%d", (i+j)%5), fmt.Append(nil, i, j), 0)
			u.End()
		}
		if i == 6 {
			_, _, err := u.DeleteRange([]byte{0}, []byte{0}, false)
			require.NoError(t, err)
			u.End()
		}
		before, err := commit(t, s, u).Hash(0)
		require.NoError(t, err)
		require.NoError(t, u.Compact(before.Revision))
		u.Put([]byte("k0"), []byte("later"), 0)
		u.End()
		view := commit(t, s, u)
		waiting, err := view.Hash(before.Revision)
		require.NoError(t, err)
		require.Equal(t, before, waiting)
		b := s.NewBatch()
		sweep(t, u, b)
		require.NoError(t, b.Commit())
		left = append(left, before)
	}
	view := u.Publish()
	for i, h := range left {
		again, err := view.Hash(h.Revision)
		if i < len(left)-keptHashes {
			require.ErrorIs(t, err, errs.Compacted)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, h, again)
	}
}

// InUse is what the records of a swept store take, however far the sweep has
// come and after a restart too.
func TestInUseIsWhatASweepLeaves(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	for round := range 8 {
		for range 300 {
			key := fmt.Appendf(nil, "key/%03d", r.IntN(100))
			if r.IntN(4) == 0 {
				_, _, err = u.DeleteRange(key, nil, false)
				require.NoError(t, err)
			} else {
				u.Put(key, make([]byte, r.IntN(300)), int64(r.IntN(2)))
			}
			u.End()
		}
		commit(t, s, u)
		if round > 0 {
			require.NoError(t, u.Compact(u.Revision()-r.Int64N(200)))
		}
		inUse := commit(t, s, u).InUse
		b := s.NewBatch()
		for range 8 {
			_, err := u.Sweep(b, 100)
			require.NoError(t, err)
		}
		require.NoError(t, b.Commit())
		require.Equal(t, inUse, u.Publish().InUse)
		again, err := Load(s, u.Revision(), 1<<20)
		require.NoError(t, err)
		require.Equal(t, inUse, again.Publish().InUse)
		b = s.NewBatch()
		sweep(t, u, b)
		require.NoError(t, b.Commit())
		left := int64(0)
		records := s.Records(store.Revision{}, store.Revision{})
		for records.Next() {
			value, err := records.Value()
			require.NoError(t, err)
			left += 17 + int64(len(value))
			if records.Tombstone() {
				left++
			}
		}
		require.NoError(t, records.Close())
		require.Equal(t, left, inUse)
		require.Equal(t, revisionsOf(t, s.Records), revisionsOf(t, s.Entries), "an entry goes with its record")
	}
}

// revisionsOf lists what a cursor over everything comes by.
func revisionsOf(t *testing.T, all func(from, to store.Revision) *store.Records) (list []string) {
	t.Helper()
	c := all(store.Revision{}, store.Revision{})
	for c.Next() {
		list = append(list, fmt.Sprint(c.Revision(), c.Tombstone()))
	}
	require.NoError(t, c.Close())
	return list
}
