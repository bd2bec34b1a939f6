package service

import (
	"context"
	"errors"

	"etcd.alt/api/electionpb"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/internal/recipe"
	"etcd.alt/internal/rpc"
)

// errNoLeaderKey is the error of a request that does not say what it is about.
var errNoLeaderKey = errors.New(`"leader" field must be provided`)

// leadership is what a client was told of a leadership.
func leadership(k *electionpb.LeaderKey) (*recipe.Leadership, error) {
	if k == nil {
		return nil, errNoLeaderKey
	}
	return &recipe.Leadership{Name: k.Name, Key: k.Key, Revision: k.Rev, Lease: k.Lease}, nil
}

// campaign serves Election.Campaign: it returns when the caller leads.
func (s *Service) campaign(ctx context.Context, stream *rpc.Stream) error {
	var r electionpb.CampaignRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	ctx, cancel := s.waiting(ctx)
	defer cancel()
	lease, err := s.session(ctx, r.Lease)
	if err != nil {
		return unknownError(err)
	}
	l, header, err := recipe.Campaign(ctx, s.insideFor(stream), s.ticket(r.Name, lease, r.Value))
	if err != nil {
		return unknownError(err)
	}
	return stream.Send(&electionpb.CampaignResponse{Header: header, Leader: &electionpb.LeaderKey{Name: l.Name, Key: l.Key, Rev: l.Revision, Lease: l.Lease}})
}

// proclaim serves Election.Proclaim.
func (s *Service) proclaim(ctx context.Context, stream *rpc.Stream) error {
	var r electionpb.ProclaimRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	l, err := leadership(r.Leader)
	if err != nil {
		return unknownError(err)
	}
	header, err := recipe.Proclaim(ctx, s.insideFor(stream), l, r.Value)
	if err != nil {
		return unknownError(err)
	}
	return stream.Send(&electionpb.ProclaimResponse{Header: header})
}

// leader serves Election.Leader.
func (s *Service) leader(ctx context.Context, stream *rpc.Stream) error {
	var r electionpb.LeaderRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	kv, header, err := recipe.Leader(ctx, s.insideFor(stream), r.Name)
	if err != nil {
		return unknownError(err)
	}
	return stream.Send(&electionpb.LeaderResponse{Header: header, Kv: kv})
}

// observe serves Election.Observe, which never ends by itself.
func (s *Service) observe(ctx context.Context, stream *rpc.Stream) error {
	var r electionpb.LeaderRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	ctx, cancel := s.waiting(ctx)
	defer cancel()
	return unknownError(recipe.Observe(ctx, s.insideFor(stream), r.Name, func(kv *mvccpb.KeyValue, header *etcdserverpb.ResponseHeader) error {
		return stream.Send(&electionpb.LeaderResponse{Header: header, Kv: kv})
	}))
}

// resign serves Election.Resign.
func (s *Service) resign(ctx context.Context, stream *rpc.Stream) error {
	var r electionpb.ResignRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	l, err := leadership(r.Leader)
	if err != nil {
		return unknownError(err)
	}
	header, err := recipe.Resign(ctx, s.insideFor(stream), l)
	if err != nil {
		return unknownError(err)
	}
	return stream.Send(&electionpb.ResignResponse{Header: header})
}
