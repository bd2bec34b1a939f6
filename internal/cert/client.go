package cert

import (
	"crypto/tls"

	"go.uber.org/zap"
)

// ClientOptions are what a dialer's TLS is made of.
type ClientOptions struct {
	// Files: the pair is shown to servers that ask for one; without a CA file
	// the system's are trusted.
	Files Files
	// Allow restricts whose certificates are taken, beside the host that is
	// dialed.
	Allow Names
	// SkipVerify accepts any server. Only for what a user has asked for by name.
	SkipVerify bool
	Protocol   Protocol
	// Logger gets a line when the files change. Nil: none.
	Logger *zap.Logger
}

// Client is the TLS of a dialer. It holds no goroutine and needs no Close.
type Client struct {
	options ClientOptions
	files   *follower
}

// NewClient reads the files and refuses what cannot be used, naming the file
// and the setting.
func NewClient(o ClientOptions) (*Client, error) {
	if err := o.Protocol.Validate(); err != nil {
		return nil, err
	}
	if err := o.Allow.Validate(); err != nil {
		return nil, err
	}
	files, err := follow(o.Files, nil, o.Logger)
	if err != nil {
		return nil, err
	}
	return &Client{options: o, files: files}, nil
}

// Config returns a configuration, the caller's own, for the next dial, which sets
// its ServerName. It has the files as they are now.
func (c *Client) Config() *tls.Config {
	m, _ := c.files.now()
	t := &tls.Config{RootCAs: m.pool, InsecureSkipVerify: c.options.SkipVerify}
	c.options.Protocol.apply(t)
	if m.pair != nil {
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.pair, nil }
	}
	if !c.options.SkipVerify {
		t.VerifyConnection = func(state tls.ConnectionState) error { return m.judge(&c.options.Allow, &state) }
	}
	return t
}
