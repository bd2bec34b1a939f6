package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"etcd.alt/client"
)

// connect returns a client of the endpoints that the flags name. The caller
// closes it.
func (t *tool) connect(ctx context.Context) (*client.Client, error) {
	endpoints, err := t.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	return t.connectTo(ctx, endpoints)
}

func (t *tool) connectTo(ctx context.Context, endpoints []string) (*client.Client, error) {
	c, err := t.config(endpoints)
	if err != nil {
		return nil, err
	}
	return newClient(ctx, c)
}

func newClient(ctx context.Context, c client.Config) (*client.Client, error) {
	cl, err := client.New(ctx, c)
	if err != nil {
		return nil, &failure{exitConnection, err}
	}
	return cl, nil
}

// reach is connect for what has no end of its own: it waits until a connection stands,
// and where none does within --dial-timeout that is the error. If ctx ends meanwhile,
// whoever uses the client finds that.
func (t *tool) reach(ctx context.Context) (*client.Client, error) {
	return t.reachWithin(ctx, ctx)
}

// reachWithin is reach that waits no longer than short lasts, which is a part of ctx.
func (t *tool) reachWithin(ctx, short context.Context) (*client.Client, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Reach(short); err != nil && ctx.Err() == nil {
		c.Close()
		return nil, &failure{exitConnection, err}
	}
	return c, nil
}

// config is what the global flags say of a connection to endpoints.
func (t *tool) config(endpoints []string) (client.Config, error) {
	g := &t.global
	c := client.Config{
		Endpoints:            endpoints,
		DialTimeout:          g.dialTimeout,
		DialKeepAliveTime:    g.keepAliveTime,
		DialKeepAliveTimeout: g.keepAliveTimeout,
		MaxCallSendMsgSize:   g.maxRequestBytes,
		MaxCallRecvMsgSize:   g.maxRecvBytes,
		Token:                g.token,
		Logger:               t.log,
	}
	if err := t.checkFormat(); err != nil {
		return c, err
	}
	var err error
	if c.TLS, err = t.tls(c.Endpoints); err != nil {
		return c, &failure{exitArguments, err}
	}
	if c.Username, c.Password, err = t.credentials(); err != nil {
		return c, err
	}
	return c, nil
}

// endpoints are those of --endpoints, or those that --discovery-srv finds.
func (t *tool) endpoints(ctx context.Context) ([]string, error) {
	g := &t.global
	if g.discoverySRV != "" {
		ctx, cancel := context.WithTimeout(ctx, g.dialTimeout)
		defer cancel()
		return discover(ctx, net.DefaultResolver, g.discoverySRV, g.discoverySRVName, g.insecureDiscovery)
	}
	var all []string
	for _, e := range g.endpoints {
		if e = strings.TrimSpace(e); e != "" {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return nil, badArguments("--endpoints is empty")
	}
	return all, nil
}

// tls is nil where nothing asks for TLS.
func (t *tool) tls(endpoints []string) (*tls.Config, error) {
	g := &t.global
	if (g.cert == "") != (g.key == "") {
		return nil, errors.New("--cert and --key must be given together")
	}
	wanted := !g.insecureTransport || g.cert != "" || g.cacert != ""
	for _, e := range endpoints {
		wanted = wanted || strings.HasPrefix(e, "https:") || strings.HasPrefix(e, "unixs:")
	}
	if !wanted {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: g.insecureSkipVerify}
	if g.discoverySRV != "" {
		// The records are not to be trusted further than the domain is.
		c.ServerName = g.discoverySRV
	}
	if g.cacert != "" {
		text, err := os.ReadFile(g.cacert)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--cacert: %s: no certificates in it", g.cacert)
		}
	}
	if g.cert != "" {
		pair, err := tls.LoadX509KeyPair(g.cert, g.key)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// credentials asks for a password if a user is named without one.
func (t *tool) credentials() (user, password string, err error) {
	g := &t.global
	switch {
	case g.token != "" && (g.user != "" || g.password != ""):
		return "", "", badArguments("--auth-jwt-token excludes --user and --password")
	case g.user == "" && g.password != "":
		return "", "", badArguments("--password needs --user")
	case g.user == "" || g.password != "":
		return g.user, g.password, nil
	}
	user, password, ok := strings.Cut(g.user, ":")
	if !ok {
		if password, err = t.readPassword("Password: "); err == nil {
			// It is asked once, however many connections a command makes.
			g.password = password
		}
	}
	return user, password, err
}

// maxPassword bounds a password that is asked for.
const maxPassword = 1 << 10

// readPassword reads a line, unseen where stdin is a terminal. What it asks with, if
// anything, goes to stderr.
func (t *tool) readPassword(prompt string) (string, error) {
	fmt.Fprint(t.stderr, prompt)
	line, err := t.readSecret()
	if prompt != "" {
		fmt.Fprintln(t.stderr)
	}
	if err != nil && !(errors.Is(err, io.EOF) && line != "") {
		return "", badInput("read the password: %w", err)
	}
	return line, nil
}

func (t *tool) readSecret() (string, error) {
	if f, ok := t.input.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return readUnseen(int(f.Fd()))
	}
	return t.readLine(maxPassword)
}

var errInterrupted = errors.New("interrupted")

// readUnseen reads a line from a terminal. A signal ends that at once, and leaves the
// terminal as it was; the read is abandoned then, and the process about to end.
func readUnseen(terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	type answer struct {
		line []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(terminal)
		read <- answer{line, err}
	}()
	select {
	case a := <-read:
		return string(a.line), a.err
	case <-interrupted:
		return "", errors.Join(errInterrupted, term.Restore(terminal, before))
	}
}

// run runs do with a client, within the limit of a short command.
func (t *tool) run(ctx context.Context, do func(ctx context.Context, c *client.Client) error) error {
	c, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	return do(ctx, c)
}

// every returns the endpoints that a command over endpoints is to visit: those
// of all members if cluster.
func (t *tool) every(ctx context.Context, cluster bool) ([]string, error) {
	if !cluster {
		return t.endpoints(ctx)
	}
	var all []string
	err := t.run(ctx, func(ctx context.Context, c *client.Client) error {
		members, err := c.MemberList(ctx)
		if err != nil {
			return fmt.Errorf("failed to fetch endpoints from etcd cluster member list: %w", err)
		}
		for _, m := range members.Members {
			all = append(all, m.ClientURLs...)
		}
		return nil
	})
	return all, err
}
