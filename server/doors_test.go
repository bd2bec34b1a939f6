package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/api/wire"
)

// What the methods ask of those who call them with an empty request. Methods that
// are not named ask for root.
var (
	openMethods    = "Authenticate Check List ServerReflectionInfo"
	anybodyMethods = "AuthStatus"
	userMethods    = "Range RangeStream Put DeleteRange Txn LeaseGrant LeaseRevoke LeaseTimeToLive LeaseLeases LeaseKeepAlive MemberList Status " +
		"Lock Unlock Campaign Proclaim Leader Observe Resign Alarm Watch"
	freeMethods = "LeaseGrant LeaseRevoke LeaseTimeToLive LeaseLeases LeaseKeepAlive MemberList Status Alarm" // to every user, as they are asked here
)

// TestTheDoors calls every method there is as nobody, with a bad token, as a user
// without rights, and as root.
func TestTheDoors(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addUser("alice", "pw")
	root := anon.enable()
	alice, bad := anon.login("alice", "pw"), somebody{t, anon.conn, "abcdefghijklmnop.7"}
	in := func(list, name string) bool { return strings.Contains(" "+list+" ", " "+name+" ") }
	for _, method := range wire.Methods() {
		t.Run(strings.ReplaceAll(method.Path, "/", " "), func(t *testing.T) {
			if strings.HasSuffix(method.Path, "Health/Watch") {
				t.Skip("never ends; it is as open as Check")
			}
			try := func(s somebody) string {
				s.t = t
				err := s.once(method)
				if err == nil {
					return ""
				}
				return status.Convert(err).Message()
			}
			nobody, token, user := try(anon), try(bad), try(alice)
			const empty, invalid, denied = "etcdserver: user name is empty", "etcdserver: invalid auth token", "etcdserver: permission denied"
			absent := strings.HasSuffix(method.Path, "Maintenance/Snapshot")
			switch {
			case absent: // not served yet
				require.Contains(t, nobody, "unknown method")
			case in(openMethods, method.Name):
				require.NotContains(t, []string{nobody, token, user}, empty)
				require.NotContains(t, []string{nobody, token, user}, invalid)
			case in(anybodyMethods, method.Name):
				require.Equal(t, []string{"", invalid, ""}, []string{nobody, token, user})
			case method.Name == "MemberAdd":
				require.Equal(t, "etcdserver: given member URLs are invalid", nobody)
			case in(userMethods, method.Name):
				require.Equal(t, []string{empty, invalid}, []string{nobody, token})
				require.NotEqual(t, empty, user)
				require.NotEqual(t, invalid, user)
				if in(freeMethods, method.Name) {
					require.NotEqual(t, denied, user)
				}
			case method.Name == "UserGet" || method.Name == "RoleGet":
				require.Equal(t, []string{empty, invalid, denied}, []string{nobody, token, user})
			default:
				require.Equal(t, []string{empty, invalid, denied}, []string{nobody, token, user})
				if method.Name != "AuthDisable" && method.Name != "MoveLeader" {
					require.NotEqual(t, denied, try(root))
				}
			}
		})
	}
	add := &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true}
	for s, want := range map[somebody]string{anon: userEmpty, bad: invalidToken, alice: permissionDenied} {
		_, err := ask[pb.MemberAddResponse](s, "Cluster/MemberAdd", add)
		require.EqualError(t, err, want)
	}
	for s, want := range map[somebody]string{anon: userEmpty, bad: invalidToken, alice: permissionDenied} {
		_, err := ask[pb.AlarmResponse](s, "Maintenance/Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
		require.EqualError(t, err, want)
	}
}

// once calls a method of any kind with an empty request, or one that creates a
// watcher, and returns what its first answer says.
func (s somebody) once(m wire.Method) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if s.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", s.token)
	}
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.Path)
	require.NoError(s.t, err)
	req := m.Request.New().Interface()
	if w, ok := req.(*pb.WatchRequest); ok {
		w.RequestUnion = &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}
	}
	// One who is refused at the door may be answered before he has said anything.
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if m.Name == "Lock" || m.Name == "Campaign" || m.Name == "Observe" {
		// They need not end: what they are refused comes first.
		ctx, stop := context.WithTimeout(ctx, 2*time.Second)
		defer stop()
		context.AfterFunc(ctx, cancel)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	res := m.Response.New().Interface()
	err = stream.RecvMsg(res)
	if w, ok := res.(*pb.WatchResponse); ok && err == nil && w.Canceled {
		_, text, _ := strings.Cut(w.CancelReason, "desc = ")
		return status.Error(1, text)
	}
	return err
}
