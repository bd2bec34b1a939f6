package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/test/fault/lifetime"
	"etcd.alt/test/fault/outside"
)

const (
	// keepers is how many leases are kept at a time.
	keepers = 8
	// lateUnderFaults is how long after its time a lease may be there when all is
	// calm again.
	lateUnderFaults = 2*time.Second + 2*500*time.Millisecond + time.Second
)

// partOfRun is how long the tests run that make fault runs beside each other: a sixth of
// FAULT_MINUTES, and at least ten seconds. Without FAULT_MINUTES they do not run.
func partOfRun(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("FAULT_MINUTES")
	if s == "" {
		t.Skip("It runs only with FAULT_MINUTES set (make fault).")
	}
	minutes, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err, "FAULT_MINUTES")
	return max(epochLength, time.Duration(minutes*float64(time.Minute)/6))
}

// TestLeasesUnderFaults has leases be kept alive, for a while each, while faults come
// and go. No key goes before the time that was promised has passed, and none stays
// for long when nobody keeps its lease any more.
func TestLeasesUnderFaults(t *testing.T) {
	length := partOfRun(t)
	t.Parallel()
	c := start(t, settingsOfRuns)
	r := newRun(c, seed(t))
	r.record = &record{c: c, began: r.began}
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	all := make([]*keeper, keepers)
	for i := range all {
		k := &keeper{r: r.record, at: c.asks[min(i, size)], name: fmt.Sprintf("kept/%d/", i), rng: rand.New(rand.NewPCG(r.rng.Uint64(), 0))}
		all[i] = k
		keeping.Go(func() { k.routineKeep(ctx) })
	}
	r.storm(time.Now().Add(length))
	c.heal()
	c.awaitServing(time.Minute)
	calm := r.record.now()
	r.sleep(1000, 1100) // for those who could do nothing
	cancel()
	keeping.Wait()
	var leases []*lifetime.Lease
	for _, k := range all {
		leases = append(leases, k.leases...)
	}
	tally, err := lifetime.Judge(leases, calm, lateUnderFaults)
	t.Logf("%v\n%s", tally, r.table())
	require.NoError(t, err)
	require.Equal(t, len(leases), tally.Ended, "leases were looked after until they ended")
	require.Greater(t, tally.Promised, tally.Leases)
}

// keeper keeps one lease after the other.
type keeper struct {
	r      *record
	at     asker
	name   string
	rng    *rand.Rand
	leases []*lifetime.Lease
}

// routineKeep keeps leases until ctx ends, each until its key is gone.
func (k *keeper) routineKeep(ctx context.Context) {
	for ctx.Err() == nil {
		if l, id := k.grant(ctx); l != nil {
			k.leases = append(k.leases, l)
			k.keep(ctx, l, id)
			k.bury(l)
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// within is how long a call of a keeper may take.
const within = 2 * time.Second

// call does something with a lease and says when.
func (k *keeper) call(l *outside.Lease) (lifetime.Renewal, error) {
	ctx, cancel := context.WithTimeout(k.r.c.t.Context(), within)
	defer cancel()
	done := lifetime.Renewal{Call: k.r.now()}
	err := k.at.lease(ctx, l)
	done.Return = k.r.now()
	switch {
	case err == nil:
		done.Outcome = lifetime.Answered
	case errors.Is(err, errs.LeaseNotFound):
		done.Outcome = lifetime.Refused
	}
	return done, err
}

// grant makes a lease with a key; nil if it is not known whether it did.
func (k *keeper) grant(ctx context.Context) (*lifetime.Lease, int64) {
	call := &outside.Lease{Call: outside.Grant, TTL: 2 + k.rng.Int64N(3)}
	granted, err := k.call(call)
	if err != nil || ctx.Err() != nil {
		return nil, 0
	}
	l := &lifetime.Lease{Key: fmt.Sprint(k.name, k.r.count.Add(1)), TTL: time.Duration(call.TTL) * time.Second, Renewals: []lifetime.Renewal{granted}}
	put, err := k.call(&outside.Lease{Call: outside.Attach, ID: call.ID, Key: l.Key})
	if err != nil {
		return nil, 0
	}
	l.Attached = put.Return
	return l, call.ID
}

// keep renews a lease for a while that is drawn, now and then late, and looks after
// its key.
func (k *keeper) keep(ctx context.Context, l *lifetime.Lease, id int64) {
	end := time.Now().Add(below(k.rng, 3*l.TTL))
	for ctx.Err() == nil && time.Now().Before(end) {
		done, _ := k.call(&outside.Lease{Call: outside.Renew, ID: id})
		l.Renewals = append(l.Renewals, done)
		if done.Outcome == lifetime.Refused {
			return
		}
		next := time.Now().Add(below(k.rng, l.TTL/2))
		for ctx.Err() == nil && time.Now().Before(next) {
			k.look(l)
			pause(ctx, 50*time.Millisecond)
		}
	}
}

// bury looks after the key of a lease that is not kept any more until it is gone. That
// it stays for too long is for the judge to say.
func (k *keeper) bury(l *lifetime.Lease) {
	const patience = 2 * time.Minute
	ctx, cancel := context.WithTimeout(k.r.c.t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if o, err := k.look(l); err == nil && !o.There {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// look reads the key, at any member.
func (k *keeper) look(l *lifetime.Lease) (lifetime.Look, error) {
	ctx, cancel := context.WithTimeout(k.r.c.t.Context(), within)
	defer cancel()
	o := lifetime.Look{Call: k.r.now()}
	res, err := k.r.c.at[k.rng.IntN(size)].Get(ctx, l.Key)
	o.Return = k.r.now()
	if err != nil {
		return o, err
	}
	o.There = len(res.Kvs) > 0
	l.Looks = append(l.Looks, o)
	return o, nil
}
