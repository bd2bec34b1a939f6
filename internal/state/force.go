package state

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/member"
	"etcd.alt/internal/wal"
)

// ForceNewCluster makes this member the only one of its cluster, with all that its
// log has: the way back when a majority is lost for good. What is not known to be
// committed may have been acknowledged all the same (the commit index on disk lags
// behind), so that nothing is dropped. Entries that remove all others, and make this
// one a voter, count as committed from now on. It is called before the
// consensus is built on what was recovered, and once; then the others must never
// come back with their data. It returns the members that are gone.
func (s *State) ForceNewCluster() (gone []member.Member, err error) {
	r, self := s.Data.Recovered, s.Data.Identity.MemberID
	commit, kept := r.Prev.Index+uint64(len(r.Entries)), r.Entries
	members := s.View().Members
	for _, e := range kept[s.Data.Applied.Index-r.Prev.Index:] {
		if e.GetType() == raftpb.EntryConfChange {
			if members, _, err = members.Change(e.GetData(), s.options.Machine.MaxLearners); members == nil {
				return nil, fmt.Errorf("entry %d: %w", e.GetIndex(), err)
			}
		}
	}
	own, ok := members.Get(self)
	if !ok {
		return nil, fmt.Errorf("member %x is not in the cluster that it was of", self)
	}
	var changes []*raftpb.ConfChange
	if own.Learner {
		promote, err := member.Promote(self)
		if err != nil {
			return nil, err
		}
		changes = append(changes, promote)
	}
	for _, m := range members.Members {
		if m.ID != self {
			gone = append(gone, m)
			changes = append(changes, member.Remove(m.ID))
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	term := max(r.HardState.GetTerm(), 1)
	entries := make([]*raftpb.Entry, len(changes))
	for i, c := range changes {
		data, err := proto.Marshal(c)
		if err != nil {
			return nil, err
		}
		entries[i] = &raftpb.Entry{
			Type: raftpb.EntryConfChange.Enum(), Term: proto.Uint64(term), Index: proto.Uint64(commit + uint64(i) + 1), Data: data,
		}
	}
	hard := &raftpb.HardState{Term: proto.Uint64(term), Vote: r.HardState.Vote, Commit: proto.Uint64(commit + uint64(len(entries)))}
	if err := s.Data.Log.Append(wal.Batch{Entries: entries, HardState: hard}); err != nil {
		return nil, err
	}
	if err := s.Data.Log.Sync(); err != nil {
		return nil, err
	}
	r.Entries, r.HardState = append(kept[:len(kept):len(kept)], entries...), hard
	return gone, nil
}
