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
	"etcd.alt/internal/auth"
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
	by, err := s.rightsOf(c)
	payload := c.Payload()
	if r.ID == 0 && err == nil {
		r.ID = s.newLeaseID()
		payload, err = r.MarshalVT()
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.proposePayload(c, fieldLeaseGrant, payload, by.Subject, answerGrant)
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
	s.beginRevoke(c, r.ID, false)
}

// beginRevoke is beginPut for the end of a lease.
func (s *Service) beginRevoke(c *rpc.Call, id int64, caughtUp bool) {
	by, err := s.rightsOf(c)
	if err == nil {
		err = by.Lease(auth.Write, id)
	}
	if s.early(err, caughtUp) {
		s.afterBarrier(c, func() { s.beginRevoke(c, id, true) })
		return
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.propose(c, fieldLeaseRevoke, by.Subject, answerCompact)
}

// leaseTimeToLive serves Lease.LeaseTimeToLive.
func (s *Service) leaseTimeToLive(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.LeaseTimeToLiveRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	if r.Keys {
		err := s.judged(ctx, func() error {
			by, err := s.rightsNow(ctx, s.credentialOf(stream))
			if err == nil {
				err = by.Lease(auth.Read, r.ID)
			}
			return err
		})
		if err != nil {
			return toStatus(err)
		}
	}
	res, err := s.timeToLive(ctx, &r)
	if err == nil && r.Keys {
		// The leader may know of more keys, and of other rights to them.
		if err = s.waitApplied(ctx); err == nil {
			err = s.mayRead(ctx, stream, res.Keys)
		}
	}
	switch {
	case errors.Is(err, errs.LeaseNotFound):
		res = &etcdserverpb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}
	case err != nil:
		return toStatus(err)
	}
	res.Header = s.protoHeader(s.c.Machine.View().Keys.Revision)
	return stream.Send(res)
}

// mayRead says why the caller of a call may not read keys; nil if it may.
func (s *Service) mayRead(ctx context.Context, a asked, keys [][]byte) error {
	by, err := s.rightsNow(ctx, s.credentialOf(a))
	if err != nil || by.Root() == nil {
		return err
	}
	for _, key := range keys {
		if err := by.Keys(auth.Read, key, nil); err != nil {
			return err
		}
	}
	return nil
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
	by, err := s.rights(view, s.credentialOf(stream))
	if err != nil {
		return toStatus(err)
	}
	ids := s.byEnd(view.Leases)
	for _, id := range ids {
		if err := by.Lease(auth.Read, id); err != nil {
			return toStatus(err)
		}
	}
	h := s.header(view.Keys.Revision)
	b := h.appendTo(nil)
	for _, id := range ids {
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
