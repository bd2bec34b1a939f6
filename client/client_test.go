package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

func TestEndpointsAreRead(t *testing.T) {
	for _, tc := range []struct {
		text   string
		secure bool // what is meant without a scheme
		want   endpoint
	}{
		{"127.0.0.1:2379", false, endpoint{network: "tcp", address: "127.0.0.1:2379", authority: "127.0.0.1:2379"}},
		{"host:2379", true, endpoint{network: "tcp", address: "host:2379", authority: "host:2379", secure: true}},
		{"[::1]:2379", false, endpoint{network: "tcp", address: "[::1]:2379", authority: "[::1]:2379"}},
		{"http://host:1", true, endpoint{network: "tcp", address: "host:1", authority: "host:1"}},
		{"http://host:1/", false, endpoint{network: "tcp", address: "host:1", authority: "host:1"}},
		{"https://host:1", false, endpoint{network: "tcp", address: "host:1", authority: "host:1", secure: true}},
		{"unix:///run/etcd", true, endpoint{network: "unix", address: "/run/etcd", authority: "localhost"}},
		{"unix://here", false, endpoint{network: "unix", address: "here", authority: "localhost"}},
		{"unix:here", false, endpoint{network: "unix", address: "here", authority: "localhost"}},
		{"unixs:///run/etcd", false, endpoint{network: "unix", address: "/run/etcd", authority: "localhost", secure: true}},
	} {
		got, err := parseEndpoint(tc.text, tc.secure)
		require.NoError(t, err, tc.text)
		tc.want.text = tc.text
		require.Equal(t, tc.want, got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[string]Config{
		"Endpoints is empty":                               {},
		`endpoint "": host:port expected`:                  {Endpoints: []string{""}},
		`endpoint "host": host:port expected`:              {Endpoints: []string{"host"}},
		`endpoint "http://host": host:port expected`:       {Endpoints: []string{"http://host"}},
		`endpoint ":1": host:port expected`:                {Endpoints: []string{":1"}},
		`endpoint "h:1/path": host:port expected`:          {Endpoints: []string{"h:1/path"}},
		`endpoint "http://u@h:1": host:port expected`:      {Endpoints: []string{"http://u@h:1"}},
		`endpoint "ftp://h:1": the scheme is none of http`: {Endpoints: []string{"ftp://h:1"}},
		`endpoint "unix://": no path`:                      {Endpoints: []string{"unix://"}},
		`one speaks TLS, the other does not`:               {Endpoints: []string{"http://h:1", "https://h:2"}},
		"DialTimeout is negative":                          {Endpoints: []string{"h:1"}, DialTimeout: -1},
		"DialKeepAliveTime is negative":                    {Endpoints: []string{"h:1"}, DialKeepAliveTime: -1},
		"DialKeepAliveTimeout is negative":                 {Endpoints: []string{"h:1"}, DialKeepAliveTimeout: -1},
		"MaxCallSendMsgSize is negative":                   {Endpoints: []string{"h:1"}, MaxCallSendMsgSize: -1},
		"MaxCallRecvMsgSize is negative":                   {Endpoints: []string{"h:1"}, MaxCallRecvMsgSize: -1},
		"Token excludes Username and Password":             {Endpoints: []string{"h:1"}, Token: "t", Username: "u"},
		"Password is given without Username":               {Endpoints: []string{"h:1"}, Password: "p"},
	} {
		_, err := New(t.Context(), c)
		require.ErrorContains(t, err, want)
	}
}

// put is the answer to a put that a server is known by.
func put(revision int64) func(*received) error {
	return func(c *received) error {
		c.request(&etcdserverpb.PutRequest{})
		return c.stream.SendMsg(&etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: revision}})
	}
}

func TestCallsGoToWhoeverIsThere(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	a, b := startFake(t, put(1)), startFake(t, put(2))
	c := connectTo(t, Config{Endpoints: []string{dead.Addr().String(), a.address, "http://" + b.address}})
	for a.count(methodPut) == 0 || b.count(methodPut) == 0 {
		_, err := c.Put(within(t, 10*time.Second), "k", "v")
		require.NoError(t, err)
	}
	// One of two goes away in between calls: the next ones go to the other.
	a.server.GracefulStop()
	began := time.Now()
	for range 20 {
		res, err := c.Put(within(t, 10*time.Second), "k", "v")
		require.NoError(t, err)
		require.Equal(t, int64(2), res.Header.Revision)
	}
	require.Less(t, time.Since(began), 2*time.Second, "a dead endpoint holds nobody up")
}

func TestSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	startFakeOn(t, l, put(7))
	c := connectTo(t, Config{Endpoints: []string{"unix://" + path}})
	res, err := c.Put(within(t, 10*time.Second), "k", "v")
	require.NoError(t, err)
	require.Equal(t, int64(7), res.Header.Revision)
}

// selfSigned returns a certificate for 127.0.0.1 and who trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := startFakeOn(t, l, put(3), grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	both := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}
	for _, e := range []string{f.address, "https://" + f.address} {
		c := connectTo(t, Config{Endpoints: []string{e}, TLS: both})
		_, err := c.Put(within(t, 10*time.Second), "k", "v")
		require.NoError(t, err, e)
	}
	// That the server wants a certificate is not always heard: it hangs up.
	for want, config := range map[string]Config{
		"certificate signed by unknown authority":      {Endpoints: []string{"https://" + f.address}},
		"context deadline exceeded: ":                  {Endpoints: []string{f.address}, TLS: &tls.Config{RootCAs: pool}},
		"x509: certificate is not valid for any names": {Endpoints: []string{f.address}, TLS: &tls.Config{RootCAs: pool, ServerName: "other"}},
	} {
		c := connectTo(t, config)
		_, err := c.Put(within(t, 700*time.Millisecond), "k", "v")
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 2, f.count(methodPut))
}

func TestWhatGoesWithEachCall(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	f := startFake(t, func(c *received) error {
		md, _ := metadata.FromIncomingContext(c.ctx)
		seen <- md
		return put(1)(c)
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Token: "secret"})
	ctx := metadata.AppendToOutgoingContext(WithRequireLeader(within(t, 10*time.Second)), "mine", "too")
	_, err := c.Put(ctx, "k", "v")
	require.NoError(t, err)
	got := <-seen
	require.Equal(t, []string{"secret"}, got.Get("token"))
	require.Equal(t, []string{"3.7"}, got.Get("client-api-version"))
	require.Equal(t, []string{"true"}, got.Get("hasleader"))
	require.Equal(t, []string{"too"}, got.Get("mine"))
}

// guarded is a server with one user, whose tokens are good for so many calls.
func guarded(uses int) func(*received) error {
	var mu sync.Mutex
	left := map[string]int{}
	return func(c *received) error {
		mu.Lock()
		defer mu.Unlock()
		if c.method == methodAuthenticate.path {
			r := &etcdserverpb.AuthenticateRequest{}
			c.request(r)
			if r.Name != "root" || r.Password != "pw" {
				return answer(errs.AuthFailed.Code(), errs.AuthFailed.Error())
			}
			token := string(rune('a' + len(left)))
			left[token] = uses
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Token: token})
		}
		if c.token() == "" {
			return answer(errs.UserEmpty.Code(), errs.UserEmpty.Error())
		}
		if left[c.token()]--; left[c.token()] < 0 {
			return answer(errs.InvalidAuthToken.Code(), errs.InvalidAuthToken.Error())
		}
		return put(1)(c)
	}
}

func TestAUserLogsInAgain(t *testing.T) {
	f := startFake(t, guarded(2))
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "root", Password: "pw"})
	for range 6 {
		_, err := c.Put(within(t, 10*time.Second), "k", "v")
		require.NoError(t, err)
	}
	require.Equal(t, 3, f.count(methodAuthenticate))
	require.Equal(t, 8, f.count(methodPut), "six, and two that were refused")
}

// TestOneLoginForAllThatWereRefused has every token become invalid at once, as
// when a member restarts.
func TestOneLoginForAllThatWereRefused(t *testing.T) {
	var mu sync.Mutex
	valid, made := "", 0
	f := startFake(t, func(c *received) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case c.method == methodAuthenticate.path:
			made++
			valid = fmt.Sprint("token ", made)
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Token: valid})
		case c.token() != valid:
			return answer(errs.InvalidAuthToken.Code(), errs.InvalidAuthToken.Error())
		}
		return put(1)(c)
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "root", Password: "pw"})
	mu.Lock()
	valid = "none"
	mu.Unlock()
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			for range 10 {
				_, err := c.Put(within(t, 10*time.Second), "k", "v")
				assert.NoError(t, err)
			}
		})
	}
	calls.Wait()
	require.Equal(t, 2, f.count(methodAuthenticate))
}

