package service

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/member"
	"etcd.alt/internal/rpc"
)

// memberPromote serves Cluster.MemberPromote. Only the leader knows how far a
// learner is, so others ask it.
func (s *Service) memberPromote(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.MemberPromoteRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	who := s.credentialOf(stream)
	if who.name != "" && !s.Leads() {
		return toStatus(errs.NotLeader) // a certificate cannot be handed on
	}
	if err := s.Promote(ctx, r.ID, who.token); err != nil {
		return toStatus(err)
	}
	return stream.Send(&etcdserverpb.MemberPromoteResponse{Header: s.protoHeader(0), Members: s.members()})
}

// Promote makes a learner a voter, here if this member leads, else at the
// leader, in the name of whoever the token is of. The reply is what this member
// has seen.
func (s *Service) Promote(ctx context.Context, id uint64, token string) error {
	ctx, cancel := context.WithTimeout(ctx, promoteTimeout)
	defer cancel()
	for {
		err := s.PromoteHere(ctx, id)
		if !errors.Is(err, errs.NotLeader) {
			return err
		}
		if leader, known := s.c.Machine.View().Members.Get(s.c.Replica.Status().Leader); known && leader.ID != s.c.MemberID {
			if err := s.c.Peers.Promote(ctx, leader.PeerURLs, id, token); err == nil {
				return s.waitBarrier(ctx) // what the leader has done is to be seen here
			} else if known := (*errs.Error)(nil); errors.As(err, &known) {
				return err // the leader has answered
			}
		}
		select {
		case <-ctx.Done():
			return errs.Timeout
		case <-time.After(forwardPause):
		}
	}
}

const (
	// promoteTimeout is how long a leader is looked for that promotes a learner,
	// and forwardPause the time between two tries.
	promoteTimeout = 7 * time.Second
	forwardPause   = 100 * time.Millisecond
)

// PromoteFor is PromoteHere in the name of whoever a token is of, who must have the
// role root.
func (s *Service) PromoteFor(ctx context.Context, id uint64, token string) error {
	by, err := s.rightsNow(ctx, credential{token: strings.TrimPrefix(token, "Bearer ")})
	if err == nil {
		err = by.Root()
	}
	if err != nil {
		return err
	}
	return s.PromoteHere(ctx, id)
}

// PromoteHere makes a learner a voter if this member leads. Errors:
// errs.NotLeader, errs.LearnerNotReady, what keeps a voter from being added, what
// refuses the change.
func (s *Service) PromoteHere(ctx context.Context, id uint64) error {
	err := s.promoteHere(ctx, id)
	s.promotions.count(err)
	return err
}

func (s *Service) promoteHere(ctx context.Context, id uint64) error {
	raft := s.c.Replica.Status()
	if !raft.IsLeader {
		return errs.NotLeader
	}
	view := s.c.Machine.View().Members
	if one, ok := view.Get(id); !ok {
		return errs.MemberNotFound
	} else if !one.Learner {
		return errs.MemberNotLearner
	}
	var first, learner uint64
	for _, p := range raft.Progress {
		switch p.ID {
		case s.c.MemberID:
			first = p.Match
		case id:
			learner = p.Match
		}
	}
	if first == 0 || float64(learner) < float64(first)*readyShare {
		return errs.LearnerNotReady
	}
	change, err := member.Promote(id)
	if err != nil {
		return err
	}
	done := make(waiter, 1)
	if err := s.offerChange(change, s.mayAddVoter, done); err != nil {
		return err
	}
	s.Kick()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readyShare is how much of the leader's log a learner must have to be promoted.
const readyShare = 0.9

// promotions counts what came of those that this member was to carry out as the
// leader.
type promotions struct {
	mu struct {
		sync.Mutex
		done    uint64
		refused map[string]uint64
	}
}

func (p *promotions) count(err error) {
	if errors.Is(err, errs.NotLeader) {
		return // another member counts it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.mu.done++
		return
	}
	if p.mu.refused == nil {
		p.mu.refused = map[string]uint64{}
	}
	p.mu.refused[reason(err)]++
}

// reason is one of a few texts, so that a label may have it.
func reason(err error) string {
	if known := (*errs.Error)(nil); errors.As(err, &known) {
		return known.Error()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return "other"
}

func (p *promotions) read() (done uint64, refused map[string]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.done, maps.Clone(p.mu.refused)
}
