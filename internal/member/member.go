package member

import (
	"cmp"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Member is one member, in the form in which it stands in configuration
// changes, in the store and in the replies of the peer interface.
type Member struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	Learner    bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"` // empty until it has started once
	ClientURLs []string `json:"clientURLs,omitempty"`
}

// Bootstrap returns the entries with which the log of a new cluster begins:
// one configuration change per member, ascending by id, of term 1. They count
// as committed.
func Bootstrap(members []Member) ([]*raftpb.Entry, error) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	entries := make([]*raftpb.Entry, len(members))
	for i, m := range members {
		c, err := Add(m)
		if err != nil {
			return nil, err
		}
		data, err := proto.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("member: %w", err)
		}
		entries[i] = &raftpb.Entry{
			Type:  raftpb.EntryConfChange.Enum(),
			Term:  proto.Uint64(1),
			Index: proto.Uint64(uint64(i) + 1),
			Data:  data,
		}
	}
	return entries, nil
}
