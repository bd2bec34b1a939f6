package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/test/member"
)

// knock makes one connection of TLS, asks for a page that every port has an answer
// to, and returns the serial number that the member has shown.
func knock(addr net.Addr, config *tls.Config) (serial string, err error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	config.MaxVersion = tls.VersionTLS12 // with 1.3 a refused client hears of it later, if at all
	c, err := tls.DialWithDialer(d, addr.Network(), addr.String(), config)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET /health HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	_, err = c.Read(make([]byte, 1))
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), err
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

// All that a listener's TLS is made of can be replaced while the member runs.
func TestFilesAreReplacedUnderALiveMember(t *testing.T) {
	dir := t.TempDir()
	ca, other := member.NewAuthority(t, "ca"), member.NewAuthority(t, "other")
	trusted := filepath.Join(dir, "trusted")
	copyFile(t, ca.File(), trusted)
	c := testConfig(t)
	c.ClientCertFile, c.ClientKeyFile = ca.Issue("member")
	c.ClientTrustedCAFile, c.ClientCRLFile = trusted, ca.Revoke()
	c.PeerCertFile, c.PeerKeyFile = c.ClientCertFile, c.ClientKeyFile
	c.PeerTrustedCAFile, c.PeerCRLFile = trusted, c.ClientCRLFile
	c.ListenClientURLs, c.ListenMetricsURLs, c.ListenPeerURLs = mustURLs("https://127.0.0.1:0"), mustURLs("https://127.0.0.1:0"), mustURLs("https://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	aliceCert, aliceKey := ca.Issue("alice")
	alice := ca.Client(aliceCert, aliceKey)
	bob := ca.Client(ca.Issue("bob"))
	foreign := ca.Client(other.Issue("carol"))
	for name, addr := range map[string]net.Addr{"client": m.ClientAddresses()[0], "metrics": m.listeners.metrics[0].Addr(), "peer": m.listeners.peers[0].Addr()} {
		t.Run(name, func(t *testing.T) {
			before, err := knock(addr, alice)
			require.NoError(t, err)
			_, err = knock(addr, ca.Client("", ""))
			require.ErrorContains(t, err, "remote error: tls: ")
			_, err = knock(addr, foreign)
			require.ErrorContains(t, err, "tls: ")

			ca.Issue("member")
			after, err := knock(addr, alice)
			require.NoError(t, err)
			require.NotEqual(t, before, after)

			ca.Revoke(aliceCert)
			_, err = knock(addr, alice)
			require.ErrorContains(t, err, "bad certificate")
			_, err = knock(addr, bob)
			require.NoError(t, err)
			ca.Revoke()
			_, err = knock(addr, alice)
			require.NoError(t, err)

			copyFile(t, other.File(), trusted)
			_, err = knock(addr, alice)
			require.ErrorContains(t, err, "tls: ")
			_, err = knock(addr, foreign)
			require.NoError(t, err)
			copyFile(t, ca.File(), trusted)
			_, err = knock(addr, alice)
			require.NoError(t, err)
		})
	}
}

func TestClientsOfOtherNames(t *testing.T) {
	ca := member.NewAuthority(t, "ca")
	c := testConfig(t)
	c.ClientCertFile, c.ClientKeyFile = ca.Issue("member")
	c.ClientTrustedCAFile = ca.File()
	c.ClientAllow.Hosts = []string{"somewhere.example"}
	c.ListenClientURLs, c.ListenMetricsURLs = mustURLs("https://127.0.0.1:0"), mustURLs("https://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	for _, addr := range []net.Addr{m.ClientAddresses()[0], m.listeners.metrics[0].Addr()} {
		_, err := knock(addr, ca.Client(ca.Issue("alice")))
		require.ErrorContains(t, err, "bad certificate")
	}
	require.NoError(t, m.Close())
	c.ClientAllow.Hosts = []string{"somewhere.example", "localhost"}
	m = start(t, c)
	defer m.Close()
	_, err := knock(m.ClientAddresses()[0], ca.Client(ca.Issue("alice")))
	require.NoError(t, err)
}

// secured has a cluster's members speak TLS with each other, each with a pair and
// a file of whom it trusts in a directory of its own.
func secured(t *testing.T, configs []*Config, ca *member.Authority) (files []string) {
	t.Helper()
	for _, c := range configs {
		c.ListenPeerURLs = mustURLs("https://" + c.ListenPeerURLs[0].Host)
		c.InitialAdvertisePeerURLs = c.ListenPeerURLs
		c.InitialCluster = ""
		files = append(files, t.TempDir())
	}
	for _, c := range configs {
		for _, one := range configs {
			c.InitialCluster += "," + one.Name + "=" + one.ListenPeerURLs[0].String()
		}
		c.InitialCluster = c.InitialCluster[1:]
	}
	if ca == nil {
		return files
	}
	for i, c := range configs {
		dir := files[i]
		c.PeerCertFile, c.PeerKeyFile = filepath.Join(dir, "crt"), filepath.Join(dir, "key")
		c.PeerTrustedCAFile, c.PeerCRLFile = filepath.Join(dir, "ca"), filepath.Join(dir, "crl")
		give(t, ca, c)
		copyFile(t, ca.File(), c.PeerTrustedCAFile)
		copyFile(t, ca.Revoke(), c.PeerCRLFile)
	}
	return files
}

// give issues a member its pair.
func give(t *testing.T, ca *member.Authority, c *Config) {
	t.Helper()
	cert, key := ca.Issue(c.Name)
	copyFile(t, cert, c.PeerCertFile)
	copyFile(t, key, c.PeerKeyFile)
}

// agree waits until a member's write is answered, for which it needs the others.
func agree(t *testing.T, m *Member) {
	t.Helper()
	_, err := call[etcdserverpb.PutResponse](t, dial(t, m), "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
}

// comeBack starts a member again. It is not served before the other one has let it
// in, and was let in by it.
func comeBack(t *testing.T, c *Config, patience time.Duration) (*Member, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := Start(ctx, c, zap.NewNop())
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

// A member that has been running since before takes what has changed on disk for
// those that it dials and that dial it.
func TestPeersFollowTheirFiles(t *testing.T) {
	t.Parallel() // it waits, mostly
	ca, next := member.NewAuthority(t, "ca"), member.NewAuthority(t, "next")
	configs := clusterOf(t, 2)
	secured(t, configs, ca)
	members := startAll(t, configs)
	agree(t, members[0])
	lasting, coming := members[0], configs[1]
	require.NoError(t, members[1].Close())

	// Another CA: first the bundle of the one that goes on, then all of the other's.
	both, err := os.ReadFile(ca.File())
	require.NoError(t, err)
	more, err := os.ReadFile(next.File())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(configs[0].PeerTrustedCAFile, slices.Concat(both, more), 0o600))
	give(t, next, configs[0])
	copyFile(t, next.File(), coming.PeerTrustedCAFile)
	copyFile(t, next.Revoke(), coming.PeerCRLFile)
	give(t, next, coming)
	second, err := comeBack(t, coming, time.Minute)
	require.NoError(t, err)
	agree(t, lasting)

	// A certificate that is taken back is good for neither direction.
	require.NoError(t, second.Close())
	copyFile(t, next.Revoke(coming.PeerCertFile), configs[0].PeerCRLFile)
	_, err = comeBack(t, coming, 3*time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, lasting.peers.transport.ActiveSince(otherOf(lasting)))
	give(t, next, coming)
	_, err = comeBack(t, coming, time.Minute)
	require.NoError(t, err)
	agree(t, lasting)
}

// otherOf is the other of two members.
func otherOf(m *Member) uint64 {
	for _, one := range m.state.View().Members.Members {
		if one.ID != m.state.Data.Identity.MemberID {
			return one.ID
		}
	}
	return 0
}

// Members of other names are not let in, nor dialed.
func TestPeersOfOtherNames(t *testing.T) {
	t.Parallel() // it waits, mostly
	ca := member.NewAuthority(t, "ca")
	for _, tc := range []struct {
		names []string
		ok    bool
	}{{[]string{"infra1", "infra2"}, true}, {[]string{"infra1"}, false}} {
		configs := clusterOf(t, 2)
		secured(t, configs, ca)
		configs[0].PeerAllow.CommonNames = tc.names
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if !tc.ok {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
		}
		started := make(chan error, len(configs))
		for _, c := range configs {
			go func() {
				m, err := Start(ctx, c, zap.NewNop())
				if err == nil {
					t.Cleanup(func() { m.Close() })
				}
				started <- err
			}()
		}
		for range configs {
			if err := <-started; tc.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
		}
		cancel()
	}
}

// A cluster that makes its own certificates: nothing is given, and all goes over TLS.
func TestAutoTLS(t *testing.T) {
	configs := clusterOf(t, 2)
	secured(t, configs, nil)
	for _, c := range configs {
		c.PeerAutoTLS, c.ClientAutoTLS = true, true
		c.ListenClientURLs = mustURLs("https://127.0.0.1:0")
	}
	members := startAll(t, configs)
	made := filepath.Join(configs[0].DataDir, "fixtures", "client", "cert.pem")
	trust := &tls.Config{RootCAs: member.Trusting(t, made), ServerName: "127.0.0.1"}
	serial, err := knock(members[0].ClientAddresses()[0], trust)
	require.NoError(t, err)
	peerFile := filepath.Join(configs[0].DataDir, "fixtures", "peer", "cert.pem")
	_, err = knock(members[0].listeners.peers[0].Addr(), &tls.Config{RootCAs: member.Trusting(t, peerFile), ServerName: "127.0.0.1"})
	require.NoError(t, err)
	for _, m := range members {
		require.NoError(t, m.Close())
	}
	members = startAll(t, configs)
	again, err := knock(members[0].ClientAddresses()[0], trust)
	require.NoError(t, err)
	require.Equal(t, serial, again)
}

// Whoever connects and says nothing is cut off, on every kind of listener.
func TestSilentConnectionsAreCut(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	t.Parallel()
	c := testConfig(t)
	c.ClientCertFile, c.ClientKeyFile = member.Certificate(t)
	c.PeerCertFile, c.PeerKeyFile = c.ClientCertFile, c.ClientKeyFile
	c.ListenClientURLs = mustURLs("https://127.0.0.1:0,unixs://" + t.TempDir() + "/s")
	c.ListenMetricsURLs, c.ListenPeerURLs = mustURLs("https://127.0.0.1:0"), mustURLs("https://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	var waiting sync.WaitGroup
	for _, l := range slices.Concat(m.listeners.clients, m.listeners.metrics, m.listeners.peers) {
		waiting.Go(func() {
			nc, err := net.Dial(l.Addr().Network(), l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second)) // it is the test's end
			if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
				t.Errorf("%s: %d bytes, %v", l.Addr(), n, err)
			}
		})
	}
	waiting.Wait()
}

// A socket file goes with its member, and one that a dead process has left is in
// nobody's way.
func TestSocketFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	c := testConfig(t)
	c.ListenClientURLs = mustURLs("unix://" + path)
	_, err = Start(t.Context(), c, zap.NewNop())
	require.ErrorContains(t, err, "--listen-client-urls: listen unix "+path+": address already in use")
	require.NoError(t, stale.Close())
	require.FileExists(t, path)

	m := start(t, c)
	page := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer page.CloseIdleConnections()
	res, err := (&http.Client{Transport: page}).Get("http://localhost/version")
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	require.NoError(t, m.Close())
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = Start(t.Context(), c, zap.NewNop())
	require.ErrorContains(t, err, "--listen-client-urls: listen unix "+path)
	require.FileExists(t, path, "what is no socket is not taken away")
}

