package server

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"etcd.alt/api/etcdserverpb"
)

func TestGRPCHealth(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(dial(t, m))
	res, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, res.Status)
	_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "etcdserverpb.KV"})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, "unknown service", status.Convert(err).Message())
	list, err := client.List(ctx, &grpc_health_v1.HealthListRequest{})
	require.NoError(t, err)
	require.Len(t, list.Statuses, 1)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, list.Statuses[""].Status)

	unknown, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "x"})
	require.NoError(t, err)
	res, err = unknown.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN, res.Status)
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	res, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, res.Status)

	// A member that stops says so, and does not wait for those who watch it.
	began := time.Now()
	require.NoError(t, m.Close())
	require.Less(t, time.Since(began), drainTimeout)
	res, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING, res.Status)
	_, err = watch.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	_, err = unknown.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
}

// A client that knows nothing of etcd finds out what is served, and calls it.
func TestReflection(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn := dial(t, m)
	_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)

	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	ask := func(req *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		require.NoError(t, stream.Send(req))
		res, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, proto.Equal(req, res.OriginalRequest))
		return res
	}
	var served []string
	for _, s := range ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().Service {
		served = append(served, s.Name)
	}
	for _, want := range []string{"etcdserverpb.KV", "etcdserverpb.Auth", "etcdserverpb.Maintenance", "etcdserverpb.Watch", "etcdserverpb.Lease", "v3lockpb.Lock", "v3electionpb.Election", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"} {
		require.Contains(t, served, want)
	}

	res := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "etcdserverpb.KV"}})
	set := &descriptorpb.FileDescriptorSet{}
	for _, b := range res.GetFileDescriptorResponse().FileDescriptorProto {
		f := &descriptorpb.FileDescriptorProto{}
		require.NoError(t, proto.Unmarshal(b, f))
		set.File = append(set.File, f)
	}
	files, err := protodesc.NewFiles(set)
	require.NoError(t, err)
	d, err := files.FindDescriptorByName("etcdserverpb.KV")
	require.NoError(t, err)
	method := d.(protoreflect.ServiceDescriptor).Methods().ByName("Range")
	req, reply := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	require.NoError(t, protojson.Unmarshal([]byte(`{"key":"aw==","sort_order":"DESCEND"}`), req))
	require.NoError(t, conn.Invoke(ctx, "/etcdserverpb.KV/Range", req, reply))
	got := &etcdserverpb.RangeResponse{}
	b, err := proto.Marshal(reply)
	require.NoError(t, err)
	require.NoError(t, proto.Unmarshal(b, got))
	require.Equal(t, "v", string(got.Kvs[0].Value))

	// By name: the file alone, as its imports have been sent.
	res = ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileByFilename{FileByFilename: d.ParentFile().Path()}})
	require.Len(t, res.GetFileDescriptorResponse().FileDescriptorProto, 1)
	for _, symbol := range []string{"etcdserverpb.Nonsense", "etcd.v3.server.KV", "", "google.protobuf.Any"} {
		res = ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
		require.Equal(t, int32(codes.NotFound), res.GetErrorResponse().GetErrorCode(), symbol)
	}
	res = ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_AllExtensionNumbersOfType{AllExtensionNumbersOfType: "etcdserverpb.RangeRequest"}})
	require.Equal(t, "etcdserverpb.RangeRequest", res.GetAllExtensionNumbersResponse().GetBaseTypeName())
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.Error(t, err)

	// v1alpha, which older clients speak alone, is the same under another path.
	alpha, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	require.NoError(t, err)
	require.NoError(t, alpha.SendMsg(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "mvccpb.KeyValue"}}))
	old := &reflectionv1.ServerReflectionResponse{}
	require.NoError(t, alpha.RecvMsg(old))
	require.Len(t, old.GetFileDescriptorResponse().FileDescriptorProto, 1)
	require.NoError(t, alpha.CloseSend())
}

// A member without a quorum serves what it can: a probe must not have it restarted.
func TestGRPCHealthWithoutAQuorum(t *testing.T) {
	t.Parallel() // it waits, mostly
	members := startAll(t, clusterOf(t, 3))
	leaderOf(t, members)
	conn := dial(t, members[0])
	putKey(t, conn, "k", "v")
	require.NoError(t, members[1].Close())
	require.NoError(t, members[2].Close())
	got, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), Serializable: true})
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, res.Status)
}
