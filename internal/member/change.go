package member

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
)

// change is the context of a configuration change: the member and, beside it,
// whether it is a promotion.
type change struct {
	Member
	Promote bool `json:"isPromote,omitempty"`
}

// Add is the change that adds m, as a voter or a learner.
func Add(m Member) (*raftpb.ConfChange, error) {
	kind := raftpb.ConfChangeAddNode
	if m.Learner {
		kind = raftpb.ConfChangeAddLearnerNode
	}
	return newChange(kind, change{Member: m})
}

// Update is the change that gives a member other peer URLs.
func Update(id uint64, peerURLs []string) (*raftpb.ConfChange, error) {
	return newChange(raftpb.ConfChangeUpdateNode, change{Member: Member{ID: id, PeerURLs: peerURLs}})
}

// Promote is the change that makes a learner a voter.
func Promote(id uint64) (*raftpb.ConfChange, error) {
	return newChange(raftpb.ConfChangeAddNode, change{Member: Member{ID: id}, Promote: true})
}

// Remove is the change that removes a member.
func Remove(id uint64) *raftpb.ConfChange {
	return &raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: proto.Uint64(id)}
}

func newChange(kind raftpb.ConfChangeType, context change) (*raftpb.ConfChange, error) {
	b, err := json.Marshal(context)
	if err != nil {
		return nil, fmt.Errorf("member: %w", err)
	}
	return &raftpb.ConfChange{Type: kind.Enum(), NodeId: proto.Uint64(context.ID), Context: b}, nil
}

// Change decides the configuration change in the data of an entry. It returns
// the next view and the change as raft is to take it: with node id 0 where it
// is refused, and then with the reason. maxLearners bounds the learners of a
// cluster; it must be the same on every member.
func (v *View) Change(data []byte, maxLearners int) (next *View, c *raftpb.ConfChange, err error) {
	c = &raftpb.ConfChange{}
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, nil, fmt.Errorf("member: configuration change: %w", err)
	}
	next, err = v.Decide(c, maxLearners)
	if err != nil {
		c.NodeId = proto.Uint64(0)
		return v, c, err
	}
	return next, c, nil
}

// Decide returns the view after a configuration change, or why it is refused.
// Errors: errs.MemberExist, errs.MemberNotFound (also for one that was removed),
// errs.PeerURLExist, errs.MemberNotLearner, errs.TooManyLearners,
// errs.MemberNotEnoughStarted for the removal of the last voter, on which raft panics,
// now and whenever the entry is met again.
func (v *View) Decide(c *raftpb.ConfChange, maxLearners int) (*View, error) {
	id := c.GetNodeId()
	if v.IsRemoved(id) {
		return nil, errs.MemberNotFound
	}
	if c.GetType() == raftpb.ConfChangeRemoveNode {
		return v.remove(id)
	}
	var ch change
	if err := json.Unmarshal(c.GetContext(), &ch); err != nil {
		return nil, fmt.Errorf("member: context of a configuration change: %w", err)
	}
	if ch.ID != id {
		return nil, fmt.Errorf("member: configuration change for %x has the context of %x", id, ch.ID)
	}
	switch t := c.GetType(); {
	case t == raftpb.ConfChangeUpdateNode:
		return v.update(ch.Member)
	case t == raftpb.ConfChangeAddNode && ch.Promote:
		return v.promote(id)
	case t == raftpb.ConfChangeAddNode, t == raftpb.ConfChangeAddLearnerNode:
		ch.Learner = t == raftpb.ConfChangeAddLearnerNode
		return v.add(ch.Member, maxLearners)
	default:
		return nil, fmt.Errorf("member: a configuration change of the unknown type %v", t)
	}
}

func (v *View) add(m Member, maxLearners int) (*View, error) {
	i, exists := v.find(m.ID)
	switch {
	case exists:
		return nil, errs.MemberExist
	case v.taken(m):
		return nil, errs.PeerURLExist
	case m.Learner && v.learners() >= maxLearners:
		return nil, errs.TooManyLearners
	}
	next := *v
	next.Members = slices.Insert(slices.Clone(v.Members), i, m)
	return &next, nil
}

func (v *View) remove(id uint64) (*View, error) {
	i, exists := v.find(id)
	if !exists {
		return nil, errs.MemberNotFound
	}
	rest := slices.Delete(slices.Clone(v.Members), i, i+1)
	if !slices.ContainsFunc(rest, func(m Member) bool { return !m.Learner }) {
		return nil, errs.MemberNotEnoughStarted
	}
	next := *v
	next.Members = rest
	at, _ := slices.BinarySearch(v.Removed, id)
	next.Removed = slices.Insert(slices.Clone(v.Removed), at, id)
	return &next, nil
}

// update takes the peer URLs of m and nothing else.
func (v *View) update(m Member) (*View, error) {
	i, exists := v.find(m.ID)
	switch {
	case !exists:
		return nil, errs.MemberNotFound
	case v.taken(m):
		return nil, errs.PeerURLExist
	}
	next := *v
	next.Members = slices.Clone(v.Members)
	next.Members[i].PeerURLs = m.PeerURLs
	return &next, nil
}

func (v *View) promote(id uint64) (*View, error) {
	i, exists := v.find(id)
	switch {
	case !exists:
		return nil, errs.MemberNotFound
	case !v.Members[i].Learner:
		return nil, errs.MemberNotLearner
	}
	next := *v
	next.Members = slices.Clone(v.Members)
	next.Members[i].Learner = false
	return &next, nil
}

// taken says whether another member has one of m's peer URLs.
func (v *View) taken(m Member) bool {
	return slices.ContainsFunc(v.Members, func(o Member) bool {
		return o.ID != m.ID && slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(o.PeerURLs, u) })
	})
}

func (v *View) learners() (n int) {
	for _, m := range v.Members {
		if m.Learner {
			n++
		}
	}
	return n
}
