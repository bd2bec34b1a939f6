package conformance

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	ourclient "etcd.alt/client"
	ours "etcd.alt/client/concurrency"
)

func TestTheOfficialLocksAndElections(t *testing.T) {
	m := start(t)
	var held atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		c := connect(t, m)
		wg.Go(func() {
			s, err := concurrency.NewSession(c, concurrency.WithTTL(10))
			require.NoError(t, err)
			mu := concurrency.NewMutex(s, "lock")
			for range 5 {
				require.NoError(t, mu.Lock(within(t)))
				require.Equal(t, int64(1), held.Add(1))
				held.Add(-1)
				require.NoError(t, mu.Unlock(within(t)))
			}
			require.NoError(t, s.Close())
		})
	}
	// Both libraries stand in the same queue.
	wg.Go(func() {
		c, err := ourclient.New(within(t), ourclient.Config{Endpoints: []string{m.URL()}})
		require.NoError(t, err)
		defer c.Close()
		s, err := ours.NewSession(within(t), c)
		require.NoError(t, err)
		mu := ours.NewMutex(s, "lock")
		for range 5 {
			require.NoError(t, mu.Lock(within(t)))
			require.Equal(t, int64(1), held.Add(1))
			held.Add(-1)
			require.NoError(t, mu.Unlock(within(t)))
		}
	})
	wg.Wait()

	c := connect(t, m)
	s, err := concurrency.NewSession(c)
	require.NoError(t, err)
	other, err := concurrency.NewSession(c)
	require.NoError(t, err)
	first, second := concurrency.NewElection(s, "e"), concurrency.NewElection(other, "e")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := first.Observe(ctx)
	require.NoError(t, first.Campaign(within(t), "a"))
	require.Equal(t, "a", string((<-seen).Kvs[0].Value))
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "b") }()
	require.NoError(t, first.Proclaim(within(t), "a2"))
	require.Equal(t, "a2", string((<-seen).Kvs[0].Value))
	require.NoError(t, s.Close()) // its lease is revoked
	require.NoError(t, <-won)
	require.Equal(t, "b", string((<-seen).Kvs[0].Value))
}

func TestTheOfficialTransactionalMemory(t *testing.T) {
	m := start(t)
	c := connect(t, m)
	for i := range 4 {
		put(t, c, fmt.Sprint("account", i), "100")
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 10 {
				from, to := fmt.Sprint("account", (n+i)%4), fmt.Sprint("account", (n+i+1)%4)
				_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
					var a, b int
					fmt.Sscan(s.Get(from), &a)
					fmt.Sscan(s.Get(to), &b)
					s.Put(from, fmt.Sprint(a-1))
					s.Put(to, fmt.Sprint(b+1))
					return nil
				})
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, kv := range get(t, c, "account", clientv3.WithPrefix()).Kvs {
		var n int
		fmt.Sscan(string(kv.Value), &n)
		sum += n
	}
	require.Equal(t, 400, sum)
}
