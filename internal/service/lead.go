package service

import (
	"context"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/rpc"
)

// moveLeader serves Maintenance.MoveLeader.
func (s *Service) moveLeader(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.MoveLeaderRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	if err := s.hand(ctx, r.TargetID); err != nil {
		return toStatus(err)
	}
	return stream.Send(&etcdserverpb.MoveLeaderResponse{})
}

// hand hands leadership over to a voter, and returns when that leads.
func (s *Service) hand(ctx context.Context, to uint64) error {
	one, ok := s.c.Machine.View().Members.Get(to)
	switch {
	case !s.c.Replica.Status().IsLeader:
		return errs.NotLeader
	case !ok || one.Learner:
		return errs.BadLeaderTransferee
	case to == s.c.MemberID:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handTimeout)
	defer cancel()
	s.c.Replica.Transfer(to)
	look := time.NewTicker(handLook)
	defer look.Stop()
	for s.c.Replica.Status().Leader != to {
		select {
		case <-look.C:
		case <-ctx.Done():
			return errs.TimeoutLeaderTransfer
		}
	}
	return nil
}

const (
	// handTimeout is how long a hand-over may take, and handLook how often is
	// looked whether it is done.
	handTimeout = 5 * time.Second
	handLook    = 5 * time.Millisecond
)
