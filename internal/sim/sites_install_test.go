package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

// A follower that installs a snapshot answers its leader meanwhile: it is not to be
// taken for one that has gone.
func TestAMemberThatInstallsASnapshotAnswersHeartbeats(t *testing.T) {
	c, _, _ := behind(t)
	c.holdInstall()
	answers := 0
	c.lose = func(m *raftpb.Message) bool {
		if m.GetFrom() == 3 && m.GetType() == raftpb.MsgHeartbeatResp {
			answers++
		}
		return false
	}
	for range 10 {
		c.tick()
	}
	require.NotZero(t, answers, "ten heartbeats, and no answer")
}

// A busy leader and a follower that takes two election timeouts to
// install. One snapshot is enough.
func TestABusyFollowerNeedsOneSnapshot(t *testing.T) {
	c, leader, id := behind(t)
	third := c.all[3]
	third.hold = true
	for range 6 {
		for range 25 {
			c.put(leader, id, 500, 1)
			c.tick()
		}
		if len(third.s.install) > 0 {
			third.core.InstallSnapshot(third.s.install[0])
			third.s.install = nil
			c.settle()
		}
	}
	t.Logf("%d snapshots; the third has %d of %d", c.snapped, third.node.Status().Applied, leader.node.Status().Applied)
	require.Equal(t, 1, c.snapped, "snapshots that were sent")
}
