package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
)

// somebody calls over a connection with a token, "" for none.
type somebody struct {
	t     *testing.T
	conn  *grpc.ClientConn
	token string
}

// ask calls a method; a path without a leading slash is of the core's services.
func ask[R any](s somebody, method string, req any) (*R, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	ctx = s.with(ctx)
	if !strings.HasPrefix(method, "/") {
		method = "/etcdserverpb." + method
	}
	res := new(R)
	return res, s.conn.Invoke(ctx, method, req, res)
}

// with adds the token.
func (s somebody) with(ctx context.Context) context.Context {
	if s.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", s.token)
}

func must[R any](s somebody, method string, req any) *R {
	s.t.Helper()
	res, err := ask[R](s, method, req)
	require.NoError(s.t, err, method)
	return res
}

func (s somebody) login(name, password string) somebody {
	s.t.Helper()
	r := must[pb.AuthenticateResponse](somebody{s.t, s.conn, ""}, "Auth/Authenticate", &pb.AuthenticateRequest{Name: name, Password: password})
	return somebody{s.t, s.conn, r.Token}
}

func (s somebody) addUser(name, password string, roles ...string) {
	s.t.Helper()
	must[pb.AuthUserAddResponse](s, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: name, Password: password})
	for _, role := range roles {
		must[pb.AuthUserGrantRoleResponse](s, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: name, Role: role})
	}
}

func (s somebody) addRole(name string, permissions ...*authpb.Permission) {
	s.t.Helper()
	must[pb.AuthRoleAddResponse](s, "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: name})
	for _, p := range permissions {
		must[pb.AuthRoleGrantPermissionResponse](s, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: name, Perm: p})
	}
}

func permission(t authpb.Permission_Type, key, end string) *authpb.Permission {
	return &authpb.Permission{PermType: t, Key: []byte(key), RangeEnd: []byte(end)}
}

// enable switches rights on; root's password is "r".
func (s somebody) enable() (root somebody) {
	s.t.Helper()
	s.addUser("root", "r", "root")
	must[pb.AuthEnableResponse](s, "Auth/AuthEnable", &pb.AuthEnableRequest{})
	return s.login("root", "r")
}

