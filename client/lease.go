package client

import (
	"context"
	"errors"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// Answers about leases, as they travel.
type (
	LeaseGrantResponse      = etcdserverpb.LeaseGrantResponse
	LeaseRevokeResponse     = etcdserverpb.LeaseRevokeResponse
	LeaseTimeToLiveResponse = etcdserverpb.LeaseTimeToLiveResponse
	LeaseLeasesResponse     = etcdserverpb.LeaseLeasesResponse
	LeaseKeepAliveResponse  = etcdserverpb.LeaseKeepAliveResponse
)

// NoLease is the lease of keys that have none.
const NoLease LeaseID = 0

// Grant makes a lease of so many seconds. The answer's TTL is what it was given,
// which is two seconds or more. The keys that hang on it (WithLease) go with it when
// nobody has kept it alive for so long.
func (c *Client) Grant(ctx context.Context, ttl int64) (*LeaseGrantResponse, error) {
	return call[LeaseGrantResponse](ctx, c, methodLeaseGrant, &etcdserverpb.LeaseGrantRequest{TTL: ttl})
}

// Revoke ends a lease, and deletes its keys.
func (c *Client) Revoke(ctx context.Context, id LeaseID) (*LeaseRevokeResponse, error) {
	return call[LeaseRevokeResponse](ctx, c, methodLeaseRevoke, &etcdserverpb.LeaseRevokeRequest{ID: int64(id)})
}

// LeaseOption changes what is asked about a lease.
type LeaseOption func(*etcdserverpb.LeaseTimeToLiveRequest)

// WithAttachedKeys asks for the keys that hang on the lease, too.
func WithAttachedKeys() LeaseOption {
	return func(r *etcdserverpb.LeaseTimeToLiveRequest) { r.Keys = true }
}

// TimeToLive asks how many seconds a lease has left. Of a lease that does not exist
// that is -1, and no error.
func (c *Client) TimeToLive(ctx context.Context, id LeaseID, options ...LeaseOption) (*LeaseTimeToLiveResponse, error) {
	req := &etcdserverpb.LeaseTimeToLiveRequest{ID: int64(id)}
	for _, o := range options {
		o(req)
	}
	return call[LeaseTimeToLiveResponse](ctx, c, methodLeaseTimeToLive, req)
}

// Leases lists all leases.
func (c *Client) Leases(ctx context.Context) (*LeaseLeasesResponse, error) {
	return call[LeaseLeasesResponse](ctx, c, methodLeaseLeases, &etcdserverpb.LeaseLeasesRequest{})
}

// KeepAliveOnce has a lease begin anew, once. A lease that does not exist is
// errs.LeaseNotFound.
func (c *Client) KeepAliveOnce(ctx context.Context, id LeaseID) (*LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var res *LeaseKeepAliveResponse
	err := c.repeat(ctx, methodLeaseKeepAlive, func(token string) error {
		stream, err := c.openKeepAlive(ctx, token)
		if err != nil {
			return err
		}
		if err := sendTo(ctx, stream, &etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
			return err
		}
		res, err = receive[LeaseKeepAliveResponse](ctx, stream)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case res.TTL <= 0:
		return nil, &answered{errs.LeaseNotFound}
	}
	return res, nil
}

// ErrKeepAliveHalted is why a lease is no longer kept alive when the client was
// closed.
var ErrKeepAliveHalted = errors.New("client: keep-alive has ended")

// KeepAliveOption changes how a lease is kept alive.
type KeepAliveOption func(*keepAliveOptions)

type keepAliveOptions struct{ deadline time.Time }

// WithGranted says that the lease was granted for so many seconds, and when that was
// asked: the member may have counted from then on. Without it a lease lives for five
// seconds for all that is known before the first answer.
func WithGranted(asked time.Time, seconds int64) KeepAliveOption {
	return func(o *keepAliveOptions) { o.deadline = asked.Add(lifeOf(seconds)) }
}

// KeepAlive keeps a lease alive, whatever becomes of connections and members, until
// ctx ends, the lease is gone, or it must be: nobody has answered for as long as it
// had. Then the channel is closed. It delivers the answers, which come about three
// times in a TTL; those that nobody takes are dropped.
func (c *Client) KeepAlive(ctx context.Context, id LeaseID, options ...KeepAliveOption) (<-chan *LeaseKeepAliveResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, &ended{err, ""}
	}
	o := keepAliveOptions{deadline: time.Now().Add(firstTTL)}
	for _, option := range options {
		option(&o)
	}
	return c.keeper.keep(ctx, c, id, o.deadline)
}
