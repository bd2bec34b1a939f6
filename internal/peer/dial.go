package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// dialer makes HTTP clients. They speak HTTP/1.1, follow no redirects and use no
// proxy.
type dialer struct {
	tls     func() *tls.Config // for the next dial; may be nil
	timeout time.Duration      // to connect, and once more for TLS
}

// client returns one whose connections end when a read, or a write, takes longer
// than this; 0 is for ever.
func (d dialer) client(read, write time.Duration) *http.Client {
	connect := &net.Dialer{Timeout: d.timeout}
	plain := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := connect.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &impatient{Conn: c, read: read, write: write}, nil
	}
	tr := &http.Transport{
		DialContext: plain,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := plain(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return d.shake(ctx, c, address)
		},
		MaxIdleConnsPerHost: pipelineWorkers,
		IdleConnTimeout:     30 * time.Second,
		ReadBufferSize:      eager,
		WriteBufferSize:     eager,

		MaxResponseHeaderBytes: eager,
		Protocols:              new(http.Protocols),
	}
	tr.Protocols.SetHTTP1(true)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// shake makes c one of TLS, to the host of address, or closes it.
func (d dialer) shake(ctx context.Context, c net.Conn, address string) (net.Conn, error) {
	config := &tls.Config{}
	if d.tls != nil {
		config = d.tls()
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = nil
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return secure, nil
}

// impatient is a connection on which no read and no write takes too long.
type impatient struct {
	net.Conn
	read, write time.Duration
}

func (c *impatient) Read(b []byte) (int, error) {
	if c.read > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.read)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}

// Write writes in pieces, each of which has the time.
func (c *impatient) Write(b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		if err = c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
			break
		}
		var k int
		k, err = c.Conn.Write(b[n:min(len(b), n+eager)])
		n += k
	}
	return n, err
}

// discard reads what little is left of a body, so that its connection can be
// used again, and closes it.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4096)
	_ = body.Close()
}
