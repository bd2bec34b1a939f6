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

// Parting is what a leader has to say to members whose removal it has just applied: what
// they may lack of the log up to it. Raft says nothing more to them, and has told them
// of no commit while it waited for their word on something else, as a new leader does;
// but somebody may have asked the very member that was removed, and wait there. It is
// given out once.
func (n *Node) Parting() []*raftpb.Message {
	out := n.parting
	n.parting = nil
	return out
}

// part prepares Parting, from what was known of the members before.
func (n *Node) part(before []Progress) {
	n.parting = nil
	s := n.raw.BasicStatus()
	for _, p := range before {
		if p.ID == n.id || isMember(n.conf, p.ID) {
			continue
		}
		prev := min(p.next-1, n.applied)
		logTerm, err := n.log.Term(prev)
		if err != nil {
			continue // it is too far behind
		}
		var entries []*raftpb.Entry
		if prev < n.applied {
			if entries, err = n.log.Entries(prev+1, n.applied+1, maxMessageBytes); err != nil {
				continue
			}
		}
		n.parting = n.gate.pass(n.parting, []*raftpb.Message{{
			Type: raftpb.MsgApp.Enum(), From: proto.Uint64(n.id), To: proto.Uint64(p.ID), Term: proto.Uint64(s.HardState.GetTerm()),
			LogTerm: proto.Uint64(logTerm), Index: proto.Uint64(prev), Entries: entries, Commit: proto.Uint64(n.applied),
		}})
	}
}
