package machine

import (
	"encoding/binary"
	"fmt"
	"slices"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/member"
	"etcd.alt/internal/store"
)

func loadAlarms(s *store.Store, v *member.View) (*member.View, error) {
	alarms := s.Space(store.SpaceAlarm, nil)
	defer alarms.Close()
	for alarms.Next() {
		key := alarms.Key()
		if len(key) != 12 {
			return nil, fmt.Errorf("machine: an alarm with a key of %d bytes", len(key))
		}
		v = v.Raise(member.Alarm{
			MemberID: binary.BigEndian.Uint64(key),
			Type:     etcdserverpb.AlarmType(binary.BigEndian.Uint32(key[8:])),
		})
	}
	if err := alarms.Close(); err != nil {
		return nil, fmt.Errorf("machine: alarms: %w", err)
	}
	return v, nil
}

// alarm raises, disarms or lists alarms. An action or a type of a later version
// changes nothing.
func (m *Machine) alarm(r *etcdserverpb.AlarmRequest, res *Result) {
	a := member.Alarm{MemberID: r.MemberID, Type: r.Alarm}
	key := binary.BigEndian.AppendUint64(nil, a.MemberID)
	key = binary.BigEndian.AppendUint32(key, uint32(a.Type))
	before := m.members
	switch r.Action {
	case etcdserverpb.AlarmRequest_GET:
		res.Alarms = Alarms(m.members, r.Alarm)
		return
	case etcdserverpb.AlarmRequest_ACTIVATE:
		m.members = m.members.Raise(a)
	case etcdserverpb.AlarmRequest_DEACTIVATE:
		m.members = m.members.Disarm(a)
	}
	if m.members == before {
		return
	}
	res.Alarms = []member.Alarm{a}
	if r.Action == etcdserverpb.AlarmRequest_ACTIVATE {
		m.batch.Set(store.SpaceAlarm, key, nil)
	} else {
		m.batch.Delete(store.SpaceAlarm, key)
	}
}

// Alarms are the alarms of a type, or all of them for NONE.
func Alarms(v *member.View, t etcdserverpb.AlarmType) []member.Alarm {
	if t == etcdserverpb.AlarmType_NONE {
		return v.Alarms
	}
	return slices.DeleteFunc(slices.Clone(v.Alarms), func(a member.Alarm) bool { return a.Type != t })
}

// refusal is why the alarms that are raised forbid a request, nil if they do
// not.
func (m *Machine) refusal(r *etcdserverpb.InternalRaftRequest) error {
	if len(m.members.Alarms) == 0 {
		return nil
	}
	if m.members.Alarmed(etcdserverpb.AlarmType_CORRUPT) &&
		(r.Put != nil || r.DeleteRange != nil || r.Txn != nil || r.Compaction != nil || r.LeaseGrant != nil || r.LeaseRevoke != nil) {
		return errs.Corrupt
	}
	if m.members.Alarmed(etcdserverpb.AlarmType_NOSPACE) &&
		(r.Put != nil || r.LeaseGrant != nil || r.Txn != nil && CostOfTxn(r.Txn) > 0) {
		return errs.NoSpace
	}
	return nil
}
