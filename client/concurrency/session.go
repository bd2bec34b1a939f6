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
	cancel func()          // ends it
	done   chan struct{}
	sweeps sync.WaitGroup
	mu     struct {
		sync.Mutex
		users map[string]int                // of the session's key for a name: those who wait, and those who have it
		swept map[string]context.CancelFunc // has a name's sweep look again
		ended bool                          // none is begun any more
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
		_ = s.farewell(name) // whoever could be told has gone
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
	if !s.own || s.mu.ended {
		return
	}
	if again, runs := s.mu.swept[name]; runs {
		again()
		return
	}
	s.mu.swept[name] = func() {}
	s.sweeps.Go(func() { s.routineSweep(name) })
}

// sweepPause is how long a sweep waits before it looks again.
const sweepPause = time.Second

func (s *Session) routineSweep(name string) {
	for s.alive.Err() == nil {
		round, cancel := context.WithCancel(s.alive)
		s.mu.Lock()
		s.mu.swept[name] = cancel
		s.mu.Unlock()
		// Whatever was wrong may pass, as long as the session lasts.
		_ = recipe.Sweep(round, s.client.Recipes(nil), []byte(name), int64(s.lease), func() bool { return s.used(name) })
		cancel()
		select {
		case <-time.After(sweepPause):
		case <-s.alive.Done():
		}
	}
}

// lost says whether a key is known not to be the one that was created at a revision: what
// was held with that is not held any more, and who fails to get it again does not count.
func (s *Session) lost(key []byte, created int64) bool {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	res, err := s.client.Get(ctx, string(key), client.WithKeysOnly())
	return err == nil && (len(res.Kvs) == 0 || res.Kvs[0].CreateRevision != created)
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
	if err := s.farewell(name); err != nil {
		return fmt.Errorf("concurrency: the session may stand in the queue of %q still: %w", name, err)
	}
	return nil
}

// farewell is abandon for who has no time. What it cannot do a sweep does.
func (s *Session) farewell(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := s.abandon(ctx, name)
	if err != nil {
		s.sweep(name)
	}
	return err
}

// abandon takes the session's key for a name away, unless somebody uses it.
func (s *Session) abandon(ctx context.Context, name string) error {
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
// restarted, say. All sessions of a lease hold what is held with it together: what one
// gives up, or takes away where it has lost sight of a transaction, the others have lost.
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
	kept, cancel := context.WithCancel(context.WithoutCancel(ctx))
	answers, err := c.KeepAlive(kept, o.lease, known...)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Session{client: c, lease: o.lease, own: own, done: make(chan struct{})}
	alive, end := context.WithCancel(context.Background()) // and what ctx demands of calls is not for sweeps
	s.alive, s.cancel = alive, func() { cancel(); end() }
	s.mu.users, s.mu.swept = map[string]int{}, map[string]context.CancelFunc{}
	go func() {
		defer close(s.done)
		defer s.cancel()
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
