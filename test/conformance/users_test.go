package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"etcd.alt/conformance/member"
)

// person is an official client that logs in by a name and a password.
type person struct {
	*clientv3.Client
	logins *atomic.Int64 // how often it has logged in
}

// login returns the client of a user, or nobody's if name is empty.
func login(t *testing.T, config *tls.Config, name, password string, members ...*member.Member) person {
	t.Helper()
	p := person{logins: &atomic.Int64{}}
	c := clientv3.Config{DialTimeout: 20 * time.Second, Logger: zap.NewNop(), TLS: config, Username: name, Password: password}
	for _, m := range members {
		c.Endpoints = append(c.Endpoints, m.URL())
	}
	c.DialOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if method == "/etcdserverpb.Auth/Authenticate" {
				p.logins.Add(1)
			}
			return call(ctx, method, req, reply, conn, opts...)
		})}
	var err error
	p.Client, err = clientv3.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// enableAuth makes the user root and has names be asked for from now on.
func enableAuth(t *testing.T, anybody *clientv3.Client) {
	t.Helper()
	_, err := anybody.AuthEnable(within(t))
	require.ErrorIs(t, err, rpctypes.ErrRootUserNotExist)
	_, err = anybody.UserAdd(within(t), "root", "rootpw")
	require.NoError(t, err)
	_, err = anybody.AuthEnable(within(t))
	require.ErrorIs(t, err, rpctypes.ErrRootRoleNotExist)
	_, err = anybody.RoleAdd(within(t), "root")
	require.NoError(t, err)
	_, err = anybody.UserGrantRole(within(t), "root", "root")
	require.NoError(t, err)
	_, err = anybody.Authenticate(within(t), "root", "rootpw")
	require.ErrorIs(t, err, rpctypes.ErrAuthNotEnabled)
	_, err = anybody.AuthEnable(within(t))
	require.NoError(t, err)
}

// addUser makes a user with roles.
func addUser(t *testing.T, root person, name, password string, roles ...string) {
	t.Helper()
	_, err := root.UserAdd(within(t), name, password)
	require.NoError(t, err)
	for _, role := range roles {
		_, err := root.UserGrantRole(within(t), name, role)
		require.NoError(t, err)
	}
}

// addRole makes a role that may read and write the keys from, up to end.
func addRole(t *testing.T, c *clientv3.Client, role, from, end string) {
	t.Helper()
	_, err := c.RoleAdd(within(t), role)
	require.NoError(t, err)
	_, err = c.RoleGrantPermission(within(t), role, from, end, clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
}

// tokenOf logs in for a bare token.
func tokenOf(t *testing.T, m *member.Member, name, password string) string {
	t.Helper()
	conn, err := m.Dial()
	require.NoError(t, err)
	defer conn.Close()
	res, err := etcdserverpb.NewAuthClient(conn).Authenticate(within(t), &etcdserverpb.AuthenticateRequest{Name: name, Password: password})
	require.NoError(t, err)
	require.NotEmpty(t, res.Token)
	return res.Token
}

// putWith puts a key in the name of a token, on a connection of its own: nobody logs
// in again there.
func putWith(t *testing.T, m *member.Member, token, key string) error {
	t.Helper()
	conn, err := m.Dial()
	require.NoError(t, err)
	defer conn.Close()
	_, err = etcdserverpb.NewKVClient(conn).Put(metadata.AppendToOutgoingContext(within(t), rpctypes.TokenFieldNameGRPC, token), &etcdserverpb.PutRequest{Key: []byte(key)}, grpc.WaitForReady(true))
	return rpctypes.Error(err)
}

// expire returns when a token has ended of its age. It is looked at once in every look.
func expire(t *testing.T, m *member.Member, token, key string, look time.Duration) {
	t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for range 100 {
		<-tick.C
		if err := putWith(t, m, token, key); err != nil {
			require.ErrorIs(t, err, rpctypes.ErrInvalidAuthToken)
			return
		}
	}
	t.Fatal("the token does not end")
}

// tokenKind is a way to make tokens; flags need the life of one.
type tokenKind struct {
	name  string
	flags func(life time.Duration) []string
}

// look is how often a token may be looked at that is to end: each look is a use, and
// a simple token lives on from its last.
func (k tokenKind) look(life time.Duration) time.Duration {
	if k.name == "simple" {
		return life + life/10
	}
	return life / 10
}

// tokenKinds are the kinds that are tried, with keys of openssl's.
func tokenKinds(t *testing.T) []tokenKind {
	t.Helper()
	dir := t.TempDir()
	kinds := []tokenKind{{"simple", func(life time.Duration) []string {
		return []string{"--auth-token", "simple", "--auth-token-ttl", strconv.Itoa(int(life.Seconds()))}
	}}}
	for _, k := range []struct{ name, method, private string }{
		{"RS512", "RS512", "genrsa -out $f 1024"},
		{"ES256", "ES256", "ecparam -name prime256v1 -genkey -noout -out $f"},
		{"EdDSA", "EdDSA", "genpkey -algorithm ed25519 -out $f"},
	} {
		file := filepath.Join(dir, k.name)
		out, err := exec.CommandContext(within(t), "/bin/sh", "-ec", "f="+file+"; openssl "+k.private+"; openssl pkey -in $f -pubout > $f.pub").CombinedOutput()
		require.NoError(t, err, "%s", out)
		kinds = append(kinds, tokenKind{k.name, func(life time.Duration) []string {
			return []string{"--auth-token", "jwt,pub-key=" + file + ".pub,priv-key=" + file + ",sign-method=" + k.method + ",ttl=" + life.String()}
		}})
	}
	return kinds
}

// refused holds that an error is the permission denied that keys of others get.
func refused(t *testing.T, err error, what string) {
	t.Helper()
	require.True(t, errors.Is(err, rpctypes.ErrPermissionDenied), "%s: %v", what, err)
}
