package mixed

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
)

const (
	// shortTTL and longTTL are leases' in seconds. Nothing of a long one ends while it
	// is looked at.
	shortTTL, longTTL = 2, 600
	// late is how long after its time a lease may be there: the leader looks every half
	// second.
	late = 5 * time.Second
	// remembered is how many of the leases that were granted at work are put to use.
	remembered = 8
)

// lease makes a request that is drawn and concerns a lease.
func (c *cluster) lease(ctx context.Context, at *client.Client, rng *rand.Rand) {
	all := c.granted()
	n := rng.IntN(6)
	if len(all) == 0 {
		n = 0
	}
	switch n {
	case 0, 1:
		res, err := at.Grant(ctx, int64(shortTTL+rng.IntN(5)))
		if err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mu.leases = append(c.mu.leases, client.LeaseID(res.ID))
		c.mu.leases = c.mu.leases[max(0, len(c.mu.leases)-remembered):]
	case 2:
		if res, err := at.Revoke(ctx, all[rng.IntN(len(all))]); err == nil {
			c.told(res.Header.Revision)
		}
	default:
		_, _ = at.KeepAliveOnce(ctx, all[rng.IntN(len(all))]) // it may have ended
	}
}

// granted are the leases that were granted last.
func (c *cluster) granted() []client.LeaseID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mu.leases)
}

// leaseState is what a member says of a lease.
type leaseState struct {
	ID   int64
	TTL  int64 // granted
	Keys []string
}

// sameLeases waits until all members say the same of all leases.
func (c *cluster) sameLeases() []leaseState {
	c.t.Helper()
	return same(c, "leases", func(ctx context.Context, at *client.Client) ([]leaseState, error) {
		list, err := at.Leases(ctx)
		if err != nil {
			return nil, err
		}
		var all []leaseState
		for _, one := range list.Leases {
			res, err := at.TimeToLive(ctx, client.LeaseID(one.ID), client.WithAttachedKeys())
			if err != nil {
				return nil, err
			}
			state := leaseState{ID: one.ID, TTL: res.GrantedTTL}
			for _, k := range res.Keys {
				state.Keys = append(state.Keys, string(k))
			}
			slices.Sort(state.Keys)
			all = append(all, state)
		}
		slices.SortFunc(all, func(a, b leaseState) int { return cmp.Compare(a.ID, b.ID) })
		return all, nil
	})
}

// give grants a lease of a given id at a member, which chooses one where that is 0.
func (c *cluster) give(i int, id, ttl int64) (client.LeaseID, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if token, err := c.clients[i].Authenticate(ctx, root, passwords[root]); err == nil {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token.Token)
	} else {
		require.ErrorIs(c.t, err, errs.AuthNotEnabled)
	}
	conn := c.members[i].Dial()
	defer conn.Close()
	res := &etcdserverpb.LeaseGrantResponse{}
	if err := conn.Invoke(ctx, "/etcdserverpb.Lease/LeaseGrant", &etcdserverpb.LeaseGrantRequest{ID: id, TTL: ttl}, res); err != nil {
		return 0, err
	}
	require.Equal(c.t, ttl, res.TTL)
	return client.LeaseID(res.ID), nil
}

