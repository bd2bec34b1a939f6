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
	return call[MemberListResponse](ctx, c, methodMemberList, &etcdserverpb.MemberListRequest{Linearizable: !op.has(optSerializable)})
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
	return call[MemberAddResponse](ctx, c, methodMemberAdd, &etcdserverpb.MemberAddRequest{PeerURLs: peerURLs, IsLearner: learner})
}

// MemberRemove removes a member for good: its id never comes back.
func (c *Client) MemberRemove(ctx context.Context, id uint64) (*MemberRemoveResponse, error) {
	return call[MemberRemoveResponse](ctx, c, methodMemberRemove, &etcdserverpb.MemberRemoveRequest{ID: id})
}

// MemberUpdate changes the URLs at which the others reach a member.
func (c *Client) MemberUpdate(ctx context.Context, id uint64, peerURLs []string) (*MemberUpdateResponse, error) {
	return call[MemberUpdateResponse](ctx, c, methodMemberUpdate, &etcdserverpb.MemberUpdateRequest{ID: id, PeerURLs: peerURLs})
}

// MemberPromote gives a learner its vote.
func (c *Client) MemberPromote(ctx context.Context, id uint64) (*MemberPromoteResponse, error) {
	return call[MemberPromoteResponse](ctx, c, methodMemberPromote, &etcdserverpb.MemberPromoteRequest{ID: id})
}
