package replica

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/internal/raft"
)

// told is a caller that keeps what it was told.
type told struct {
	n   int
	err error
}

// Done is Caller's.
func (c *told) Done(_ any, err error) { c.n, c.err = c.n+1, err }

// A barrier holds until its very index is applied, and readers that come while a
// round is on its way wait for the next.
func TestABarrierWaitsForItsIndex(t *testing.T) {
	var r reads
	var asked []uint64
	ask := func(id uint64) bool { asked = append(asked, id); return true }
	var first, second told
	r.add([]Caller{&first}, 100)
	r.begin(ask, 0, 5)
	r.add([]Caller{&second}, 100)
	r.begin(ask, 0, 5)
	require.Equal(t, []uint64{1}, asked)
	r.answered(raft.Read{ID: 1, Index: 7})
	require.False(t, r.release(6))
	require.Zero(t, first.n)
	require.True(t, r.release(7))
	require.Equal(t, told{n: 1}, first)
	require.Zero(t, second.n)
	r.begin(ask, 0, 5)
	r.answered(raft.Read{ID: 2, Index: 7})
	require.True(t, r.release(9))
	require.Equal(t, told{n: 1}, second)
}

// A round that was given up is begun again under a fresh id, and a late answer
// to the old one serves nobody.
func TestALateAnswerServesNobody(t *testing.T) {
	var r reads
	var asked []uint64
	ask := func(id uint64) bool { asked = append(asked, id); return true }
	var c told
	r.add([]Caller{&c}, 8)
	r.begin(ask, 0, 5)
	r.tick(5)
	require.EqualValues(t, 1, r.slow)
	r.begin(ask, 5, 5)
	require.Equal(t, []uint64{1, 2}, asked)
	r.answered(raft.Read{ID: 1, Index: 1})
	require.False(t, r.release(100))
	require.Zero(t, c.n)
	r.tick(10)
	require.Equal(t, told{n: 1, err: errs.Timeout}, c)
}

// A read whose index never comes, since this member was removed meanwhile, waits
// no longer than any other.
func TestABarrierThatIsNeverReachedTimesOut(t *testing.T) {
	var r reads
	ask := func(uint64) bool { return true }
	var early, late told
	r.add([]Caller{&early}, 8)
	r.add([]Caller{&late}, 12)
	r.begin(ask, 0, 5)
	r.answered(raft.Read{ID: 1, Index: 7})
	r.tick(8)
	require.Equal(t, told{n: 1, err: errs.Timeout}, early)
	require.Zero(t, late.n)
	require.True(t, r.release(7), "the other is still there")
	require.Equal(t, told{n: 1}, late)
	require.Empty(t, r.barred)
}
