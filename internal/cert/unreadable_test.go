package cert

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A CRL that could not be opened when it was looked at first (no file descriptor left;
// or "mv" by root before its "chown", which changes neither size nor time) comes into
// force when it can be. Nobody writes it again for that.
func TestACRLThatCouldNotBeOpenedOnce(t *testing.T) {
	ca := newAuthority(t, "ca")
	bad := ca.issue("bad")
	files := ca.issue("server")
	files.CRL = ca.revoke(4711)
	long := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(files.CRL, long, long.Add(-time.Minute)))
	server, err := NewServer(ServerOptions{Files: files})
	require.NoError(t, err)
	client, err := NewClient(ClientOptions{Files: bad})
	require.NoError(t, err)
	_, err = shake(t, server.Config(), client.Config())
	require.NoError(t, err)

	// It was prepared a while ago, and is put in its place by renaming.
	ca.write("new", crlBlock, ca.list(func(*x509.RevocationList) {}, 4711, serialOf(t, bad)))
	require.NoError(t, os.Chtimes(ca.path("new"), long, long))
	for _, f := range []string{files.Cert, files.Key, files.CA} {
		require.NoError(t, os.Chtimes(f, long, long))
	}
	server.files.now() // those times are seen
	require.NoError(t, os.Rename(ca.path("new"), files.CRL))

	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: before.Max}))
	server.files.now() // a handshake begins at a bad time
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before))

	_, err = shake(t, server.Config(), client.Config())
	require.ErrorContains(t, err, "bad certificate", "the CRL is readable, and has been for as long as the server runs")
}

// An intermediate CA that has got a new key under its name has a list for either; a
// certificate is judged by the list of the key that has signed it.
func TestListsOfARekeyedIntermediate(t *testing.T) {
	root := newAuthority(t, "root")
	var lists []byte
	var own Files
	for i := range int64(2) {
		middle := newAuthority(t, "middle")
		tmpl := *middle.cert
		tmpl.SerialNumber, tmpl.SubjectKeyId, tmpl.AuthorityKeyId = big.NewInt(77+i), nil, nil
		der, err := x509.CreateCertificate(rand.Reader, &tmpl, root.cert, middle.key.Public(), root.key)
		require.NoError(t, err)
		middle.cert, err = x509.ParseCertificate(der)
		require.NoError(t, err)
		own = middle.issue("client")
		leaf, err := os.ReadFile(own.Cert)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(own.Cert, slices.Concat(leaf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600))
		own.CA = root.path("ca")
		lists = append(lists, pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: middle.list(func(*x509.RevocationList) {}, 9999)})...)
	}
	files := root.issue("server")
	files.CRL = root.path("both")
	require.NoError(t, os.WriteFile(files.CRL, lists, 0o600))
	server, err := NewServer(ServerOptions{Files: files})
	require.NoError(t, err)
	client, err := NewClient(ClientOptions{Files: own})
	require.NoError(t, err)
	_, err = shake(t, server.Config(), client.Config())
	require.NoError(t, err)
}
