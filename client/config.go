package client

import (
	"crypto/tls"
	"errors"
	"math"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// What a Config means where it says nothing.
const (
	defaultDialTimeout = 20 * time.Second
	defaultMaxSend     = 2 << 20
	defaultMaxRecv     = math.MaxInt32
)

// Config says whom a Client talks to and how. Only Endpoints is required.
type Config struct {
	// Endpoints are the members: host:port, http://host:port,
	// https://host:port, unix:///path or unixs:///path. A scheme decides
	// whether TLS is spoken; without one TLS is spoken if the field TLS is set.
	// All endpoints of a Client speak TLS, or none.
	Endpoints []string

	// DialTimeout is how long one attempt to connect, and the login of New,
	// may take: 20 s if it is 0. New does not wait for a connection without a
	// login.
	DialTimeout time.Duration
	// DialKeepAliveTime is how long a connection may be silent before the peer
	// is asked whether it still lives; 0 asks never. gRPC takes nothing below
	// 10 s.
	DialKeepAliveTime time.Duration
	// DialKeepAliveTimeout is how long the peer may take to answer: 20 s if it
	// is 0.
	DialKeepAliveTimeout time.Duration
	// PermitWithoutStream asks also while no call is under way.
	PermitWithoutStream bool

	// MaxCallSendMsgSize bounds a request in bytes: 2 MiB if it is 0.
	MaxCallSendMsgSize int
	// MaxCallRecvMsgSize bounds an answer in bytes: 2 GiB - 1 if it is 0.
	MaxCallRecvMsgSize int

	// TLS is used for endpoints that speak it; nil means the system's
	// certificate authorities and no client certificate. It is not changed. A
	// ServerName in it holds for all endpoints; otherwise each is verified by
	// its own host.
	TLS *tls.Config

	// Username and Password have New log in, and calls log in again when the
	// token has become invalid. A cluster without authentication is used
	// without a token.
	Username, Password string
	// Token is sent as it is, instead of a login.
	Token string

	// DialOptions are added to those that the Client makes.
	DialOptions []grpc.DialOption
	// Logger hears of calls that are sent again and, at the level of debugging,
	// of every call; nil for nobody.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.MaxCallSendMsgSize == 0 {
		c.MaxCallSendMsgSize = defaultMaxSend
	}
	if c.MaxCallRecvMsgSize == 0 {
		c.MaxCallRecvMsgSize = defaultMaxRecv
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func (c Config) validate() error {
	switch {
	case len(c.Endpoints) == 0:
		return errors.New("client: Endpoints is empty")
	case c.DialTimeout < 0:
		return errors.New("client: DialTimeout is negative")
	case c.DialKeepAliveTime < 0:
		return errors.New("client: DialKeepAliveTime is negative")
	case c.DialKeepAliveTimeout < 0:
		return errors.New("client: DialKeepAliveTimeout is negative")
	case c.MaxCallSendMsgSize < 0:
		return errors.New("client: MaxCallSendMsgSize is negative")
	case c.MaxCallRecvMsgSize < 0:
		return errors.New("client: MaxCallRecvMsgSize is negative")
	case c.Token != "" && (c.Username != "" || c.Password != ""):
		return errors.New("client: Token excludes Username and Password")
	case c.Password != "" && c.Username == "":
		return errors.New("client: Password is given without Username")
	}
	return nil
}
