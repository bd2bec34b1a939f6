package cert

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The CA file has the intermediate alone, and the CRL file the lists of root and
// intermediate, neither of which takes anything back.
func TestAnIntermediateIsTheAnchor(t *testing.T) {
	root, middle := newAuthority(t, "root"), newAuthority(t, "middle")
	tmpl := *middle.cert
	tmpl.SerialNumber, tmpl.SubjectKeyId, tmpl.AuthorityKeyId = big.NewInt(77), nil, nil
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, root.cert, middle.key.Public(), root.key)
	require.NoError(t, err)
	middle.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	middle.write("ca", "CERTIFICATE", der)

	files := root.issue("server")
	own := middle.issue("client")
	keep := func(*x509.RevocationList) {}
	both := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: root.list(keep)}),
		pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: middle.list(keep)}))
	files.CA = middle.path("ca")
	try := func(list []byte) error {
		files.CRL = root.path("crl")
		require.NoError(t, os.WriteFile(files.CRL, list, 0o600))
		server, err := NewServer(ServerOptions{Files: files})
		require.NoError(t, err)
		client, err := NewClient(ClientOptions{Files: Files{Cert: own.Cert, Key: own.Key, CA: root.path("ca")}})
		require.NoError(t, err)
		_, err = shake(t, server.Config(), client.Config())
		return err
	}
	require.NoError(t, try(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: middle.list(keep)})))
	require.NoError(t, try(both), "nothing was revoked")
	taken := pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: root.list(func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: middle.cert.SerialNumber, RevocationTime: time.Now()}}
	})})
	require.ErrorContains(t, try(taken), "bad certificate", "the anchor was taken back")
}
