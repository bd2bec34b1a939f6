package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// authority signs certificates for one test.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{t: t, dir: t.TempDir(), next: 2}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.write("ca", "CERTIFICATE", der)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	require.NoError(a.t, os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// issue writes name.crt and name.key, signed for localhost, over what is there.
func (a *authority) issue(name string) Files {
	return a.issueAs(name, func(*x509.Certificate) {})
}

// issueAs is issue for a certificate that is changed before it is signed.
func (a *authority) issueAs(name string, change func(*x509.Certificate)) Files {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	a.next++
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	a.write(name+".crt", "CERTIFICATE", der)
	raw, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	a.write(name+".key", "EC PRIVATE KEY", raw)
	return Files{Cert: a.path(name + ".crt"), Key: a.path(name + ".key"), CA: a.path("ca")}
}

// shake makes one connection over c and returns what the client saw of it.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	client = client.Clone()
	client.ServerName = "localhost"
	return shakeAs(t, server, client)
}

// shakeAs is shake with the client's configuration as it is.
func shakeAs(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	require.NoError(t, err)
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		io.WriteString(nc, "!")
		io.Copy(io.Discard, nc)
	}()
	defer func() { l.Close(); <-served }()
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err // with TLS 1.3 a refused client hears of it here
	}
	return nc.ConnectionState(), nil
}

func TestBothSidesKnowEachOther(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	server, err := NewServer(ServerOptions{Files: ca.issue("server"), ClientCertAuth: true})
	require.NoError(t, err)
	client, err := NewClient(ClientOptions{Files: ca.issue("client")})
	require.NoError(t, err)
	state, err := shake(t, server.Config(), client.Config())
	require.NoError(t, err)
	require.GreaterOrEqual(t, state.Version, uint16(tls.VersionTLS12))
	require.Equal(t, "server", state.PeerCertificates[0].Subject.CommonName)

	stranger, err := NewClient(ClientOptions{Files: other.issue("client")})
	require.NoError(t, err)
	_, err = shake(t, server.Config(), stranger.Config())
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	foreign := stranger.Config()
	foreign.RootCAs = client.Config().RootCAs
	_, err = shake(t, server.Config(), foreign)
	require.ErrorContains(t, err, "tls: ")
	bare, err := NewClient(ClientOptions{Files: Files{CA: ca.path("ca")}})
	require.NoError(t, err)
	_, err = shake(t, server.Config(), bare.Config())
	require.ErrorContains(t, err, "certificate required")

	// Without a CA file nobody is asked for a certificate.
	files := ca.issue("server")
	files.CA = ""
	open, err := NewServer(ServerOptions{Files: files})
	require.NoError(t, err)
	_, err = shake(t, open.Config(), bare.Config())
	require.NoError(t, err)
}

