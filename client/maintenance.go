package client

import (
	"context"

	"etcd.alt/api/etcdserverpb"
)

// Answers about upkeep, as they travel.
type (
	AlarmMember        = etcdserverpb.AlarmMember
	AlarmResponse      = etcdserverpb.AlarmResponse
	AlarmType          = etcdserverpb.AlarmType
	StatusResponse     = etcdserverpb.StatusResponse
	HashKVResponse     = etcdserverpb.HashKVResponse
	DefragmentResponse = etcdserverpb.DefragmentResponse
	MoveLeaderResponse = etcdserverpb.MoveLeaderResponse
	DowngradeResponse  = etcdserverpb.DowngradeResponse
)

// The alarms there are.
const (
	AlarmNone    = etcdserverpb.AlarmType_NONE
	AlarmNoSpace = etcdserverpb.AlarmType_NOSPACE
	AlarmCorrupt = etcdserverpb.AlarmType_CORRUPT
)

// AlarmList returns the active alarms of all members.
func (c *Client) AlarmList(ctx context.Context) (*AlarmResponse, error) {
	return call[AlarmResponse](ctx, c, methodAlarmList, &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_GET})
}

// AlarmDisarm ends one alarm, which AlarmList has returned. An alarm that is
// not active is not an error: the answer names none then.
func (c *Client) AlarmDisarm(ctx context.Context, alarm *AlarmMember) (*AlarmResponse, error) {
	req := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: alarm.MemberID, Alarm: alarm.Alarm}
	return call[AlarmResponse](ctx, c, methodAlarmDisarm, req)
}

// Status returns the state of the member at an endpoint, which need not be one
// of the Client's.
func (c *Client) Status(ctx context.Context, endpoint string) (*StatusResponse, error) {
	return callAt[StatusResponse](ctx, c, endpoint, methodStatus, &etcdserverpb.StatusRequest{})
}

// HashKV returns the hash of all keys of the member at an endpoint, up to a
// revision; 0 is now. Members have the same hash at the same revision and
// compaction.
func (c *Client) HashKV(ctx context.Context, endpoint string, rev int64) (*HashKVResponse, error) {
	return callAt[HashKVResponse](ctx, c, endpoint, methodHashKV, &etcdserverpb.HashKVRequest{Revision: rev})
}

// Defragment has the member at an endpoint give back space it does not use.
func (c *Client) Defragment(ctx context.Context, endpoint string) (*DefragmentResponse, error) {
	return callAt[DefragmentResponse](ctx, c, endpoint, methodDefragment, &etcdserverpb.DefragmentRequest{})
}

// MoveLeader has the leader hand over to a member. Only the leader takes it, so
// the Client must have no endpoint but the leader's; any other answers
// errs.NotLeader.
func (c *Client) MoveLeader(ctx context.Context, to uint64) (*MoveLeaderResponse, error) {
	return call[MoveLeaderResponse](ctx, c, methodMoveLeader, &etcdserverpb.MoveLeaderRequest{TargetID: to})
}

// DowngradeValidate says whether the members may be brought back to a version,
// "3.6": it must be the one minor version before theirs.
func (c *Client) DowngradeValidate(ctx context.Context, version string) (*DowngradeResponse, error) {
	req := &etcdserverpb.DowngradeRequest{Action: etcdserverpb.DowngradeRequest_VALIDATE, Version: version}
	return call[DowngradeResponse](ctx, c, methodDowngradeValidate, req)
}

// DowngradeEnable begins to bring the members back to a version.
func (c *Client) DowngradeEnable(ctx context.Context, version string) (*DowngradeResponse, error) {
	req := &etcdserverpb.DowngradeRequest{Action: etcdserverpb.DowngradeRequest_ENABLE, Version: version}
	return call[DowngradeResponse](ctx, c, methodDowngrade, req)
}

// DowngradeCancel gives a downgrade up. That there is none is no error.
func (c *Client) DowngradeCancel(ctx context.Context) (*DowngradeResponse, error) {
	req := &etcdserverpb.DowngradeRequest{Action: etcdserverpb.DowngradeRequest_CANCEL}
	return call[DowngradeResponse](ctx, c, methodDowngrade, req)
}