func (s somebody) put(key, value string) error {
	_, err := ask[pb.PutResponse](s, "KV/Put", &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	return err
}

func (s somebody) get(key string) (string, error) {
	r, err := ask[pb.RangeResponse](s, "KV/Range", &pb.RangeRequest{Key: []byte(key)})
	if err != nil || len(r.Kvs) == 0 {
		return "", err
	}
	return string(r.Kvs[0].Value), nil
}

// The texts that clients see.
const (
	userEmpty        = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
	permissionDenied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
	invalidToken     = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
)

func authConfig(t *testing.T) *Config {
	c := testConfig(t)
	c.BcryptCost = 4
	return c
}

func TestUsersRolesAndTokens(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	require.NoError(t, anon.put("k", "before"))
	_, err := ask[pb.AuthenticateResponse](anon, "Auth/Authenticate", &pb.AuthenticateRequest{Name: "root"})
	require.EqualError(t, err, "rpc error: code = FailedPrecondition desc = etcdserver: authentication is not enabled")
	anon.addRole("r", permission(authpb.Permission_READWRITE, "a", "b"), permission(authpb.Permission_READ, "k", ""))
	anon.addUser("alice", "pw", "r")
	root := anon.enable()

	st := must[pb.AuthStatusResponse](anon, "Auth/AuthStatus", &pb.AuthStatusRequest{})
	require.True(t, st.Enabled)
	require.EqualValues(t, 8, st.AuthRevision)
	require.EqualError(t, anon.put("k", "v"), userEmpty)
	_, err = anon.get("k")
	require.EqualError(t, err, userEmpty)
	bad := somebody{t, anon.conn, "nonsense.1"}
	require.EqualError(t, bad.put("k", "v"), invalidToken)
	_, err = ask[pb.AuthStatusResponse](bad, "Auth/AuthStatus", &pb.AuthStatusRequest{})
	require.EqualError(t, err, invalidToken)

	alice := anon.login("alice", "pw")
	require.NoError(t, alice.put("a1", "v"))
	require.EqualError(t, alice.put("k", "v"), permissionDenied)
	v, err := alice.get("k")
	require.NoError(t, err)
	require.Equal(t, "before", v)
	_, err = alice.get("z")
	require.EqualError(t, err, permissionDenied)
	require.NoError(t, root.put("z", "v"))
	bearer := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+alice.token)
	require.NoError(t, alice.conn.Invoke(bearer, "/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte("k"), Serializable: true}, &pb.RangeResponse{}))

	for _, name := range []string{"alice", "nobody", ""} {
		_, err = ask[pb.AuthenticateResponse](anon, "Auth/Authenticate", &pb.AuthenticateRequest{Name: name, Password: "wrong"})
		require.EqualError(t, err, "rpc error: code = InvalidArgument desc = etcdserver: authentication failed, invalid user ID or password")
	}

	// What is withdrawn is gone with the next call, and no token with it.
	must[pb.AuthRoleRevokePermissionResponse](root, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a"), RangeEnd: []byte("b")})
	require.EqualError(t, alice.put("a1", "v"), permissionDenied)
	_, err = alice.get("k")
	require.NoError(t, err)
	must[pb.AuthUserRevokeRoleResponse](root, "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "r"})
	_, err = alice.get("k")
	require.EqualError(t, err, permissionDenied)

	self := must[pb.AuthUserGetResponse](alice, "Auth/UserGet", &pb.AuthUserGetRequest{Name: "alice"})
	require.Empty(t, self.Roles)
	_, err = ask[pb.AuthUserGetResponse](alice, "Auth/UserGet", &pb.AuthUserGetRequest{Name: "root"})
	require.EqualError(t, err, permissionDenied)
	require.Equal(t, []string{"alice", "root"}, must[pb.AuthUserListResponse](root, "Auth/UserList", &pb.AuthUserListRequest{}).Users)
	require.Equal(t, []string{"r"}, must[pb.AuthRoleListResponse](root, "Auth/RoleList", &pb.AuthRoleListRequest{}).Roles)
	must[pb.AuthRoleAddResponse](root, "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "root"})
	all := must[pb.AuthRoleGetResponse](root, "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "root"})
	require.Len(t, all.Perm, 1)
	require.Equal(t, authpb.Permission_READWRITE, all.Perm[0].PermType)
	require.Equal(t, "\x00", string(all.Perm[0].RangeEnd))

	// Another password ends what was logged in with the old one.
	must[pb.AuthUserChangePasswordResponse](root, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "new"})
	_, err = alice.get("k")
	require.EqualError(t, err, invalidToken)
	alice = anon.login("alice", "new")
	must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})
	_, err = alice.get("k")
	require.EqualError(t, err, invalidToken)
	root.addUser("alice", "new")
	_, err = alice.get("k")
	require.EqualError(t, err, invalidToken, "it is another alice")

	must[pb.AuthUserAddResponse](root, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "cn", Options: &authpb.UserAddOptions{NoPassword: true}})
	_, err = ask[pb.AuthenticateResponse](anon, "Auth/Authenticate", &pb.AuthenticateRequest{Name: "cn", Password: "x"})
	require.EqualError(t, err, "rpc error: code = Unknown desc = auth: authentication failed, password was given for no password user")
	_, err = ask[pb.AuthUserAddResponse](root, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "x", HashedPassword: "bm8gaGFzaA=="})
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	must[pb.AuthDisableResponse](root, "Auth/AuthDisable", &pb.AuthDisableRequest{})
	require.NoError(t, anon.put("k", "v"))
	require.NoError(t, bad.put("k", "v"), "nobody looks at tokens")
	must[pb.AuthEnableResponse](anon, "Auth/AuthEnable", &pb.AuthEnableRequest{})
	require.EqualError(t, root.put("k", "v"), invalidToken, "all are logged out")
}

func TestLeasesUnderRights(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("a", permission(authpb.Permission_READWRITE, "a/", "a0"))
	anon.addRole("b", permission(authpb.Permission_READWRITE, "b/", "b0"), permission(authpb.Permission_READ, "a/", "a0"))
	anon.addUser("alice", "pw", "a")
	anon.addUser("bob", "pw", "b")
	root := anon.enable()
	alice, bob := anon.login("alice", "pw"), anon.login("bob", "pw")

	lease := must[pb.LeaseGrantResponse](alice, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 100}).ID
	must[pb.PutResponse](alice, "KV/Put", &pb.PutRequest{Key: []byte("a/1"), Lease: lease})
	_, err := ask[pb.PutResponse](bob, "KV/Put", &pb.PutRequest{Key: []byte("b/1"), Lease: lease})
	require.EqualError(t, err, permissionDenied, "the lease has a key that bob may not write")
	_, err = ask[pb.TxnResponse](bob, "KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b/1"), Lease: lease}}}}})
	require.EqualError(t, err, permissionDenied)
	_, err = ask[pb.LeaseRevokeResponse](bob, "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: lease})
	require.EqualError(t, err, permissionDenied)
	require.NotNil(t, must[pb.LeaseTimeToLiveResponse](bob, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: lease, Keys: true}).Keys)
	must[pb.LeaseLeasesResponse](bob, "Lease/LeaseLeases", &pb.LeaseLeasesRequest{})

	own := must[pb.LeaseGrantResponse](bob, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 100}).ID
	must[pb.PutResponse](bob, "KV/Put", &pb.PutRequest{Key: []byte("b/1"), Lease: own})
	_, err = ask[pb.LeaseTimeToLiveResponse](alice, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: own, Keys: true})
	require.EqualError(t, err, permissionDenied)
	must[pb.LeaseTimeToLiveResponse](alice, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: own})
	_, err = ask[pb.LeaseLeasesResponse](alice, "Lease/LeaseLeases", &pb.LeaseLeasesRequest{})
	require.EqualError(t, err, permissionDenied)
	must[pb.LeaseLeasesResponse](root, "Lease/LeaseLeases", &pb.LeaseLeasesRequest{})

	renew := func(s somebody, id int64) error {
		ctx, cancel := context.WithCancel(s.with(t.Context()))
		defer cancel()
		stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Lease/LeaseKeepAlive")
		require.NoError(t, err)
		require.NoError(t, stream.SendMsg(&pb.LeaseKeepAliveRequest{ID: id}))
		return stream.RecvMsg(&pb.LeaseKeepAliveResponse{})
	}
	require.NoError(t, renew(alice, lease))
	require.EqualError(t, renew(alice, own), permissionDenied)
	require.NoError(t, renew(root, own))
	require.EqualError(t, renew(anon, own), userEmpty)
	require.EqualError(t, renew(anon, 12345), userEmpty)

	// A lease ends by itself, whosever keys are on it.
	short := must[pb.LeaseGrantResponse](alice, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 1}).ID
	must[pb.PutResponse](alice, "KV/Put", &pb.PutRequest{Key: []byte("a/short"), Value: []byte("v"), Lease: short})
	require.Eventually(t, func() bool {
		v, err := alice.get("a/short")
		return err == nil && v == ""
	}, 20*time.Second, 20*time.Millisecond)

	// Locks are reads and transactions as any others.
	must[lockpb.LockResponse](alice, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("a/lock")})
	for _, s := range []somebody{bob, anon, {t, anon.conn, "bad.1"}} {
		_, err = ask[lockpb.LockResponse](s, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("a/lock")})
		require.Equal(t, codes.Unknown, status.Code(err), err)
	}
}

