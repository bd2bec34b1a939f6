package service

import (
	"context"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/version"
	"etcd.alt/internal/rpc"
)

// downgrade serves Maintenance.Downgrade.
func (s *Service) downgrade(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.DowngradeRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	var err error
	switch r.Action {
	case etcdserverpb.DowngradeRequest_VALIDATE:
		_, err = s.downgradeTarget(ctx, r.Version)
	case etcdserverpb.DowngradeRequest_ENABLE:
		var target string
		if target, err = s.downgradeTarget(ctx, r.Version); err == nil {
			err = s.setDowngrade(ctx, &etcdserverpb.DowngradeInfoSetRequest{Enabled: true, Ver: target})
		}
	case etcdserverpb.DowngradeRequest_CANCEL:
		err = s.setDowngrade(ctx, &etcdserverpb.DowngradeInfoSetRequest{})
	default:
		err = errs.UnknownMethod
	}
	if err != nil {
		return toStatus(err)
	}
	view := s.c.Machine.View()
	now, _ := version.Parse(view.Members.Version)
	return stream.Send(&etcdserverpb.DowngradeResponse{Header: s.protoHeader(view.Keys.Revision), Version: now.Short()})
}

func (s *Service) setDowngrade(ctx context.Context, r *etcdserverpb.DowngradeInfoSetRequest) error {
	return s.proposeAndWait(ctx, &etcdserverpb.InternalRaftRequest{DowngradeInfoSet: r})
}

// Downgrading says whether the members are being brought back to an earlier
// version, as of all that was acknowledged before.
func (s *Service) Downgrading(ctx context.Context) (bool, error) {
	if err := s.waitBarrier(ctx); err != nil {
		return false, err
	}
	return s.c.Machine.View().Members.Downgrade != "", nil
}

// downgradeTarget is the full form of the version to go back to, "3.6.0", if the
// cluster may: it is the one minor version before its own.
func (s *Service) downgradeTarget(ctx context.Context, asked string) (string, error) {
	target, ok := version.Parse(asked)
	if !ok {
		return "", errs.WrongDowngradeVersionFormat
	}
	if err := s.waitBarrier(ctx); err != nil {
		return "", err
	}
	members := s.c.Machine.View().Members
	own, ok := version.Parse(members.Version)
	switch {
	case !ok:
		return "", errs.ClusterVersionUnavailable
	case target.Major != own.Major || target.Minor+1 != own.Minor:
		return "", errs.InvalidDowngradeTargetVersion
	case members.Downgrade != "":
		return "", errs.DowngradeInProcess
	}
	return target.String(), nil
}
