package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"etcd.alt/test/fault/outside"
)

// contestant stands in the queue of a lock or an election.
type contestant interface {
	// enter returns when its turn has come.
	enter(ctx context.Context) error
	// turn is the condition that it is its turn still.
	turn() clientv3.Cmp
	// speak says something that others hear, if that is what one does.
	speak(ctx context.Context, what string) error
	leave(ctx context.Context) error
}

// contend stands in a queue again and again, until ctx ends.
func contend(ctx context.Context, c *clientv3.Client, contest *outside.Contest, tell func(outside.Turn)) {
	rng := rand.New(rand.NewPCG(contest.Seed, 0))
	for ctx.Err() == nil {
		session(ctx, c, contest, rng, tell)
	}
}

// session is one session of a contest, which ends when it is lost. It lives on where a
// call of it fails, and must not stand in others' way.
func session(ctx context.Context, c *clientv3.Client, contest *outside.Contest, rng *rand.Rand, tell func(outside.Turn)) {
	alive, end := context.WithCancel(ctx)
	defer end()
	impatience := time.AfterFunc(outside.SessionWithin, end)
	s, err := concurrency.NewSession(c, concurrency.WithTTL(outside.SessionTTL), concurrency.WithContext(alive))
	if !impatience.Stop() || err != nil {
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
		waits := outside.WaitsAtLeast + below(rng, outside.WaitsAtMost-outside.WaitsAtLeast)
		waiting, cancel := context.WithTimeout(ctx, waits)
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
func write(ctx context.Context, c *clientv3.Client, contest *outside.Contest, one contestant, rng *rand.Rand) bool {
	if rng.IntN(outside.ProclaimsOneIn) == 0 {
		speaking, cancel := context.WithTimeout(ctx, outside.WriteWithin)
		err := one.speak(speaking, fmt.Sprint(rng.Int()))
		cancel()
		if errors.Is(err, concurrency.ErrElectionNotLeader) {
			return false
		}
	}
	for range outside.WritesOfATurn {
		turn := one.turn()
		writing, cancel := context.WithTimeout(ctx, outside.WriteWithin)
		res, err := c.Txn(writing).If(turn).Then(clientv3.OpPut(contest.Guarded, fmt.Sprint(token(turn)))).Commit()
		cancel()
		if err == nil && !res.Succeeded {
			return false
		}
		pause(ctx, below(rng, outside.PausesBelow))
	}
	return true
}

// token is the fencing token in the condition that it is somebody's turn: the creation
// of his key.
func token(turn clientv3.Cmp) int64 {
	return turn.GetCompare().GetCreateRevision()
}

// locker is the contestant for a lock.
type locker struct{ m *concurrency.Mutex }

func (l *locker) enter(ctx context.Context) error     { return l.m.Lock(ctx) }
func (l *locker) turn() clientv3.Cmp                  { return l.m.IsOwner() }
func (l *locker) speak(context.Context, string) error { return nil }
func (l *locker) leave(ctx context.Context) error     { return l.m.Unlock(ctx) }

// candidate is the contestant of an election.
type candidate struct{ e *concurrency.Election }

func (c *candidate) enter(ctx context.Context) error { return c.e.Campaign(ctx, "candidate") }

func (c *candidate) turn() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(c.e.Key()), "=", c.e.Rev())
}

func (c *candidate) speak(ctx context.Context, what string) error { return c.e.Proclaim(ctx, what) }
func (c *candidate) leave(ctx context.Context) error              { return c.e.Resign(ctx) }

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
