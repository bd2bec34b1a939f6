package replica

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/raft"
)

// The largest request passes the doors of the member that is asked. The message that
// carries it to the others is a few bytes larger, and must pass theirs, beside the small
// ones that may wait there: nothing behind it in the log is agreed on before.
func TestTheLargestRequestReachesAFollower(t *testing.T) {
	data := make([]byte, raft.MaxEntryBytes)
	require.NoError(t, newInbox().propose(proposal{id: 1, data: data}, 50), "it is taken where it is asked for")
	largest := proto.Uint64(math.MaxUint64)
	m := &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), From: largest, To: largest, Term: largest, Index: largest, LogTerm: largest, Commit: largest, Vote: largest,
		RejectHint: largest, Reject: proto.Bool(false), Context: make([]byte, 64),
		Entries: []*raftpb.Entry{{Type: raftpb.EntryConfChangeV2.Enum(), Term: largest, Index: largest, Data: data}},
	}
	require.LessOrEqual(t, proto.Size(m), raft.LargestMessage)
	follower := newInbox()
	for range 1000 {
		require.NoError(t, follower.receive(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: largest, To: largest, Term: largest, Commit: largest}))
	}
	require.NoError(t, follower.receive(m))
	require.ErrorIs(t, follower.receive(m), errInboxFull, "there is a bound all the same")
}
