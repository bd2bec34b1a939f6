package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"etcd.alt/internal/cert"
)

// secure says whether a URL's listener speaks TLS.
func secure(u url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// maxSelfSignedYears is more than anybody means.
const maxSelfSignedYears = 100

// checkTLS refuses settings that cannot go together; the files themselves are
// read at start.
func (c *Config) checkTLS() error {
	if err := c.TLSProtocol.Validate(); err != nil {
		return err
	}
	if c.SelfSignedYears == 0 || c.SelfSignedYears > maxSelfSignedYears {
		return fmt.Errorf("--self-signed-cert-validity (%d) must be between 1 and %d years", c.SelfSignedYears, maxSelfSignedYears)
	}
	for _, pair := range []struct{ cert, key, certName, keyName string }{
		{c.ClientCertFile, c.ClientKeyFile, "--cert-file", "--key-file"},
		{c.DialCertFile, c.DialKeyFile, "--client-cert-file", "--client-key-file"},
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
	for _, l := range []struct {
		kind, names string
		urls        []url.URL
		none        bool
	}{
		{"peer", "--peer-cert-file, --peer-key-file", c.ListenPeerURLs, c.PeerCertFile == "" && !c.PeerAutoTLS},
		{"client", "--cert-file, --key-file", c.ListenClientURLs, c.ClientCertFile == "" && !c.ClientAutoTLS},
		{"metrics", "--cert-file, --key-file", c.ListenMetricsURLs, c.ClientCertFile == "" && !c.ClientAutoTLS},
	} {
		if i := slices.IndexFunc(l.urls, secure); i >= 0 && l.none {
			return fmt.Errorf("TLS key/cert (%s) must be provided for %s url %s with HTTPS scheme", l.names, l.kind, l.urls[i].String())
		}
	}
	return c.checkCertAuth()
}

// checkCertAuth refuses to restrict certificates that nobody is asked for, and
// demands that no member could meet.
func (c *Config) checkCertAuth() error {
	clients, peers := c.ClientCertAuth || c.ClientTrustedCAFile != "", c.PeerClientCertAuth || c.PeerTrustedCAFile != ""
	for _, r := range []struct {
		setting, needs string
		set, met       bool
	}{
		{"--client-cert-allowed-hostname", "--client-cert-auth or --trusted-ca-file", len(c.ClientAllow.Hosts) > 0, clients},
		{"client-transport-security.allowed-cn", "--client-cert-auth or --trusted-ca-file", len(c.ClientAllow.CommonNames) > 0, clients},
		{"--client-crl-file", "--client-cert-auth or --trusted-ca-file", c.ClientCRLFile != "", clients},
		{"--peer-cert-allowed-cn", "--peer-client-cert-auth or --peer-trusted-ca-file", len(c.PeerAllow.CommonNames) > 0, peers},
		{"--peer-cert-allowed-hostname", "--peer-client-cert-auth or --peer-trusted-ca-file", len(c.PeerAllow.Hosts) > 0, peers},
		{"--peer-crl-file", "--peer-client-cert-auth or --peer-trusted-ca-file", c.PeerCRLFile != "", peers},
	} {
		if r.set && !r.met {
			return fmt.Errorf("%s restricts certificates that nobody is asked for: it needs %s", r.setting, r.needs)
		}
	}
	if err := c.ClientAllow.Validate(); err != nil {
		return fmt.Errorf("--client-cert-allowed-hostname, client-transport-security.allowed-cn: %w", err)
	}
	if err := c.PeerAllow.Validate(); err != nil {
		return fmt.Errorf("--peer-cert-allowed-cn, --peer-cert-allowed-hostname: %w", err)
	}
	if c.makesPeerPair() && peers {
		return errors.New("--peer-auto-tls makes certificates that no CA has signed: it excludes --peer-client-cert-auth and --peer-trusted-ca-file")
	}
	return nil
}

// makesPeerPair says whether the pair for other members is made here.
func (c *Config) makesPeerPair() bool { return c.PeerAutoTLS && c.PeerCertFile == "" }

// selfSigned makes a pair for listeners in the data directory, where upstream
// has it. Where neither is asked for nor needed it is nil.
func (c *Config) selfSigned(wanted bool, setting, name string, urls ...url.URL) *cert.SelfSigned {
	if !wanted {
		return nil
	}
	hosts := []string{"localhost"}
	for _, u := range urls {
		if !strings.HasPrefix(u.Scheme, "unix") {
			hosts = append(hosts, u.Hostname())
		}
	}
	return &cert.SelfSigned{Dir: filepath.Join(c.directory(), "fixtures", name), Hosts: hosts, Years: c.SelfSignedYears, Setting: setting}
}

// clientTLS is the configuration of listeners for clients; nil where none of
// them speaks TLS. Settings that then go unheeded are warned about.
func (c *Config) clientTLS(logger *zap.Logger) (*tls.Config, error) {
	if err := c.checkDialPair(); err != nil {
		return nil, err
	}
	needed := slices.ContainsFunc(c.ListenMetricsURLs, secure)
	for _, u := range c.ListenClientURLs {
		if secure(u) {
			needed = true
			continue
		}
		if c.ClientCertFile != "" || c.ClientAutoTLS {
			logger.Warn("--cert-file, --key-file or --auto-tls are set, but ignored on this plain URL", zap.String("url", u.String()))
		}
		if c.ClientCertAuth || c.ClientTrustedCAFile != "" {
			logger.Warn("clients of this plain URL are not asked for a certificate", zap.String("url", u.String()))
		}
	}
	if !needed {
		return nil, nil
	}
	if c.ClientAutoTLS && c.ClientCertFile != "" {
		logger.Warn("--auto-tls is ignored: there is --cert-file")
	}
	s, err := cert.NewServer(cert.ServerOptions{
		Files:          cert.Files{Cert: c.ClientCertFile, Key: c.ClientKeyFile, CA: c.ClientTrustedCAFile, CRL: c.ClientCRLFile},
		SelfSigned:     c.selfSigned(c.ClientAutoTLS, "--auto-tls", "client", slices.Concat(c.ListenClientURLs, c.ListenMetricsURLs, c.AdvertiseClientURLs)...),
		ClientCertAuth: c.ClientCertAuth,
		Allow:          c.ClientAllow,
		Protocol:       c.TLSProtocol,
		NextProtos:     []string{"h2", "http/1.1"},
		Logger:         logger,
	})
	if err != nil {
		return nil, err
	}
	return s.Config(), nil
}

// checkDialPair reads the pair for dialing client ports. Nothing here dials one,
// JSON over HTTP neither; but what is named should be there.
func (c *Config) checkDialPair() error {
	_, err := cert.NewClient(cert.ClientOptions{Files: cert.Files{
		Cert: c.DialCertFile, CertName: "--client-cert-file",
		Key: c.DialKeyFile, KeyName: "--client-key-file",
	}})
	return err
}

// peerTLS is the configuration of listeners for other members; nil where none of
// them speaks TLS. Settings that then go unheeded are warned about.
func (c *Config) peerTLS(logger *zap.Logger) (*tls.Config, error) {
	for _, u := range c.ListenPeerURLs {
		if secure(u) {
			continue
		}
		if c.PeerCertFile != "" || c.PeerAutoTLS {
			logger.Warn("--peer-cert-file, --peer-key-file or --peer-auto-tls are set, but ignored on this plain URL", zap.String("url", u.String()))
		}
		if c.PeerClientCertAuth || c.PeerTrustedCAFile != "" {
			logger.Warn("other members are not asked for a certificate on this plain URL, whatever --peer-client-cert-auth and --peer-trusted-ca-file say", zap.String("url", u.String()))
		}
	}
	if !slices.ContainsFunc(c.ListenPeerURLs, secure) {
		return nil, nil
	}
	if c.PeerAutoTLS && c.PeerCertFile != "" {
		logger.Warn("--peer-auto-tls is ignored: there is --peer-cert-file")
	}
	s, err := cert.NewServer(cert.ServerOptions{
		Files:          c.peerFiles(),
		SelfSigned:     c.selfSigned(c.makesPeerPair(), "--peer-auto-tls", "peer", slices.Concat(c.ListenPeerURLs, c.InitialAdvertisePeerURLs)...),
		ClientCertAuth: c.PeerClientCertAuth,
		Allow:          c.PeerAllow,
		CheckOrigin:    !c.PeerSkipOrigin,
		Protocol:       c.TLSProtocol,
		NextProtos:     []string{"http/1.1"},
		Logger:         logger,
	})
	if err != nil {
		return nil, err
	}
	return s.Config(), nil
}

// peerClientTLS makes the configurations with which https URLs of other members
// are dialed. They may have some where this one has none. Who makes its own pair
// cannot know those of the others, and takes any.
func (c *Config) peerClientTLS(logger *zap.Logger) (func() *tls.Config, error) {
	files := c.peerFiles()
	if c.PeerClientCertFile != "" {
		files.Cert, files.CertName = c.PeerClientCertFile, "--peer-client-cert-file"
		files.Key, files.KeyName = c.PeerClientKeyFile, "--peer-client-key-file"
	}
	client, err := cert.NewClient(cert.ClientOptions{Files: files, Allow: c.PeerAllow, SkipVerify: c.makesPeerPair(), Protocol: c.TLSProtocol, Logger: logger})
	if err != nil {
		return nil, err
	}
	return client.Config, nil
}

func (c *Config) peerFiles() cert.Files {
	return cert.Files{
		Cert: c.PeerCertFile, CertName: "--peer-cert-file",
		Key: c.PeerKeyFile, KeyName: "--peer-key-file",
		CA: c.PeerTrustedCAFile, CAName: "--peer-trusted-ca-file",
		CRL: c.PeerCRLFile, CRLName: "--peer-crl-file",
	}
}
