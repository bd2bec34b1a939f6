package conformance

import (
	"context"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"etcd.alt/conformance/member"
)

// side is a member that is asked what another is asked too, and the tokens of who has
// logged in there.
type side struct {
	t      *testing.T
	conn   *grpc.ClientConn
	tokens map[string]string // by user
}

func newSide(t *testing.T, m *member.Member) *side {
	t.Helper()
	conn, err := m.Dial()
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &side{t, conn, map[string]string{"bad": "abcdefghijklmnop.2"}}
}

// request is one call of a method, as Service/Method, in somebody's name: of a user
// who has logged in; "" is nobody, "bad" shows a token that is none.
type request struct {
	who, method string
	message     proto.Message
}

// ask makes a call, and returns its status as `Code: text` and what was answered,
// without what is each member's own.
func (s *side) ask(r request) (string, proto.Message) {
	s.t.Helper()
	ctx := within(s.t)
	if r.who != "" {
		token, known := s.tokens[r.who]
		require.True(s.t, known, "%s has not logged in", r.who)
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	method, response := methodOf(s.t, r.method)
	full := "/etcdserverpb." + r.method
	var err error
	if method.IsStreamingServer() {
		err = s.firstOf(ctx, full, r.message, response)
	} else {
		err = s.conn.Invoke(ctx, full, r.message, response)
	}
	if login, ok := response.(*pb.AuthenticateResponse); ok && err == nil {
		require.Regexp(s.t, `^[a-zA-Z]{16}\.[0-9]+$`, login.Token)
		s.tokens[r.message.(*pb.AuthenticateRequest).Name] = login.Token
		login.Token = ""
	}
	anonymize(response.ProtoReflect())
	return statusOf(err), response
}

func statusOf(err error) string {
	return status.Code(err).String() + ": " + status.Convert(err).Message()
}

// firstOf is the first message of a stream.
func (s *side) firstOf(ctx context.Context, method string, request, response proto.Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(response)
}

// anonymize leaves in the header what all members say alike.
func anonymize(m protoreflect.Message) {
	field := m.Descriptor().Fields().ByName("header")
	if field == nil || !m.Has(field) {
		return
	}
	header := m.Mutable(field).Message()
	for _, own := range []protoreflect.Name{"cluster_id", "member_id", "raft_term"} {
		header.Clear(header.Descriptor().Fields().ByName(own))
	}
}

// methodOf looks a method up, with an empty response of its.
func methodOf(t *testing.T, name string) (protoreflect.MethodDescriptor, proto.Message) {
	t.Helper()
	service := pb.File_rpc_proto.Services().ByName(protoreflect.Name(path.Dir(name)))
	require.NotNil(t, service, name)
	method := service.Methods().ByName(protoreflect.Name(path.Base(name)))
	require.NotNil(t, method, name)
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	require.NoError(t, err)
	return method, kind.New().Interface()
}

// alike asks both sides, and holds that they say the same.
func alike(t *testing.T, peer, ours *side, r request) {
	t.Helper()
	theirStatus, theirs := peer.ask(r)
	ourStatus, reply := ours.ask(r)
	assert.Equal(t, theirStatus, ourStatus, "%s: %s %v", r.who, r.method, r.message)
	require.NotContains(t, ourStatus, "Unavailable")
	if strings.HasPrefix(r.method, "Auth/") || strings.HasPrefix(r.method, "KV/") || strings.HasPrefix(r.method, "Watch/") {
		assert.True(t, proto.Equal(theirs, reply), "%s: %s %v: 3.4 says %v, ours %v", r.who, r.method, r.message, theirs, reply)
	}
}
