package cert

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
)

// Whatever a CRL file holds, it is read or refused.
func FuzzRevocations(f *testing.F) {
	ca := newAuthority(f, "ca")
	der := ca.list(func(*x509.RevocationList) {}, 1, 2, 1<<60)
	f.Add(der)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: der}))
	f.Add([]byte("-----BEGIN X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRevocations(content, []*x509.Certificate{ca.cert})
		if err == nil {
			_ = r.due()
			_ = r.check([]*x509.Certificate{ca.cert})
		}
	})
}
