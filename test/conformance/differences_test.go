package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// What is said to calls of users.
const (
	fine      = "OK: "
	noName    = "InvalidArgument: etcdserver: user name is empty"
	badToken  = "Unauthenticated: etcdserver: invalid auth token"
	denied    = "PermissionDenied: etcdserver: permission denied"
	noSuch    = "FailedPrecondition: etcdserver: user name not found"
	noKey     = "InvalidArgument: etcdserver: key is not provided"
	badMgmt   = "InvalidArgument: etcdserver: invalid auth management"
	noMethod  = "Unimplemented: unknown method AuthStatus for service etcdserverpb.Auth"
	badTarget = "FailedPrecondition: etcdserver: bad leader transferee"
	badAlarm  = "Unknown: auth: invalid auth token"
)

// difference is a call that 3.4 and ours are known to answer differently: ours as
// etcd 3.7 does, or more strictly.
type difference struct {
	request
	peer, ours string
}

// differ holds that both sides answer as is known.
func differ(t *testing.T, peer, ours *side, rows ...difference) {
	t.Helper()
	for _, d := range rows {
		theirs, _ := peer.ask(d.request)
		assert.Equal(t, d.peer, theirs, "3.4, %q: %s %v", d.who, d.method, d.message)
		answer, _ := ours.ask(d.request)
		assert.Equal(t, d.ours, answer, "ours, %q: %s %v", d.who, d.method, d.message)
	}
}

// hash is of the password "hashedpw", as base64.
const hash = "JDJhJDA0JGJFV1NObC9VZEVGLnpFM2xqaTJmUy44eC5TSk1lZFhMS1BVcU8yb2lOVHhnR05lN3VHU0NL"

// TestKnownDifferencesOfUsers asserts what is known to differ from 3.4.
func TestKnownDifferencesOfUsers(t *testing.T) {
	peer, ours := bothSides(t)
	differ(t, peer, ours,
		difference{request{"bad", "KV/Range", &pb.RangeRequest{Key: []byte("k")}}, badToken, fine},
		difference{request{"bad", "Auth/UserList", &pb.AuthUserListRequest{}}, badToken, fine},
	)
	for _, r := range founding() {
		alike(t, peer, ours, r)
	}
	grant := func(p *authpb.Permission) request {
		return request{"", "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "b", Perm: p}}
	}
	differ(t, peer, ours,
		difference{grant(permission(authpb.READ, "x", "c")), fine, badMgmt},
		difference{grant(permission(authpb.READ, "", "")), fine, badMgmt},
		difference{request{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "dave", HashedPassword: hash, Options: &authpb.UserAddOptions{}}}, fine, fine},
	)
	answer, _ := ours.ask(grant(nil)) // it ends 3.4
	require.Equal(t, "InvalidArgument: etcdserver: permission not given", answer)
	_, theirs := peer.ask(request{"", "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "root"}})
	require.Empty(t, theirs.(*pb.AuthRoleGetResponse).Perm)
	_, reply := ours.ask(request{"", "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "root"}})
	require.Len(t, reply.(*pb.AuthRoleGetResponse).Perm, 1)
	require.True(t, proto.Equal(&authpb.Permission{PermType: authpb.READWRITE, RangeEnd: []byte{0}}, reply.(*pb.AuthRoleGetResponse).Perm[0]))

	alike(t, peer, ours, request{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}})
	for _, r := range logins() {
		alike(t, peer, ours, r)
	}
	differ(t, peer, ours, difference{request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "dave", Password: "hashedpw"}},
		"InvalidArgument: etcdserver: authentication failed, invalid user ID or password", fine})
	for _, r := range []request{
		{"alice", "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 100, ID: 7}},
		{"alice", "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 100, ID: 8}},
		{"alice", "KV/Put", &pb.PutRequest{Key: []byte("a/leased"), Lease: 7}},
		{"root", "KV/Put", &pb.PutRequest{Key: []byte("b/k")}},
		{"", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 7}},
		{"bad", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 7}},
		{"bob", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 7}},
		{"bob", "KV/Put", &pb.PutRequest{Key: []byte("b/k"), Lease: 7}},
	} {
		status, _ := peer.ask(r)
		answer, _ := ours.ask(r)
		require.Equal(t, status, answer, "%q: %s %v", r.who, r.method, r.message)
	}
	differ(t, peer, ours, doorsAlike()...)
	differ(t, peer, ours, maintained()...)
	bearer(t, peer, badToken)
	bearer(t, ours, fine)
}

