package service

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/rpc"
)

// keepAlives are the streams on which clients renew leases. They never end by
// themselves.
type keepAlives struct {
	mu struct {
		sync.Mutex
		streams map[*keepAlive]struct{}
		ended   error // why no stream goes on
	}
	leaderless time.Duration // when a leader was known last
}

// keepAlive is one of the streams.
type keepAlive struct {
	stream      *rpc.Stream
	cancel      context.CancelFunc
	needsLeader bool
	ended       error // why others have ended it; guarded by keepAlives.mu
}

func (k *keepAlives) add(one *keepAlive) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.ended != nil {
		return k.mu.ended
	}
	if k.mu.streams == nil {
		k.mu.streams = map[*keepAlive]struct{}{}
	}
	k.mu.streams[one] = struct{}{}
	return nil
}

// remove forgets a stream, and returns why others have ended it, nil if nobody
// has.
func (k *keepAlives) remove(one *keepAlive) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.mu.streams, one)
	return one.ended
}

// end ends those of the streams that need a leader, or all and for good.
func (k *keepAlives) end(why error, all bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if all {
		k.mu.ended = why
	}
	for one := range k.mu.streams {
		if (all || one.needsLeader) && one.ended == nil {
			one.ended = why
			one.stream.StopRecv()
			one.cancel()
		}
	}
}

// look ends the streams that need a leader where there has been none for too
// long. It belongs to one goroutine.
func (k *keepAlives) look(known bool, now, patience time.Duration) {
	if known {
		k.leaderless = now
	} else if now >= k.leaderless+patience {
		k.end(errs.NoLeader, false)
	}
}

// leaseKeepAlive serves Lease.LeaseKeepAlive.
func (s *Service) leaseKeepAlive(ctx context.Context, stream *rpc.Stream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	needs, _ := stream.Metadata(requireLeader)
	one := &keepAlive{stream: stream, cancel: cancel, needsLeader: needs == "true"}
	if err := s.keepAlives.add(one); err != nil {
		return toStatus(err)
	}
	err := s.serveKeepAlive(ctx, stream)
	if why := s.keepAlives.remove(one); why != nil {
		err = toStatus(why)
	}
	return err
}

const (
	// mostAtOnce is how many renewals of a stream are carried out together, and
	// mostForwarded how many of them are sent to the leader side by side.
	mostAtOnce    = lease.MostCheckpoints
	mostForwarded = 16
)

// serveKeepAlive renews leases as the client asks, all that it has asked for by
// then at once. A lease that is not there has no time left, and the stream goes
// on.
func (s *Service) serveKeepAlive(ctx context.Context, stream *rpc.Stream) error {
	var all []renewal
	for {
		all = all[:0]
		for len(all) == 0 || len(all) < mostAtOnce && stream.Ready() {
			payload, err := stream.Recv()
			if err == nil {
				var r etcdserverpb.LeaseKeepAliveRequest
				err = unmarshal(&r, payload)
				all = append(all, renewal{id: r.ID})
			}
			if err != nil && len(all) > 0 && errors.Is(err, io.EOF) {
				break // for the next turn
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				noteFailed(&s.counts.keepAliveReceive, err)
				return err
			}
		}
		if err := s.mayRenew(ctx, stream, all); err != nil {
			return toStatus(err)
		}
		reply := keepAliveReply{header: s.header(s.c.Machine.View().Keys.Revision)}
		if err := s.renewAll(ctx, all); err != nil {
			return toStatus(err)
		}
		for i := range all {
			reply.id, reply.ttl = all[i].id, all[i].ttl
			if err := stream.Send(&reply); err != nil {
				noteFailed(&s.counts.keepAliveSend, err)
				return err
			}
		}
	}
}

// mayRenew says why the caller of a stream may not renew leases; nil if it may: what
// keeps keys for longer is as good as writing them.
func (s *Service) mayRenew(ctx context.Context, stream *rpc.Stream, all []renewal) error {
	if !s.c.Machine.View().Auth.Enabled {
		return nil
	}
	return s.judged(ctx, func() error {
		by, err := s.rightsNow(ctx, s.credentialOf(stream))
		if err == nil {
			err = by.Auth.CheckUser(by.Subject)
		}
		for i := 0; err == nil && i < len(all); i++ {
			err = by.Lease(auth.Write, all[i].id)
		}
		return err
	})
}

// renewAll renews leases, here or at the leader. Those that are not there have a
// ttl of 0.
func (s *Service) renewAll(ctx context.Context, all []renewal) error {
	leads, err := s.renewAtOnce(ctx, all)
	if err != nil {
		return err
	}
	one := func(r *renewal) error {
		if leads && r.came == lease.Renewed {
			return nil
		}
		ttl, err := s.Renew(ctx, r.id)
		if errors.Is(err, errs.LeaseNotFound) {
			ttl, err = 0, nil
		}
		r.ttl = ttl
		return err
	}
	if leads || len(all) == 1 {
		for i := range all {
			if err := one(&all[i]); err != nil {
				return err
			}
		}
		return nil
	}
	var group errgroup.Group
	group.SetLimit(mostForwarded)
	for i := range all {
		group.Go(func() error { return one(&all[i]) })
	}
	return group.Wait()
}

// keepAliveReply is a LeaseKeepAliveResponse.
type keepAliveReply struct {
	header  header
	id, ttl int64
}

// SizeVT is rpc.Message's.
func (r *keepAliveReply) SizeVT() int {
	return sizeField(r.header.size()) + sizeUint(2, uint64(r.id)) + sizeUint(3, uint64(r.ttl))
}

// MarshalToSizedBufferVT is rpc.Message's.
func (r *keepAliveReply) MarshalToSizedBufferVT(b []byte) (int, error) {
	return fillEnd(b, r.SizeVT(), func(b []byte) []byte {
		return appendUint(appendUint(r.header.appendTo(b), 2, uint64(r.id)), 3, uint64(r.ttl))
	})
}
