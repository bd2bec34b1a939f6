package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/internal/sim/disk"
)

// told is a change as a test keeps it.
type told struct {
	main, sub int64
	tombstone bool
	key       string
	record    string
	previous  string
}

func tell(t *testing.T, v *View, c *Change) told {
	t.Helper()
	before, err := v.Previous(c)
	require.NoError(t, err)
	return told{c.Revision.Main, c.Revision.Sub, c.Tombstone, string([]byte(c.Key())), string(c.Record), string(before)}
}

// walk reads the changes from revision from on in short walks, none of which may
// split a revision.
func walk(t *testing.T, v *View, from int64, r *rand.Rand) (all []told) {
	t.Helper()
	for from <= v.Revision {
		left := r.IntN(10)
		next, err := v.Changes(from, 1+r.IntN(20), 1+r.IntN(1000), func(c *Change) bool {
			all = append(all, tell(t, v, c))
			left--
			return left > 0
		})
		require.NoError(t, err)
		require.Greater(t, next, from)
		if len(all) > 0 {
			require.Less(t, all[len(all)-1].main, next)
		}
		from = next
	}
	return all
}

// The history that is read from the store is the one that updates made, with
// what each change has replaced, down to the compaction and not below.
func TestChangesAreTheHistory(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 9))
		s := open(t, disk.New())
		u, err := Load(s, 1, 1<<12)
		require.NoError(t, err)
		var made []told
		var view *View
		for range 400 {
			for range 1 + r.IntN(5) {
				for range 1 + r.IntN(3) {
					key := fmt.Appendf(nil, "k%d", r.IntN(20))
					if r.IntN(3) == 0 {
						_, _, err := u.DeleteRange(key, fmt.Appendf(nil, "k%d", r.IntN(20)), false)
						require.NoError(t, err)
					} else {
						u.Put(key, fmt.Append(nil, r.Uint64()), 0)
					}
				}
				u.End()
			}
			view = commit(t, s, u)
			changes := u.Changes()
			for i := range changes {
				made = append(made, tell(t, view, &changes[i]))
			}
			if r.IntN(20) == 0 {
				c := max(view.Compacted+1, view.Revision-int64(r.IntN(60)))
				require.NoError(t, u.Compact(c))
				commit(t, s, u)
				for more := true; more; {
					b := s.NewBatch()
					more, err = u.Sweep(b, 50)
					require.NoError(t, err)
					require.NoError(t, b.Commit())
				}
				view = commit(t, s, u)
			}
			from := max(view.Compacted, view.Revision-int64(r.IntN(100)))
			if from <= 0 {
				continue
			}
			read := walk(t, view, from, r)
			var want []told
			for _, one := range made {
				if one.main < from {
					continue
				}
				if one.main-1 < view.Compacted {
					one.previous = ""
				}
				want = append(want, one)
			}
			if from == view.Compacted {
				// What a later change of the very revision has replaced is gone.
				want, read = atLast(want, from), atLast(read, from)
			}
			require.Equal(t, want, read, "seed %d, from %d", seed, from)
		}
		if view.Compacted > 1 {
			_, err = view.Changes(view.Compacted-1, 10, 10, func(*Change) bool { return true })
			require.ErrorIs(t, err, errs.Compacted)
		}
		require.NoError(t, s.Close())
	}
}

// atLast leaves of the changes of one revision the last of each key.
func atLast(all []told, revision int64) (kept []told) {
	last := map[string]int64{}
	for _, one := range all {
		if one.main == revision {
			last[one.key] = one.sub
		}
	}
	for _, one := range all {
		if one.main != revision || last[one.key] == one.sub {
			kept = append(kept, one)
		}
	}
	return kept
}

// A deletion at the very revision of a compaction stays for who watches from
// there, however often the sweep comes by.
func TestADeletionAtTheCompactionStays(t *testing.T) {
	s := open(t, disk.New())
	u, err := Load(s, 1, 1<<12)
	require.NoError(t, err)
	u.Put([]byte("k"), []byte("v"), 0)
	u.End() // 2
	_, _, err = u.DeleteRange([]byte("k"), nil, false)
	require.NoError(t, err)
	require.Equal(t, int64(3), u.End())
	commit(t, s, u)
	require.NoError(t, u.Compact(3))
	view := commit(t, s, u)
	for range 20 {
		b := s.NewBatch()
		_, err = u.Sweep(b, 50)
		require.NoError(t, err)
		require.NoError(t, b.Commit())
	}
	var seen []told
	_, err = view.Changes(3, 10, 1000, func(c *Change) bool {
		seen = append(seen, tell(t, view, c))
		return true
	})
	require.NoError(t, err)
	require.Len(t, seen, 1)
	require.True(t, seen[0].tombstone)
	require.Equal(t, "k", seen[0].key)
	require.NoError(t, s.Close())
}
