package token

import (
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
)

// signed are JSON web tokens, RFC 7519.
type signed struct {
	config  Config
	cluster uint64
	now     func() time.Time
	logger  *zap.Logger

	set atomic.Pointer[keySet] // what is in force

	follow struct { // what routineFollow has seen of the files
		sync.Mutex
		seen      [32]byte
		complaint string
	}
	stop    chan struct{}
	stopped sync.WaitGroup
	close   sync.Once
}

func newSigned(o Options) (*signed, error) {
	p := &signed{config: o.Config, cluster: o.ClusterID, now: o.Now, logger: o.Logger, stop: make(chan struct{})}
	p.follow.seen = p.config.look()
	set, err := p.config.load()
	if err != nil {
		return nil, p.config.named(err)
	}
	p.set.Store(set)
	p.stopped.Go(p.routineFollow)
	return p, nil
}

// Draft is Provider's.
func (p *signed) Draft() (string, error) {
	if p.set.Load().private == nil {
		return "", ErrVerifyOnly
	}
	return "", nil
}

// Issue is Provider's.
func (p *signed) Issue(l Login) (string, error) {
	set := p.set.Load()
	if set.private == nil {
		return "", ErrVerifyOnly
	}
	now := p.now()
	print := Fingerprint(p.cluster, l.User, l.Hash)
	claims := jwt.MapClaims{
		"username": l.User,
		"revision": l.Revision,
		"pwf":      base64.RawURLEncoding.EncodeToString(print[:]),
		"iat":      now.Unix(),
	}
	if p.config.TTL > 0 {
		// In whole seconds, and never less than the time that was asked for.
		claims["exp"] = now.Add(p.config.TTL + time.Second - 1).Unix()
	}
	if p.config.Issuer != "" {
		claims["iss"] = p.config.Issuer
	}
	if p.config.Audience != "" {
		claims["aud"] = p.config.Audience
	}
	t := jwt.NewWithClaims(set.signer.method, claims)
	t.Header["kid"] = set.signer.id
	text, err := t.SignedString(set.private)
	if err != nil {
		return "", fmt.Errorf("token: sign: %w", err)
	}
	return text, nil
}

// Applied is Provider's: a JWT needs no memory of its login.
func (p *signed) Applied([]Login) {}

// Disabled is Provider's.
func (p *signed) Disabled() {}

// Read is Provider's.
func (p *signed) Read(text string) (*Token, error) {
	if len(text) < shortest || len(text) > longest {
		return nil, ErrInvalid
	}
	now := p.now()
	for {
		set := p.set.Load()
		t := set.known.get(text)
		if t == nil {
			t = p.verify(set, text, now)
		}
		switch {
		case t != nil && t.Good(now):
			return t, nil
		case !set.era.over.Load():
			return nil, ErrInvalid
		}
		// The keys were replaced meanwhile, which is for the next set to judge.
	}
}

// verify judges a token that is not remembered. Nil: it is not good under set.
func (p *signed) verify(set *keySet, text string, now time.Time) *Token {
	if set.refused.has(text, now) {
		return nil
	}
	parts, ok := split(text)
	if !ok {
		return nil
	}
	head, ok := readHeader(parts.header)
	if !ok || !set.mayVerify(head) {
		return nil
	}
	c, ok := readClaims(parts.claims)
	if !ok || !p.config.accepts(c, now) {
		return nil
	}
	if !set.verify(head, parts) {
		set.refused.put(text, now)
		return nil
	}
	t := &Token{
		User: c.user, Revision: c.revision, cluster: p.cluster, era: set.era,
		begins: c.begins, print: c.print, bound: c.bound, anyRevision: p.config.AnyRevision,
	}
	t.ends.Store(c.ends)
	set.known.put(text, t)
	return t
}

// accepts says whether a token that claims c may stand, should its signature be
// right. One that is not good yet may be remembered.
func (c *Config) accepts(claimed claims, now time.Time) bool {
	switch {
	case claimed.user == "":
		return false
	case !claimed.expires && c.TTL > 0:
		return false
	case claimed.ends <= now.UnixNano():
		return false
	case c.Issuer != "" && claimed.issuer != c.Issuer:
		return false
	case c.Audience != "" && !claimed.isFor(c.Audience):
		return false
	}
	return true
}

// Close is Provider's.
func (p *signed) Close() {
	p.close.Do(func() { close(p.stop) })
	p.stopped.Wait()
}
