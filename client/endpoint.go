package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/resolver"
)

// endpoint is one member as it is dialled.
type endpoint struct {
	text    string // as it was given
	network string // "tcp" or "unix"
	address string // host:port, or the path of a socket
	// authority is the name it is called by; TLS verifies the host in it.
	authority string
	secure    bool
}

// parseEndpoint reads an endpoint. Without a scheme it speaks TLS if secure.
func parseEndpoint(text string, secure bool) (endpoint, error) {
	e := endpoint{text: text, network: "tcp", address: text, secure: secure}
	scheme, rest, found := strings.Cut(text, "://")
	if !found && (strings.HasPrefix(text, "unix:") || strings.HasPrefix(text, "unixs:")) {
		scheme, rest, found = strings.Cut(text, ":")
	}
	if found {
		switch scheme {
		case "http", "https":
			e.address = strings.TrimSuffix(rest, "/")
		case "unix", "unixs":
			e.network, e.address = "unix", rest
		default:
			return e, fmt.Errorf("client: endpoint %q: the scheme is none of http, https, unix, unixs", text)
		}
		e.secure = strings.HasSuffix(scheme, "s")
	}
	if e.network == "unix" {
		if e.address == "" {
			return e, fmt.Errorf("client: endpoint %q: no path", text)
		}
		e.authority = "localhost"
		return e, nil
	}
	host, port, err := net.SplitHostPort(e.address)
	if err != nil || host == "" || port == "" || strings.ContainsAny(e.address, "/?#@ ") {
		return e, fmt.Errorf("client: endpoint %q: host:port expected", text)
	}
	e.authority = e.address
	return e, nil
}

// parseEndpoints reads endpoints, which all speak TLS or none. config may be
// nil.
func parseEndpoints(texts []string, config *tls.Config) ([]endpoint, error) {
	var all []endpoint
	for _, t := range texts {
		e, err := parseEndpoint(t, config != nil)
		if err != nil {
			return nil, err
		}
		if config != nil && config.ServerName != "" {
			e.authority = config.ServerName
		}
		if len(all) > 0 && all[0].secure != e.secure {
			return nil, fmt.Errorf("client: endpoints %q and %q: one speaks TLS, the other does not", all[0].text, e.text)
		}
		all = append(all, e)
	}
	return all, nil
}

// scheme is that of the names that a fixed resolver resolves.
const scheme = "etcd"

// fixed resolves every name to the same endpoints. It is a resolver.Builder and
// the resolver.Resolver it builds.
type fixed []endpoint

// Scheme is resolver.Builder's.
func (fixed) Scheme() string { return scheme }

// Build is resolver.Builder's.
func (f fixed) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	var s resolver.State
	for _, e := range f {
		a := resolver.Address{Addr: e.address, ServerName: e.authority}
		if e.network == "unix" {
			a.Addr = "unix:" + e.address
		}
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
		s.Addresses = append(s.Addresses, a)
	}
	return f, cc.UpdateState(s)
}

// ResolveNow is resolver.Resolver's.
func (fixed) ResolveNow(resolver.ResolveNowOptions) {}

// Close is resolver.Resolver's.
func (fixed) Close() {}

// dial connects to an address as a fixed resolver writes it. No proxy is asked.
func dial(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
