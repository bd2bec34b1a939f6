package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// ErrClosed is returned by calls of a Client that was closed.
var ErrClosed = errors.New("client: closed")

// reconnect is how long a Client waits between attempts to reach an endpoint.
var reconnect = backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}

// spread has calls go to the connected endpoints in turn.
const spread = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// Client is a set of connections to a cluster. New makes it; Close ends its
// goroutines.
type Client struct {
	config    Config
	endpoints []endpoint
	conn      *grpc.ClientConn
	auth      *login // nil if there is neither user nor token
	logger    *zap.Logger
	closed    chan struct{} // by Close
	watches   watches
	keeper    keeper
}

// New returns a Client. It returns before a connection stands, so that a member
// that is down now is no error, unless Config names a user: then it logs in, or
// fails when ctx or DialTimeout ends. ctx is used for that only.
func New(ctx context.Context, config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	endpoints, err := parseEndpoints(config.Endpoints, config.TLS)
	if err != nil {
		return nil, err
	}
	c := &Client{config: config, endpoints: endpoints, auth: newLogin(config), logger: config.Logger, closed: make(chan struct{})}
	if c.conn, err = c.connect(endpoints); err != nil {
		return nil, err
	}
	if config.Username != "" {
		ctx, cancel := context.WithTimeout(ctx, config.DialTimeout)
		defer cancel()
		if err := c.logIn(ctx, ""); err != nil {
			c.conn.Close()
			return nil, fmt.Errorf("client: log in: %w", err)
		}
	}
	return c, nil
}

// connect makes a connection to each of some endpoints, which the caller
// closes.
func (c *Client) connect(endpoints []endpoint) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithResolvers(fixed(endpoints)),
		grpc.WithDefaultServiceConfig(spread),
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(c.credentials(endpoints)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: c.config.DialTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true),
			grpc.MaxCallSendMsgSize(c.config.MaxCallSendMsgSize),
			grpc.MaxCallRecvMsgSize(c.config.MaxCallRecvMsgSize),
		),
	}
	if c.config.DialKeepAliveTime > 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                c.config.DialKeepAliveTime,
			Timeout:             c.config.DialKeepAliveTimeout,
			PermitWithoutStream: c.config.PermitWithoutStream,
		}))
	}
	conn, err := grpc.NewClient(scheme+":///members", append(options, c.config.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	conn.Connect()
	return conn, nil
}

func (c *Client) credentials(endpoints []endpoint) credentials.TransportCredentials {
	if !endpoints[0].secure {
		return insecure.NewCredentials()
	}
	if c.config.TLS == nil {
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	return credentials.NewTLS(c.config.TLS.Clone())
}

// Endpoints returns the endpoints as they were given.
func (c *Client) Endpoints() []string { return slices.Clone(c.config.Endpoints) }

// Close ends all calls with ErrClosed, keeps no lease alive any more, and closes the
// connections. Call it once.
func (c *Client) Close() error {
	close(c.closed)
	c.keeper.halt()
	return c.conn.Close()
}