func TestWhoMayAskOverHTTP(t *testing.T) {
	c := testConfig(t)
	c.ClientCertFile, c.ClientKeyFile = member.Certificate(t)
	c.ListenClientURLs = mustURLs("http://127.0.0.1:0,https://127.0.0.1:0")
	c.ListenMetricsURLs = mustURLs("http://127.0.0.1:0")
	c.CORS, c.HostWhitelist = []string{"https://page.example"}, []string{"etcd.example"}
	m := start(t, c)
	defer m.Close()
	transport := &http.Transport{TLSClientConfig: trusting(t, c.ClientCertFile), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	get := func(url, host string) (int, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/health", nil)
		require.NoError(t, err)
		r.Host = host
		r.Header.Set("Origin", "https://page.example")
		res, err := (&http.Client{Transport: transport}).Do(r)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode, res.Header
	}
	plain, secure := "http://"+m.ClientAddresses()[0].String(), "https://"+m.ClientAddresses()[1].String()
	code, header := get(plain, "etcd.example:2379")
	require.Equal(t, 200, code)
	require.Equal(t, "https://page.example", header.Get("Access-Control-Allow-Origin"))
	code, _ = get(plain, "evil.example")
	require.Equal(t, 421, code)
	code, _ = get(secure, "evil.example")
	require.Equal(t, 200, code)
	code, header = get("http://"+m.listeners.metrics[0].Addr().String(), "evil.example")
	require.Equal(t, 200, code)
	require.Empty(t, header.Get("Access-Control-Allow-Origin"))
	agree(t, m) // gRPC has no such names
}
