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
	// ServerName, if set, is expected in the server's certificate in place of
	// the name that was dialed.
	ServerName string
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
	files, err := follow(o.Files, o.Logger)
	if err != nil {
		return nil, err
	}
	return &Client{options: o, files: files}, nil
}

// Config returns a configuration, the caller's own, for the next dial. Who
// keeps it for many dials follows a changed pair, but not a changed CA.
func (c *Client) Config() *tls.Config {
	m, _ := c.files.now()
	t := &tls.Config{RootCAs: m.pool, ServerName: c.options.ServerName, InsecureSkipVerify: c.options.SkipVerify}
	c.options.Protocol.apply(t)
	if m.pair != nil {
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			m, _ := c.files.now()
			return m.pair, nil
		}
	}
	return t
}
