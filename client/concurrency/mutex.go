package concurrency

import (
	"context"
	"errors"

	"etcd.alt/client"
	"etcd.alt/internal/recipe"
)

var (
	// ErrLocked is TryLock's where another session holds the lock.
	ErrLocked = recipe.ErrLocked
	// ErrSessionExpired is the error of a lock whose session ended before it was held.
	ErrSessionExpired = recipe.ErrSessionExpired
	// ErrLockReleased is the error of an unlock of what is not held.
	ErrLockReleased = errors.New("mutex: lock has already been released")
)

// Mutex is a lock that one session holds at a time. It belongs to one goroutine: all
// who use a session hold a lock together.
type Mutex struct {
	s    *Session
	name string
	held *recipe.Ownership // nil if it is not held
}

// NewMutex returns the lock of a name, not held.
func NewMutex(s *Session, name string) *Mutex { return &Mutex{s: s, name: name} }

// Lock waits until the session holds the lock. Who came first is first. A caller
// whose ctx ends waits no longer, and does not stand in the queue when Lock returns,
// unless the error says so.
func (m *Mutex) Lock(ctx context.Context) error { return m.get(ctx, recipe.Lock) }

// TryLock is Lock that does not wait: ErrLocked.
func (m *Mutex) TryLock(ctx context.Context) error { return m.get(ctx, recipe.TryLock) }

func (m *Mutex) get(ctx context.Context, get func(context.Context, recipe.KV, recipe.Ticket) (*recipe.Ownership, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.s.use(m.name)
	o, err := get(ctx, m.s.queueing(m.name), m.s.ticket(m.name, ""))
	if err != nil {
		if m.held != nil && m.s.lost(m.held.Key, m.held.Revision) {
			m.s.forget(m.name)
			m.held = nil
		}
		return errors.Join(err, m.s.unuse(m.name))
	}
	if m.held != nil { // it was counted when it was got first
		m.s.forget(m.name)
	}
	m.held = o
	return nil
}

// Unlock gives the lock up, unless another Mutex of the session has it too.
func (m *Mutex) Unlock(ctx context.Context) error {
	if m.held == nil {
		return ErrLockReleased
	}
	if m.s.forget(m.name) {
		if err := m.s.abandon(ctx, m.name); err != nil {
			m.s.use(m.name) // it may be held still
			return err
		}
	}
	m.held = nil
	return nil
}

// Key is the key that stands for the lock while it is held, "" if it is not.
func (m *Mutex) Key() string {
	if m.held == nil {
		return ""
	}
	return string(m.held.Key)
}

// Revision is the lock's fencing token while it is held: whoever holds it later has
// a higher one.
func (m *Mutex) Revision() int64 {
	if m.held == nil {
		return 0
	}
	return m.held.Revision
}

// IsOwner is the condition that the lock is held, for a transaction that is to
// change something only then.
func (m *Mutex) IsOwner() client.Cmp {
	if m.held == nil {
		return client.Compare(client.CreateRevision("\x00"), "=", -1) // never
	}
	return client.Compare(client.CreateRevision(m.Key()), "=", m.held.Revision)
}

// Header is that of the answer with which the lock was got.
func (m *Mutex) Header() *client.ResponseHeader {
	if m.held == nil {
		return nil
	}
	return m.held.Header
}
