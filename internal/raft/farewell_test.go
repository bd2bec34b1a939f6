package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A new leader has not heard of a member yet when it commits that member's removal, and so
// raft has sent it nothing of that. The last word has all that the member lacks.
func TestAMemberIsToldOfItsRemovalByTheLeader(t *testing.T) {
	leader := newNode(t, 1, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	require.NoError(t, leader.Campaign())
	settle(t, leader)
	require.NoError(t, leader.raw.Step(vote(2, 1, 2)))
	settle(t, leader)
	ack := func(index uint64) {
		require.NoError(t, leader.Step(&raftpb.Message{
			Type: raftpb.MsgAppResp.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(2), Index: proto.Uint64(index),
		}))
	}
	ack(2)
	settle(t, leader)
	change := &raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: proto.Uint64(3), Context: []byte("x")}
	data, err := proto.Marshal(change)
	require.NoError(t, err)
	require.NoError(t, leader.ProposeChange(data))
	settle(t, leader)
	ack(3)
	var sent []*raftpb.Message
	for out := leader.Ready(); len(out.Send)+len(out.Appends)+len(out.Applies) > 0; out = leader.Ready() {
		sent = append(sent, out.Send...)
		for _, a := range out.Appends {
			require.NoError(t, leader.Appended(a))
		}
		for _, a := range out.Applies {
			conf, err := leader.Applied(a, []*raftpb.ConfChange{change})
			require.NoError(t, err)
			require.Equal(t, []uint64{1, 2}, conf.GetVoters())
		}
	}
	for _, m := range sent {
		require.NotEqual(t, uint64(3), m.GetTo(), "raft itself waits for an answer")
	}
	words := leader.Parting()
	require.Len(t, words, 1)
	require.Equal(t, uint64(3), words[0].GetTo())
	require.Empty(t, leader.Parting(), "it is said once")

	gone := newNode(t, 3, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	require.NoError(t, gone.Step(words[0]))
	settle(t, gone)
	require.EqualValues(t, 3, gone.Status().Applied)
}

// A leader that has applied nothing of its own term would put an empty entry in the place
// of a change, and who sent it on would wait in vain: a follower holds it until then.
func TestAChangeIsNotSentToALeaderThatHasJustBegun(t *testing.T) {
	n := newNode(t, 1, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	change, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: proto.Uint64(1)})
	require.NoError(t, err)
	app := &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(2),
		Index: proto.Uint64(1), LogTerm: proto.Uint64(1), Commit: proto.Uint64(1), Entries: []*raftpb.Entry{entry(2, 2, "")},
	}
	require.NoError(t, n.Step(proto.Clone(app).(*raftpb.Message)))
	settle(t, n)
	require.EqualValues(t, 2, n.Status().Leader)
	require.ErrorIs(t, n.ProposeChange(change), ErrDropped)
	app.Commit = proto.Uint64(2)
	require.NoError(t, n.Step(app))
	settle(t, n)
	require.NoError(t, n.ProposeChange(change))
	sent, _, _ := settle(t, n)
	require.Len(t, sent, 1)
	require.Equal(t, raftpb.MsgProp, sent[0].GetType())
}
