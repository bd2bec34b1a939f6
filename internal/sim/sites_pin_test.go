package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

// behind makes three members of which the third misses more than the log is kept,
// and is there again.
func behind(t *testing.T) (c *sites, leader *site, id *uint64) {
	t.Helper()
	c = newSites(t, 3, false)
	leader = c.elect(1)
	id = new(uint64)
	*id = 1000
	c.down[3] = true
	for range 3 {
		c.put(leader, id, 4000, 1)
		c.tick()
	}
	for range 25 { // the leader's view that the third is active ends
		c.tick()
	}
	require.Greater(t, leader.node.First(), uint64(5000))
	c.down[3] = false
	return c, leader, id
}

// holdInstall waits until the third is about to install a snapshot, and holds it
// there.
func (c *sites) holdInstall() *site {
	c.t.Helper()
	third := c.all[3]
	third.hold = true
	for range 30 {
		c.tick()
		if len(third.s.install) > 0 {
			return third
		}
	}
	c.t.Fatal("no snapshot has come")
	return nil
}

// Once in every election timeout raft forgets whom it has heard of, for the time
// to the next answer. Upkeep, which runs in that very tick, must not take that for a
// member that has gone, and let go of the log that a snapshot needs.
func TestThePinOfASnapshotOutlivesTheCheckOfTheQuorum(t *testing.T) {
	c, leader, _ := behind(t)
	c.holdInstall()
	require.NotZero(t, leader.node.Pinned())
	// The third answers every heartbeat, as a member that installs a snapshot should.
	for i := range 25 {
		leader.core.Tick()
		require.NoError(t, leader.core.Turn())
		require.NoError(t, leader.core.Receive(&raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: ptr(uint64(3)), To: ptr(uint64(1)), Term: ptr(leader.core.Status().Term)}))
		c.settle()
		require.NotZero(t, leader.node.Pinned(), "after %d ticks, each answered by the third, which has not passed the snapshot", i+1)
	}
}

// Nor may it throw away what a follower that answers every heartbeat, and is far
// less than 64 MiB behind, still needs.
func TestALaggingFollowerKeepsItsLogOverTheCheckOfTheQuorum(t *testing.T) {
	c := newSites(t, 3, false)
	leader := c.elect(1)
	id := uint64(1000)
	// The third hears heartbeats and gets no entries: it is slow.
	c.lose = func(m *raftpb.Message) bool { return m.GetTo() == 3 && m.GetType() == raftpb.MsgApp }
	match := func() uint64 {
		for _, p := range leader.node.Progress() {
			if p.ID == 3 {
				return p.Match
			}
		}
		return 0
	}
	for range 30 {
		c.put(leader, &id, 500, 1)
		c.tick()
		require.LessOrEqual(t, leader.node.First(), match()+1, "the third has entry %d, answers, and %d bytes of log are kept", match(), leader.node.LogBytes())
	}
}

func ptr[T any](v T) *T { return &v }
