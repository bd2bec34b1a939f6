package fault

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFailover kills the leader FAILOVER_KILLS times, 3 by default, and measures
// how long no write succeeds. The members have the settings that they have
// without any flag.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("It waits for elections.")
	}
	kills := 3
	if s := os.Getenv("FAILOVER_KILLS"); s != "" {
		var err error
		kills, err = strconv.Atoi(s)
		require.NoError(t, err, "FAILOVER_KILLS")
	}
	const election = time.Second
	c := start(t, settings{heartbeat: 100 * time.Millisecond, election: election})
	var gaps []time.Duration
	for n := range kills {
		leader := c.leader()
		require.GreaterOrEqual(t, leader, 0)
		began := time.Now()
		c.kill(leader)
		c.firstWrite(t, leader, fmt.Sprintf("failover/%d", n))
		gaps = append(gaps, time.Since(began))
		c.launch(leader)
		c.awaitServing(time.Minute)
	}
	slices.Sort(gaps)
	of := func(percent int) time.Duration { return gaps[min(len(gaps)-1, len(gaps)*percent/100)] }
	t.Logf("%d leaders killed; a write succeeded again after %v in the median, %v in 95%%, %v at worst; an election timeout is %v",
		kills, of(50).Round(time.Millisecond), of(95).Round(time.Millisecond), of(100).Round(time.Millisecond), election)
	require.LessOrEqual(t, of(100), 8*election, "the worst")
	if kills < 20 {
		return // too few to say more
	}
	require.LessOrEqual(t, of(50), 2*election, "the median")
	require.LessOrEqual(t, of(95), 4*election, "95%%")
}

// pace is how often a write is tried at each member.
const pace = 20 * time.Millisecond

// firstWrite returns when one of the writes that are tried at all members but one
// has succeeded.
func (c *cluster) firstWrite(t *testing.T, without int, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	done := make(chan struct{}, 1)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		for i := range size {
			if i == without {
				continue
			}
			wg.Go(func() {
				if _, err := c.at[i].Put(ctx, key, name(i)); err == nil {
					select {
					case done <- struct{}{}:
					default:
					}
				}
			})
		}
		select {
		case <-tick.C:
		case <-done:
			return
		case <-ctx.Done():
			require.Fail(t, "no write succeeds", "%s is down: %v", name(without), ctx.Err())
		}
	}
}
