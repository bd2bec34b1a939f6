package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/sim/disk"
)

// Counts at past revisions are those of a walk, in views old and new, before and
// after what is remembered ends.
func TestCountsAtPastRevisions(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	u.epochs.kept = 6
	walk := func(v *View, sp span, rev int64) int { return len(v.collect(sp, rev, 0)) }
	var old *View
	for u.epochs.floor <= 1 {
		for range 40 {
			for range 1 + r.IntN(4) {
				key := fmt.Appendf(nil, "%04d", r.IntN(3000))
				if r.IntN(2) == 0 {
					_, _, err := u.DeleteRange(key, nil, false)
					require.NoError(t, err)
				} else {
					u.Put(key, nil, 0)
				}
			}
			u.End()
		}
		view := commit(t, s, u)
		if old == nil && len(u.epochs.closed) == 3 {
			old = view
		}
		if r.IntN(20) > 0 {
			continue
		}
		for _, v := range []*View{view, old} {
			if v == nil {
				continue
			}
			for range 3 {
				rev := 1 + r.Int64N(v.Revision)
				lo, hi := fmt.Appendf(nil, "%04d", r.IntN(3000)), fmt.Appendf(nil, "%04d", r.IntN(3000))
				for _, sp := range []span{newSpan(lo, hi), newSpan(lo, []byte{0}), newSpan([]byte{0}, []byte{0})} {
					require.Equal(t, walk(v, sp, rev), v.count(sp, rev), "at %d of %d", rev, v.Revision)
				}
			}
		}
	}
	view := u.Publish()
	all := newSpan([]byte{0}, []byte{0})
	_, ok := view.epochs.since(all, view.epochs.floor-1)
	require.False(t, ok)
	for _, rev := range []int64{2, view.epochs.floor - 1, view.epochs.floor, view.epochs.floor + 1, view.Revision} {
		require.Equal(t, walk(view, all, rev), view.count(all, rev))
	}
	again, err := Load(s, u.Revision(), 1<<20)
	require.NoError(t, err)
	again.Put([]byte("new"), nil, 0)
	again.End()
	view = commit(t, s, again)
	require.Equal(t, walk(view, all, view.Revision-1), view.count(all, view.Revision-1))
	require.Equal(t, walk(view, all, 9), view.count(all, 9))
}

// However many readers hold a revision, small ones need none; and one that is not
// pinned says so when the sweep has passed it.
func TestListingsWithoutAPin(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	u.Put([]byte("k"), []byte("1"), 0)
	u.End()
	view := commit(t, s, u)
	var held []*Listing
	for range maxPins {
		l, err := view.List(everything(0), 1<<20)
		require.NoError(t, err)
		require.NoError(t, l.Pin(false))
		held = append(held, l)
	}
	l, err := view.List(everything(0), 1<<20)
	require.NoError(t, err)
	require.ErrorIs(t, l.Pin(false), errs.TooManyRequests)
	l.Close()
	l, err = view.List(everything(0), 1<<20)
	require.NoError(t, err)
	require.NoError(t, l.Each(func([]byte) error { return nil }))
	for _, h := range held {
		h.Close()
	}
	u.Put([]byte("k"), []byte("2"), 0)
	u.End()
	commit(t, s, u)
	require.NoError(t, u.Compact(u.Revision()))
	commit(t, s, u)
	b := s.NewBatch()
	sweep(t, u, b)
	require.NoError(t, b.Commit())
	require.ErrorIs(t, l.Each(func([]byte) error { return nil }), ErrStale)
	_, err = view.List(everything(0), 1<<20)
	require.ErrorIs(t, err, ErrStale)
	l.Close()
}

// What is remembered of past counts is bounded in bytes.
func TestEpochsAreBoundedInBytes(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1)
	require.NoError(t, err)
	key := make([]byte, 16<<10)
	for i := range 6_000 {
		copy(key, fmt.Sprintf("%08d", i))
		u.Put(key, nil, 0)
		u.End()
		_, _, err := u.DeleteRange(key, nil, false)
		require.NoError(t, err)
		u.End()
		if i%100 == 99 {
			require.NoError(t, u.Compact(u.Revision()))
			commit(t, s, u)
			b := s.NewBatch()
			for u.SweepDue() {
				_, err := u.Sweep(b, 500)
				require.NoError(t, err)
			}
			require.NoError(t, b.Commit())
		}
	}
	bytes := 0
	for _, e := range u.epochs.closed {
		bytes += e.keys.size()
	}
	for _, c := range u.epochs.open {
		bytes += len(c.key)
	}
	t.Logf("%d live keys, %d bytes in use, %d MiB in the epochs", u.Publish().Keys(), u.InUse(), bytes>>20)
	require.Less(t, bytes, 64<<20)
}

// Readers who hold more in memory are fewer, and keep no others waiting.
func TestHeavyPins(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	u.Put([]byte("k"), []byte("1"), 0)
	u.End()
	view := commit(t, s, u)
	var held []*Listing
	sorted := everything(0)
	sorted.SortTarget, sorted.SortOrder = etcdserverpb.RangeRequest_MOD, etcdserverpb.RangeRequest_DESCEND
	for i := range maxHeavy {
		r := sorted
		if i%2 == 0 {
			r = everything(0)
		}
		l, err := view.List(r, 1<<20)
		require.NoError(t, err)
		require.NoError(t, l.Pin(i%2 == 0))
		held = append(held, l)
	}
	l, err := view.List(sorted, 1<<20)
	require.NoError(t, err)
	require.ErrorIs(t, l.Pin(false), errs.TooManyRequests)
	l.Close()
	l, err = view.List(everything(0), 1<<20)
	require.NoError(t, err)
	require.NoError(t, l.Pin(false))
	l.Close()
	for _, h := range held {
		h.Close()
		h.Close()
	}
	l, err = view.List(sorted, 1<<20)
	require.NoError(t, err)
	require.NoError(t, l.Pin(true))
	l.Close()
}
