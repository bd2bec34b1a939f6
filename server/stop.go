package server

import (
	"context"
	"errors"
	"time"

	"etcd.alt/internal/replica"
)

// errRemoved ends a member that is none any more.
var errRemoved = errors.New("this member was removed from the cluster")

// Failed delivers the reason when a member cannot go on. Close is still to be
// called.
func (m *Member) Failed() <-chan error { return m.failed }

func (m *Member) fail(err error) {
	m.abandon(err)
	select {
	case m.failed <- err:
	default:
	}
}

// ended is why the replica has ended by itself.
func (m *Member) ended() error {
	err := m.replica.Err()
	if errors.Is(err, replica.ErrRemoved) {
		return errRemoved
	}
	return err
}

// Close lets running requests end and takes the member down, in reverse order
// of Start. It returns what went wrong on the way; what was acknowledged is on
// disk all the same. Further calls return the same.
func (m *Member) Close() error {
	m.closing.Do(func() { m.closed = m.close() })
	return m.closed
}

func (m *Member) close() error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if m.service != nil {
		m.service.Drain()
	}
	m.giveAway()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if m.rpc != nil {
		if err := m.rpc.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			note(err)
		}
	}
	if m.metrics != nil {
		if err := m.metrics.Shutdown(ctx); err != nil {
			note(m.metrics.Close())
		}
	}
	if m.peers != nil {
		note(m.peers.close())
	}
	m.listeners.close()
	if m.replica != nil {
		close(m.stopTicks)
		if err := m.replica.Close(); !errors.Is(err, replica.ErrRemoved) { // Failed has that
			note(err)
		}
	}
	m.background.Wait()
	if m.service != nil {
		m.service.Close()
	}
	if m.passwords != nil {
		m.passwords.Close()
	}
	if m.audit != nil {
		note(m.audit.Close())
	}
	if m.users != nil && m.users.Tokens != nil {
		m.users.Tokens.Close()
	}
	if m.state != nil {
		note(m.state.Close())
	}
	return errors.Join(errs...)
}

// giveAway hands leadership over to another member, if this one leads and there
// is somebody, and waits for that, no longer than an election takes.
func (m *Member) giveAway() {
	if m.replica == nil || !m.replica.Status().IsLeader || m.replica.Alone() {
		return
	}
	m.replica.GiveAway()
	over := time.NewTimer(m.config.ElectionTimeout)
	defer over.Stop()
	look := time.NewTicker(giveAwayLook)
	defer look.Stop()
	for m.replica.Status().IsLeader {
		select {
		case <-look.C:
		case <-over.C:
			return
		case <-m.replica.Done():
			return
		}
	}
}

const giveAwayLook = 5 * time.Millisecond
