package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

// A follower has the answer to its barrier, and is cut off before it has the
// entries. Its reader is told that it has waited long enough, as everybody is.
func TestAReaderThatWaitsForEntriesIsNotKeptForEver(t *testing.T) {
	c := newSites(t, 3, false)
	leader, third := c.elect(1), c.all[3]
	id := uint64(1000)
	c.lose = func(m *raftpb.Message) bool { return m.GetTo() == 3 && m.GetType() == raftpb.MsgApp }
	c.put(leader, &id, 1, 1)
	var read count
	require.NoError(t, third.core.Read(&read))
	for range 3 {
		c.tick() // the barrier's answer comes, the entry does not
	}
	c.lose = func(m *raftpb.Message) bool { return m.GetTo() == 3 || m.GetFrom() == 3 }
	for range 300 { // RequestTicks is 70
		c.tick()
	}
	require.EqualValues(t, 1, read.n.Load(), "the reader was told")
}

// A snapshot that cannot be sent (no room there, a member of upstream's, another one
// is being received) is not tried at every heartbeat: each try is a flush and a copy
// of the store.
func TestASnapshotThatCannotBeSentIsNotTriedAtEveryHeartbeat(t *testing.T) {
	c, _, _ := behind(t)
	tries := 0
	c.lose = func(m *raftpb.Message) bool {
		if m.GetType() == raftpb.MsgSnap {
			tries++
			return true
		}
		return false
	}
	for range 100 { // ten seconds
		c.tick()
	}
	t.Logf("%d copies in 100 ticks", tries)
	require.LessOrEqual(t, tries, 20)
}
