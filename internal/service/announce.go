package service

import (
	"context"
	"slices"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/version"
)

// Announce makes this member's name and client URLs known through the log, and
// sets the cluster's version if there is none yet. It does nothing where all of
// that stands already.
func (s *Service) Announce(ctx context.Context, name string, clientURLs []string) error {
	members := s.c.Machine.View().Members
	if self, ok := members.Get(s.c.MemberID); ok && (self.Name != name || !slices.Equal(self.ClientURLs, clientURLs)) {
		err := s.proposeAndWait(ctx, &etcdserverpb.InternalRaftRequest{ClusterMemberAttrSet: &etcdserverpb.ClusterMemberAttrSetRequest{
			Member_ID:        s.c.MemberID,
			MemberAttributes: &etcdserverpb.MemberAttributes{Name: name, ClientUrls: clientURLs},
		}})
		if err != nil {
			return err
		}
	}
	if members.Version == "" {
		return s.proposeAndWait(ctx, &etcdserverpb.InternalRaftRequest{ClusterVersionSet: &etcdserverpb.ClusterVersionSetRequest{Ver: version.Cluster}})
	}
	return nil
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
	r.Header = &etcdserverpb.RequestHeader{ID: s.newID()}
	data, err := r.MarshalVT()
	if err != nil {
		return err
	}
	done := make(waiter, 1)
	if err := s.c.Replica.Propose(r.Header.ID, data, done); err != nil {
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
