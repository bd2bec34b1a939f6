package client

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// maxLogins bounds the logins of one call.
const maxLogins = 3

// login holds the token that goes with every call.
type login struct {
	user, password string // empty with a token that was given
	// renewing has room for the one who logs in.
	renewing chan struct{}
	mu       struct {
		sync.Mutex
		token string
	}
}

// newLogin returns nil where nobody is to be named.
func newLogin(c Config) *login {
	if c.Username == "" && c.Token == "" {
		return nil
	}
	l := &login{user: c.Username, password: c.Password, renewing: make(chan struct{}, 1)}
	l.mu.token = c.Token
	return l
}

// current is the token to send, "" for none.
func (l *login) current() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.token
}

// renewable says whether a new token can be had.
func (l *login) renewable() bool { return l != nil && l.user != "" }

func (l *login) set(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.token = token
}

// logIn replaces the token with which a call was refused, unless somebody else
// has done so already. Where authentication is off or not served, there is no
// token and none is needed.
func (c *Client) logIn(ctx context.Context, refused string) error {
	select {
	case c.auth.renewing <- struct{}{}:
		defer func() { <-c.auth.renewing }()
	case <-ctx.Done():
		return &ended{ctx.Err(), "waiting for a login"}
	}
	if c.auth.current() != refused {
		return nil
	}
	req := &etcdserverpb.AuthenticateRequest{Name: c.auth.user, Password: c.auth.password}
	res := &etcdserverpb.AuthenticateResponse{}
	err := c.repeat(ctx, methodAuthenticate, func(string) error {
		return translate(ctx, c.conn.Invoke(outgoing(ctx, ""), methodAuthenticate.path, req, res))
	})
	switch {
	case err == nil:
		c.auth.set(res.Token)
		return nil
	case errors.Is(err, errs.AuthNotEnabled), status.Code(err) == codes.Unimplemented:
		c.logger.Warn("the cluster has no authentication: the user is not used", zap.String("user", c.auth.user), zap.Error(err))
		c.auth.set("")
		return nil
	}
	return err
}

// tokenRefused says whether a new login may help. A call that is refused so has
// changed nothing: permission is judged first.
func tokenRefused(err error) bool {
	return errors.Is(err, errs.InvalidAuthToken) || errors.Is(err, errs.AuthOldRevision) || errors.Is(err, errs.UserEmpty)
}
