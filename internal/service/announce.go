package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/version"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/machine"
)

// Announce makes this member's name and client URLs known through the log, where
// they are not. It asks again for as long as the members cannot agree, until ctx
// ends.
func (s *Service) Announce(ctx context.Context, name string, clientURLs []string) error {
	for {
		members := s.c.Machine.View().Members
		self, ok := members.Get(s.c.MemberID)
		switch {
		case ok && self.Name == name && slices.Equal(self.ClientURLs, clientURLs), members.IsRemoved(s.c.MemberID):
			return nil
		case !ok: // one that joins hears of itself by and by
			if err := s.pause(ctx); err != nil {
				return err
			}
			continue
		}
		err := s.proposeAndWait(ctx, &etcdserverpb.InternalRaftRequest{ClusterMemberAttrSet: &etcdserverpb.ClusterMemberAttrSetRequest{
			Member_ID:        s.c.MemberID,
			MemberAttributes: &etcdserverpb.MemberAttributes{Name: name, ClientUrls: clientURLs},
		}})
		if err != nil && (!cameToNothing(err) || errors.Is(err, errs.Stopped)) {
			return err
		}
		if err != nil {
			if err := s.pause(ctx); err != nil {
				return err
			}
		}
	}
}

// pause waits a little. It returns an error when there is nothing to wait for any
// more.
func (s *Service) pause(ctx context.Context) error {
	select {
	case <-time.After(announcePause):
		return nil
	case <-s.c.Replica.Done():
		return cmp.Or(s.c.Replica.Err(), error(errs.Stopped))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// announcePause is how often a member looks whether it is one.
const announcePause = 20 * time.Millisecond

// SetClusterVersion sets the version that the members agree on.
func (s *Service) SetClusterVersion(ctx context.Context, v version.Number) error {
	return s.proposeAndWait(ctx, &etcdserverpb.InternalRaftRequest{ClusterVersionSet: &etcdserverpb.ClusterVersionSetRequest{Ver: v.String()}})
}

// EndDowngrade gives a downgrade up, or takes note that it is done.
func (s *Service) EndDowngrade(ctx context.Context) error {
	return s.setDowngrade(ctx, &etcdserverpb.DowngradeInfoSetRequest{})
}

// Leads says whether this member is the leader.
func (s *Service) Leads() bool { return s.c.Replica.Status().Leader == s.c.MemberID }

// Compact gives up the history before revision, without waiting for the space.
// Errors: errs.Compacted, errs.FutureRev, errs.Corrupt, failures to propose.
func (s *Service) Compact(ctx context.Context, revision int64) error {
	return s.proposeAndWait(ctx, &etcdserverpb.InternalRaftRequest{Compaction: &etcdserverpb.CompactionRequest{Revision: revision}})
}

// proposeAndWait sends a request of the member's own through the log.
func (s *Service) proposeAndWait(ctx context.Context, r *etcdserverpb.InternalRaftRequest) error {
	_, err := s.proposeBy(ctx, auth.Subject{}, r)
	return err
}

// proposeBy is proposeAndWait in the name of by, for who wants to know what came of
// it.
func (s *Service) proposeBy(ctx context.Context, by auth.Subject, r *etcdserverpb.InternalRaftRequest) (*machine.Result, error) {
	r.Header = &etcdserverpb.RequestHeader{ID: s.newID(), Username: by.User, AuthRevision: by.Revision}
	data, err := r.MarshalVT()
	if err != nil {
		return nil, err
	}
	done := make(resultWaiter, 1)
	if err := s.c.Replica.Propose(r.Header.ID, data, done); err != nil {
		return nil, err
	}
	s.Kick()
	select {
	case a := <-done:
		return a.result, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// resultWaiter is a replica.Caller for a goroutine that waits. It has room for the
// answer.
type resultWaiter chan struct {
	result *machine.Result
	err    error
}

// Done is replica.Caller's.
func (w resultWaiter) Done(result any, err error) {
	r, _ := result.(*machine.Result) // nil with an error
	w <- struct {
		result *machine.Result
		err    error
	}{r, err}
}
