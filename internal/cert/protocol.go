package cert

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// Protocol bounds what is negotiated. The zero value is TLS 1.2 and above with
// Go's cipher suites.
type Protocol struct {
	MinVersion, MaxVersion Version  // zero: 1.2, and the newest
	CipherSuites           []string // names as crypto/tls has them; none: Go's choice
}

// Version is a version of TLS as flags spell it: "TLS1.2", "TLS1.3" or "" for
// the default. It is a flag.Value.
type Version uint16

// Set is flag.Value's.
func (v *Version) Set(s string) error {
	switch s {
	case "":
		*v = 0
	case "TLS1.2":
		*v = tls.VersionTLS12
	case "TLS1.3":
		*v = tls.VersionTLS13
	default:
		return fmt.Errorf("%q is not a TLS version: it must be TLS1.2 or TLS1.3", s)
	}
	return nil
}

// String is flag.Value's.
func (v *Version) String() string {
	switch *v {
	case tls.VersionTLS12:
		return "TLS1.2"
	case tls.VersionTLS13:
		return "TLS1.3"
	}
	return ""
}

// Validate refuses settings that contradict each other, naming the flags.
func (p *Protocol) Validate() error {
	if p.MaxVersion != 0 && p.MinVersion > p.MaxVersion {
		return fmt.Errorf("--tls-min-version (%s) is above --tls-max-version (%s)", &p.MinVersion, &p.MaxVersion)
	}
	if len(p.CipherSuites) == 0 {
		return nil
	}
	if p.MinVersion == tls.VersionTLS13 {
		return errors.New("--cipher-suites cannot be chosen with --tls-min-version=TLS1.3, which has its own")
	}
	_, err := suites(p.CipherSuites)
	return err
}

// suites looks names up. Those that TLS 1.3 has of its own cannot be chosen,
// insecure ones can by name only, as before.
func suites(names []string) ([]uint16, error) {
	known := map[string]uint16{}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[s.Name] = s.ID
	}
	ids := make([]uint16, len(names))
	for i, name := range names {
		id, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("--cipher-suites: %q is not a cipher suite of TLS", name)
		}
		ids[i] = id
	}
	return ids, nil
}

// apply puts the bounds, which are valid, into c.
func (p *Protocol) apply(c *tls.Config) {
	c.MinVersion, c.MaxVersion = uint16(p.MinVersion), uint16(p.MaxVersion)
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if len(p.CipherSuites) > 0 {
		c.CipherSuites, _ = suites(p.CipherSuites)
	}
}
