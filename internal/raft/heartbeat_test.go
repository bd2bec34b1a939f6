package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A follower that hears of a new term by a heartbeat never answers: its
// HardState is handed out without MustSync, so the gate never opens.
func TestATermLearnedFromAHeartbeatIsAnswered(t *testing.T) {
	n := newNode(t, 1, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	for range 5 {
		require.NoError(t, n.raw.Step(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(2), Commit: proto.Uint64(1)}))
		sent, _, _ := settle(t, n)
		if len(sent) > 0 {
			return
		}
		t.Logf("held %d, synced term %d, raft term %d", len(n.gate.held), n.gate.synced, n.Status().Term)
	}
	t.Fatal("no heartbeat response left")
}
