package client

import (
	"context"

	"etcd.alt/api/etcdserverpb"
)

// Answers about members, as they travel.
type (
	Member                = etcdserverpb.Member
	MemberListResponse    = etcdserverpb.MemberListResponse
	MemberAddResponse     = etcdserverpb.MemberAddResponse
	MemberRemoveResponse  = etcdserverpb.MemberRemoveResponse
	MemberUpdateResponse  = etcdserverpb.MemberUpdateResponse
	MemberPromoteResponse = etcdserverpb.MemberPromoteResponse
)

// MemberList returns the members. With WithSerializable, the only option it
// takes, they are as the member that is asked knows them.
func (c *Client) MemberList(ctx context.Context, options ...OpOption) (*MemberListResponse, error) {
	op := newOp(kindMemberList, "", options)
	if op.err != nil {
		return nil, op.err
	}
	res := &MemberListResponse{}
	if err := c.call(ctx, methodMemberList, &etcdserverpb.MemberListRequest{Linearizable: !op.has(optSerializable)}, res); err != nil {
		return nil, err
	}
	return res, nil
}

// MemberAdd adds a voting member that is to be reached at peerURLs, and to be
// started then.
func (c *Client) MemberAdd(ctx context.Context, peerURLs []string) (*MemberAddResponse, error) {
	return c.memberAdd(ctx, peerURLs, false)
}

// MemberAddAsLearner adds a member that has no vote until it is promoted.
func (c *Client) MemberAddAsLearner(ctx context.Context, peerURLs []string) (*MemberAddResponse, error) {
	return c.memberAdd(ctx, peerURLs, true)
}

func (c *Client) memberAdd(ctx context.Context, peerURLs []string, learner bool) (*MemberAddResponse, error) {
	res := &MemberAddResponse{}
	if err := c.call(ctx, methodMemberAdd, &etcdserverpb.MemberAddRequest{PeerURLs: peerURLs, IsLearner: learner}, res); err != nil {
		return nil, err
	}
	return res, nil
}

// MemberRemove removes a member for good: its id never comes back.
func (c *Client) MemberRemove(ctx context.Context, id uint64) (*MemberRemoveResponse, error) {
	res := &MemberRemoveResponse{}
	if err := c.call(ctx, methodMemberRemove, &etcdserverpb.MemberRemoveRequest{ID: id}, res); err != nil {
		return nil, err
	}
	return res, nil
}

// MemberUpdate changes the URLs at which the others reach a member.
func (c *Client) MemberUpdate(ctx context.Context, id uint64, peerURLs []string) (*MemberUpdateResponse, error) {
	res := &MemberUpdateResponse{}
	if err := c.call(ctx, methodMemberUpdate, &etcdserverpb.MemberUpdateRequest{ID: id, PeerURLs: peerURLs}, res); err != nil {
		return nil, err
	}
	return res, nil
}

// MemberPromote gives a learner its vote.
func (c *Client) MemberPromote(ctx context.Context, id uint64) (*MemberPromoteResponse, error) {
	res := &MemberPromoteResponse{}
	if err := c.call(ctx, methodMemberPromote, &etcdserverpb.MemberPromoteRequest{ID: id}, res); err != nil {
		return nil, err
	}
	return res, nil
}
