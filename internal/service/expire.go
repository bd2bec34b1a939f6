package service

import (
	"errors"
	"sync/atomic"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/machine"
)

const (
	// leaseLook is how often is looked which leases have ended.
	leaseLook = 100 * time.Millisecond
	// revokePause is the least time between two batches of revokes: other requests go
	// in between.
	revokePause = 10 * time.Millisecond
	// countedKeys is how many keys of a lease that has ended are counted.
	countedKeys = 1000
)

// routineLeases ends the leases whose time is over, and has what is left of the
// others written down, while this member leads. It also ends streams of renewals
// that must end.
func (s *Service) routineLeases() {
	tick := time.NewTicker(leaseLook)
	defer tick.Stop()
	drain := s.drain
	for {
		for s.lookAtLeases() {
			continue // others may have had the lock in between
		}
		select {
		case <-tick.C:
			s.keepAlives.look(s.HasLeader(), s.c.Leases.now(), s.c.Leases.patience)
		case <-drain:
			drain = nil
			s.keepAlives.end(errs.Stopped, true)
		case <-s.c.Leases.again:
			time.Sleep(revokePause)
		case <-s.stop:
			return
		}
	}
}

// lookAtLeases looks once, and says whether there is more to be done right now.
// What is decided is proposed under the lock, so that the log has it in the order
// in which it was decided, and for this term alone.
func (s *Service) lookAtLeases() (more bool) {
	l := s.c.Leases
	l.mu.Lock()
	defer l.mu.Unlock()
	k := s.keeperLocked()
	view := s.c.Machine.View()
	if k == nil {
		return false
	}
	if endsStandStill(view) {
		l.wakeLocked()
		return false
	}
	due := k.Look(l.now(), func(id int64) int { return view.Leases.CountKeys(id, countedKeys) })
	if len(due.Checkpoint) > 0 {
		_ = s.checkpointLocked(k.Term(), due.Checkpoint, dropped{}) // it comes again
	}
	if len(due.Revoke) > 0 {
		s.revokeLocked(k, due.Revoke)
	}
	if len(due.Revoke)+len(due.Checkpoint) > 0 {
		s.Kick()
	}
	return due.More
}

// endsStandStill says that no lease can be revoked: under the alarm CORRUPT that is
// refused.
func endsStandStill(view *machine.View) bool {
	return view.Members.Alarmed(etcdserverpb.AlarmType_CORRUPT)
}

// checkpointLocked proposes that what is left of leases be written down.
func (s *Service) checkpointLocked(term uint64, leases []lease.Lease, c caller) error {
	r := &etcdserverpb.InternalRaftRequest{
		Header:          &etcdserverpb.RequestHeader{ID: s.newID()},
		LeaseCheckpoint: &etcdserverpb.LeaseCheckpointRequest{},
	}
	for _, one := range leases {
		r.LeaseCheckpoint.Checkpoints = append(r.LeaseCheckpoint.Checkpoints, &etcdserverpb.LeaseCheckpoint{ID: one.ID, Remaining_TTL: one.Remaining})
	}
	return s.proposeInTerm(term, r, c)
}

// caller is a replica.Caller.
type caller interface{ Done(result any, err error) }

func (s *Service) proposeInTerm(term uint64, r *etcdserverpb.InternalRaftRequest, c caller) error {
	data, err := r.MarshalVT()
	if err != nil {
		return err
	}
	return s.c.Replica.ProposeInTerm(term, r.Header.ID, data, c)
}

// dropped does not care for the answer.
type dropped struct{}

// Done is replica.Caller's.
func (dropped) Done(any, error) {}

// revokeLocked proposes the end of leases, each as an entry of its own.
func (s *Service) revokeLocked(k *lease.Keeper, ids []int64) {
	l := s.c.Leases
	left := &atomic.Int64{}
	left.Store(int64(len(ids)))
	for i, id := range ids {
		err := s.proposeInTerm(k.Term(), &etcdserverpb.InternalRaftRequest{
			Header:      s.ownHeader(),
			LeaseRevoke: &etcdserverpb.LeaseRevokeRequest{ID: id},
		}, &expired{l, id, left})
		if err != nil { // there is no room for the others either
			for _, id := range ids[i:] {
				k.Retry(id, l.now())
			}
			left.Add(int64(i - len(ids)))
			return
		}
	}
}

// ownHeader is the header of a request of this member's own that keys hang on: it
// goes in root's name.
func (s *Service) ownHeader() *etcdserverpb.RequestHeader {
	h := &etcdserverpb.RequestHeader{ID: s.newID()}
	if users := s.c.Machine.View().Auth; users.Enabled {
		h.Username, h.AuthRevision = auth.Root, users.Revision
	}
	return h
}

// expired hears what came of the end of a lease whose time was over.
type expired struct {
	leases *Leases
	id     int64
	left   *atomic.Int64 // of its batch
}

// Done is replica.Caller's.
func (e *expired) Done(_ any, err error) {
	l := e.leases
	switch {
	case err == nil:
		l.expired.Add(1)
	case !errors.Is(err, errs.LeaseNotFound): // a client was faster
		l.mu.Lock()
		l.mu.keeper.Retry(e.id, l.now())
		l.mu.Unlock()
	}
	if e.left.Add(-1) == 0 {
		select {
		case l.again <- struct{}{}:
		default:
		}
	}
}
