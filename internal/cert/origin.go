package cert

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
)

// checkOrigin fails if a certificate names hosts or addresses, and remote is none
// of them. Names are looked up; of one with a wildcard, the names of the address.
// What comes over a socket file comes from here.
func checkOrigin(ctx context.Context, c *x509.Certificate, remote net.Addr) error {
	at, ok := remote.(*net.TCPAddr)
	if !ok || len(c.IPAddresses)+len(c.DNSNames) == 0 {
		return nil
	}
	if slices.ContainsFunc(c.IPAddresses, at.IP.Equal) ||
		slices.ContainsFunc(c.DNSNames, func(name string) bool { return comesFrom(ctx, name, at.IP) }) {
		return nil
	}
	return fmt.Errorf("the certificate %q is not for the address %s that it comes from (it is for %s%s)", c.Subject, at.IP, c.IPAddresses, c.DNSNames)
}

// comesFrom says whether an address is that of a name.
func comesFrom(ctx context.Context, name string, ip net.IP) bool {
	suffix, wild := strings.CutPrefix(name, "*")
	if !wild {
		found, _ := net.DefaultResolver.LookupIPAddr(ctx, name) // what is not found does not match
		return slices.ContainsFunc(found, func(a net.IPAddr) bool { return a.IP.Equal(ip) })
	}
	found, _ := net.DefaultResolver.LookupAddr(ctx, ip.String())
	return slices.ContainsFunc(found, func(host string) bool { return under(strings.TrimSuffix(host, "."), suffix) })
}

// under says whether a host is one label before a suffix, which begins with a dot.
func under(host, suffix string) bool {
	label, ok := strings.CutSuffix(strings.ToLower(host), strings.ToLower(suffix))
	return ok && label != "" && !strings.Contains(label, ".")
}
