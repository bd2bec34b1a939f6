package raft

import (
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Farewell is what a leader that was removed has to say to the others: how far the
// log is committed, its own removal included. It leads no longer, and raft says
// nothing more; but of two members the other could not go on alone before it has
// heard that it is alone. nil on a member that was not removed as the leader.
func (n *Node) Farewell() []*raftpb.Message {
	var out []*raftpb.Message
	for _, p := range n.followers {
		if p.ID == n.id {
			continue
		}
		out = append(out, &raftpb.Message{
			Type: raftpb.MsgHeartbeat.Enum(), From: proto.Uint64(n.id), To: proto.Uint64(p.ID),
			Term: proto.Uint64(n.farewellTerm), Commit: proto.Uint64(min(p.Match, n.applied)),
		})
	}
	return out
}
