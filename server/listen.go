package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// listen opens the listener of a URL, under TLS where its scheme says so. A
// listener of TLS takes connections as they come; whoever serves them shakes
// hands.
func listen(u url.URL, config *tls.Config) (net.Listener, error) {
	l, err := listenPlain(u)
	if err == nil && secure(u) {
		l = tls.NewListener(l, config)
	}
	return l, err
}

// listenPlain listens on TCP or a socket file. The file that a dead process has
// left is taken over; one that somebody answers on is not.
func listenPlain(u url.URL) (net.Listener, error) {
	if !strings.HasPrefix(u.Scheme, "unix") {
		return net.Listen("tcp", u.Host)
	}
	path := u.Host + u.Path
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, &net.OpError{Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: errors.New("address already in use")}
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", path)
}

// listeners are bound before anything else is done, so that a port in use is
// found early.
type listeners struct {
	clients, peers, metrics []net.Listener
}

// bind opens the listeners of c.
func (l *listeners) bind(c *Config, logger *zap.Logger) error {
	secure, err := c.clientTLS(logger.Named("tls"))
	if err != nil {
		return err
	}
	for _, u := range c.ListenClientURLs {
		n, err := listen(u, secure)
		if err != nil {
			return fmt.Errorf("--listen-client-urls: %w", err)
		}
		l.clients = append(l.clients, n)
	}
	between, err := c.peerTLS(logger.Named("peer-tls"))
	if err != nil {
		return err
	}
	for _, u := range c.ListenPeerURLs {
		n, err := listen(u, between)
		if err != nil {
			return fmt.Errorf("--listen-peer-urls: %w", err)
		}
		l.peers = append(l.peers, n)
	}
	for _, u := range c.ListenMetricsURLs {
		n, err := listen(u, secure)
		if err != nil {
			return fmt.Errorf("--listen-metrics-urls: %w", err)
		}
		l.metrics = append(l.metrics, n)
	}
	return nil
}

func (l *listeners) close() {
	for _, n := range slices.Concat(l.clients, l.peers, l.metrics) {
		n.Close() // most are closed already by whoever served them
	}
}
