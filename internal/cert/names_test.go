package cert

import (
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesThatAreAllowed(t *testing.T) {
	ca := newAuthority(t, "ca")
	own := ca.issueAs("alice", func(c *x509.Certificate) {
		c.DNSNames = []string{"a.example", "*.b.example", "localhost"}
		c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}
	})
	for _, tc := range []struct {
		names Names
		ok    bool
	}{
		{Names{}, true},
		{Names{CommonNames: []string{"alice"}}, true},
		{Names{CommonNames: []string{"bob", " alice"}}, true},
		{Names{CommonNames: []string{"bob", "ali"}}, false},
		{Names{CommonNames: []string{"a.example"}}, false},
		{Names{Hosts: []string{"x.example", "a.example"}}, true},
		{Names{Hosts: []string{"A.Example"}}, true},
		{Names{Hosts: []string{"x.b.example"}}, true},
		{Names{Hosts: []string{"x.y.b.example"}}, false},
		{Names{Hosts: []string{"10.0.0.1"}}, true},
		{Names{Hosts: []string{"10.0.0.2"}}, false},
		{Names{Hosts: []string{"alice"}}, false},
	} {
		server, err := NewServer(ServerOptions{Files: ca.issue("server"), Allow: tc.names})
		require.NoError(t, err)
		client, err := NewClient(ClientOptions{Files: own})
		require.NoError(t, err)
		_, err = shake(t, server.Config(), client.Config())
		// And the other way round: the server has the certificate.
		server, err2 := NewServer(ServerOptions{Files: own})
		require.NoError(t, err2)
		client, err2 = NewClient(ClientOptions{Files: ca.issue("client"), Allow: tc.names})
		require.NoError(t, err2)
		_, err2 = shake(t, server.Config(), client.Config())
		if tc.ok {
			require.NoError(t, err, "%v", tc.names)
			require.NoError(t, err2, "%v", tc.names)
		} else {
			require.ErrorContains(t, err, "bad certificate", "%v", tc.names)
			require.ErrorContains(t, err2, "allowed", "%v", tc.names)
		}
	}
	_, err := NewServer(ServerOptions{Files: own, Allow: Names{CommonNames: []string{"a"}, Hosts: []string{"b"}}})
	require.ErrorContains(t, err, "exclude each other")
	_, err = NewClient(ClientOptions{Files: own, Allow: Names{Hosts: []string{"a", ""}}})
	require.ErrorContains(t, err, "empty name")
}

// A certificate that says where its owner is to be found must come from there.
func TestWhereACertificateComesFrom(t *testing.T) {
	ca := newAuthority(t, "ca")
	here, there := net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)
	for _, tc := range []struct {
		ips   []net.IP
		names []string
		ok    bool
	}{
		{nil, nil, true},
		{[]net.IP{there, here}, nil, true},
		{[]net.IP{there}, nil, false},
		{[]net.IP{there}, []string{"localhost"}, true},
		{nil, []string{"localhost"}, true},
		{nil, []string{"name.invalid"}, false},
		{nil, []string{"*.invalid"}, false},
	} {
		own := ca.issueAs("client", func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = tc.ips, tc.names })
		for _, check := range []bool{true, false} {
			server, err := NewServer(ServerOptions{Files: ca.issue("server"), CheckOrigin: check})
			require.NoError(t, err)
			client, err := NewClient(ClientOptions{Files: own})
			require.NoError(t, err)
			_, err = shake(t, server.Config(), client.Config())
			if tc.ok || !check {
				require.NoError(t, err, "%v %v", tc.ips, tc.names)
			} else {
				require.ErrorContains(t, err, "bad certificate", "%v %v", tc.ips, tc.names)
			}
		}
	}
	require.True(t, under("a.Example.com", ".example.com"))
	require.False(t, under("a.b.example.com", ".example.com"))
	require.False(t, under("example.com", ".example.com"))
	require.NoError(t, checkOrigin(t.Context(), &x509.Certificate{IPAddresses: []net.IP{there}}, &net.UnixAddr{Name: "s"}), "a socket file is here")
}
