package cert

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// list is a CRL that names serial numbers, as DER.
func (a *authority) list(change func(*x509.RevocationList), serials ...int64) []byte {
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	change(tmpl)
	// The CA of these tests may not sign CRLs by its key usage; nobody minds.
	issuer := *a.cert
	issuer.KeyUsage |= x509.KeyUsageCRLSign
	issuer.SubjectKeyId = []byte{1}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, &issuer, a.key)
	require.NoError(a.t, err)
	return der
}

// revoke writes a CRL that names serial numbers, and returns its path.
func (a *authority) revoke(serials ...int64) string {
	a.write("crl", crlBlock, a.list(func(*x509.RevocationList) {}, serials...))
	return a.path("crl")
}

func serialOf(t *testing.T, f Files) int64 {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	return pair.Leaf.SerialNumber.Int64()
}

// A certificate is refused once the CRL names it, and taken again when it does no
// more; a file that is damaged changes nothing.
func TestRevokedCertificates(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	ca := newAuthority(t, "ca")
	good, bad := ca.issue("good"), ca.issue("bad")
	files := ca.issue("server")
	files.CRL = ca.revoke(4711)
	server, err := NewServer(ServerOptions{Files: files, Logger: zap.New(core)})
	require.NoError(t, err)
	client := func(f Files) *tls.Config {
		c, err := NewClient(ClientOptions{Files: f})
		require.NoError(t, err)
		return c.Config()
	}
	_, err = shake(t, server.Config(), client(bad))
	require.NoError(t, err)

	ca.revoke(4711, serialOf(t, bad))
	_, err = shake(t, server.Config(), client(bad))
	require.ErrorContains(t, err, "tls: bad certificate")
	_, err = shake(t, server.Config(), client(good))
	require.NoError(t, err)
	require.Equal(t, []string{"the TLS files have changed and are in force", "a certificate was refused"}, messages(logs))
	require.Contains(t, logs.All()[1].ContextMap()["error"], `is revoked`)
	_, err = shake(t, server.Config(), client(bad))
	require.ErrorContains(t, err, "tls: bad certificate")
	require.Equal(t, 2, logs.Len(), "the same is said once")

	require.NoError(t, os.WriteFile(files.CRL, []byte("damage"), 0o600))
	for range 3 {
		_, err = shake(t, server.Config(), client(bad))
		require.ErrorContains(t, err, "tls: bad certificate")
	}
	require.Equal(t, 3, logs.Len())
	require.Contains(t, logs.All()[2].ContextMap()["error"], "--client-crl-file "+files.CRL)

	ca.revoke()
	_, err = shake(t, server.Config(), client(bad))
	require.NoError(t, err)
}

func messages(logs *observer.ObservedLogs) (all []string) {
	for _, e := range logs.All() {
		all = append(all, e.Message)
	}
	return all
}

// The dialer looks at the certificate of whom it has dialed, too.
func TestADialerRefusesARevokedServer(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := ca.issue("server")
	server, err := NewServer(ServerOptions{Files: files})
	require.NoError(t, err)
	own := ca.issue("client")
	own.CRL = ca.revoke()
	client, err := NewClient(ClientOptions{Files: own})
	require.NoError(t, err)
	_, err = shake(t, server.Config(), client.Config())
	require.NoError(t, err)
	ca.revoke(serialOf(t, files))
	_, err = shake(t, server.Config(), client.Config())
	require.ErrorContains(t, err, "is revoked")
}

// Whatever a client brings along from before, it is judged by the files that are
// in force, and its certificate is known.
func TestResumedSessions(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ca := newAuthority(t, "ca")
		own := ca.issue("client")
		files := ca.issue("server")
		files.CRL = ca.revoke()
		files.CA = ca.path("clients")
		trust := func(a *authority) { ca.write("clients", "CERTIFICATE", a.cert.Raw) }
		trust(ca)
		server, err := NewServer(ServerOptions{Files: files})
		require.NoError(t, err)
		config := server.Config().Clone()
		var seen tls.ConnectionState
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := server.configFor(hello)
			if err != nil {
				return nil, err
			}
			verify := c.VerifyConnection
			c.VerifyConnection = func(state tls.ConnectionState) error { seen = state; return verify(state) }
			return c, nil
		}
		client, err := NewClient(ClientOptions{Files: own})
		require.NoError(t, err)
		cache := tls.NewLRUClientSessionCache(8)
		again := func() (bool, error) {
			t.Helper()
			c := client.Config()
			c.MaxVersion = version
			c.ClientSessionCache = cache
			state, err := shake(t, config, c)
			return state.DidResume, err
		}
		resumed, err := again()
		require.NoError(t, err)
		require.False(t, resumed)
		for range 2 {
			resumed, err = again()
			require.NoError(t, err)
			require.True(t, resumed)
			require.Equal(t, "client", seen.VerifiedChains[0][0].Subject.CommonName)
		}

		// Other files: the session is void, though the client would do.
		ca.revoke(4711)
		resumed, err = again()
		require.NoError(t, err)
		require.False(t, resumed)
		resumed, err = again()
		require.NoError(t, err)
		require.True(t, resumed)

		ca.revoke(serialOf(t, own))
		_, err = again()
		require.ErrorContains(t, err, "tls: bad certificate")

		ca.revoke()
		_, err = again()
		require.NoError(t, err)
		trust(newAuthority(t, "other"))
		_, err = again()
		require.ErrorContains(t, err, "tls: ")
		trust(ca)
		resumed, err = again()
		require.NoError(t, err)
		require.False(t, resumed)
	}
}

