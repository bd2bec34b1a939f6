package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/errs"
	"etcd.alt/internal/machine"
)

// said is a caller that keeps what it was told.
type said struct {
	n   int
	err error
}

func (c *said) Done(_ any, err error) { c.n, c.err = c.n+1, err }

// What a leader has decided in its term, and has not logged when it hears of the
// next leader, is not sent on to that; what a client has asked for is.
func TestWhatALeaderHasDecidedIsNotForTheNextOne(t *testing.T) {
	c := newSites(t, 3, false)
	old := c.elect(1)
	term := old.core.Status().Term
	require.True(t, old.core.Status().Established)
	var well, early said
	require.NoError(t, old.core.ProposeInTerm(term, 100, putData(100, "in-term", 1), &well))
	require.NoError(t, old.core.ProposeInTerm(term+1, 101, putData(101, "early", 1), &early))
	c.settle()
	require.Equal(t, said{n: 1}, well)
	require.Equal(t, said{1, errs.ProposalDropped}, early)

	// The others elect the second; the first hears of it when proposals wait.
	c.lose = func(m *raftpb.Message) bool { return m.GetTo() == 1 || m.GetFrom() == 1 }
	for range 40 {
		c.all[2].core.Tick()
		c.all[3].core.Tick()
		c.settle()
	}
	next := c.all[2]
	if !next.core.Status().IsLeader {
		next = c.all[3]
	}
	require.True(t, next.core.Status().IsLeader)
	require.True(t, old.core.Status().IsLeader, "it does not know yet")
	var decided, asked said
	require.NoError(t, old.core.ProposeInTerm(term, 102, putData(102, "decided", 1), &decided))
	require.NoError(t, old.core.Propose(103, putData(103, "asked", 1), &asked))
	c.lose = nil
	now := next.core.Status()
	require.NoError(t, old.core.Receive(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: &next.id, To: &old.id, Term: &now.Term, Commit: ptr(uint64(0))}))
	for range 5 {
		c.tick()
	}
	require.Equal(t, said{1, errs.ProposalDropped}, decided)
	require.Equal(t, said{n: 1}, asked)
	require.False(t, old.core.Status().Established)
	for _, s := range c.all {
		require.True(t, has(s.m.View(), "asked"))
		require.True(t, has(s.m.View(), "in-term"))
		require.False(t, has(s.m.View(), "decided"))
		require.False(t, has(s.m.View(), "early"))
	}
}

// What waits since leadership is being handed over goes the same way.
func TestWhatALeaderHoldsIsNotForTheNextOne(t *testing.T) {
	c := newSites(t, 3, false)
	old := c.elect(1)
	term := old.core.Status().Term
	c.lose = func(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgTimeoutNow }
	old.core.Transfer(2)
	c.settle()
	var decided, asked said
	require.NoError(t, old.core.ProposeInTerm(term, 100, putData(100, "decided", 1), &decided))
	require.NoError(t, old.core.Propose(101, putData(101, "asked", 1), &asked))
	c.settle()
	require.Zero(t, decided.n+asked.n, "proposals wait while leadership is handed over")
	c.lose = nil
	require.NoError(t, c.all[2].core.Receive(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: ptr(uint64(1)), To: ptr(uint64(2)), Term: &term}))
	for range 5 {
		c.tick()
	}
	require.True(t, c.all[2].core.Status().IsLeader)
	require.Equal(t, said{1, errs.ProposalDropped}, decided)
	require.Equal(t, said{n: 1}, asked)
	require.False(t, has(c.all[2].m.View(), "decided"))
}

func has(v *machine.View, key string) bool {
	r, err := v.Keys.Range(question{key: key}.rangeRequest())
	return err == nil && r.Count == 1
}
