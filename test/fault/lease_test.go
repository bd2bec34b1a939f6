package fault

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
)

const (
	// leaseTTL is the leases', and the leader dies at two thirds of it.
	leaseTTL = 10 * time.Second
	// leaseLook is how often it is looked whether their keys are there.
	leaseLook = 20 * time.Millisecond
)

// TestLeasesOutliveTheirLeader grants leases LEASE_ROUNDS times, once by default,
// kills the leader before their time is over, and looks at when their keys go.
func TestLeasesOutliveTheirLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("It waits for leases to end.")
	}
	rounds := 1
	if s := os.Getenv("LEASE_ROUNDS"); s != "" {
		var err error
		rounds, err = strconv.Atoi(s)
		require.NoError(t, err, "LEASE_ROUNDS")
	}
	const election = time.Second
	c := start(t, settings{heartbeat: 100 * time.Millisecond, election: election})
	const late = max(2*time.Second, leaseTTL/10) + 2*election + time.Second
	for n := range rounds {
		leader := c.leader()
		require.GreaterOrEqual(t, leader, 0)
		at := c.at[(leader+1+n%2)%size]
		var keys []string
		first := time.Now() // nothing may go before its time has passed since then
		for i := range 5 {
			lease, err := at.Grant(t.Context(), int64(leaseTTL/time.Second))
			require.NoError(t, err)
			key := fmt.Sprintf("leased/%d/%d", n, i)
			_, err = at.Put(t.Context(), key, "v", client.WithLease(client.LeaseID(lease.ID)))
			require.NoError(t, err)
			keys = append(keys, key)
		}
		last := time.Now()
		time.Sleep(time.Until(first.Add(leaseTTL * 2 / 3)))
		c.kill(leader)
		gone := c.gone(at, fmt.Sprintf("leased/%d/", n), len(keys), first.Add(leaseTTL), last.Add(leaseTTL+late))
		t.Logf("round %d: the keys were gone %v after the time of the first, %v after that of the last", n, gone.Sub(first.Add(leaseTTL)).Round(time.Millisecond), gone.Sub(last.Add(leaseTTL)).Round(time.Millisecond))
		c.launch(leader)
		c.awaitServing(time.Minute)
	}
}

// gone returns when n keys are gone, of which none may go before earliest, and the
// last must by latest.
func (c *cluster) gone(at *client.Client, prefix string, n int, earliest, latest time.Time) time.Time {
	c.t.Helper()
	for {
		asked := time.Now()
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		res, err := at.Get(ctx, prefix, client.WithPrefix(), client.WithCountOnly())
		cancel()
		answered := time.Now()
		switch {
		case err != nil: // there is no leader for a while
		case res.Count < int64(n) && answered.Before(earliest):
			require.Fail(c.t, "a key went too early", "%v before its time", earliest.Sub(answered))
		case res.Count == 0:
			return answered
		}
		require.True(c.t, asked.Before(latest), "keys are there %v after the last moment", asked.Sub(latest))
		time.Sleep(leaseLook)
	}
}