// A list counts by who has signed it, which may be one between the CA and the
// certificate.
func TestListsOfIntermediates(t *testing.T) {
	root, middle, stranger := newAuthority(t, "root"), newAuthority(t, "middle"), newAuthority(t, "middle")
	tmpl := *middle.cert
	tmpl.SerialNumber, tmpl.SubjectKeyId, tmpl.AuthorityKeyId = big.NewInt(77), nil, nil
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, root.cert, middle.key.Public(), root.key)
	require.NoError(t, err)
	middle.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)

	files := root.issue("server")
	own := middle.issue("client")
	leaf, err := os.ReadFile(own.Cert)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(own.Cert, slices.Concat(leaf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600))
	try := func(list []byte) error {
		t.Helper()
		files.CRL = root.path("crl")
		require.NoError(t, os.WriteFile(files.CRL, list, 0o600))
		server, err := NewServer(ServerOptions{Files: files})
		require.NoError(t, err)
		client, err := NewClient(ClientOptions{Files: Files{Cert: own.Cert, Key: own.Key, CA: root.path("ca")}})
		require.NoError(t, err)
		_, err = shake(t, server.Config(), client.Config())
		return err
	}
	keep := func(*x509.RevocationList) {}
	serial := serialOf(t, own)
	require.NoError(t, try(root.list(keep, serial)), "the number is another CA's")
	require.NoError(t, try(middle.list(keep, 9999)))
	require.ErrorContains(t, try(middle.list(keep, serial)), "bad certificate")
	require.ErrorContains(t, try(root.list(keep, 77)), "bad certificate")
	require.ErrorContains(t, try(stranger.list(keep)), "bad certificate", "a list in the CA's name that it has not signed")
	both := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: root.list(keep)}), []byte("text\n"),
		pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: middle.list(keep, serial)}))
	require.ErrorContains(t, try(both), "bad certificate")
}

func TestListsThatCannotBeUsed(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	ca, other := newAuthority(t, "ca"), newAuthority(t, "ca")
	files := ca.issue("server")
	files.CRL, files.CRLName = ca.path("crl"), "--peer-crl-file"
	keep := func(*x509.RevocationList) {}
	whole := pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: ca.list(keep, 1, 2, 3)})
	entry := func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: certificateIssuer, Critical: true, Value: []byte{0x30, 0}}}
	}
	delta := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: deltaIndicator, Critical: true, Value: []byte{2, 1, 1}}}
	}
	for _, tc := range []struct {
		content []byte
		want    string
	}{
		{nil, "it is no CRL"},
		{[]byte("garbage"), "it is no CRL"},
		{whole[:len(whole)-10], "it is damaged"},
		{slices.Concat(whole, whole[:len(whole)-10]), "it is damaged"},
		{ca.list(keep, 1)[:100], "it is no CRL"},
		{other.list(keep, 1), `the CRL of "CN=ca" is not signed by that CA`},
		{ca.list(delta), "delta CRL"},
		{ca.list(entry, 1), "indirect CRL"},
		{make([]byte, maxCRL+1), "larger than 16 MiB"},
	} {
		require.NoError(t, os.WriteFile(files.CRL, tc.content, 0o600))
		_, err := NewServer(ServerOptions{Files: files})
		require.ErrorContains(t, err, "--peer-crl-file "+files.CRL)
		require.ErrorContains(t, err, tc.want)
	}
	require.NoError(t, os.Remove(files.CRL))
	_, err := NewServer(ServerOptions{Files: files})
	require.ErrorContains(t, err, "--peer-crl-file: open "+files.CRL)

	// DER is as good, and an old list is better than none.
	old := func(l *x509.RevocationList) { l.NextUpdate = l.ThisUpdate.Add(time.Minute) }
	require.NoError(t, os.WriteFile(files.CRL, ca.list(old, 1), 0o600))
	server, err := NewServer(ServerOptions{Files: files, Logger: zap.New(core)})
	require.NoError(t, err)
	m, _ := server.files.now()
	require.True(t, m.crl.lists[0].serials[serial(big.NewInt(1))])
	require.Equal(t, []string{"the CRL is older than it says it may become; it stays in force"}, messages(logs))

	files.CA = ""
	_, err = NewServer(ServerOptions{Files: files})
	require.ErrorContains(t, err, "--peer-crl-file takes certificates back, but none are asked for")
}
