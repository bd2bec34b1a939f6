package concurrency

import (
	"context"
	"fmt"
	"sync"
	"time"

	"etcd.alt/client"
	"etcd.alt/internal/recipe"
)

// defaultTTL is a session's unless it is given one, in seconds.
const defaultTTL = 60

// Session is a lease that is kept alive until the session is closed or lost.
type Session struct {
	client *client.Client
	lease  client.LeaseID
	cancel context.CancelFunc
	done   chan struct{}
	mu     struct {
		sync.Mutex
		users map[string]int // of the session's key for a name: those who wait, and those who have it
	}
}

// use counts one more who uses the session's key for a name.
func (s *Session) use(name, value string) recipe.Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.users == nil {
		s.mu.users = map[string]int{}
	}
	s.mu.users[name]++
	return recipe.Ticket{Name: []byte(name), Lease: int64(s.lease), Value: []byte(value), Late: func() { s.late(name) }}
}

// last says whether nobody else uses the session's key for a name.
func (s *Session) last(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.users[name] <= 1
}

// forget counts one less, whose key is gone or somebody else's affair.
func (s *Session) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.users[name]--; s.mu.users[name] <= 0 {
		delete(s.mu.users, name)
	}
}

// leaveTimeout bounds the farewell of a call that has given up.
const leaveTimeout = 5 * time.Second

// unuse counts one less, and takes the key away if nobody uses it any more. The key
// may not be there. The error says that it may be there all the same, until the
// session ends.
func (s *Session) unuse(name string) error {
	s.mu.Lock()
	if s.mu.users[name]--; s.mu.users[name] > 0 {
		s.mu.Unlock()
		return nil
	}
	delete(s.mu.users, name)
	s.mu.Unlock()
	return s.abandon(name)
}

// late takes a key away that was put when its call had given up, if nobody uses it.
func (s *Session) late(name string) {
	s.mu.Lock()
	used := s.mu.users[name] > 0
	s.mu.Unlock()
	if !used {
		_ = s.abandon(name) // whoever could be told has gone
	}
}

// abandon takes the session's key for a name away, unless it is put anew meanwhile.
func (s *Session) abandon(name string) error {
	// Whoever gives up does so because of his context, or of what it demands.
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := recipe.Abandon(ctx, s.client.Recipes(), []byte(name), int64(s.lease)); err != nil {
		return fmt.Errorf("concurrency: the session may stand in the queue of %q still: %w", name, err)
	}
	return nil
}

// SessionOption changes a Session.
type SessionOption func(*sessionOptions)

type sessionOptions struct {
	ttl   int
	lease client.LeaseID
}

// WithTTL gives the session's lease so many seconds; without it, 60.
func WithTTL(seconds int) SessionOption { return func(o *sessionOptions) { o.ttl = seconds } }

// WithLease makes the session of a lease that is there, of a process that has
// restarted, say.
func WithLease(id client.LeaseID) SessionOption { return func(o *sessionOptions) { o.lease = id } }

// NewSession makes a session. ctx bounds the making of it, not the session, which
// lasts until Close or Orphan, or until its lease is lost.
func NewSession(ctx context.Context, c *client.Client, options ...SessionOption) (*Session, error) {
	o := sessionOptions{ttl: defaultTTL}
	for _, option := range options {
		option(&o)
	}
	var known []client.KeepAliveOption
	switch {
	case o.ttl <= 0:
		return nil, fmt.Errorf("concurrency: WithTTL: %d seconds are none", o.ttl)
	case o.lease == client.NoLease:
		asked := time.Now()
		res, err := c.Grant(ctx, int64(o.ttl))
		if err != nil {
			return nil, err
		}
		o.lease, known = client.LeaseID(res.ID), append(known, client.WithGranted(asked, res.TTL))
	}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	answers, err := c.KeepAlive(alive, o.lease, known...)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Session{client: c, lease: o.lease, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for range answers {
			// what counts is that they come
		}
	}()
	return s, nil
}

// Client is the session's client.
func (s *Session) Client() *client.Client { return s.client }

// Lease is the session's lease.
func (s *Session) Lease() client.LeaseID { return s.lease }

// Done is closed when the session has ended: its lease was lost, or it was given up.
func (s *Session) Done() <-chan struct{} { return s.done }

// Orphan ends the session and leaves its lease, and so what is held with it, until
// the TTL has passed. It returns when nobody keeps the lease alive any more.
func (s *Session) Orphan() {
	s.cancel()
	<-s.done
}

// Close ends the session and gives up all that is held with it.
func (s *Session) Close(ctx context.Context) error {
	s.Orphan()
	_, err := s.client.Revoke(ctx, s.lease)
	return err
}
