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
	own    bool            // the lease was granted to it
	alive  context.Context // ends with the session: what sweeps do is nobody's call
	cancel context.CancelFunc
	done   chan struct{}
	sweeps sync.WaitGroup
	mu     struct {
		sync.Mutex
		users map[string]int  // of the session's key for a name: those who wait, and those who have it
		swept map[string]bool // names for which a sweep runs
		ended bool            // none is begun any more
	}
}

// use counts one more who uses the session's key for a name.
func (s *Session) use(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.users[name]++
}

// used says whether anybody uses the session's key for a name.
func (s *Session) used(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.users[name] > 0
}

// forget counts one less, and says whether nobody is left.
func (s *Session) forget(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.users[name]--
	if s.mu.users[name] > 0 {
		return false
	}
	delete(s.mu.users, name)
	return true
}

// ticket is for a call that has said that it uses the name.
func (s *Session) ticket(name, value string) recipe.Ticket {
	return recipe.Ticket{Name: []byte(name), Lease: int64(s.lease), Value: []byte(value), Late: func() {
		_ = s.abandon(context.Background(), name) // whoever could be told has gone
	}}
}

// queueing is the cluster as whoever puts the session's key for a name sees it.
func (s *Session) queueing(name string) recipe.KV {
	return s.client.Recipes(func() { s.sweep(name) })
}

// sweep has the session's key for a name taken away whenever it is there and nobody uses
// it, for as long as the session lasts: a transaction that puts it may be on its way
// still, though all that has to do with it is over. No lease, no key: after that it comes
// to nothing. A lease that was given to the session may have others who use it.
func (s *Session) sweep(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.own || s.mu.ended || s.mu.swept[name] {
		return
	}
	s.mu.swept[name] = true
	s.sweeps.Go(func() {
		// An error is the session's end, or a right that was lost: the next lost sight of a
		// transaction begins another.
		_ = recipe.Sweep(s.alive, s.client.Recipes(nil), []byte(name), int64(s.lease), func() bool { return s.used(name) })
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.swept, name)
	})
}

// leaveTimeout bounds the farewell of a call that has given up.
const leaveTimeout = 5 * time.Second

// unuse counts one less, and takes the key away if nobody uses it any more. The key
// may not be there. The error says that it may be there all the same, until the
// session ends.
func (s *Session) unuse(name string) error {
	if !s.forget(name) {
		return nil
	}
	// Whoever gives up does so because of his context, or of what it demands.
	if err := s.abandon(context.Background(), name); err != nil {
		return fmt.Errorf("concurrency: the session may stand in the queue of %q still: %w", name, err)
	}
	return nil
}

// abandon takes the session's key for a name away, unless somebody uses it.
func (s *Session) abandon(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	return recipe.Abandon(ctx, s.client.Recipes(nil), []byte(name), int64(s.lease), func() bool { return s.used(name) })
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
	own := false
	switch {
	case o.ttl <= 0:
		return nil, fmt.Errorf("concurrency: WithTTL: %d seconds are none", o.ttl)
	case o.lease == client.NoLease:
		asked := time.Now()
		res, err := c.Grant(ctx, int64(o.ttl))
		if err != nil {
			return nil, err
		}
		o.lease, own, known = client.LeaseID(res.ID), true, append(known, client.WithGranted(asked, res.TTL))
	}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	answers, err := c.KeepAlive(alive, o.lease, known...)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Session{client: c, lease: o.lease, own: own, alive: alive, cancel: cancel, done: make(chan struct{})}
	s.mu.users, s.mu.swept = map[string]int{}, map[string]bool{}
	go func() {
		defer close(s.done)
		defer cancel()
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
	s.mu.Lock()
	s.mu.ended = true
	s.mu.Unlock()
	s.sweeps.Wait()
}

// Close ends the session and gives up all that is held with it.
func (s *Session) Close(ctx context.Context) error {
	s.Orphan()
	_, err := s.client.Revoke(ctx, s.lease)
	return err
}
