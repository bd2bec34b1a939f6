package member

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// View is the membership at one moment. It is immutable.
type View struct {
	// Members is ascending by id.
	Members []Member
	// Version is the cluster's version, "3.7.0"; empty until it is decided.
	Version string
	// Alarms are those that are raised, ascending by member and type.
	Alarms []Alarm
}

// Get returns the member with id.
func (v *View) Get(id uint64) (Member, bool) {
	i, ok := v.find(id)
	if !ok {
		return Member{}, false
	}
	return v.Members[i], true
}

func (v *View) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(v.Members, id, func(m Member, id uint64) int { return cmp.Compare(m.ID, id) })
}

// ConfState is the configuration that the members make.
func (v *View) ConfState() *raftpb.ConfState {
	c := &raftpb.ConfState{}
	for _, m := range v.Members {
		if m.Learner {
			c.Learners = append(c.Learners, m.ID)
		} else {
			c.Voters = append(c.Voters, m.ID)
		}
	}
	return c
}

// errUnsupportedChange refuses changes of the membership after the bootstrap.
var errUnsupportedChange = errors.New("member: changes of the membership are not supported by this version")

// Change decides the configuration change in the data of an entry. It returns
// the next view and the change as raft is to take it: with node id 0 where it
// is refused, and then with the reason.
func (v *View) Change(data []byte) (next *View, c *raftpb.ConfChange, err error) {
	c = &raftpb.ConfChange{}
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, nil, fmt.Errorf("member: configuration change: %w", err)
	}
	next, err = v.decide(c)
	if err != nil {
		c.NodeId = proto.Uint64(0)
		return v, c, err
	}
	return next, c, nil
}

func (v *View) decide(c *raftpb.ConfChange) (*View, error) {
	if c.GetType() != raftpb.ConfChangeAddNode {
		return nil, errUnsupportedChange
	}
	var ch change
	if err := json.Unmarshal(c.GetContext(), &ch); err != nil {
		return nil, fmt.Errorf("member: context of a configuration change: %w", err)
	}
	if ch.ID != c.GetNodeId() {
		return nil, fmt.Errorf("member: configuration change for %x has the context of %x", c.GetNodeId(), ch.ID)
	}
	i, exists := v.find(ch.ID)
	switch {
	case ch.Promote:
		return nil, errUnsupportedChange
	case exists:
		return nil, errs.MemberExist
	}
	for _, m := range v.Members {
		for _, u := range ch.PeerURLs {
			if slices.Contains(m.PeerURLs, u) {
				return nil, errs.PeerURLExist
			}
		}
	}
	out := *v
	out.Members = slices.Insert(slices.Clone(v.Members), i, ch.Member)
	return &out, nil
}

// SetAttributes publishes a member's name and client URLs. A member that is not
// there changes nothing.
func (v *View) SetAttributes(r *etcdserverpb.ClusterMemberAttrSetRequest) *View {
	i, ok := v.find(r.GetMember_ID())
	if !ok {
		return v
	}
	next := *v
	next.Members = slices.Clone(v.Members)
	next.Members[i].Name = r.GetMemberAttributes().GetName()
	next.Members[i].ClientURLs = slices.Clone(r.GetMemberAttributes().GetClientUrls())
	return &next
}

// SetVersion sets the cluster's version.
func (v *View) SetVersion(r *etcdserverpb.ClusterVersionSetRequest) *View {
	next := *v
	next.Version = r.GetVer()
	return &next
}
