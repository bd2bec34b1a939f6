package cert

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"
)

// Files are the PEM files of one side of a connection. An empty path is a file
// that is not there.
type Files struct {
	// Cert and Key are the pair that is shown to the peer; both or none.
	Cert, Key string
	// CA holds the certificates that the peer's must be signed by.
	CA string
	// CRL names certificates that are taken back, as PEM or DER. Lists of those that
	// CA holds must be signed by them.
	CRL string
	// CertName, KeyName, CAName and CRLName are the settings the paths came from,
	// for errors; empty means --cert-file, --key-file, --trusted-ca-file and
	// --client-crl-file.
	CertName, KeyName, CAName, CRLName string
}

func (f Files) withDefaults() Files {
	for _, d := range []struct {
		name *string
		text string
	}{{&f.CertName, "--cert-file"}, {&f.KeyName, "--key-file"}, {&f.CAName, "--trusted-ca-file"}, {&f.CRLName, "--client-crl-file"}} {
		if *d.name == "" {
			*d.name = d.text
		}
	}
	return f
}

// paired refuses half a pair.
func (f *Files) paired() error {
	switch {
	case f.Cert != "" && f.Key == "":
		return fmt.Errorf("%s is set, but %s is not: they come as a pair", f.CertName, f.KeyName)
	case f.Cert == "" && f.Key != "":
		return fmt.Errorf("%s is set, but %s is not: they come as a pair", f.KeyName, f.CertName)
	}
	return nil
}

// material is what the files held when they were read.
type material struct {
	pair *tls.Certificate // nil without a pair
	pool *x509.CertPool   // nil without a CA file
	crl  *revocations     // nil without a CRL file
}

// load reads all files. An error names the file and the setting at fault.
func (f *Files) load() (*material, error) {
	m := &material{}
	if f.Cert != "" {
		cert, err := readFile(f.CertName, f.Cert, maxFile)
		if err != nil {
			return nil, err
		}
		key, err := readFile(f.KeyName, f.Key, maxFile)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s %s and %s %s: %w", f.CertName, f.Cert, f.KeyName, f.Key, err)
		}
		m.pair = &pair
	}
	var authorities []*x509.Certificate
	if f.CA != "" {
		text, err := readFile(f.CAName, f.CA, maxFile)
		if err != nil {
			return nil, err
		}
		if authorities = certificates(text); len(authorities) == 0 {
			return nil, fmt.Errorf("%s %s: there is no certificate in it", f.CAName, f.CA)
		}
		m.pool = x509.NewCertPool()
		for _, c := range authorities {
			m.pool.AddCert(c)
		}
	}
	if f.CRL != "" {
		content, err := readFile(f.CRLName, f.CRL, maxCRL)
		if err != nil {
			return nil, err
		}
		if m.crl, err = parseRevocations(content, authorities); err != nil {
			return nil, fmt.Errorf("%s %s: %w", f.CRLName, f.CRL, err)
		}
	}
	return m, nil
}

// certificates are those of a PEM bundle. What cannot be read is passed over, as
// the system's own bundles are read.
func certificates(text []byte) (all []*x509.Certificate) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
	return all
}

const (
	// maxFile bounds a file: a bundle of every public CA has a quarter of it.
	maxFile = 1 << 20
	// maxCRL bounds a file of CRLs: 40 bytes or so for each certificate.
	maxCRL = 16 << 20
)

func readFile(setting, path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", setting, path, err)
	}
	return b, nil
}

// stamp tells one state of the files from another.
type stamp [4]fileStamp

type fileStamp struct {
	info os.FileInfo // nil: it is not there
	at   time.Time   // its modification time
}

// look takes the files' stamp without reading them.
func (f *Files) look() stamp {
	var s stamp
	for i, path := range [...]string{f.Cert, f.Key, f.CA, f.CRL} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			s[i] = fileStamp{info, info.ModTime()}
		}
	}
	return s
}

func (s *stamp) same(o *stamp) bool {
	for i := range s {
		a, b := s[i], o[i]
		if (a.info == nil) != (b.info == nil) {
			return false
		}
		if a.info != nil && !(a.at.Equal(b.at) && a.info.Size() == b.info.Size() && os.SameFile(a.info, b.info)) {
			return false
		}
	}
	return true
}

// fresh says whether a file was written so shortly before now that the same
// stamp may soon stand for other bytes.
func (s *stamp) fresh(now time.Time) bool {
	for i := range s {
		if s[i].info != nil && now.Sub(s[i].at).Abs() < clockGrain {
			return true
		}
	}
	return false
}

// clockGrain is coarser than any file system's clock that we know of.
const clockGrain = 2 * time.Second
