package service

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
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

// serveKeepAlive renews leases as the client asks. A lease that is not there has no
// time left, and the stream goes on.
func (s *Service) serveKeepAlive(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.LeaseKeepAliveRequest
	for {
		payload, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Reset()
		if err := r.UnmarshalVTUnsafe(payload); err != nil {
			return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
		}
		reply := keepAliveReply{header: s.header(s.c.Machine.View().Keys.Revision), id: r.ID}
		reply.ttl, err = s.Renew(ctx, r.ID)
		if err != nil && !errors.Is(err, errs.LeaseNotFound) {
			return toStatus(err)
		}
		if err := stream.Send(&reply); err != nil {
			return err
		}
	}
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
