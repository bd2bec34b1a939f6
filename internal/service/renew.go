package service

import (
	"context"
	"errors"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/lease"
)

const (
	// appliedPatience is how long a question about leases waits for what was
	// committed before to be applied.
	appliedPatience = time.Second
	// askAgain is the pause after a leader has not answered.
	askAgain = 50 * time.Millisecond
)

// Renew gives a lease all of its time again, here if this member leads, else at
// the leader, and says how many seconds that is. Errors: errs.LeaseNotFound, also
// for one that has ended; errs.NoLeader, Timeout, Canceled, Stopped,
// TimeoutWaitAppliedIndex.
func (s *Service) Renew(ctx context.Context, id int64) (ttl int64, err error) {
	if ttl, err = s.RenewHere(ctx, id); !errors.Is(err, errs.NotPrimaryLessor) {
		return ttl, err
	}
	err = s.atLeader(ctx, func(ctx context.Context) error {
		ttl, err = s.RenewHere(ctx, id)
		return err
	}, func(ctx context.Context, urls []string) error {
		ttl, err = s.c.Peers.Renew(ctx, urls, id)
		return err
	})
	return ttl, err
}

// RenewHere is Renew if this member leads; errs.NotPrimaryLessor if it does not.
func (s *Service) RenewHere(ctx context.Context, id int64) (int64, error) {
	one := [...]renewal{{id: id}}
	for waited := false; ; waited = true {
		if leads, err := s.renewAtOnce(ctx, one[:]); err != nil {
			return 0, err
		} else if !leads {
			return 0, errs.NotPrimaryLessor
		}
		var err error
		switch one[0].came {
		case lease.Renewed:
			return one[0].ttl, nil
		case lease.Ended:
			if endsStandStill(s.c.Machine.View()) {
				return 0, errs.LeaseNotFound // it will be gone some day
			}
			err = s.waitFor(ctx, s.gone(id))
		case lease.Unknown:
			if waited {
				return 0, errs.LeaseNotFound
			}
			err = s.waitApplied(ctx) // it may have been granted at another member just now
		}
		if err != nil {
			return 0, err
		}
	}
}

// renewal is a lease that is to be renewed, and what came of that.
type renewal struct {
	id, ttl int64
	came    lease.Renewal
	mark    uint32
}

// renewAtOnce renews leases if this member leads, and says whether it does. Those
// of which the log has too little are checkpointed together; it waits for that
// alone. Where the last word of the log is not known even then, a lease is left
// Short, to be renewed again. An error concerns all of them.
func (s *Service) renewAtOnce(ctx context.Context, all []renewal) (leads bool, err error) {
	l := s.c.Leases
	l.mu.Lock()
	k := s.keeperLocked()
	if k == nil {
		l.mu.Unlock()
		return false, nil
	}
	now, renewed, doubtful := l.now(), uint64(0), false
	var short []lease.Lease
	for i := range all {
		r := &all[i]
		r.ttl, r.came, r.mark = k.Renew(r.id, now)
		switch r.came {
		case lease.Renewed:
			renewed++
		case lease.Short:
			short = append(short, lease.Lease{ID: r.id})
		case lease.Doubtful:
			doubtful = true
		}
	}
	if doubtful {
		term := k.Term()
		l.mu.Unlock()
		return s.makeSure(ctx, term, all)
	}
	var cleared waiter
	if len(short) > 0 {
		cleared = make(waiter, 1)
		err = s.checkpointLocked(k.Term(), short, cleared)
	}
	l.mu.Unlock()
	l.renewed.Add(renewed)
	if err != nil || len(short) == 0 {
		return true, err
	}
	s.Kick()
	select {
	case err = <-cleared:
	case <-ctx.Done():
		return true, ended(ctx)
	}
	switch {
	case errors.Is(err, errs.ProposalDropped): // another leads
		return false, nil
	case err != nil:
		return true, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range all {
		if r := &all[i]; r.came == lease.Short && l.mu.keeper.Cleared(r.id, r.mark) {
			r.came = lease.Renewed
			l.renewed.Add(1)
		}
	}
	return true, nil
}

// makeSure renews leases once it is known that this member still leads in a term,
// after it may have stood still.
func (s *Service) makeSure(ctx context.Context, term uint64, all []renewal) (leads bool, err error) {
	l := s.c.Leases
	began := l.now()
	if err := s.waitApplied(ctx); err != nil {
		return false, nil // whoever leads then is asked
	}
	l.mu.Lock()
	if k := s.keeperLocked(); k != nil && k.Term() == term {
		k.Sure(began)
	}
	l.mu.Unlock()
	return s.renewAtOnce(ctx, all)
}

// gone is closed when a lease that has ended is gone, or is not to go for now, or this
// member does not lead any more.
func (s *Service) gone(id int64) <-chan struct{} {
	l := s.c.Leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := s.keeperLocked(); k != nil {
		if _, there := k.Left(id, l.now()); there {
			return l.goneLocked(id)
		}
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// waitFor waits for something that this member does.
func (s *Service) waitFor(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-s.stop:
		return errs.Stopped
	case <-ctx.Done():
		return ended(ctx)
	}
}

// ended is why a context that is over is.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errs.Timeout
	}
	return errs.Canceled
}

