package machine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/member"
	"etcd.alt/internal/store"
)

// clusterVersionMeta is the store's record of the cluster's version.
const clusterVersionMeta = "cluster-version"

// downgradeMeta is the store's record of the version that the members are being
// brought back to.
const downgradeMeta = "downgrade"

// removedMark stands in the place of a member that was removed.
const removedMark = "removed"

func loadMembers(s *store.Store) (v *member.View, err error) {
	v = &member.View{}
	members := s.Space(store.SpaceMember, nil)
	defer members.Close()
	for members.Next() {
		value, err := members.Value()
		if err != nil {
			return nil, fmt.Errorf("machine: members: %w", err)
		}
		if string(value) == removedMark {
			if len(members.Key()) != 8 {
				return nil, fmt.Errorf("machine: a removed member with a key of %d bytes", len(members.Key()))
			}
			v.Removed = append(v.Removed, binary.BigEndian.Uint64(members.Key()))
			continue
		}
		var one member.Member
		if err := json.Unmarshal(value, &one); err != nil {
			return nil, fmt.Errorf("machine: member %x: %w", members.Key(), err)
		}
		v.Members = append(v.Members, one)
	}
	if err := members.Close(); err != nil {
		return nil, fmt.Errorf("machine: members: %w", err)
	}
	if v, err = loadAlarms(s, v); err != nil {
		return nil, err
	}
	version, ok, err := s.Meta(clusterVersionMeta)
	if err != nil {
		return nil, fmt.Errorf("machine: cluster version: %w", err)
	}
	if ok {
		v.Version = string(version)
	}
	downgrade, ok, err := s.Meta(downgradeMeta)
	if err != nil {
		return nil, fmt.Errorf("machine: downgrade: %w", err)
	}
	if ok {
		v.Downgrade = string(downgrade)
	}
	return v, nil
}

// applyChange decides a configuration change.
func (m *Machine) applyChange(e *raftpb.Entry, wanted func(uint64) bool) (*raftpb.ConfChange, error) {
	next, c, err := m.members.Change(e.GetData(), m.options.MaxLearners)
	if c == nil {
		return nil, fmt.Errorf("machine: entry %d: %w", e.GetIndex(), err)
	}
	if err == nil {
		m.members = next
		if one, ok := next.Get(c.GetNodeId()); ok {
			if err := m.saveMember(one); err != nil {
				return nil, err
			}
		} else {
			m.batch.Set(store.SpaceMember, binary.BigEndian.AppendUint64(nil, c.GetNodeId()), []byte(removedMark))
		}
	}
	if id := c.GetId(); id != 0 && wanted(id) {
		m.answer(id, &Result{Revision: m.keys.Revision()}, err)
	}
	return c, nil
}

func (m *Machine) saveMember(one member.Member) error {
	value, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("machine: member %x: %w", one.ID, err)
	}
	m.batch.Set(store.SpaceMember, binary.BigEndian.AppendUint64(nil, one.ID), value)
	return nil
}

func (m *Machine) setMemberAttributes(r *etcdserverpb.ClusterMemberAttrSetRequest) error {
	m.members = m.members.SetAttributes(r)
	if one, ok := m.members.Get(r.GetMember_ID()); ok {
		if err := m.saveMember(one); err != nil {
			return &fatalError{err}
		}
	}
	return nil
}

func (m *Machine) setClusterVersion(r *etcdserverpb.ClusterVersionSetRequest) error {
	m.members = m.members.SetVersion(r)
	m.batch.SetMeta(clusterVersionMeta, []byte(r.GetVer()))
	return nil
}

func (m *Machine) setDowngrade(r *etcdserverpb.DowngradeInfoSetRequest) error {
	m.members = m.members.SetDowngrade(r)
	m.batch.SetMeta(downgradeMeta, []byte(m.members.Downgrade))
	return nil
}
