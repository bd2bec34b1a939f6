package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// SelfSigned is a pair that nobody has given: it is made in a directory, kept
// there, and made anew when its time is over. It proves nothing to who has not
// got the certificate by other means; it keeps others from listening.
type SelfSigned struct {
	// Dir holds cert.pem and key.pem. It is made if it is not there.
	Dir string
	// Hosts are the names and addresses the certificate is for.
	Hosts []string
	// Years is how long it is valid.
	Years uint
	// Setting is what asked for it, for errors.
	Setting string
}

func (s *SelfSigned) paths() (cert, key string) {
	return filepath.Join(s.Dir, "cert.pem"), filepath.Join(s.Dir, "key.pem")
}

// ensure makes the pair unless there is one that is still good.
func (s *SelfSigned) ensure(now time.Time) error {
	cert, key := s.paths()
	pair, err := tls.LoadX509KeyPair(cert, key)
	switch {
	case err == nil && now.Before(pair.Leaf.NotAfter):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w", s.Setting, err)
	}
	if err := s.make(now); err != nil {
		return fmt.Errorf("%s: make a certificate: %w", s.Setting, err)
	}
	return nil
}

// make replaces the pair. A crash in between leaves two files that are no pair,
// which the next start replaces.
func (s *SelfSigned) make(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := s.sign(key, now)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	certFile, keyFile := s.paths()
	if err := replaceFile(keyFile, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}); err != nil {
		return err
	}
	return replaceFile(certFile, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// sign makes the certificate of a key.
func (s *SelfSigned) sign(key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          number.Add(number, big.NewInt(1)),
		Subject:               pkix.Name{Organization: []string{"etcd"}},
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              now.AddDate(int(s.Years), 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, host := range slices.Compact(slices.Sorted(slices.Values(s.Hosts))) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// clockSlack is how far the clocks of two machines may differ.
const clockSlack = 5 * time.Minute

// replaceFile writes a file that its owner alone can read, whole or not at all.
func replaceFile(path string, block *pem.Block) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = pem.Encode(tmp, block)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
