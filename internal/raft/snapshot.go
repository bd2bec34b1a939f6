package raft

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// A follower that needs entries which are forgotten is sent the state instead:
//
//	SnapshotWanted   raft has met such a follower
//	Offer            a copy of the state is ready, up to an entry
//	Output.Send      has a MsgSnap, for which the log is kept from that entry on
//	ReportSnapshot   it has arrived, or has not
//
// One is under way at a time.

// SnapshotWanted says that a follower can be helped by a snapshot only, and none
// is there.
func (n *Node) SnapshotWanted() bool { return n.log.wanted && n.log.offer == nil && n.sending == 0 }

// Pin keeps the log from what is applied on: a copy of the state is being made,
// which will go at least as far. Offer or Withdraw end it.
func (n *Node) Pin() { n.log.pin = n.applied }

// Offer makes a snapshot known. The log is kept from it on until it is withdrawn,
// or whoever it was sent to has passed it.
func (n *Node) Offer(m *raftpb.SnapshotMetadata) {
	n.log.wanted = false
	n.log.offer = &raftpb.Snapshot{Metadata: m}
	n.log.pin = m.GetIndex()
}

// Withdraw takes back a snapshot that nobody has asked for, or that could not be
// made. It returns false if one is on its way to somebody.
func (n *Node) Withdraw() bool {
	if n.sending != 0 {
		return false
	}
	n.log.offer, n.log.pin = nil, 0
	return true
}

// Pinned is the entry from which the log is kept for somebody, 0 for none.
func (n *Node) Pinned() uint64 { return n.log.pin }

// ReportSnapshot says what came of the MsgSnap to a member.
func (n *Node) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	n.raw.ReportSnapshot(id, status)
	if id == n.sending && !ok {
		n.sending, n.log.pin = 0, 0
	}
}

// Unpin lets go of the log if whoever a snapshot was sent to has passed it, has lost
// it, is not heard of any more, or is not this member's affair.
func (n *Node) Unpin() {
	if n.sending == 0 {
		return
	}
	for _, p := range n.Progress() {
		if p.ID == n.sending && p.Active && p.Match < n.log.pin && !p.lost {
			return
		}
	}
	n.sending, n.log.pin = 0, 0
}

// LetGo lets go of the log whatever waits for it. Who does needs a snapshot, or
// another one.
func (n *Node) LetGo() { n.sending, n.log.pin = 0, 0 }

// sent takes note of a message that leaves.
func (n *Node) sent(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgSnap {
		n.sending = m.GetTo()
	}
}
