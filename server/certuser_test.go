package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/test/member"
)

// Who shows a certificate is the user of its common name, on a resumed session, too;
// not through the JSON gateway, and not with a token.
func TestUsersByCertificate(t *testing.T) {
	ca := member.NewAuthority(t, "ca")
	c := authConfig(t)
	c.ClientCertFile, c.ClientKeyFile = ca.Issue("member")
	c.ClientTrustedCAFile, c.ClientCertAuth = ca.File(), true
	c.ClientCRLFile = ca.Revoke()
	c.ListenClientURLs = mustURLs("https://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	dialAs := func(config *tls.Config) somebody {
		t.Helper()
		conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return somebody{t, conn, ""}
	}
	aliceCert, aliceKey := ca.Issue("alice")
	config := ca.Client(aliceCert, aliceKey)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	alice := dialAs(config)
	alice.addRole("r", permission(authpb.Permission_READWRITE, "a", ""))
	must[pb.AuthUserAddResponse](alice, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "alice", Options: &authpb.UserAddOptions{NoPassword: true}})
	must[pb.AuthUserGrantRoleResponse](alice, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "alice", Role: "r"})
	root := alice.enable()

	require.NoError(t, alice.put("a", "1"))
	require.EqualError(t, alice.put("b", "1"), permissionDenied)
	require.NoError(t, root.put("b", "1"), "a token comes first")
	mallory := dialAs(ca.Client(ca.Issue("mallory")))
	require.Error(t, mallory.put("a", "2"), "nobody knows that name")

	again := dialAs(config)
	require.NoError(t, again.put("a", "3"))
	require.EqualError(t, again.put("b", "3"), permissionDenied)

	// The gateway's calls come with nobody's certificate, with headers or without.
	transport := &http.Transport{TLSClientConfig: config.Clone()}
	defer transport.CloseIdleConnections()
	url := fmt.Sprintf("https://%s/v3/kv/put", m.ClientAddresses()[0])
	for _, accept := range []string{"", "*/*"} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(`{"key":"YQ==","value":"YQ=="}`))
		require.NoError(t, err)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		res, err := (&http.Client{Transport: transport}).Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 400, res.StatusCode)
		require.Equal(t, `{"code":3,"message":"etcdserver: user name is empty"}`, string(body))
	}

	// A certificate that is taken back is nobody's, whatever session it has.
	ca.Revoke(aliceCert)
	late := dialAs(config)
	require.Equal(t, codes.Unavailable, status.Code(late.put("a", "4")))
	require.NoError(t, alice.put("a", "5"), "a connection that stands is left alone")
}
