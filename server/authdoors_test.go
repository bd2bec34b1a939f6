package server

import (
	"context"
	"encoding/base64"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/test/member"
)

// verbatim sends bytes as they are, and drops replies.
type verbatim struct{}

func (verbatim) Name() string                       { return "proto" }
func (verbatim) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (verbatim) Unmarshal(data []byte, v any) error { return nil }

// raw calls a method with bytes that need not be a message.
func (s somebody) raw(method string, message []byte) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	var nothing struct{}
	return s.conn.Invoke(ctx, "/etcdserverpb."+method, message, &nothing, grpc.ForceCodec(verbatim{}))
}

// What cannot be decoded is refused before it is proposed: every member would stop at the
// entry, and again at each start.
func TestBytesThatAreNoMessageDoNotReachTheLog(t *testing.T) {
	t.Parallel() // it waits, mostly
	for _, method := range []string{"Auth/RoleDelete", "Auth/AuthEnable", "Auth/RoleGrantPermission"} {
		t.Run(method[5:], func(t *testing.T) {
			c := authConfig(t)
			m := start(t, c)
			defer m.Close()
			anon := somebody{t, dial(t, m), ""}
			require.NoError(t, anon.put("k", "v"))
			err := anon.raw(method, []byte{0x0a, 0x05, 0x61})
			t.Log(err)
			select {
			case why := <-m.Failed():
				t.Errorf("the member has stopped: %v", why)
			case <-time.After(time.Second):
			}
			_ = m.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			again, err := Start(ctx, c, m.logger)
			if !assertNoError(t, err) {
				return
			}
			defer again.Close()
			require.NoError(t, somebody{t, dial(t, again), ""}.put("k", "w"))
		})
	}
}

func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Errorf("it does not start again: %v", err)
	}
	return err == nil
}

// A name that is no UTF-8 is refused: no client could decode a list with it, nor name it
// to delete it.
func TestNamesAreUTF8(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	for add, list := range map[string]func() error{
		"Auth/RoleAdd": func() error {
			_, err := ask[pb.AuthRoleListResponse](anon, "Auth/RoleList", &pb.AuthRoleListRequest{})
			return err
		},
		"Auth/UserAdd": func() error {
			_, err := ask[pb.AuthUserListResponse](anon, "Auth/UserList", &pb.AuthUserListRequest{})
			return err
		},
	} {
		if err := anon.raw(add, []byte{0x0a, 0x02, 0xff, 0xfe}); err == nil {
			t.Errorf("%s takes a name that is no UTF-8", add)
		}
		if err := list(); err != nil {
			t.Errorf("after %s: %v", add, err)
		}
	}
}

// What a member's own log brings back at its start makes no token of an old login good
// again.
func TestAnExpiredTokenStaysSoAfterACrash(t *testing.T) {
	c := authConfig(t)
	c.AuthTokenTTL = time.Minute
	var later atomic.Int64
	c.now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	m := start(t, c)
	anon := somebody{t, dial(t, m), ""}
	root := anon.enable()
	require.NoError(t, root.put("k", "v"))
	later.Store(int64(time.Hour))
	require.EqualError(t, root.put("k", "w"), invalidToken, "it has expired")

	// What a power cut leaves behind: the files as they are.
	crashed := authConfig(t)
	crashed.AuthTokenTTL, crashed.now = c.AuthTokenTTL, c.now
	require.NoError(t, os.CopyFS(crashed.DataDir, os.DirFS(c.DataDir)))
	require.NoError(t, m.Close())
	again := start(t, crashed)
	defer again.Close()
	root.conn = dial(t, again)
	require.EqualError(t, root.put("k", "w"), invalidToken, "an hour after it has expired")
}

// Tools that manage users write hashes that they keep elsewhere. Whoever is deleted and
// made again is another user, also with the same hash.
func TestATokenDiesWithItsUserWhateverTheHash(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	hash, err := bcrypt.GenerateFromPassword([]byte("pw"), 4)
	require.NoError(t, err)
	alice := &pb.AuthUserAddRequest{Name: "alice", HashedPassword: base64.StdEncoding.EncodeToString(hash)}
	anon.addRole("r", permission(authpb.Permission_READ, "k", ""))
	must[pb.AuthUserAddResponse](anon, "Auth/UserAdd", alice)
	root := anon.enable()
	old := anon.login("alice", "pw")
	must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})
	_, err = old.get("k")
	require.EqualError(t, err, invalidToken)
	must[pb.AuthUserAddResponse](root, "Auth/UserAdd", alice)
	must[pb.AuthUserGrantRoleResponse](root, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "alice", Role: "r"})
	_, err = old.get("k")
	require.EqualError(t, err, invalidToken, "it is another alice")
}

// A permission whose type this version does not know gives nothing, as at upstream's
// members, whose verdict must be the same.
func TestAPermissionOfAnUnknownTypeGivesNothing(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r", permission(authpb.Permission_Type(3), "k", ""))
	anon.addUser("alice", "pw", "r")
	anon.enable()
	alice := anon.login("alice", "pw")
	require.EqualError(t, alice.put("k", "v"), permissionDenied)
	_, err := alice.get("k")
	require.EqualError(t, err, permissionDenied)
}

// A hash that would take a day to compare one password with is refused, or one login
// would keep everybody else from theirs.
func TestHashesThatCannotBeComparedAreRefused(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	hash, err := bcrypt.GenerateFromPassword([]byte("pw"), 4)
	require.NoError(t, err)
	copy(hash, "$2a$31$")
	_, err = ask[pb.AuthUserAddResponse](anon, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "slow", HashedPassword: base64.StdEncoding.EncodeToString(hash)})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "accepted: %v", err)
}

// An empty token is a token, and a bad one: the call does not go on as whoever shows the
// certificate, who may be a proxy.
func TestAnEmptyTokenIsABadOne(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	root := anon.enable()
	for _, headers := range [][]string{{"token", ""}, {"token", "", "authorization", root.token}, {"authorization", "Bearer "}} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
		err := anon.conn.Invoke(ctx, "/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte("k")}, &pb.RangeResponse{})
		if err == nil || err.Error() != invalidToken {
			t.Errorf("%q: %v", headers[:len(headers)-1], err)
		}
	}
	ca := member.NewAuthority(t, "ca")
	c := authConfig(t)
	c.ClientCertFile, c.ClientKeyFile = ca.Issue("member")
	c.ClientTrustedCAFile, c.ClientCertAuth = ca.File(), true
	c.ListenClientURLs = mustURLs("https://127.0.0.1:0")
	secure := start(t, c)
	defer secure.Close()
	conn, err := grpc.NewClient("passthrough:///"+secure.ClientAddresses()[0].String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.Client(ca.Issue("root")))))
	require.NoError(t, err)
	defer conn.Close()
	somebody{t, conn, ""}.addUser("root", "r", "root")
	must[pb.AuthEnableResponse](somebody{t, conn, ""}, "Auth/AuthEnable", &pb.AuthEnableRequest{})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "token", "")
	err = conn.Invoke(ctx, "/etcdserverpb.KV/Put", &pb.PutRequest{Key: []byte("k")}, &pb.PutResponse{})
	if err == nil || err.Error() != invalidToken {
		t.Errorf("with root's certificate: %v", err)
	}
}
