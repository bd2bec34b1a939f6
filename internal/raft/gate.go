package raft

import "go.etcd.io/raft/v3/raftpb"

// gate holds back what carries a term that is not yet on disk.
//
// A candidate that has two remote votes becomes leader and sends appends while
// its own vote may still be in the page cache. After a power cut it could vote
// again in that term, and two leaders of one term could fill one index with
// different entries. So a message whose term is above the term of the last
// synced HardState waits for that sync: one sync per election, nothing else.
// The two pre-vote messages are exempt: they carry a term nobody has entered.
type gate struct {
	synced uint64 // the term of the last HardState known to be on disk
	held   []*raftpb.Message
}

// pass appends to out what may leave now and keeps the rest, in order.
func (g *gate) pass(out, messages []*raftpb.Message) []*raftpb.Message {
	for _, m := range messages {
		if t := m.GetType(); plantGate || m.GetTerm() <= g.synced || t == raftpb.MsgPreVote || t == raftpb.MsgPreVoteResp {
			out = append(out, m)
			continue
		}
		g.held = append(g.held, m)
	}
	return out
}

// open takes note that term is on disk and appends to out what waited for it.
func (g *gate) open(out []*raftpb.Message, term uint64) []*raftpb.Message {
	if term <= g.synced {
		return out
	}
	g.synced = term
	held := g.held
	g.held = nil
	return g.pass(out, held)
}
