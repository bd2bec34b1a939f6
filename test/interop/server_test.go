package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/rpc"
)

// message is one of gRPC's test messages as the engine takes it.
type message struct{ proto.Message }

func (m message) SizeVT() int { return proto.Size(m.Message) }

func (m message) MarshalToSizedBufferVT(b []byte) (int, error) {
	out, err := proto.Marshal(m.Message)
	if err != nil || len(out) > len(b) {
		return 0, errors.Join(err, errors.New("the message has grown"))
	}
	return copy(b[len(b)-len(out):], out), nil
}

// Metadata that the test client wants back.
const (
	initialKey  = "x-grpc-test-echo-initial"
	trailingKey = "x-grpc-test-echo-trailing-bin"
)

const service = "/grpc.testing.TestService/"

// methods are gRPC's test service over the engine's three kinds of handlers.
func methods() []rpc.Method {
	return []rpc.Method{
		{Path: service + "EmptyCall", Inline: func(c *rpc.Call) { c.Reply(message{&pb.Empty{}}) }},
		{Path: service + "UnaryCall", Inline: unaryCall},
		{Path: service + "StreamingInputCall", Stream: streamingInput},
		{Path: service + "StreamingOutputCall", Stream: streamingOutput},
		{Path: service + "FullDuplexCall", Stream: fullDuplex},
	}
}

// unaryCall answers in place, or goes on as a stream where metadata is asked
// for, which a plain reply has no room for.
func unaryCall(c *rpc.Call) {
	req := &pb.SimpleRequest{}
	if err := proto.Unmarshal(c.Payload(), req); err != nil {
		c.Fail(codes.Internal, err.Error())
		return
	}
	if _, ok := c.Metadata(initialKey); ok {
		c.Keep().Stream(func(_ context.Context, s *rpc.Stream) error {
			echoMetadata(s)
			res, err := simple(req)
			if err != nil {
				return err
			}
			return s.Send(message{res})
		})
		return
	}
	res, err := simple(req)
	if err != nil {
		c.FailStatus(status.Convert(err))
		return
	}
	c.Reply(message{res})
}

func simple(req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if st := req.ResponseStatus; st.GetCode() != 0 {
		return nil, status.Error(codes.Code(st.Code), st.Message)
	}
	p, err := payload(req.ResponseType, req.ResponseSize)
	return &pb.SimpleResponse{Payload: p}, err
}

func payload(kind pb.PayloadType, size int32) (*pb.Payload, error) {
	if kind != pb.PayloadType_COMPRESSABLE || size < 0 {
		return nil, fmt.Errorf("no payload of type %v and size %d", kind, size)
	}
	return &pb.Payload{Type: kind, Body: make([]byte, size)}, nil
}

func echoMetadata(s *rpc.Stream) {
	if v, ok := s.Metadata(initialKey); ok {
		s.SetHeader(rpc.Field{Name: initialKey, Value: v})
	}
	if v, ok := s.Metadata(trailingKey); ok {
		s.SetTrailer(rpc.Field{Name: trailingKey, Value: v})
	}
}

func streamingInput(_ context.Context, s *rpc.Stream) error {
	sum := 0
	for {
		req := &pb.StreamingInputCallRequest{}
		switch err := receive(s, req); {
		case errors.Is(err, io.EOF):
			return s.Send(message{&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)}})
		case err != nil:
			return err
		}
		sum += len(req.Payload.GetBody())
	}
}

func streamingOutput(ctx context.Context, s *rpc.Stream) error {
	req := &pb.StreamingOutputCallRequest{}
	if err := receive(s, req); err != nil {
		return err
	}
	return output(ctx, s, req)
}

func fullDuplex(ctx context.Context, s *rpc.Stream) error {
	echoMetadata(s)
	for {
		req := &pb.StreamingOutputCallRequest{}
		switch err := receive(s, req); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if st := req.ResponseStatus; st.GetCode() != 0 {
			return status.Error(codes.Code(st.Code), st.Message)
		}
		if err := output(ctx, s, req); err != nil {
			return err
		}
	}
}

func output(ctx context.Context, s *rpc.Stream, req *pb.StreamingOutputCallRequest) error {
	for _, p := range req.ResponseParameters {
		if p.IntervalUs > 0 {
			select {
			case <-time.After(time.Duration(p.IntervalUs) * time.Microsecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		body, err := payload(req.ResponseType, p.Size)
		if err != nil {
			return err
		}
		if err := s.Send(message{&pb.StreamingOutputCallResponse{Payload: body}}); err != nil {
			return err
		}
	}
	return nil
}

func receive(s *rpc.Stream, m proto.Message) error {
	b, err := s.Recv()
	if err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}
