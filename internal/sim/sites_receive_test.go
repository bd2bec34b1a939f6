package sim

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

// The sender of a snapshot loses the connection before it hears that all has
// arrived (or another member has come to lead meanwhile): it sends a newer one. The
// first is being installed, or is about to be.
func TestASecondSnapshotDuringAnInstallDoesNotEndTheMember(t *testing.T) {
	c, leader, id := behind(t)
	third := c.holdInstall()
	c.put(leader, id, 10, 1)
	meta, err := leader.m.Checkpoint()
	require.NoError(t, err)
	body, err := leader.m.Open(meta)
	require.NoError(t, err)
	// What the transport does with a post: receive, then deliver.
	if err := third.m.Receive(meta, body); err == nil {
		require.NoError(t, third.core.Receive(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: ptr(uint64(1)), To: ptr(uint64(3)), Term: ptr(leader.core.Status().Term),
			Snapshot: &raftpb.Snapshot{Metadata: meta}}))
	}
	require.NoError(t, body.Close())
	require.NoError(t, third.core.Turn())
	third.core.InstallSnapshot(third.s.install[0])
	third.s.install = nil
	require.NoError(t, third.core.Turn(), "the member ends")
}

// The same while the first is being read into memory: its store is not closed under
// the reader.
func TestAStoreIsNotClosedWhileItIsInstalled(t *testing.T) {
	c, leader, id := behind(t)
	third := c.holdInstall()
	first := third.s.install[0].Snapshot
	next, err := third.data.Take(first.GetIndex(), first.GetTerm()) // as State.Install begins
	require.NoError(t, err)
	c.put(leader, id, 10, 1)
	meta, err := leader.m.Checkpoint()
	require.NoError(t, err)
	body, err := leader.m.Open(meta)
	require.NoError(t, err)
	_ = third.m.Receive(meta, body)
	var failed error
	func() {
		defer func() {
			if r := recover(); r != nil {
				failed = fmt.Errorf("panic: %v", r)
			}
		}()
		_, _, failed = next.Store.Applied() // as State.Install goes on
	}()
	require.NoError(t, failed)
}
