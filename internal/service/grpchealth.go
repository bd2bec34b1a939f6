package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/api/healthpb"
	"etcd.alt/internal/rpc"
)

// health is the state of the one service whose health is known, "": the member. It
// serves until it is stopped, without a leader too: it answers serializable reads, and a
// probe that had it restarted would help nobody. /readyz says more.
func (s *Service) health() healthpb.HealthCheckResponse_ServingStatus {
	select {
	case <-s.drain:
		return healthpb.HealthCheckResponse_NOT_SERVING
	default:
		return healthpb.HealthCheckResponse_SERVING
	}
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
	return stream.Send(&healthpb.HealthCheckResponse{Status: s.health()})
}

// healthList serves Health.List.
func (s *Service) healthList(ctx context.Context, stream *rpc.Stream) error {
	var r healthpb.HealthListRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	return stream.Send(&healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{"": {Status: s.health()}}})
}

// healthWatch serves Health.Watch. A service that is not known stays so, and
// the stream stays open, as the protocol asks.
func (s *Service) healthWatch(ctx context.Context, stream *rpc.Stream) error {
	var r healthpb.HealthCheckRequest
	if err := receive(stream, &r); err != nil {
		return err
	}
	told := healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	if r.Service == "" {
		told = s.health()
	}
	if err := stream.Send(&healthpb.HealthCheckResponse{Status: told}); err != nil {
		return err
	}
	select {
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