// leases has leases go through all that can become of them, at any member.
func (c *cluster) leases() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	var all []client.LeaseID
	for i := range c.clients {
		chosen := c.rng.Int64N(1<<62) + 1
		for _, id := range []int64{0, chosen} {
			lease, err := c.give(i, id, longTTL)
			require.NoError(c.t, err)
			all = append(all, lease)
		}
		for k := range c.clients {
			_, err := c.give(k, chosen, longTTL)
			require.Equal(c.t, errs.LeaseExist.Error(), statusText(err), "m%d grants what m%d has granted", k, i)
		}
	}
	for n, lease := range all {
		for k := range 2 {
			c.put(ctx, fmt.Sprintf("leased/%d/%d", n, k), client.WithLease(lease))
		}
	}
	c.onLeases(all, 2)
	// A key moves, stays, and leaves.
	c.put(ctx, "leased/0/0", client.WithLease(all[1]))
	c.put(ctx, "leased/1/0", client.WithIgnoreLease())
	c.put(ctx, "leased/2/0")
	c.onLeases(all[:1], 1)
	c.onLeases(all[1:2], 3)
	c.onLeases(all[2:3], 1)
	c.agree()

	for i, at := range c.clients {
		for _, lease := range all {
			res, err := at.KeepAliveOnce(ctx, lease)
			require.NoError(c.t, err, "m%d", i)
			require.EqualValues(c.t, longTTL, res.TTL, "m%d", i)
		}
		_, err := at.KeepAliveOnce(ctx, 12345)
		require.ErrorIs(c.t, err, errs.LeaseNotFound, "m%d", i)
		_, err = at.Put(ctx, "leased/none", "", client.WithLease(12345))
		require.ErrorIs(c.t, err, errs.LeaseNotFound, "m%d", i)
		res, err := at.TimeToLive(ctx, 12345)
		require.NoError(c.t, err, "m%d", i)
		require.EqualValues(c.t, -1, res.TTL, "m%d", i)
	}
	for _, lease := range all {
		res, err := c.anyone().Revoke(ctx, lease)
		require.NoError(c.t, err)
		c.told(res.Header.Revision)
		c.sameLeases()
	}
	c.onLeases(all, 0)
	require.Equal(c.t, []string{"leased/2/0"}, c.keysUnder("leased/"), "it was on no lease")
	c.agree()
	c.expire(ctx)
}

// expire has leases end by themselves, but for one that is kept alive through each
// member in turn, and has that end as well.
func (c *cluster) expire(ctx context.Context) {
	c.t.Helper()
	var left []client.LeaseID
	for i := range c.clients {
		lease, err := c.give(i, 0, shortTTL)
		require.NoError(c.t, err)
		for k := range 3 {
			c.put(ctx, fmt.Sprintf("short/%d/%d", i, k), client.WithLease(lease))
		}
		left = append(left, lease)
	}
	kept, err := c.give(0, 0, shortTTL)
	require.NoError(c.t, err)
	c.put(ctx, "kept", client.WithLease(kept))
	for began := time.Now(); ; {
		for i, at := range c.clients {
			res, err := at.KeepAliveOnce(ctx, kept)
			require.NoError(c.t, err, "m%d", i)
			require.EqualValues(c.t, shortTTL, res.TTL, "m%d", i)
		}
		if len(c.keysUnder("short/")) == 0 {
			break
		}
		require.Less(c.t, time.Since(began), shortTTL*time.Second+late, "leases that nobody keeps do not end")
		time.Sleep(100 * time.Millisecond)
	}
	require.Equal(c.t, []string{"kept"}, c.keysUnder("kept"))
	for i, at := range c.clients {
		for _, lease := range left {
			_, err := at.KeepAliveOnce(ctx, lease)
			require.ErrorIs(c.t, err, errs.LeaseNotFound, "m%d", i)
		}
	}
	c.agree()
	require.Eventually(c.t, func() bool { return len(c.keysUnder("kept")) == 0 }, shortTTL*time.Second+late, 100*time.Millisecond, "a lease that nobody keeps any more does not end")
	c.agree()
}

// onLeases looks whether so many keys are on each of the leases, whoever is asked.
func (c *cluster) onLeases(leases []client.LeaseID, n int) {
	c.t.Helper()
	found := map[client.LeaseID]int{}
	for _, one := range c.sameLeases() {
		found[client.LeaseID(one.ID)] = len(one.Keys)
	}
	for _, lease := range leases {
		require.Equal(c.t, n, found[lease], "keys on the lease %x", lease)
	}
}

// keysUnder lists the keys under a prefix, which are the same at all members.
func (c *cluster) keysUnder(prefix string) []string {
	c.t.Helper()
	return same(c, "keys", func(ctx context.Context, at *client.Client) ([]string, error) {
		res, err := at.Get(ctx, prefix, client.WithPrefix(), client.WithKeysOnly())
		if err != nil {
			return nil, err
		}
		c.told(res.Header.Revision)
		var all []string
		for _, kv := range res.Kvs {
			all = append(all, string(kv.Key))
		}
		return all, nil
	})
}

// anyone draws a member.
func (c *cluster) anyone() *client.Client { return c.clients[c.rng.IntN(len(c.clients))] }

// put puts a key through any member.
func (c *cluster) put(ctx context.Context, key string, options ...client.OpOption) {
	c.t.Helper()
	res, err := c.anyone().Put(ctx, key, "v", options...)
	require.NoError(c.t, err)
	c.told(res.Header.Revision)
}
