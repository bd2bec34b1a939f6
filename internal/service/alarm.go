package service

import (
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/member"
	"etcd.alt/internal/rpc"
)

// alarm serves Maintenance.Alarm. An action that is none changes nothing.
func (s *Service) alarm(c *rpc.Call) {
	var r etcdserverpb.AlarmRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	switch r.Action {
	case etcdserverpb.AlarmRequest_ACTIVATE, etcdserverpb.AlarmRequest_DEACTIVATE:
		s.afterBarrier(c, func() {
			by, err := s.rightsOf(c)
			if err == nil {
				err = by.Root()
			}
			if err != nil {
				fail(c, err)
				return
			}
			s.propose(c, fieldAlarm, by.Subject, answerAlarm)
		})
	case etcdserverpb.AlarmRequest_GET:
		s.linearizable(c, func() {
			view := s.c.Machine.View()
			c.Reply(s.alarms(view.Keys.Revision, machine.Alarms(view.Members, r.Alarm)))
		}, nil)
	default:
		c.Reply(s.alarms(s.c.Machine.View().Keys.Revision, nil))
	}
}

func answerAlarm(s *Service, c *rpc.Call, r *machine.Result) {
	c.Reply(s.alarms(r.Revision, r.Alarms))
}

func (s *Service) alarms(revision int64, list []member.Alarm) *etcdserverpb.AlarmResponse {
	res := &etcdserverpb.AlarmResponse{Header: s.protoHeader(revision)}
	for _, a := range list {
		res.Alarms = append(res.Alarms, &etcdserverpb.AlarmMember{MemberID: a.MemberID, Alarm: a.Type})
	}
	return res
}

// hasRoom says whether quota and disk have room for a request of this cost.
// Where they have not, it need not be proposed; what costs nothing always has
// room, for it may be what gives space back. A quota that is exceeded has the
// alarm raised. A disk that is short of space has not: that is this member's
// affair, which the others need not suffer, and it ends by itself.
func (s *Service) hasRoom(cost int64) bool {
	if s.c.Quota.Exceeded(s.c.Machine.View().Keys.InUse, cost) {
		s.raiseNoSpace()
		return false
	}
	return cost == 0 || s.c.Space.Admit(cost)
}

// raiseNoSpace has the alarm of this member raised, if it is not yet. It does
// not wait for that.
func (s *Service) raiseNoSpace() {
	self := member.Alarm{MemberID: s.c.MemberID, Type: etcdserverpb.AlarmType_NOSPACE}
	view := s.c.Machine.View()
	if view.Members.Raise(self) == view.Members || !s.raising.CompareAndSwap(false, true) {
		return
	}
	s.c.Logger.Warn("the quota is exceeded: writes are refused until space is given back and the alarm is disarmed",
		zap.Int64("in-use-bytes", view.Keys.InUse), zap.Int64("quota-bytes", int64(s.c.Quota)))
	r := &etcdserverpb.InternalRaftRequest{
		Header: &etcdserverpb.RequestHeader{ID: s.newID()},
		Alarm:  &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: self.MemberID, Alarm: self.Type},
	}
	data, err := r.MarshalVT()
	if err == nil {
		err = s.c.Replica.Propose(r.Header.ID, data, raised{s})
	}
	if err != nil {
		raised{s}.Done(nil, err)
		return
	}
	s.Kick()
}

// raised hears what came of an alarm of ours. The next write tries again.
type raised struct{ service *Service }

// Done is replica.Caller's.
func (r raised) Done(_ any, err error) {
	if err != nil {
		r.service.c.Logger.Warn("the alarm NOSPACE could not be raised", zap.Error(err))
	}
	r.service.raising.Store(false)
}
