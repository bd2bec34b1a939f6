package service

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/rpc"
)

// leaseGrant serves Lease.LeaseGrant. A lease without an id is given one here,
// since all members must come to the same.
func (s *Service) leaseGrant(c *rpc.Call) {
	var r etcdserverpb.LeaseGrantRequest
	if !decode(c, &r) {
		return
	}
	if !s.hasRoom(machine.CostOfGrant) {
		fail(c, errs.NoSpace)
		return
	}
	if r.ID != 0 {
		s.propose(c, fieldLeaseGrant, answerGrant)
		return
	}
	r.ID = s.newLeaseID()
	payload, err := r.MarshalVT()
	if err != nil {
		fail(c, err)
		return
	}
	s.proposePayload(c, fieldLeaseGrant, payload, answerGrant)
}

// newLeaseID makes an id as newID does, which is positive.
func (s *Service) newLeaseID() (id int64) {
	for id == 0 {
		id = int64(s.newID() & math.MaxInt64)
	}
	return id
}

func answerGrant(s *Service, c *rpc.Call, r *machine.Result) {
	h := s.header(r.Revision)
	b := appendUint(h.appendTo(nil), 2, uint64(r.Granted.ID))
	c.Reply(encoded(appendUint(b, 3, uint64(r.Granted.TTL))))
}

// leaseRevoke serves Lease.LeaseRevoke.
func (s *Service) leaseRevoke(c *rpc.Call) {
	var r etcdserverpb.LeaseRevokeRequest
	if !decode(c, &r) {
		return
	}
	s.propose(c, fieldLeaseRevoke, answerCompact)
}

// leaseTimeToLive serves Lease.LeaseTimeToLive.
func (s *Service) leaseTimeToLive(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.LeaseTimeToLiveRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	res, err := s.timeToLive(ctx, &r)
	switch {
	case errors.Is(err, errs.LeaseNotFound):
		res = &etcdserverpb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}
	case err != nil:
		return toStatus(err)
	}
	res.Header = s.protoHeader(s.c.Machine.View().Keys.Revision)
	return stream.Send(res)
}

// leaseLeases serves Lease.LeaseLeases: the first to end comes first, as far as
// this member knows.
func (s *Service) leaseLeases(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.LeaseLeasesRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	if err := s.waitApplied(ctx); err != nil {
		return toStatus(err)
	}
	view := s.c.Machine.View()
	h := s.header(view.Keys.Revision)
	b := h.appendTo(nil)
	for _, id := range s.byEnd(view.Leases) {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeUint(1, uint64(id))))
		b = appendUint(b, 1, uint64(id))
	}
	return stream.Send(encoded(b))
}

// leftAtOnce is how many leases a list looks up under one lock.
const leftAtOnce = 1000

// byEnd lists leases, the first to end first. Who does not lead knows only what
// was written down.
func (s *Service) byEnd(v *lease.View) []int64 {
	type ending struct {
		id int64
		in time.Duration
	}
	all := make([]ending, 0, v.Len())
	v.Each(func(one lease.Lease) bool {
		all = append(all, ending{one.ID, time.Duration(one.Left())}) // of any unit: there is no other
		return true
	})
	for some := range slices.Chunk(all, leftAtOnce) { // others want the lock in between
		l := s.c.Leases
		l.mu.Lock()
		if k, now := s.keeperLocked(), l.now(); k != nil {
			for i := range some {
				some[i].in, _ = k.Left(some[i].id, now)
			}
		}
		l.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b ending) int { return cmp.Or(cmp.Compare(a.in, b.in), cmp.Compare(a.id, b.id)) })
	ids := make([]int64, len(all))
	for i, e := range all {
		ids[i] = e.id
	}
	return ids
}
