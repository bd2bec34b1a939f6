package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
)

// naive is the leases told the plain way.
type naive struct {
	leases map[int64]Lease
	on     map[string]int64
}

func (n *naive) check(t *testing.T, v *View) {
	t.Helper()
	require.Equal(t, len(n.leases), v.Len())
	var ids []int64
	v.Each(func(l Lease) bool {
		ids = append(ids, l.ID)
		require.Equal(t, n.leases[l.ID], l)
		var want []string
		for _, key := range slices.Sorted(maps.Keys(n.on)) {
			if n.on[key] == l.ID {
				want = append(want, key)
			}
		}
		require.Equal(t, want, v.Keys(l.ID))
		require.Equal(t, min(len(want), 2), v.CountKeys(l.ID, 2))
		return true
	})
	require.True(t, slices.IsSorted(ids))
}

// A random history, over what a naive map says, with all views kept, and with
// restarts.
func TestStateAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		db, err := store.Open(store.Options{FS: disk.New(), Dir: "store"})
		require.NoError(t, err)
		s, err := Load(db)
		require.NoError(t, err)
		n := &naive{map[int64]Lease{}, map[string]int64{}}
		type kept struct {
			view *View
			n    naive
		}
		var past []kept
		for range 60 {
			b := db.NewBatch()
			var want []Change
			for range rng.IntN(8) {
				id := rng.Int64N(7) - 3
				l, there := n.leases[id]
				key := fmt.Sprintf("k%d", rng.IntN(12))
				switch rng.IntN(6) {
				case 0:
					if !there && id != 0 {
						l = s.Grant(b, id, rng.Int64N(100)+1)
						n.leases[id] = l
						want = append(want, Change{l, Granted})
					}
				case 1:
					if there {
						for _, key := range s.keysOf(id) {
							s.Move(key, id, 0)
							delete(n.on, key)
						}
						delete(n.leases, id)
						want = append(want, Change{l, Revoked})
					}
					s.Revoke(b, id)
				case 2:
					left := rng.Int64N(120) - 10
					s.Checkpoint(b, id, left)
					if l.Remaining = left; left < 0 || left >= l.TTL {
						l.Remaining = 0
					}
					if there {
						n.leases[id] = l
						want = append(want, Change{l, Checkpointed})
					}
				default:
					if there || id == 0 {
						s.Move(key, n.on[key], id)
						n.on[key] = id
					}
				}
			}
			require.NoError(t, b.Commit())
			view, changes := s.Publish()
			require.Equal(t, want, changes)
			n.check(t, view)
			past = append(past, kept{view, naive{maps.Clone(n.leases), maps.Clone(n.on)}})
			if rng.IntN(10) == 0 {
				s, err = Load(db)
				require.NoError(t, err)
				for key, id := range n.on {
					s.Move(key, 0, id)
				}
			}
		}
		for _, p := range past {
			p.n.check(t, p.view)
		}
		require.NoError(t, db.Close())
	}
}

func (s *State) keysOf(id int64) (keys []string) {
	s.EachKey(id, func(key string) bool {
		keys = append(keys, key)
		return true
	})
	return keys
}

// A View is made only where something has changed.
func TestAnUnchangedStateIsPublishedForNothing(t *testing.T) {
	s := newState()
	first, _ := s.Publish()
	s.Move("k", 0, 0)
	s.Move("k", 0, 7) // there is no such lease
	s.Move("k", 7, 0)
	second, _ := s.Publish()
	require.Same(t, first, second)
}

func TestDamagedLeasesAreRefused(t *testing.T) {
	for name, record := range map[string][2]string{
		"a key of 3 bytes": {"abc", ""},
		"is stored as":     {"\x00\x00\x00\x00\x00\x00\x00\x07", "\x08\x08"},
		"lease 7:":         {"\x00\x00\x00\x00\x00\x00\x00\x07", "\xff"},
	} {
		db, err := store.Open(store.Options{FS: disk.New(), Dir: "store"})
		require.NoError(t, err)
		b := db.NewBatch()
		b.Set(store.SpaceLease, []byte(record[0]), []byte(record[1]))
		require.NoError(t, b.Commit())
		_, err = Load(db)
		require.ErrorContains(t, err, name)
		require.NoError(t, db.Close())
	}
}