// doorsAlike are the calls that 3.4 lets anybody make and ours only users.
func doorsAlike() []difference {
	nested := func(key string) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}}}}}}}
	}
	keys := &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}
	return []difference{
		{request{"", "KV/Txn", nested("b/k")}, fine, noName},
		{request{"alice", "KV/Txn", nested("b/k")}, fine, denied},
		{request{"", "KV/Compact", &pb.CompactionRequest{Revision: 1}}, fine, noName},
		{request{"bad", "KV/Compact", &pb.CompactionRequest{Revision: 2}}, badToken, badToken},
		{request{"alice", "KV/Compact", &pb.CompactionRequest{Revision: 2}}, fine, denied},
		{request{"", "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 100}}, fine, noName},
		{request{"bad", "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 100}}, badToken, badToken},
		{request{"", "Lease/LeaseTimeToLive", keys}, fine, noName},
		{request{"", "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 7}}, fine, noName},
		{request{"bad", "Lease/LeaseTimeToLive", keys}, fine, badToken},
		{request{"bob", "Lease/LeaseTimeToLive", keys}, fine, denied},
		{request{"bob", "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 7}}, fine, fine},
		{request{"alice", "Lease/LeaseTimeToLive", keys}, fine, fine},
		{request{"", "Lease/LeaseLeases", &pb.LeaseLeasesRequest{}}, fine, noName},
		{request{"bad", "Lease/LeaseLeases", &pb.LeaseLeasesRequest{}}, fine, badToken},
		{request{"bob", "Lease/LeaseLeases", &pb.LeaseLeasesRequest{}}, fine, denied},
		{request{"alice", "Lease/LeaseLeases", &pb.LeaseLeasesRequest{}}, fine, fine},
		{request{"", "Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 7}}, fine, noName},
		{request{"bad", "Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 7}}, fine, badToken},
		{request{"bob", "Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 7}}, fine, denied},
		{request{"alice", "Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 7}}, fine, fine},
		{request{"", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 8}}, fine, noName},
		{request{"", "Cluster/MemberList", &pb.MemberListRequest{}}, fine, noName},
		{request{"bad", "Cluster/MemberList", &pb.MemberListRequest{}}, fine, badToken},
		{request{"alice", "Cluster/MemberList", &pb.MemberListRequest{}}, fine, fine},
		{request{"", "Auth/AuthStatus", &pb.AuthStatusRequest{}}, noMethod, fine},
		{request{"bad", "Auth/AuthStatus", &pb.AuthStatusRequest{}}, noMethod, badToken},
		{request{"alice", "Auth/AuthStatus", &pb.AuthStatusRequest{}}, noMethod, fine},
		// Ours looks at the caller before it looks at the request.
		{request{"", "Auth/UserGet", &pb.AuthUserGetRequest{}}, noSuch, noName},
		{request{"", "KV/Range", &pb.RangeRequest{}}, noKey, noName},
		{request{"bad", "KV/Range", &pb.RangeRequest{}}, noKey, badToken},
		{request{"", "KV/Txn", &pb.TxnRequest{}}, fine, noName},
		{request{"bad", "KV/Txn", &pb.TxnRequest{}}, badToken, badToken},
	}
}

// maintained are the calls of Maintenance that ours serves, in everybody's name.
func maintained() []difference {
	const unknown = "Unknown: auth: "
	var all []difference
	for _, row := range []struct {
		method                             string
		message                            proto.Message
		peerNobody, peerBad, peerUser, our string
	}{
		{"Status", &pb.StatusRequest{}, fine, fine, fine, fine},
		{"Alarm", &pb.AlarmRequest{}, fine, badAlarm, fine, fine},
		{"Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE}, fine, badAlarm, fine, denied},
		{"MoveLeader", &pb.MoveLeaderRequest{TargetID: 12345}, badTarget, badTarget, badTarget, denied},
		{"Defragment", &pb.DefragmentRequest{}, unknown + "user name is empty", unknown + "invalid auth token", unknown + "permission denied", denied},
		{"Hash", &pb.HashRequest{}, unknown + "user name is empty", unknown + "invalid auth token", unknown + "permission denied", denied},
		{"HashKV", &pb.HashKVRequest{}, unknown + "user name is empty", unknown + "invalid auth token", unknown + "permission denied", denied},
	} {
		method := "Maintenance/" + row.method
		all = append(all,
			difference{request{"", method, row.message}, row.peerNobody, noName},
			difference{request{"bad", method, row.message}, row.peerBad, badToken},
			difference{request{"alice", method, row.message}, row.peerUser, row.our})
	}
	return all
}

// bearer shows alice's token behind the word that HTTP has there.
func bearer(t *testing.T, s *side, want string) {
	t.Helper()
	for _, key := range []string{"authorization", "token"} {
		ctx := metadata.AppendToOutgoingContext(within(t), key, "Bearer "+s.tokens["alice"])
		err := s.conn.Invoke(ctx, "/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte("a/k")}, &pb.RangeResponse{})
		t.Run(key, func(t *testing.T) {
			require.Equal(t, want, statusOf(err))
		})
	}
}
