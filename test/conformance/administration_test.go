package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd.alt/conformance/member"
)

// bothSides are Debian's etcd 3.4 and ours, without users.
func bothSides(t *testing.T) (peer, ours *side) {
	t.Helper()
	kind, err := member.Peer("--bcrypt-cost", "4")
	if err != nil {
		t.Skipf("there is no etcd 3.4 on the path: %v", err)
	}
	m, err := member.Start(kind)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return newSide(t, m), newSide(t, start(t, "--bcrypt-cost", "4"))
}

func permission(kind authpb.Permission_Type, key, end string) *authpb.Permission {
	p := &authpb.Permission{PermType: kind, Key: []byte(key)}
	if end != "" {
		p.RangeEnd = []byte(end)
	}
	return p
}

// founding makes the users and roles that both tests have: root, alice with role a,
// bob with role b, and carol without a password or a role.
func founding() []request {
	add := func(name, password string) request {
		return request{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: name, Password: password, Options: &authpb.UserAddOptions{}}}
	}
	return []request{
		add("root", "rootpw"), add("alice", "alicepw"), add("bob", "bobpw"),
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "carol", Options: &authpb.UserAddOptions{NoPassword: true}}},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "root"}},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "a"}},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "b"}},
		{"", "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "a", Perm: permission(authpb.READWRITE, "a/", "a0")}},
		{"", "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "b", Perm: permission(authpb.READWRITE, "b/", "b0")}},
		{"", "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "b", Perm: permission(authpb.WRITE, "w", "")}},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "alice", Role: "a"}},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "bob", Role: "b"}},
	}
}

// logins are those of who has a password.
func logins() []request {
	var all []request
	for _, name := range []string{"root", "alice", "bob"} {
		all = append(all, request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: name, Password: name + "pw"}})
	}
	return all
}

// TestAdministrationIsAlike has 3.4 and ours administer the same users in the same
// order, and compares every answer.
func TestAdministrationIsAlike(t *testing.T) {
	peer, ours := bothSides(t)
	both := func(requests ...request) {
		t.Helper()
		for _, r := range requests {
			alike(t, peer, ours, r)
		}
	}
	enable := request{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}}
	both(enable)
	both(request{"", "Auth/AuthDisable", &pb.AuthDisableRequest{}})
	both(request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "root", Password: "x"}})
	both(founding()[0])
	both(enable)
	both(founding()[1:]...)
	both(mistakes("")...)
	both(enable, enable)
	both(request{"", "Auth/AuthDisable", &pb.AuthDisableRequest{}})
	both(logins()...)

	both(
		request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "root", Password: "wrong"}},
		request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "root"}},
		request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "nobody", Password: "x"}},
		request{"", "Auth/Authenticate", &pb.AuthenticateRequest{}},
		request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "carol", Password: "x"}},
		request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "carol"}},
	)
	for _, who := range []string{"", "bad", "alice", "bob"} {
		both(mistakes(who)...)
		both(rights(who)...)
	}
	both(empty("alice")...)
	both(mistakes("root")...)
	both(protected()...)
	both(rights("root")...)
	both(empty("root")...)
	both(changes()...)
}

