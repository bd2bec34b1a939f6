package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/test/member"
)

func trusting(t *testing.T, certFile string) *tls.Config {
	t.Helper()
	return &tls.Config{RootCAs: member.Trusting(t, certFile), ServerName: "localhost"}
}

// One member, four kinds of listeners: each speaks gRPC and HTTP.
func TestPlainAndSecureListenersSideBySide(t *testing.T) {
	c := testConfig(t)
	c.ClientCertFile, c.ClientKeyFile = member.Certificate(t)
	dir := t.TempDir()
	c.ListenClientURLs = mustURLs("http://127.0.0.1:0,https://127.0.0.1:0,unix://" + dir + "/plain,unixs://" + dir + "/secure")
	c.ListenMetricsURLs = mustURLs("https://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	for i, u := range c.ListenClientURLs {
		addr := m.ClientAddresses()[i]
		raw := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
		}
		creds, scheme := plain(), "http"
		if secure(u) {
			creds, scheme = credentials.NewTLS(trusting(t, c.ClientCertFile)), "https"
		}
		conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithTransportCredentials(creds),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return raw(ctx, "", "") }))
		require.NoError(t, err)
		_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte(u.Scheme), Value: []byte("v")})
		require.NoError(t, err, u.String())
		require.NoError(t, conn.Close())

		transport := &http.Transport{DialContext: raw, TLSClientConfig: trusting(t, c.ClientCertFile)}
		res, err := (&http.Client{Transport: transport}).Get(scheme + "://localhost/version")
		require.NoError(t, err, u.String())
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Contains(t, string(body), `"etcdserver":"3.7.1"`)
		transport.CloseIdleConnections()
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(t, c.ClientCertFile), ForceAttemptHTTP2: true}}
	res, err := client.Get("https://" + m.listeners.metrics[0].Addr().String() + "/health")
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, 2, res.ProtoMajor)
	client.CloseIdleConnections()
}

func TestClientCertificatesAreDemanded(t *testing.T) {
	c := testConfig(t)
	c.ClientCertFile, c.ClientKeyFile = member.Certificate(t)
	clientCert, clientKey := member.Certificate(t)
	c.ClientTrustedCAFile = clientCert
	c.ListenClientURLs = mustURLs("https://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	get := func(config *tls.Config) error {
		tr := &http.Transport{TLSClientConfig: config}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get("https://" + m.ClientAddresses()[0].String() + "/version")
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	config := trusting(t, c.ClientCertFile)
	require.ErrorContains(t, get(config.Clone()), "certificate required")
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	require.NoError(t, err)
	config.Certificates = []tls.Certificate{pair}
	require.NoError(t, get(config))
}

func TestTLSFilesThatCannotBeUsed(t *testing.T) {
	c := testConfig(t)
	c.ListenClientURLs = mustURLs("https://127.0.0.1:0")
	c.ClientCertFile, c.ClientKeyFile = member.Certificate(t)
	c.ClientKeyFile = "/nowhere/key"
	_, err := Start(t.Context(), c, zap.NewNop())
	require.ErrorContains(t, err, "--key-file: open /nowhere/key")
	_, err = os.Stat(c.DataDir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A plain peer URL asks nobody for a certificate, and it is said for each.
func TestPlainPeerURLsAreWarnedAbout(t *testing.T) {
	for args, want := range map[string]string{
		"--peer-client-cert-auth":                    "other members are not asked for a certificate on this plain URL",
		"--peer-trusted-ca-file=ca.crt":              "other members are not asked for a certificate on this plain URL",
		"--peer-cert-file=x.crt --peer-key-file=x.k": "are set, but ignored on this plain URL",
		"--peer-auto-tls":                            "are set, but ignored on this plain URL",
		"--pre-vote":                                 "",
	} {
		c, _, err := Parse(append(strings.Fields(args), "--listen-peer-urls=http://127.0.0.1:1,http://127.0.0.1:2"), nil, nil)
		require.NoError(t, err)
		require.NoError(t, c.Validate())
		core, lines := observer.New(zap.WarnLevel)
		_, err = c.peerTLS(zap.New(core))
		require.NoError(t, err)
		if want == "" {
			require.Zero(t, lines.Len(), args)
			continue
		}
		require.Equal(t, 2, lines.Len(), args)
		for i, line := range lines.All() {
			require.Contains(t, line.Message, want)
			require.Equal(t, c.ListenPeerURLs[i].String(), line.ContextMap()["url"])
		}
	}
}
