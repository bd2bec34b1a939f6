package service

import (
	"context"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/machine"
)

// healthKey is what health checks read; it need not exist.
var healthKey = &etcdserverpb.RangeRequest{Key: []byte("health"), Limit: 1}

// HasLeader says whether a leader is known.
func (s *Service) HasLeader() bool { return s.c.Replica.Status().Leader != 0 }

// Alarmed says whether an alarm of a type stands in the cluster.
func (s *Service) Alarmed(t etcdserverpb.AlarmType) bool {
	return s.c.Machine.View().Members.Alarmed(t)
}

// Learner says whether this member is a learner.
func (s *Service) Learner() bool { return s.c.Replica.Status().Learner }

// ClusterVersion is the version the members agreed on, "" for none yet.
func (s *Service) ClusterVersion() string { return s.c.Machine.View().Members.Version }

// SerializableRead reads one key of this member's state.
func (s *Service) SerializableRead() error {
	return s.inView(func(view *machine.View) error {
		_, err := view.Keys.Range(healthKey)
		return err
	})
}

// LinearizableRead reads one key behind a barrier. It blocks until then, or
// until ctx ends.
func (s *Service) LinearizableRead(ctx context.Context) error {
	if err := s.waitBarrier(ctx); err != nil {
		return err
	}
	return s.SerializableRead()
}

// waitBarrier waits until the published state has everything that was
// acknowledged before.
func (s *Service) waitBarrier(ctx context.Context) error {
	done := make(waiter, 1)
	if err := s.c.Replica.Read(done); err != nil {
		return err
	}
	s.c.Replica.Kick()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waiter is a replica.Caller for a goroutine that waits. It has room for the
// answer.
type waiter chan error

// Done is replica.Caller's.
func (w waiter) Done(_ any, err error) { w <- err }
