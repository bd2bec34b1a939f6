package member

import (
	"cmp"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

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
	// Removed are the ids of former members, ascending. They never return.
	Removed []uint64
	// Downgrade is the version that the members are being brought back to, "3.6.0";
	// empty if they are not.
	Downgrade string
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

// SetDowngrade begins or ends a downgrade.
func (v *View) SetDowngrade(r *etcdserverpb.DowngradeInfoSetRequest) *View {
	next := *v
	if next.Downgrade = ""; r.GetEnabled() {
		next.Downgrade = r.GetVer()
	}
	return &next
}

// IsRemoved says whether id was a member once.
func (v *View) IsRemoved(id uint64) bool {
	_, ok := slices.BinarySearch(v.Removed, id)
	return ok
}
