package cert

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Names are those whose certificates are taken, of all that are signed. The zero
// value takes every one.
type Names struct {
	// CommonNames are the CNs of which a certificate must have one.
	CommonNames []string
	// Hosts are the host names, or addresses, of which a certificate must be
	// valid for one, by its alternative names. A certificate for *.example.com is
	// valid for a.example.com.
	Hosts []string
}

// Validate refuses lists that say nothing, or too much.
func (n *Names) Validate() error {
	if len(n.CommonNames) > 0 && len(n.Hosts) > 0 {
		return errors.New("common names and host names exclude each other")
	}
	for _, name := range slices.Concat(n.CommonNames, n.Hosts) {
		if strings.TrimSpace(name) == "" {
			return errors.New("there is an empty name")
		}
	}
	return nil
}

// check fails if the certificate has none of the names.
func (n *Names) check(c *x509.Certificate) error {
	if len(n.CommonNames) > 0 && !slices.ContainsFunc(n.CommonNames, func(name string) bool { return strings.TrimSpace(name) == c.Subject.CommonName }) {
		return fmt.Errorf("the certificate %q has none of the common names that are allowed", c.Subject)
	}
	if len(n.Hosts) > 0 && !slices.ContainsFunc(n.Hosts, func(host string) bool { return c.VerifyHostname(strings.TrimSpace(host)) == nil }) {
		return fmt.Errorf("the certificate %q is valid for none of the host names that are allowed", c.Subject)
	}
	return nil
}
