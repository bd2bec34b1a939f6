package mvcc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/sim/disk"
)

// What was said to be swept stays swept: a reader that comes too late, and is
// about to be told so, does not make it forgotten.
func TestALatePinDoesNotUndoTheSweep(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1<<20)
	require.NoError(t, err)
	put := func(key string) { u.Put([]byte(key), []byte("v"), 0); u.End() }
	put("a") // 2
	put("b") // 3
	_, _, err = u.DeleteRange([]byte("b"), nil, false)
	require.NoError(t, err)
	u.End()  // 4, a tombstone
	put("c") // 5
	view := commit(t, s, u)
	put("a") // 6: replaces 2, which a reader at 5 needs
	commit(t, s, u)
	late, err := view.List(everything(0), 1<<20)
	require.NoError(t, err)
	require.EqualValues(t, 2, late.Count)
	require.NoError(t, u.Compact(6))
	commit(t, s, u)
	b := s.NewBatch()
	for !u.garbage.replaced.empty() {
		_, err := u.Sweep(b, 1) // older versions first; the tombstone of 4 is left
		require.NoError(t, err)
	}
	require.False(t, u.garbage.tombstones.empty())
	_, err = view.Range(everything(0))
	require.ErrorIs(t, err, ErrStale)
	// Listing.Pin, with a slice of the sweep between its two steps.
	late.pin = view.keyspace.pins.add(late.revision, false)
	_, err = u.Sweep(b, 1)
	require.NoError(t, err)
	require.NoError(t, b.Commit())
	if view.fresh(0) == nil { // what Pin looks at last
		n := int64(0)
		require.NoError(t, late.Each(func([]byte) error { n++; return nil }))
		require.Equal(t, late.Count, n, "a list that is incomplete and does not say so")
	}
	require.ErrorIs(t, view.fresh(0), ErrStale)
}

// A slice of a sweep is bounded by what it reads, too.
func TestAHashStepIsBoundedInBytes(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1)
	require.NoError(t, err)
	for i := range 20 {
		u.Put(fmt.Appendf(nil, "k%d", i), make([]byte, 1<<20), 0)
		u.End()
		commit(t, s, u)
	}
	require.NoError(t, s.Flush())
	require.NoError(t, u.Compact(u.Revision()))
	commit(t, s, u)
	b := s.NewBatch()
	defer b.Discard()
	_, err = u.Sweep(b, 500)
	require.NoError(t, err)
	require.Less(t, u.garbage.compactions[0].hashing.next.Main, int64(5), "a few records of a megabyte")
}

// However much of it is gone from the store, a slice looks at a bounded part of the
// history.
func TestAHashStepLooksAtABoundedPartOfTheHistory(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1)
	require.NoError(t, err)
	u.revision = 10 * hashWindow
	u.Put([]byte("k"), []byte("v"), 0)
	u.End()
	before, err := commit(t, s, u).Hash(0)
	require.NoError(t, err)
	require.NoError(t, u.Compact(u.Revision()))
	view := commit(t, s, u)
	b := s.NewBatch()
	defer b.Discard()
	for i := range int64(10) {
		more, err := u.Sweep(b, 500)
		require.NoError(t, err)
		require.True(t, more)
		require.Equal(t, (i+1)*hashWindow, u.garbage.compactions[0].hashing.next.Main)
	}
	sweep(t, u, b)
	after, err := view.Hash(view.Revision)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
