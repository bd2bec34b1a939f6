package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

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
