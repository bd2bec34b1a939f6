package member

import (
	"cmp"
	"fmt"
	"slices"

	"etcd.alt/api/etcdserverpb"
)

// Alarm is a state that a member, or an operator in its name, has raised. It
// holds for the whole cluster until somebody disarms it.
type Alarm struct {
	MemberID uint64
	Type     etcdserverpb.AlarmType
}

// String is the alarm in the form that Status reports.
func (a Alarm) String() string { return fmt.Sprintf("memberID:%d alarm:%s", a.MemberID, a.Type) }

func (a Alarm) compare(b Alarm) int {
	return cmp.Or(cmp.Compare(a.MemberID, b.MemberID), cmp.Compare(a.Type, b.Type))
}

// known says whether there is such an alarm. Others are never raised.
func (a Alarm) known() bool {
	return a.Type == etcdserverpb.AlarmType_NOSPACE || a.Type == etcdserverpb.AlarmType_CORRUPT
}

// Alarmed says whether any member's alarm of a type is raised.
func (v *View) Alarmed(t etcdserverpb.AlarmType) bool {
	return slices.ContainsFunc(v.Alarms, func(a Alarm) bool { return a.Type == t })
}

// Raise returns the view with a raised; v itself where it is raised already, or
// is none.
func (v *View) Raise(a Alarm) *View {
	i, raised := slices.BinarySearchFunc(v.Alarms, a, Alarm.compare)
	if raised || !a.known() {
		return v
	}
	next := *v
	next.Alarms = slices.Insert(slices.Clone(v.Alarms), i, a)
	return &next
}

// Disarm returns the view without a; v itself where it is not raised.
func (v *View) Disarm(a Alarm) *View {
	i, raised := slices.BinarySearchFunc(v.Alarms, a, Alarm.compare)
	if !raised {
		return v
	}
	next := *v
	next.Alarms = slices.Delete(slices.Clone(v.Alarms), i, i+1)
	return &next
}
