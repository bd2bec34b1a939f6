package member

import (
	"cmp"
	"encoding/json"
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

// change is the context of a configuration change: the member and, beside it,
// whether it is a promotion.
type change struct {
	Member
	Promote bool `json:"isPromote,omitempty"`
}

// Bootstrap returns the entries with which the log of a new cluster begins:
// one configuration change per member, ascending by id, of term 1. They count
// as committed.
func Bootstrap(members []Member) ([]*raftpb.Entry, error) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	entries := make([]*raftpb.Entry, len(members))
	for i, m := range members {
		context, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("member: %w", err)
		}
		data, err := proto.Marshal(&raftpb.ConfChange{
			Type:    raftpb.ConfChangeAddNode.Enum(),
			NodeId:  proto.Uint64(m.ID),
			Context: context,
		})
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
