package service

import (
	"context"

	"etcd.alt/api/errs"
	"etcd.alt/internal/rpc"
)

// What a learner answers: its own state, and reads of what it has, of which
// rangeKeys sees to it itself.
const (
	statusPath = "/etcdserverpb.Maintenance/Status"
	rangePath  = "/etcdserverpb.KV/Range"

	authenticatePath = "/etcdserverpb.Auth/Authenticate"
)

// guarded is a method that refuses what this member cannot answer as it stands: a
// learner hardly anything, and one that knows no leader what asks for one. Then
// comes the method's door.
func (s *Service) guarded(m rpc.Method) rpc.Method {
	learners := m.Path == statusPath || m.Path == rangePath
	d := doors[m.Path]
	if m.Inline != nil {
		inline := s.barredInline(d, m.Inline)
		m.Inline = func(c *rpc.Call) {
			s.beginAudit(d, c)
			if err := s.standing(learners, c.Metadata); err != nil {
				fail(c, err)
				return
			}
			inline(c)
		}
	}
	if m.Stream != nil {
		stream := s.barredStream(d, m.Path, m.Stream)
		m.Stream = func(ctx context.Context, st *rpc.Stream) error {
			s.beginAudit(d, st)
			if err := s.standing(learners, st.Metadata); err != nil {
				return toStatus(err)
			}
			return stream(ctx, st)
		}
	}
	return m
}

// requireLeader is the header by which a client asks not to be kept waiting.
const requireLeader = "hasleader"

// standing says why this member cannot answer, nil if it can.
func (s *Service) standing(learners bool, metadata func(string) (string, bool)) error {
	raft := s.c.Replica.Status()
	if raft.Learner && !learners {
		return errs.NotSupportedForLearner
	}
	if raft.Leader == 0 {
		if v, _ := metadata(requireLeader); v == "true" {
			return errs.NoLeader
		}
	}
	return nil
}