// mistakes are calls of administration that go wrong by themselves, and what lists and
// shows, in somebody's name.
func mistakes(who string) []request {
	return []request{
		{who, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "alice", Password: "x", Options: &authpb.UserAddOptions{}}},
		{who, "Auth/UserAdd", &pb.AuthUserAddRequest{Password: "x", Options: &authpb.UserAddOptions{}}},
		{who, "Auth/UserGet", &pb.AuthUserGetRequest{Name: "nobody"}},
		{who, "Auth/UserGet", &pb.AuthUserGetRequest{Name: "alice"}},
		{who, "Auth/UserGet", &pb.AuthUserGetRequest{Name: "bob"}},
		{who, "Auth/UserList", &pb.AuthUserListRequest{}},
		{who, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "nobody"}},
		{who, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "nobody", Password: "x"}},
		{who, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "nobody", Role: "a"}},
		{who, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "bob", Role: "none"}},
		{who, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "nobody", Role: "none"}},
		{who, "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "nobody", Role: "a"}},
		{who, "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: "a"}},
		{who, "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: "none"}},
		{who, "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "a"}},
		{who, "Auth/RoleAdd", &pb.AuthRoleAddRequest{}},
		{who, "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "none"}},
		{who, "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "a"}},
		{who, "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "b"}},
		{who, "Auth/RoleList", &pb.AuthRoleListRequest{}},
		{who, "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "none"}},
		{who, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "none", Perm: permission(authpb.READ, "k", "")}},
		{who, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "none", Key: []byte("k")}},
		{who, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("k")}},
		{who, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("a/")}},
		{who, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("a/"), RangeEnd: []byte("a1")}},
	}
}

// rights are calls on keys in somebody's name.
func rights(who string) []request {
	key := func(k string) *pb.RangeRequest { return &pb.RangeRequest{Key: []byte(k)} }
	put := func(k string) *pb.PutRequest { return &pb.PutRequest{Key: []byte(k), Value: []byte("v")} }
	txn := func(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }
	get := func(k string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: key(k)}}
	}
	set := func(k string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put(k)}}
	}
	watch := func(k, end string) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte(k), RangeEnd: []byte(end)}}}
	}
	return []request{
		{who, "KV/Put", put("a/k")},
		{who, "KV/Put", put("b/k")},
		{who, "KV/Put", put("w")},
		{who, "KV/Put", &pb.PutRequest{Key: []byte("w"), PrevKv: true}},
		{who, "KV/Range", key("a/k")},
		{who, "KV/Range", key("w")},
		{who, "KV/Range", &pb.RangeRequest{Key: []byte("a/"), RangeEnd: []byte("a0")}},
		{who, "KV/Range", &pb.RangeRequest{Key: []byte("a/"), RangeEnd: []byte("a1")}},
		{who, "KV/Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}},
		{who, "KV/Range", &pb.RangeRequest{Key: []byte("b/k"), Serializable: true}},
		{who, "KV/Range", &pb.RangeRequest{Key: []byte("b/k"), Revision: 1 << 40}},
		{who, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("a/none")}},
		{who, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("w/none"), RangeEnd: []byte("w0")}},
		{who, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("w"), PrevKv: true}},
		{who, "KV/Txn", txn(get("a/k"), set("a/k"))},
		{who, "KV/Txn", txn(set("a/k"), get("b/k"))},
		{who, "KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{set("b/k")}}},
		{who, "KV/Txn", &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("b/k"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 0}}}, Success: []*pb.RequestOp{get("a/k")}}},
		{who, "Watch/Watch", watch("a/k", "")},
		{who, "Watch/Watch", watch("b/k", "")},
		{who, "Watch/Watch", watch("a/", "a0")},
		{who, "Watch/Watch", watch("a/", "b0")},
	}
}

// empty asks nothing. (Who shows no name is another case: ours looks at the caller
// first.)
func empty(who string) []request {
	return []request{
		{who, "Auth/UserGet", &pb.AuthUserGetRequest{}},
		{who, "KV/Range", &pb.RangeRequest{}},
		{who, "KV/Put", &pb.PutRequest{}},
		{who, "KV/DeleteRange", &pb.DeleteRangeRequest{}},
		{who, "KV/Txn", &pb.TxnRequest{}},
	}
}

// protected is what not even root may do.
func protected() []request {
	return []request{
		{"root", "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "root"}},
		{"root", "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "root"}},
		{"root", "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}},
		{"root", "Auth/UserGet", &pb.AuthUserGetRequest{Name: "root"}},
	}
}

// changes end what tokens and roles were good for.
func changes() []request {
	logIn := func(name, password string) request {
		return request{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: name, Password: password}}
	}
	get := func(who, key string) request {
		return request{who, "KV/Range", &pb.RangeRequest{Key: []byte(key)}}
	}
	return []request{
		{"root", "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "new"}},
		logIn("alice", "alicepw"), get("alice", "a/k"), logIn("alice", "new"), logIn("root", "rootpw"), logIn("bob", "bobpw"), get("alice", "a/k"),
		{"root", "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "a"}},
		logIn("alice", "new"), get("alice", "a/k"), logIn("root", "rootpw"),
		{"root", "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "b"}},
		logIn("bob", "bobpw"), get("bob", "b/k"), logIn("root", "rootpw"),
		{"root", "Auth/UserGet", &pb.AuthUserGetRequest{Name: "bob"}},
		{"root", "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "bob"}},
		logIn("bob", "bobpw"), logIn("root", "rootpw"),
		{"root", "Auth/UserList", &pb.AuthUserListRequest{}},
		{"root", "Auth/RoleList", &pb.AuthRoleListRequest{}},
		{"root", "Auth/AuthDisable", &pb.AuthDisableRequest{}},
		get("", "a/k"), logIn("root", "rootpw"),
	}
}
