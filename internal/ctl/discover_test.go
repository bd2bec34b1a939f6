package ctl

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers SRV questions from records, by name, on the loopback.
func nameServer(t *testing.T, records map[string][]dnsmessage.SRVResource) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m = dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}, Questions: m.Questions}
			found := records[q.Name.String()]
			if len(found) == 0 {
				m.RCode = dnsmessage.RCodeNameError
			}
			for _, r := range found {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &r})
			}
			if out, err := m.Pack(); err == nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestEndpointsAreDiscovered(t *testing.T) {
	srv := func(host string, port uint16) dnsmessage.SRVResource {
		return dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host), Port: port, Priority: port}
	}
	r := nameServer(t, map[string][]dnsmessage.SRVResource{
		"_etcd-client-ssl._tcp.both.test.":   {srv("a.both.test.", 1), srv("b.both.test.", 2)},
		"_etcd-client._tcp.both.test.":       {srv("c.both.test.", 3)},
		"_etcd-client._tcp.plain.test.":      {srv("a.plain.test.", 1)},
		"_etcd-client-x._tcp.both.test.":     {srv("x.both.test.", 9)},
		"_etcd-client-ssl-y._tcp.both.test.": {srv("y.both.test.", 8)},
	})
	for _, tc := range []struct {
		domain, name string
		insecure     bool
		want         []string
	}{
		{"both.test", "", true, []string{"https://a.both.test:1", "https://b.both.test:2"}},
		{"both.test", "", false, []string{"https://a.both.test:1", "https://b.both.test:2"}},
		{"both.test", "x", true, []string{"http://x.both.test:9"}},
		{"both.test", "y", false, []string{"https://y.both.test:8"}},
		{"plain.test", "", true, []string{"http://a.plain.test:1"}},
		{"plain.test", "", false, nil},
		{"none.test", "", true, nil},
	} {
		got, err := discover(t.Context(), r, tc.domain, tc.name, tc.insecure)
		require.Equal(t, tc.want, got)
		if tc.want == nil {
			require.ErrorContains(t, err, "--discovery-srv: lookup _etcd-client-ssl._tcp."+tc.domain)
			require.Equal(t, exitConnection, err.(*failure).status)
		} else {
			require.NoError(t, err)
		}
	}
}