// A pair or a CA that is replaced is used from the next handshake on; one that
// is broken is not, and is named once.
func TestFilesAreFollowed(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	ca := newAuthority(t, "ca")
	server, err := NewServer(ServerOptions{Files: ca.issue("server"), Logger: zap.New(core)})
	require.NoError(t, err)
	client, err := NewClient(ClientOptions{Files: ca.issue("client")})
	require.NoError(t, err)
	serial := func() int64 {
		t.Helper()
		state, err := shake(t, server.Config(), client.Config())
		require.NoError(t, err)
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	first := serial()
	require.Equal(t, first, serial())
	require.Zero(t, logs.Len())

	ca.issue("server")
	second := serial()
	require.NotEqual(t, first, second)
	require.Equal(t, 1, logs.Len())

	// Half a pair, as while a file is being replaced, and then nothing at all.
	require.NoError(t, os.WriteFile(ca.path("server.key"), []byte("secret"), 0o600))
	for range 3 {
		require.Equal(t, second, serial())
	}
	require.Equal(t, 2, logs.Len())
	require.Contains(t, logs.All()[1].ContextMap()["error"], "--key-file "+ca.path("server.key"))
	require.NotContains(t, logs.All()[1].ContextMap()["error"], "secret")
	require.NoError(t, os.Remove(ca.path("server.crt")))
	for range 3 {
		require.Equal(t, second, serial())
	}
	require.Equal(t, 3, logs.Len())
	ca.issue("server")
	require.NotEqual(t, second, serial())
	require.Equal(t, 4, logs.Len())

	// Another CA: the old clients are strangers now.
	other := newAuthority(t, "other")
	pem, err := os.ReadFile(other.path("ca"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca.path("ca"), pem, 0o600))
	_, err = shake(t, server.Config(), func() *tls.Config { c := client.Config(); c.InsecureSkipVerify = true; return c }())
	require.ErrorContains(t, err, "tls: ")
}

// Files that have not changed for a while are not read again.
func TestUnchangedFilesAreOnlyLookedAt(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := ca.issue("server")
	old := time.Now().Add(-time.Hour)
	for _, p := range []string{files.Cert, files.Key, files.CA} {
		require.NoError(t, os.Chtimes(p, old, old))
	}
	server, err := NewServer(ServerOptions{Files: files})
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	one, _ := server.files.now()
	two, _ := server.files.now()
	require.Same(t, one, two)
	require.Same(t, server.inForce(), server.inForce(), "sessions can be resumed")
	require.Equal(t, before, runtime.NumGoroutine())
	perLook := testing.AllocsPerRun(100, func() { server.files.now() })
	require.Less(t, perLook, 20.0)
}

func TestRefusals(t *testing.T) {
	ca := newAuthority(t, "ca")
	good, other := ca.issue("server"), ca.issue("other")
	empty := ca.path("empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	huge := ca.path("huge")
	require.NoError(t, os.WriteFile(huge, make([]byte, maxFile+1), 0o600))
	for _, tc := range []struct {
		files    Files
		protocol Protocol
		want     string
	}{
		{files: Files{}, want: "--cert-file and --key-file are needed"},
		{files: Files{Cert: good.Cert}, want: "--cert-file is set, but --key-file is not"},
		{files: Files{Key: good.Key}, want: "--key-file is set, but --cert-file is not"},
		{files: Files{Cert: good.Cert, Key: "/nowhere/k"}, want: "--key-file: open /nowhere/k"},
		{files: Files{Cert: good.Cert, Key: other.Key}, want: "private key does not match public key"},
		{files: Files{Cert: good.Cert, Key: good.Key, CA: empty}, want: "--trusted-ca-file " + empty + ": there is no certificate in it"},
		{files: Files{Cert: good.Cert, Key: good.Key, CA: huge}, want: "larger than 1 MiB"},
		{files: Files{Cert: "/nowhere/c", Key: good.Key, CertName: "--peer-cert-file"}, want: "--peer-cert-file: open /nowhere/c"},
		{files: good, protocol: Protocol{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}, want: "--tls-min-version (TLS1.3) is above --tls-max-version (TLS1.2)"},
		{files: good, protocol: Protocol{CipherSuites: []string{"ROT13"}}, want: `"ROT13" is not a cipher suite`},
		{files: good, protocol: Protocol{MinVersion: tls.VersionTLS13, CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}, want: "--cipher-suites cannot be chosen"},
	} {
		_, err := NewServer(ServerOptions{Files: tc.files, Protocol: tc.protocol})
		require.ErrorContains(t, err, tc.want)
	}
}

func TestProtocolBounds(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := ca.issue("server")
	files.CA = ""
	client, err := NewClient(ClientOptions{Files: Files{CA: ca.path("ca")}})
	require.NoError(t, err)
	const suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
	server, err := NewServer(ServerOptions{Files: files, Protocol: Protocol{MaxVersion: tls.VersionTLS12, CipherSuites: []string{suite}}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	cfg := client.Config()
	cfg.NextProtos = []string{"h2"}
	state, err := shake(t, server.Config(), cfg)
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), state.Version)
	require.Equal(t, suite, tls.CipherSuiteName(state.CipherSuite))
	require.Equal(t, "h2", state.NegotiatedProtocol)

	server, err = NewServer(ServerOptions{Files: files, Protocol: Protocol{MinVersion: tls.VersionTLS13}})
	require.NoError(t, err)
	cfg.MaxVersion = tls.VersionTLS12
	_, err = shake(t, server.Config(), cfg)
	require.ErrorContains(t, err, "protocol version")

	// Nobody speaks less than TLS 1.2.
	server, err = NewServer(ServerOptions{Files: files})
	require.NoError(t, err)
	cfg = client.Config()
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err = shake(t, server.Config(), cfg)
	require.ErrorContains(t, err, "protocol version")
}