// waitApplied waits until the published state has everything that was acknowledged
// before, but not for long.
func (s *Service) waitApplied(ctx context.Context) error {
	if s.c.Replica.Alone() {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, appliedPatience)
	defer cancel()
	err := s.waitBarrier(short)
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return errs.TimeoutWaitAppliedIndex
	}
	return err
}

// timeToLive is what is left of a lease, here if this member leads, else at the
// leader. Errors are those of Renew. The header is left out.
func (s *Service) timeToLive(ctx context.Context, r *etcdserverpb.LeaseTimeToLiveRequest) (res *etcdserverpb.LeaseTimeToLiveResponse, err error) {
	if res, err = s.TimeToLiveHere(ctx, r.ID, r.Keys); !errors.Is(err, errs.NotPrimaryLessor) {
		return res, err
	}
	err = s.atLeader(ctx, func(ctx context.Context) error {
		res, err = s.TimeToLiveHere(ctx, r.ID, r.Keys)
		return err
	}, func(ctx context.Context, urls []string) error {
		res, err = s.c.Peers.TimeToLive(ctx, urls, r.ID, r.Keys)
		return err
	})
	return res, err
}

// TimeToLiveHere says what is left of a lease, and which keys are on it if that is
// wanted, if this member leads; errs.NotPrimaryLessor if it does not. Other errors
// are those of Renew. The header is left out.
func (s *Service) TimeToLiveHere(ctx context.Context, id int64, keys bool) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
	if !s.c.Replica.Status().IsLeader {
		return nil, errs.NotPrimaryLessor
	}
	if err := s.waitApplied(ctx); err != nil {
		return nil, err
	}
	view := s.c.Machine.View().Leases
	l := s.c.Leases
	l.mu.Lock()
	k := s.keeperLocked()
	var left time.Duration
	if k != nil {
		left, _ = k.Left(id, l.now())
	}
	l.mu.Unlock()
	one, ok := view.Get(id)
	switch {
	case k == nil:
		return nil, errs.NotPrimaryLessor
	case !ok:
		return nil, errs.LeaseNotFound
	}
	res := &etcdserverpb.LeaseTimeToLiveResponse{ID: id, TTL: int64(left / time.Second), GrantedTTL: one.TTL}
	if keys {
		view.EachKey(id, func(key string) bool {
			res.Keys = append(res.Keys, []byte(key))
			return true
		})
	}
	return res, nil
}

// atLeader asks here while this member leads, and the leader at its peer URLs while
// another does, until there is an answer: none, or that there is no such lease.
func (s *Service) atLeader(ctx context.Context, here func(context.Context) error, there func(context.Context, []string) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.RequestTimeout)
	defer cancel()
	for {
		raft := s.c.Replica.Status()
		leader, known := s.c.Machine.View().Members.Get(raft.Leader)
		err := error(errs.NoLeader)
		switch {
		case raft.IsLeader:
			err = here(ctx)
		case known && len(leader.PeerURLs) > 0:
			err = there(ctx, leader.PeerURLs)
		}
		if err == nil || errors.Is(err, errs.LeaseNotFound) {
			return err
		}
		select {
		case <-time.After(askAgain):
		case <-s.stop:
			return errs.Stopped
		case <-ctx.Done():
			if errors.Is(err, errs.NoLeader) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errs.NoLeader
			}
			return ended(ctx)
		}
	}
}
