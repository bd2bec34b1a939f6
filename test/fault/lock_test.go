package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
	"etcd.alt/client/concurrency"
)

// TestLocksUnderFaults has sessions take a lock in turn while faults come and go.
// Each owner writes its fencing token if it owns the lock still; what was written
// must never go back: nobody writes after a later owner.
func TestLocksUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("It waits for sessions to end.")
	}
	c := start(t, settingsOfRuns)
	r := newRun(c, seed(t))
	r.record = &record{c: c, began: r.began}
	first, err := c.anywhere.Put(t.Context(), "guarded", "0")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	var lockers sync.WaitGroup
	defer lockers.Wait()
	defer cancel()
	var owned, lost atomic.Int64
	for i := range 4 {
		at := c.anywhere
		if i < size {
			at = c.at[i]
		}
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), 0))
		lockers.Go(func() {
			for ctx.Err() == nil {
				routineLock(ctx, at, rng, &owned, &lost)
			}
		})
	}
	r.storm(time.Now().Add(10 * time.Second))
	c.heal()
	c.awaitServing(time.Minute)
	before := owned.Load()
	require.Eventually(t, func() bool { return owned.Load() >= before+5 }, time.Minute, 10*time.Millisecond, "nobody gets the lock any more")
	cancel()
	lockers.Wait()

	last, err := c.anywhere.Get(t.Context(), "guarded")
	require.NoError(t, err)
	token, seen, whole := int64(0), 0, false
	watching, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for res := range c.anywhere.Watch(watching, "guarded", client.WithRev(first.Header.Revision)) {
		require.NoError(t, res.Err())
		for _, e := range res.Events {
			n, err := strconv.ParseInt(string(e.Kv.Value), 10, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, token, "an owner wrote at revision %d after a later one", e.Kv.ModRevision)
			token = n
			seen++
			if e.Kv.ModRevision == last.Kvs[0].ModRevision {
				whole = true
				stop()
			}
		}
	}
	require.True(t, whole, "the watch has not told the last write")
	t.Logf("the lock was owned %d times, and lost %d times; %d writes of owners\n%s", owned.Load(), lost.Load(), seen, r.table())
	require.Greater(t, seen, 1, "beside the first, which is the test's own")
}

// routineLock has a session take the lock again and again, and write while it owns it,
// until the session is lost. One whose call fails lives on, and must not stand in
// others' way.
func routineLock(ctx context.Context, c *client.Client, rng *rand.Rand, owned, lost *atomic.Int64) {
	patient, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := concurrency.NewSession(patient, c, concurrency.WithTTL(2))
	if err != nil {
		return
	}
	defer s.Orphan()
	m := concurrency.NewMutex(s, "lock")
	for ctx.Err() == nil {
		select {
		case <-s.Done():
			return
		default:
		}
		waiting, cancel := context.WithTimeout(ctx, time.Duration(100+rng.IntN(3000))*time.Millisecond)
		err := m.Lock(waiting)
		cancel()
		if err != nil {
			continue
		}
		owned.Add(1)
		for range 3 {
			writing, cancel := context.WithTimeout(ctx, time.Second)
			res, err := c.Txn().If(m.IsOwner()).Then(client.OpPut("guarded", fmt.Sprint(m.Revision()))).Commit(writing)
			cancel()
			if err == nil && !res.Succeeded {
				lost.Add(1)
				return
			}
			pause(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
		}
		leaving, cancel := context.WithTimeout(ctx, time.Second)
		_ = m.Unlock(leaving) // if it fails the lock is held still, and got again
		cancel()
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