func TestLoginsAreBounded(t *testing.T) {
	f := startFake(t, guarded(0))
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "root", Password: "pw"})
	_, err := c.Put(within(t, 10*time.Second), "k", "v")
	require.ErrorIs(t, err, errs.InvalidAuthToken)
	require.Equal(t, 1+maxLogins, f.count(methodAuthenticate))
}

func TestAWrongPasswordFailsNew(t *testing.T) {
	f := startFake(t, guarded(1))
	_, err := New(within(t, 10*time.Second), Config{Endpoints: []string{f.address}, Username: "root", Password: "wrong"})
	require.ErrorIs(t, err, errs.AuthFailed)
	require.EqualError(t, err, "client: log in: "+errs.AuthFailed.Error())
}

// TestAClusterWithoutAuthentication has it switched on later.
func TestAClusterWithoutAuthentication(t *testing.T) {
	for _, refusal := range []error{
		answer(errs.AuthNotEnabled.Code(), errs.AuthNotEnabled.Error()),
		answer(codes.Unimplemented, "unknown service etcdserverpb.Auth"),
	} {
		var on atomic.Bool
		inside := guarded(5)
		f := startFake(t, func(c *received) error {
			switch {
			case on.Load():
				return inside(c)
			case c.method == methodAuthenticate.path:
				return refusal
			}
			return put(1)(c)
		})
		c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "root", Password: "pw"})
		_, err := c.Put(within(t, 10*time.Second), "k", "v")
		require.NoError(t, err)
		on.Store(true)
		_, err = c.Put(within(t, 10*time.Second), "k", "v")
		require.NoError(t, err)
		require.Equal(t, 3, f.count(methodPut))
	}
}

func TestSizesAreBounded(t *testing.T) {
	f := startFake(t, func(c *received) error {
		if err := c.stream.RecvMsg(&etcdserverpb.PutRequest{}); err != nil {
			return err // it has not left the client
		}
		return c.stream.SendMsg(&etcdserverpb.PutResponse{PrevKv: &KeyValue{Value: make([]byte, 2000)}})
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, MaxCallSendMsgSize: 1000, MaxCallRecvMsgSize: 1000})
	_, err := c.Put(within(t, 10*time.Second), "k", string(make([]byte, 1001)))
	require.ErrorContains(t, err, "trying to send message larger than max")
	_, err = c.Put(within(t, 10*time.Second), "k", "v")
	require.ErrorContains(t, err, "received message larger than max")
}

func TestAClosedClient(t *testing.T) {
	f := startFake(t, func(c *received) error {
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	c, err := New(t.Context(), Config{Endpoints: []string{f.address}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), "k", "v")
		done <- err
	}()
	require.Eventually(t, func() bool { return f.count(methodPut) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-done, ErrClosed)
	_, err = c.Get(t.Context(), "k")
	require.ErrorIs(t, err, ErrClosed)
}

func TestReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())
	c := connectTo(t, Config{Endpoints: []string{nobody, "unix:///nobody/there"}, DialTimeout: 200 * time.Millisecond})
	began := time.Now()
	err = c.Reach(t.Context())
	require.ErrorContains(t, err, "within 200ms no connection to "+nobody+", unix:///nobody/there: ")
	require.Regexp(t, "connection refused|no such file", err)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context lives")
	require.Greater(t, time.Since(began), 200*time.Millisecond, "it may be starting")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Reach(ended), context.Canceled)

	// One that takes connections and says nothing.
	l, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c = connectTo(t, Config{Endpoints: []string{l.Addr().String()}, DialTimeout: 200 * time.Millisecond})
	require.ErrorContains(t, c.Reach(t.Context()), "no connection to "+l.Addr().String())

	f := startFake(t, put(1))
	c = connectTo(t, Config{Endpoints: []string{nobody, f.address}})
	require.NoError(t, c.Reach(t.Context()))
	require.Zero(t, f.count(methodWatch), "nothing is sent")
	f.server.Stop()
	c = connectTo(t, Config{Endpoints: []string{f.address}})
	late := make(chan error, 1)
	go func() { late <- c.Reach(t.Context()) }()
	l, err = net.Listen("tcp", f.address)
	require.NoError(t, err)
	startFakeOn(t, l, put(1))
	require.NoError(t, <-late, "one that comes late")
}
