package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeases(t *testing.T) {
	c := connect(t, start(t))
	lease, err := c.Grant(within(t), 100)
	require.NoError(t, err)
	require.Equal(t, int64(100), lease.TTL)
	for _, key := range []string{"b", "a"} {
		_, err := c.Put(within(t), key, "v", clientv3.WithLease(lease.ID))
		require.NoError(t, err)
	}
	kept, err := c.KeepAliveOnce(within(t), lease.ID)
	require.NoError(t, err)
	require.Equal(t, int64(100), kept.TTL)
	ttl, err := c.TimeToLive(within(t), lease.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, int64(100), ttl.GrantedTTL)
	require.ElementsMatch(t, [][]byte{[]byte("a"), []byte("b")}, ttl.Keys)
	require.InDelta(t, 99, ttl.TTL, 2)
	list, err := c.Leases(within(t))
	require.NoError(t, err)
	require.Equal(t, []clientv3.LeaseStatus{{ID: lease.ID}}, list.Leases)

	before := get(t, c, "a").Header.Revision
	_, err = c.Revoke(within(t), lease.ID)
	require.NoError(t, err)
	gone := get(t, c, "", clientv3.WithFromKey())
	require.Zero(t, gone.Count)
	require.Equal(t, before+1, gone.Header.Revision, "all keys of a lease go in one revision")
	_, err = c.Revoke(within(t), lease.ID)
	require.Equal(t, rpctypes.ErrLeaseNotFound, err)
	_, err = c.Put(within(t), "a", "v", clientv3.WithLease(lease.ID))
	require.Equal(t, rpctypes.ErrLeaseNotFound, err)
	_, err = c.KeepAliveOnce(within(t), lease.ID)
	require.Equal(t, rpctypes.ErrLeaseNotFound, err)
	ttl, err = c.TimeToLive(within(t), lease.ID)
	require.NoError(t, err)
	require.Equal(t, int64(-1), ttl.TTL)
	_, err = c.Grant(within(t), 9_000_000_001)
	require.Equal(t, rpctypes.ErrLeaseTTLTooLarge, err)
	_, err = c.Grant(within(t), 10)
	require.NoError(t, err)
}

func TestALeaseEndsUnlessItIsKeptAlive(t *testing.T) {
	c := connect(t, start(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	short, err := c.Grant(within(t), 1)
	require.NoError(t, err)
	require.Equal(t, int64(2), short.TTL, "the least there is")
	kept, err := c.Grant(within(t), 1)
	require.NoError(t, err)
	answers, err := c.KeepAlive(ctx, kept.ID)
	require.NoError(t, err)
	_, err = c.Put(within(t), "short", "v", clientv3.WithLease(short.ID))
	require.NoError(t, err)
	_, err = c.Put(within(t), "kept", "v", clientv3.WithLease(kept.ID))
	require.NoError(t, err)
	w := c.Watch(ctx, "short")
	require.Equal(t, int64(1), get(t, c, "short").Count)
	began := time.Now()
	require.Len(t, collect(t, w, 1), 1)
	require.Less(t, time.Since(began), 10*time.Second)
	for range 3 {
		require.NotNil(t, <-answers)
	}
	require.Equal(t, int64(1), get(t, c, "kept").Count)
	cancel()
	require.Eventually(t, func() bool { return get(t, c, "kept").Count == 0 }, 20*time.Second, 50*time.Millisecond)
}

// A lease is there after a restart, with its keys, and ends then.
func TestALeaseSurvivesARestart(t *testing.T) {
	m := start(t)
	c := connect(t, m)
	lease, err := c.Grant(within(t), 3)
	require.NoError(t, err)
	_, err = c.Put(within(t), "k", "v", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	m.Kill()
	require.NoError(t, m.Up())
	ttl, err := c.TimeToLive(within(t), lease.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("k")}, ttl.Keys)
	require.Eventually(t, func() bool { return get(t, c, "k").Count == 0 }, 20*time.Second, 50*time.Millisecond)
}
