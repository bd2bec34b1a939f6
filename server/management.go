package server

import (
	"context"
	"net/http"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/version"
	"etcd.alt/internal/member"
	"etcd.alt/internal/peer"
	"etcd.alt/internal/service"
)

// handler is all that other members may ask for over HTTP: what the consensus
// sends, and the pages about members, versions and hashes.
func (p *peers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/raft", p.transport.Handler())
	mux.Handle("/raft/", p.transport.Handler())
	mux.Handle("/", peer.Management{
		ClusterID:        p.m.state.Data.Identity.ClusterID,
		Members:          func() []peer.Member { return peerMembers(p.m.state.View().Members.Members) },
		Promote:          p.servePromote,
		HashKV:           p.serveHash,
		DowngradeEnabled: p.serveDowngrade,
		RenewLease:       p.serveRenew,
		LeaseTimeToLive:  p.serveTimeToLive,
		Versions: func() peer.Versions {
			return peer.Versions{Server: version.Server, Cluster: clusterVersion(p.m.state.View().Members), Storage: version.Storage}
		},
	}.Handler())
	return mux
}

func clusterVersion(v *member.View) string {
	if v.Version == "" {
		return "not_decided"
	}
	return v.Version
}

func peerMembers(members []member.Member) []peer.Member {
	out := make([]peer.Member, len(members))
	for i, m := range members {
		out[i] = peer.Member(m)
	}
	return out
}

// The pages that need the services wait for them: another member may ask before
// this one serves clients.

func (p *peers) servePromote(ctx context.Context, id uint64, token string) ([]peer.Member, error) {
	s, err := p.m.services(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.PromoteFor(ctx, id, token); err != nil {
		return nil, err
	}
	return peerMembers(s.Members()), nil
}

func (p *peers) serveHash(ctx context.Context, revision int64) (peer.Hash, error) {
	s, err := p.m.services(ctx)
	if err != nil {
		return peer.Hash{}, err
	}
	h, current, err := s.HashKV(revision)
	return peer.Hash{Current: current, Hash: h.Hash, CompactRevision: h.Compacted, Revision: h.Revision}, err
}

func (p *peers) serveDowngrade(ctx context.Context) (bool, error) {
	s, err := p.m.services(ctx)
	if err != nil {
		return false, err
	}
	return s.Downgrading(ctx)
}

func (p *peers) serveRenew(ctx context.Context, id int64) (int64, error) {
	s, err := p.m.services(ctx)
	if err != nil {
		return 0, err
	}
	return s.RenewHere(ctx, id)
}

func (p *peers) serveTimeToLive(ctx context.Context, id int64, keys bool) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
	s, err := p.m.services(ctx)
	if err != nil {
		return nil, err
	}
	return s.TimeToLiveHere(ctx, id, keys)
}

// services are the services of a member that has come so far.
func (m *Member) services(ctx context.Context) (*service.Service, error) {
	select {
	case <-m.ready:
		return m.service, nil
	case <-m.stopTicks:
		return nil, errs.Stopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
