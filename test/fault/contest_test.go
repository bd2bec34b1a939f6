package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"etcd.alt/client"
	"etcd.alt/client/concurrency"
	"etcd.alt/test/fault/outside"
)

// lease is asker's.
func (c own) lease(ctx context.Context, l *outside.Lease) error {
	switch l.Call {
	case outside.Grant:
		res, err := c.Grant(ctx, l.TTL)
		if err != nil {
			return err
		}
		l.ID, l.TTL = res.ID, res.TTL
	case outside.Attach:
		_, err := c.Put(ctx, l.Key, "", client.WithLease(client.LeaseID(l.ID)))
		return err
	default:
		res, err := c.KeepAliveOnce(ctx, client.LeaseID(l.ID))
		if err != nil {
			return err
		}
		l.TTL = res.TTL
	}
	return nil
}

// contend is asker's.
func (c own) contend(ctx context.Context, contest *outside.Contest, tell func(outside.Turn)) error {
	rng := rand.New(rand.NewPCG(contest.Seed, 0))
	for ctx.Err() == nil {
		session(ctx, c.Client, contest, rng, tell)
	}
	return nil
}

// contestant stands in the queue of a lock or an election.
type contestant interface {
	// enter returns when its turn has come.
	enter(ctx context.Context) error
	// token is the fencing token of its turn, turn the condition that it is its turn
	// still.
	token() int64
	turn() client.Cmp
	// speak says something that others hear, if that is what one does.
	speak(ctx context.Context, what string) error
	leave(ctx context.Context) error
}

// session is one session of a contest, which ends when it is lost. One whose call fails
// lives on, and must not stand in others' way.
func session(ctx context.Context, c *client.Client, contest *outside.Contest, rng *rand.Rand, tell func(outside.Turn)) {
	patient, cancel := context.WithTimeout(ctx, outside.SessionWithin)
	defer cancel()
	s, err := concurrency.NewSession(patient, c, concurrency.WithTTL(outside.SessionTTL))
	if err != nil {
		pause(ctx, 100*time.Millisecond)
		return
	}
	defer s.Orphan()
	var one contestant = &locker{concurrency.NewMutex(s, contest.Name)}
	if contest.Election {
		one = &candidate{concurrency.NewElection(s, contest.Name)}
	}
	for ctx.Err() == nil {
		select {
		case <-s.Done():
			return
		default:
		}
		waiting, cancel := context.WithTimeout(ctx, outside.WaitsAtLeast+below(rng, outside.WaitsAtMost-outside.WaitsAtLeast))
		err := one.enter(waiting)
		cancel()
		if err != nil {
			continue
		}
		tell(outside.Turn{})
		stalls := rng.IntN(outside.StallsOneIn) == 0
		if stalls {
			s.Orphan()
			pause(ctx, below(rng, outside.StallsBelow))
		}
		if !write(ctx, c, contest, one, rng) {
			tell(outside.Turn{Lost: true})
			return
		}
		if stalls {
			return
		}
		leaving, cancel := context.WithTimeout(ctx, outside.WriteWithin)
		_ = one.leave(leaving) // if it fails it has its turn still, and enters again
		cancel()
	}
}

// write writes what is guarded a few times, and says whether it was its turn still.
func write(ctx context.Context, c *client.Client, contest *outside.Contest, one contestant, rng *rand.Rand) bool {
	if rng.IntN(outside.ProclaimsOneIn) == 0 {
		speaking, cancel := context.WithTimeout(ctx, outside.WriteWithin)
		err := one.speak(speaking, fmt.Sprint(rng.Int()))
		cancel()
		if errors.Is(err, concurrency.ErrElectionNotLeader) {
			return false
		}
	}
	for range outside.WritesOfATurn {
		writing, cancel := context.WithTimeout(ctx, outside.WriteWithin)
		res, err := c.Txn().If(one.turn()).Then(client.OpPut(contest.Guarded, fmt.Sprint(one.token()))).Commit(writing)
		cancel()
		if err == nil && !res.Succeeded {
			return false
		}
		pause(ctx, below(rng, outside.PausesBelow))
	}
	return true
}

// locker is the contestant for a lock.
type locker struct{ m *concurrency.Mutex }

func (l *locker) enter(ctx context.Context) error     { return l.m.Lock(ctx) }
func (l *locker) token() int64                        { return l.m.Revision() }
func (l *locker) turn() client.Cmp                    { return l.m.IsOwner() }
func (l *locker) speak(context.Context, string) error { return nil }
func (l *locker) leave(ctx context.Context) error     { return l.m.Unlock(ctx) }

// candidate is the contestant of an election.
type candidate struct{ e *concurrency.Election }

func (c *candidate) enter(ctx context.Context) error { return c.e.Campaign(ctx, "candidate") }
func (c *candidate) token() int64                    { return c.e.Rev() }

func (c *candidate) turn() client.Cmp {
	return client.Compare(client.CreateRevision(c.e.Key()), "=", c.e.Rev())
}

func (c *candidate) speak(ctx context.Context, what string) error { return c.e.Proclaim(ctx, what) }
func (c *candidate) leave(ctx context.Context) error              { return c.e.Resign(ctx) }

// below draws a time.
func below(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
