package cert

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPairThatNobodyGave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "fixtures", "client")
	made := &SelfSigned{Dir: dir, Hosts: []string{"127.0.0.1", "localhost", "a.example", "localhost"}, Years: 2, Setting: "--auto-tls"}
	begin := func() *Server {
		t.Helper()
		s, err := NewServer(ServerOptions{SelfSigned: made})
		require.NoError(t, err)
		return s
	}
	serial := func(s *Server) string {
		t.Helper()
		state, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		return state.PeerCertificates[0].SerialNumber.String()
	}
	first := serial(begin())
	require.Equal(t, first, serial(begin()), "it is kept")
	for _, name := range []string{"cert.pem", "key.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 2)

	// Who has the certificate can verify it by any of the names.
	text, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	for _, name := range []string{"localhost", "127.0.0.1", "a.example"} {
		state, err := shakeAs(t, begin().Config(), &tls.Config{RootCAs: pool, ServerName: name})
		require.NoError(t, err)
		left := time.Until(state.PeerCertificates[0].NotAfter)
		require.InDelta(t, (2 * 365 * 24 * time.Hour).Hours(), left.Hours(), 25)
	}

	// What a crash has torn is made anew.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), nil, 0o600))
	second := serial(begin())
	require.NotEqual(t, first, second)

	// So is what is over, at a start or while it is being used.
	require.NoError(t, made.make(time.Now().AddDate(-3, 0, 0)))
	third := serial(begin())
	require.NotEqual(t, second, third)
	running := begin()
	require.NoError(t, made.make(time.Now().AddDate(-2, 0, 0).Add(time.Second)))
	require.Eventually(t, func() bool { _, err := tls.LoadX509KeyPair(made.paths()); return err == nil }, 10*time.Second, time.Millisecond)
	ending := serial(running)
	require.Eventually(t, func() bool { return serial(running) != ending }, 10*time.Second, 50*time.Millisecond)

	_, err = NewServer(ServerOptions{SelfSigned: &SelfSigned{Dir: "/proc/none", Years: 1, Setting: "--auto-tls"}})
	require.ErrorContains(t, err, "--auto-tls: make a certificate: ")
}
