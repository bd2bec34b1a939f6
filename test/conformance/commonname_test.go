package conformance

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"etcd.alt/conformance/member"
	testmember "etcd.alt/test/member"
)

// TestTheCommonNameIsTheUser has clients without a user name, known by their
// certificates.
func TestTheCommonNameIsTheUser(t *testing.T) {
	ca := testmember.NewAuthority(t, "ca")
	cert, key := ca.Issue("member")
	as := func(name string) *tls.Config { return ca.Client(ca.Issue(name)) }
	m, err := member.Start(member.Ours(os.Getenv(binaryVariable), "--unsafe-no-fsync", "--bcrypt-cost", "4").
		OverTLS(as("root"), "--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca.File(), "--client-cert-auth"))
	require.NoError(t, err)
	t.Cleanup(m.Close)

	root := login(t, as("root"), "", "", m)
	enableAuth(t, root.Client)
	addRole(t, root.Client, "a", "a/", "a0")
	_, err = root.UserAddWithOptions(within(t), "alice", "", &clientv3.UserAddOptions{NoPassword: true})
	require.NoError(t, err)
	_, err = root.UserGrantRole(within(t), "alice", "a")
	require.NoError(t, err)

	alice := login(t, as("alice"), "", "", m)
	events := watching(ownStream(within(t)), t, alice, "a/", clientv3.WithPrefix())
	put(t, alice.Client, "a/k", "v")
	require.Equal(t, "v", string(get(t, alice.Client, "a/k").Kvs[0].Value))
	require.Equal(t, "a/k", string(nextEvents(t, events, 1)[0].Kv.Key))
	done, err := alice.Txn(within(t)).Then(clientv3.OpPut("a/k", "w"), clientv3.OpDelete("a/k")).Commit()
	require.Equal(t, rpctypes.ErrDuplicateKey, err)
	require.Nil(t, done)
	_, err = alice.MemberList(within(t))
	require.NoError(t, err)
	_, err = alice.Put(within(t), "b", "v")
	refused(t, err, "a key of somebody else")
	_, err = alice.Get(within(t), "b")
	refused(t, err, "a key of somebody else")
	_, err = alice.UserList(within(t))
	refused(t, err, "to see who there is")
	require.Zero(t, alice.logins.Load())

	// Who has no password does not log in with one.
	_, err = clientv3.New(clientv3.Config{Endpoints: []string{m.URL()}, TLS: as("alice"), Username: "alice", Password: "x", Context: within(t), Logger: zap.NewNop()})
	require.ErrorContains(t, err, "auth: authentication failed, password was given for no password user")

	mallory := login(t, as("mallory"), "", "", m)
	_, err = mallory.Get(within(t), "a/k")
	refused(t, err, "a name that no user has")
	_, err = mallory.Put(within(t), "a/k", "v")
	refused(t, err, "a name that no user has")
	res, ok := <-mallory.Watch(within(t), "a/k")
	require.True(t, ok)
	require.ErrorContains(t, res.Err(), "etcdserver: permission denied")

	// A user name and a password come before the certificate.
	both := login(t, as("alice"), "root", "rootpw", m)
	put(t, both.Client, "b", "v")
	require.EqualValues(t, 1, both.logins.Load())

	_, err = root.UserRevokeRole(within(t), "alice", "a")
	require.NoError(t, err)
	_, err = alice.Get(within(t), "a/k")
	refused(t, err, "a role that is gone")
	for range events {
	}
	_, err = root.UserDelete(within(t), "alice")
	require.NoError(t, err)
	_, err = alice.Get(within(t), "a/k")
	refused(t, err, "there is no alice")
}

// The gateway takes nobody for the user of a certificate; who has a token is served.
func TestTheGatewayLooksAtNoCommonName(t *testing.T) {
	ca := testmember.NewAuthority(t, "ca")
	cert, key := ca.Issue("member")
	config := ca.Client(ca.Issue("root"))
	m, err := member.Start(member.Ours(os.Getenv(binaryVariable), "--unsafe-no-fsync", "--bcrypt-cost", "4").
		OverTLS(config, "--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca.File(), "--client-cert-auth"))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	root := login(t, config, "", "", m)
	enableAuth(t, root.Client)
	put(t, root.Client, "a", "v")

	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ask := func(path, body, token string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(within(t), "POST", m.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		res, err := (&http.Client{Transport: transport}).Do(r)
		require.NoError(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(text)
	}
	for path, body := range map[string]string{
		"/v3/kv/range":            `{"key":"YQ=="}`,
		"/v3/kv/put":              `{"key":"YQ==","value":"YQ=="}`,
		"/v3/kv/txn":              `{"success":[{"request_range":{"key":"YQ=="}}]}`,
		"/v3/lease/grant":         `{"TTL":"10"}`,
		"/v3/cluster/member/list": `{}`,
		"/v3/auth/user/list":      `{}`,
	} {
		code, text := ask(path, body, "")
		require.Equal(t, 400, code, "%s: %s", path, text)
		require.JSONEq(t, `{"code":3,"message":"etcdserver: user name is empty"}`, text, path)
	}
	token := tokenOf(t, m, "root", "rootpw")
	for _, header := range []string{token, "Bearer " + token} {
		code, text := ask("/v3/kv/range", `{"key":"YQ=="}`, header)
		require.Equal(t, 200, code, text)
		require.Contains(t, text, `"value":"dg=="`)
	}
	code, text := ask("/v3/kv/range", `{"key":"YQ=="}`, "nonsense.1")
	require.Equal(t, 401, code, text)
	require.JSONEq(t, `{"code":16,"message":"etcdserver: invalid auth token"}`, text)
}
