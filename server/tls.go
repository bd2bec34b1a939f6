package server

import (
	"crypto/tls"
	"fmt"
	"net/url"

	"go.uber.org/zap"

	"etcd.alt/internal/cert"
)

// secure says whether a URL's listener speaks TLS.
func secure(u url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// checkTLS refuses settings that cannot go together; the files themselves are
// read at start.
func (c *Config) checkTLS() error {
	if err := c.TLSProtocol.Validate(); err != nil {
		return err
	}
	none := c.ClientCertFile == "" && c.ClientKeyFile == ""
	for _, u := range c.ListenPeerURLs {
		if secure(u) && c.PeerCertFile == "" && c.PeerKeyFile == "" {
			return fmt.Errorf("TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url %s with HTTPS scheme", u.String())
		}
	}
	for _, l := range []struct {
		kind string
		urls []url.URL
	}{{"client", c.ListenClientURLs}, {"metrics", c.ListenMetricsURLs}} {
		for _, u := range l.urls {
			if secure(u) && none {
				return fmt.Errorf("TLS key/cert (--cert-file, --key-file) must be provided for %s url %s with HTTPS scheme", l.kind, u.String())
			}
		}
	}
	for _, pair := range []struct{ cert, key, certName, keyName string }{
		{c.ClientCertFile, c.ClientKeyFile, "--cert-file", "--key-file"},
		{c.PeerCertFile, c.PeerKeyFile, "--peer-cert-file", "--peer-key-file"},
		{c.PeerClientCertFile, c.PeerClientKeyFile, "--peer-client-cert-file", "--peer-client-key-file"},
	} {
		switch {
		case pair.cert != "" && pair.key == "":
			return fmt.Errorf("%s is set, but %s is not: they come as a pair", pair.certName, pair.keyName)
		case pair.cert == "" && pair.key != "":
			return fmt.Errorf("%s is set, but %s is not: they come as a pair", pair.keyName, pair.certName)
		}
	}
	return nil
}

// clientTLS is the configuration of listeners for clients; nil where none of
// them speaks TLS. Settings that then go unheeded are warned about.
func (c *Config) clientTLS(logger *zap.Logger) (*tls.Config, error) {
	needed := false
	for _, u := range c.ListenClientURLs {
		if secure(u) {
			needed = true
			continue
		}
		if c.ClientCertFile != "" {
			logger.Warn("--cert-file and --key-file are set, but ignored on this plain URL", zap.String("url", u.String()))
		}
		if c.ClientCertAuth || c.ClientTrustedCAFile != "" {
			logger.Warn("clients of this plain URL are not asked for a certificate", zap.String("url", u.String()))
		}
	}
	for _, u := range c.ListenMetricsURLs {
		needed = needed || secure(u)
	}
	if !needed {
		return nil, nil
	}
	s, err := cert.NewServer(cert.ServerOptions{
		Files:          cert.Files{Cert: c.ClientCertFile, Key: c.ClientKeyFile, CA: c.ClientTrustedCAFile},
		ClientCertAuth: c.ClientCertAuth,
		Protocol:       c.TLSProtocol,
		NextProtos:     []string{"h2", "http/1.1"},
		Logger:         logger,
	})
	if err != nil {
		return nil, err
	}
	return s.Config(), nil
}
