package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
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
	// CertName, KeyName and CAName are the settings the paths came from, for
	// errors; empty means --cert-file, --key-file and --trusted-ca-file.
	CertName, KeyName, CAName string
}

func (f Files) withDefaults() Files {
	for _, d := range []struct {
		name *string
		text string
	}{{&f.CertName, "--cert-file"}, {&f.KeyName, "--key-file"}, {&f.CAName, "--trusted-ca-file"}} {
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
}

// load reads all files. An error names the file and the setting at fault.
func (f *Files) load() (*material, error) {
	m := &material{}
	if f.Cert != "" {
		cert, err := readFile(f.CertName, f.Cert)
		if err != nil {
			return nil, err
		}
		key, err := readFile(f.KeyName, f.Key)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s %s and %s %s: %w", f.CertName, f.Cert, f.KeyName, f.Key, err)
		}
		m.pair = &pair
	}
	if f.CA != "" {
		pem, err := readFile(f.CAName, f.CA)
		if err != nil {
			return nil, err
		}
		m.pool = x509.NewCertPool()
		if !m.pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s %s: there is no certificate in it", f.CAName, f.CA)
		}
	}
	return m, nil
}

// maxFile bounds a file: a bundle of every public CA has a quarter of it.
const maxFile = 1 << 20

func readFile(setting, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("it is larger than 1 MiB")
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", setting, path, err)
	}
	return b, nil
}

// stamp tells one state of the files from another.
type stamp [3]fileStamp

type fileStamp struct {
	info os.FileInfo // nil: it is not there
	at   time.Time   // its modification time
}

// look takes the files' stamp without reading them.
func (f *Files) look() stamp {
	var s stamp
	for i, path := range [...]string{f.Cert, f.Key, f.CA} {
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
		if s[i].info != nil && now.Sub(s[i].at) < clockGrain {
			return true
		}
	}
	return false
}

// clockGrain is coarser than any file system's clock that we know of.
const clockGrain = 2 * time.Second