func TestWatchesStandOnRights(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r", permission(authpb.Permission_READ, "k", ""), permission(authpb.Permission_READ, "p/", "p0"))
	anon.addUser("alice", "pw", "r")
	early := anon.watch()
	early.create("k", "")
	early.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled })
	root := anon.enable()
	early.next(func(r *pb.WatchResponse) bool { return r.Canceled && r.CancelReason == userEmpty })
	alice := anon.login("alice", "pw")

	w := alice.watch()
	for _, refused := range [][2]string{{"k", "\x00"}, {"k", "l"}, {"p/", "p1"}, {"", "\x00"}, {"x", ""}} {
		w.create(refused[0], refused[1])
		w.next(func(r *pb.WatchResponse) bool {
			return r.Created && r.Canceled && r.WatchId == -1 && r.CancelReason == permissionDenied
		})
	}
	w.create("k", "")
	w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled && r.WatchId == 0 })
	w.create("p/", "p0")
	w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled && r.WatchId == 1 })
	require.NoError(t, root.put("k", "1"))
	w.next(func(r *pb.WatchResponse) bool { return len(r.Events) == 1 && r.WatchId == 0 })

	must[pb.AuthRoleRevokePermissionResponse](root, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("k")})
	w.next(func(r *pb.WatchResponse) bool {
		return r.Canceled && r.WatchId == 0 && r.CancelReason == permissionDenied
	})
	require.NoError(t, root.put("k", "2"))
	require.NoError(t, root.put("p/1", "1"))
	w.next(func(r *pb.WatchResponse) bool { return len(r.Events) == 1 && string(r.Events[0].Kv.Key) == "p/1" })

	// Others may change, and so may the password; who goes and comes again is another.
	root.addUser("other", "pw")
	must[pb.AuthUserChangePasswordResponse](root, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "new"})
	require.NoError(t, root.put("p/1", "2"))
	w.next(func(r *pb.WatchResponse) bool { return len(r.Events) == 1 && string(r.Events[0].Kv.Value) == "2" })
	w.create("p/1", "")
	w.next(func(r *pb.WatchResponse) bool { return r.Created && r.Canceled && r.CancelReason == invalidToken })
	must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})
	w.next(func(r *pb.WatchResponse) bool {
		return r.Canceled && r.WatchId == 1 && r.CancelReason == permissionDenied
	})
}

