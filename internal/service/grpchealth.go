package service

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/api/healthpb"
	"etcd.alt/internal/rpc"
)

const (
	// healthPeriod is how often a watched health is looked at.
	healthPeriod = time.Second
	// healthTimeout is how long the member may take to prove itself fit.
	healthTimeout = 5 * time.Second
)

// health is the state of the one service whose health is known, "": the member.
// It is fit to serve when a linearizable read succeeds.
func (s *Service) health(ctx context.Context) healthpb.HealthCheckResponse_ServingStatus {
	select {
	case <-s.drain:
		return healthpb.HealthCheckResponse_NOT_SERVING
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if !s.HasLeader() || s.LinearizableRead(ctx) != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}

// healthCheck serves Health.Check.
func (s *Service) healthCheck(ctx context.Context, stream *rpc.Stream) error {
	var r healthpb.HealthCheckRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	if r.Service != "" {
		return status.Error(codes.NotFound, "unknown service")
	}
	return stream.Send(&healthpb.HealthCheckResponse{Status: s.health(ctx)})
}

// healthList serves Health.List.
func (s *Service) healthList(ctx context.Context, stream *rpc.Stream) error {
	var r healthpb.HealthListRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	return stream.Send(&healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{"": {Status: s.health(ctx)}}})
}

// healthWatch serves Health.Watch. A service that is not known stays so, and
// the stream stays open, as the protocol asks.
func (s *Service) healthWatch(ctx context.Context, stream *rpc.Stream) error {
	var r healthpb.HealthCheckRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	look := func() healthpb.HealthCheckResponse_ServingStatus { return healthpb.HealthCheckResponse_SERVICE_UNKNOWN }
	if r.Service == "" {
		look = func() healthpb.HealthCheckResponse_ServingStatus { return s.health(ctx) }
	}
	tick := time.NewTicker(healthPeriod)
	defer tick.Stop()
	told := healthpb.HealthCheckResponse_UNKNOWN
	for {
		if now := look(); now != told {
			told = now
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.drain:
			if told == healthpb.HealthCheckResponse_SERVING {
				if err := stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}); err != nil {
					return err
				}
			}
			return toStatus(errs.Stopped)
		}
	}
}

// receive reads the one request of a call that has a goroutine of its own.
func receive(stream *rpc.Stream, r request) error {
	payload, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := unmarshal(r, payload); err != nil {
		return err
	}
	audited(stream, r)
	return nil
}

// unmarshal decodes a message of a stream, which r then aliases.
func unmarshal(r request, payload []byte) error {
	if err := r.UnmarshalVTUnsafe(payload); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	return nil
}
