package service

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/recipe"
	"etcd.alt/internal/rpc"
)

// sessionTTL is how many seconds a lease lives that is made for a caller without
// one, after the call.
const sessionTTL = 60

// unknownError is how locks and elections fail: upstream's servers are clients of
// themselves there, and lose the code on the way.
func unknownError(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.Unknown, err.Error())
}

// waiting is the context of a call that may wait for ever: it ends with the member,
// too. The caller calls cancel.
func (s *Service) waiting(ctx context.Context) (_ context.Context, cancel func()) {
	ctx, end := context.WithCancelCause(ctx)
	s.waits.Go(func() {
		select {
		case <-s.drain:
			end(errs.Stopped)
		case <-ctx.Done():
		}
	})
	return ctx, func() { end(nil) }
}

// session is the lease of a caller: the one it has, or one that is made for it and
// kept alive until ctx ends.
func (s *Service) session(ctx context.Context, lease int64) (int64, error) {
	if lease != 0 {
		return lease, nil
	}
	r, err := s.proposeBy(ctx, auth.Subject{}, &etcdserverpb.InternalRaftRequest{LeaseGrant: &etcdserverpb.LeaseGrantRequest{TTL: sessionTTL, ID: s.newLeaseID()}})
	if err != nil {
		return 0, err
	}
	id, pace := r.Granted.ID, time.Duration(r.Granted.TTL)*time.Second/3
	s.waits.Go(func() {
		t := time.NewTicker(pace)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				// One that cannot be renewed now has time left for another try.
				_, _ = s.Renew(ctx, id)
			case <-ctx.Done():
				return
			}
		}
	})
	return id, nil
}

// ticket is what a call wants. What outlives it is waited for by Close.
func (s *Service) ticket(name []byte, lease int64, value []byte) recipe.Ticket {
	return recipe.Ticket{Name: name, Lease: lease, Value: value, Go: s.waits.Go}
}

// lock serves Lock.Lock: it returns when the caller has the lock.
func (s *Service) lock(ctx context.Context, stream *rpc.Stream) error {
	var r lockpb.LockRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	ctx, cancel := s.waiting(ctx)
	defer cancel()
	lease, err := s.session(ctx, r.Lease)
	if err != nil {
		return unknownError(err)
	}
	o, err := recipe.Lock(ctx, s.insideFor(stream), s.ticket(r.Name, lease, nil))
	if err != nil {
		return unknownError(err)
	}
	return stream.Send(&lockpb.LockResponse{Header: o.Header, Key: o.Key})
}

// unlock serves Lock.Unlock.
func (s *Service) unlock(ctx context.Context, stream *rpc.Stream) error {
	var r lockpb.UnlockRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	header, err := recipe.Unlock(ctx, s.insideFor(stream), r.Key)
	if err != nil {
		return unknownError(err)
	}
	return stream.Send(&lockpb.UnlockResponse{Header: header})
}