// watching is a stream of watchers.
type watching struct {
	t      *testing.T
	stream grpc.ClientStream
}

func (s somebody) watch() *watching {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	if s.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", s.token)
	}
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Watch/Watch")
	require.NoError(s.t, err)
	return &watching{s.t, stream}
}

func (w *watching) create(key, end string) {
	w.t.Helper()
	require.NoError(w.t, w.stream.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}))
}

// next is the next response, which must be what is said.
func (w *watching) next(is func(*pb.WatchResponse) bool) {
	w.t.Helper()
	r := &pb.WatchResponse{}
	require.NoError(w.t, w.stream.RecvMsg(r))
	require.True(w.t, is(r), fmt.Sprint(r))
}

// What was asked is written down with its verdict, and no more than that.
func TestAuditLog(t *testing.T) {
	c := authConfig(t)
	c.AuditLog = filepath.Join(t.TempDir(), "audit.json")
	m := start(t, c)
	conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(plain()))
	require.NoError(t, err)
	defer conn.Close()
	anon := somebody{t, conn, ""}
	anon.addUser("alice", "very-secret")
	root := anon.enable()
	alice := anon.login("alice", "very-secret")
	require.NoError(t, root.put("k", "value-of-k"))
	_, err = ask[pb.RangeResponse](alice, "KV/Range", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")})
	require.Error(t, err)
	require.Error(t, anon.put("k", "w"))
	_, err = ask[pb.TxnResponse](root, "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{nested([]*pb.RequestOp{putOp(&pb.PutRequest{Key: []byte("n")})}, nil)}})
	require.NoError(t, err)
	w := alice.watch()
	w.create("k", "")
	w.next(func(r *pb.WatchResponse) bool { return r.Canceled })
	must[pb.AuthRoleAddResponse](root, "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "new-role"})
	require.NoError(t, m.Close())
	written, err := os.ReadFile(c.AuditLog)
	require.NoError(t, err)
	for _, secret := range []string{"very-secret", "value-of-k", alice.token, root.token} {
		require.NotContains(t, string(written), secret)
	}
	var got []string
	for line := range strings.Lines(string(written)) {
		var r struct {
			Time               time.Time
			User, RPC, Address string
			Keys               []struct{ Key, Range_end string }
			Names              []string
			Revision           int64
			Verdict            string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		require.Equal(t, "127.0.0.1", r.Address)
		require.WithinDuration(t, time.Now(), r.Time, time.Minute)
		require.NotZero(t, r.Revision)
		got = append(got, fmt.Sprintf("%s %s %v %v %s", r.User, r.RPC[strings.LastIndexByte(r.RPC, '/')+1:], r.Keys, r.Names, r.Verdict))
	}
	for _, want := range []string{
		" UserAdd [] [alice] OK", " AuthEnable [] [] OK", " Authenticate [] [alice] OK",
		"root Put [{k }] [] OK", "alice Range [{k l}] [] PermissionDenied", " Put [] [] InvalidArgument",
		"root Txn [{n }] [] OK", "alice Watch [{k }] [] PermissionDenied", "root RoleAdd [] [new-role] OK",
	} {
		require.Contains(t, got, want)
	}
}
