package fault

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/test/fault/fencing"
	"etcd.alt/test/fault/outside"
)

// contests are what sessions contend for: keys under the prefix are those of the lock
// or the election.
var contests = []outside.Contest{
	{Name: "lock", Guarded: "guarded/lock"},
	{Name: "election", Guarded: "guarded/election", Election: true},
}

// contestants are how many contend in each.
const contestants = 4

// TestLocksUnderFaults has sessions take a lock in turn, and win an election, while
// faults come and go. Who has his turn writes his fencing token if it is his turn
// still: nobody may write but the owner, and what was written must never go back.
func TestLocksUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("It waits for sessions to end.")
	}
	t.Parallel()
	c := start(t, settingsOfRuns)
	r := newRun(c, seed(t))
	r.record = &record{c: c, began: r.began}
	first, err := c.anywhere.Put(t.Context(), "first", "")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	var contending sync.WaitGroup
	defer contending.Wait()
	defer cancel()
	turns, lost := make([]atomic.Int64, len(contests)), make([]atomic.Int64, len(contests))
	for k := range contests {
		for i := range contestants {
			contest := contests[k]
			contest.Seed = r.rng.Uint64()
			at := c.asks[min(i, size)]
			contending.Go(func() {
				err := at.contend(ctx, &contest, func(turn outside.Turn) {
					if turn.Lost {
						lost[k].Add(1)
					} else {
						turns[k].Add(1)
					}
				})
				if err != nil {
					t.Errorf("a contestant: %v", err)
				}
			})
		}
	}
	r.storm(time.Now().Add(10 * time.Second))
	c.heal()
	c.awaitServing(time.Minute)
	for k, contest := range contests {
		before := turns[k].Load()
		require.Eventually(t, func() bool { return turns[k].Load() >= before+5 }, time.Minute, 10*time.Millisecond, "nobody gets his turn any more: %s", contest.Name)
	}
	cancel()
	contending.Wait()

	events := c.since(first.Header.Revision)
	for k, contest := range contests {
		tally, err := fencing.Judge(events, contest.Name+"/", contest.Guarded)
		require.NoError(t, err, contest.Name)
		t.Logf("%s: %d turns, lost %d times; %v", contest.Name, turns[k].Load(), lost[k].Load(), tally)
		require.Positive(t, tally.Writes, contest.Name)
		require.Greater(t, tally.Owners, 1, contest.Name)
	}
	t.Logf("faults\n%s", r.table())
}

// since is what all keys have gone through from a revision on.
func (c *cluster) since(revision int64) []outside.Event {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	// The last event that is there now tells when the watch has told all.
	last, err := c.anywhere.Put(ctx, "last", "")
	require.NoError(c.t, err)
	var all []outside.Event
	own{c.anywhere}.watch(ctx, revision, func(events []outside.Event, err error) {
		if ctx.Err() == nil {
			require.NoError(c.t, err)
		}
		all = append(all, events...)
		if len(all) > 0 && all[len(all)-1].Revision >= last.Header.Revision {
			cancel()
		}
	})
	at := slices.IndexFunc(all, func(e outside.Event) bool { return e.Revision == last.Header.Revision })
	require.GreaterOrEqual(c.t, at, 0, "the watch has not told the last write")
	return all[:at]
}
