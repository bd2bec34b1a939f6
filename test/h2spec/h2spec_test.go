// Package h2spec runs the HTTP/2 conformance suite against the real member,
// without and with TLS.
package h2spec

import (
	"net"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/test/member"
)

var summary = regexp.MustCompile(`\d+ tests, \d+ passed, \d+ skipped, \d+ failed`)

func TestMember(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped by -short: h2spec is built and run")
	}
	secure := member.FreeAddress(t)
	certFile, keyFile := member.Certificate(t)
	// The suite tries what lies beyond the limit of streams only where there is one.
	m := member.New(t)
	m.Args("--max-concurrent-streams=100", "--cert-file", certFile, "--key-file", keyFile)
	m.Args("--listen-client-urls", "http://"+m.Address()+",https://"+secure)
	m.Start()
	for name, args := range map[string][]string{
		"plain": {"-h", "127.0.0.1", "-p", port(t, m.Address())},
		"tls":   {"-h", "127.0.0.1", "-p", port(t, secure), "-t", "-k"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command("go", append([]string{"tool", "h2spec", "-S", "-P", "/version"}, args...)...).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Equal(t, "146 tests, 146 passed, 0 skipped, 0 failed", string(summary.Find(out)), string(out))
		})
	}
	m.Stop()
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return port
}
