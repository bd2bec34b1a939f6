package conformance

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestClientsCount lets many clients count up one key, each step a transaction
// that fails if somebody else was there first.
func TestClientsCount(t *testing.T) {
	const clients, steps = 8, 50
	m := start(t)
	var wg sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		c := connect(t, m)
		wg.Go(func() {
			for range steps {
				if err := countUp(t.Context(), c, "n"); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	kv := get(t, connect(t, m), "n").Kvs[0]
	require.Equal(t, strconv.Itoa(clients*steps), string(kv.Value))
	require.Equal(t, int64(clients*steps), kv.Version)
	require.Equal(t, int64(clients*steps+1), kv.ModRevision, "a transaction that fails is no revision")
}

func countUp(ctx context.Context, c *clientv3.Client, key string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		res, err := c.Get(ctx, key)
		if err != nil {
			return err
		}
		n, mod := 0, int64(0)
		if len(res.Kvs) > 0 {
			mod = res.Kvs[0].ModRevision
			if n, err = strconv.Atoi(string(res.Kvs[0].Value)); err != nil {
				return err
			}
		}
		done, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", mod)).Then(clientv3.OpPut(key, strconv.Itoa(n+1))).Commit()
		if err != nil {
			return err
		}
		if done.Succeeded {
			return nil
		}
	}
}

// TestRevisionsAreCountedOnce puts from many goroutines over one connection;
// each put has a revision of its own.
func TestRevisionsAreCountedOnce(t *testing.T) {
	const writers, puts = 50, 40
	c := open(t)
	var mu sync.Mutex
	seen := map[int64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			last := int64(0)
			for i := range puts {
				key := fmt.Sprintf("%d/%d", w, i)
				res, err := c.Put(t.Context(), key, "v")
				if err != nil {
					t.Errorf("put of %s: %v", key, err)
					return
				}
				if res.Header.Revision <= last {
					t.Errorf("put of %s: revision %d after %d", key, res.Header.Revision, last)
				}
				last = res.Header.Revision
				mu.Lock()
				if other, ok := seen[last]; ok {
					t.Errorf("%s and %s share revision %d", key, other, last)
				}
				seen[last] = key
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	res := get(t, c, "", clientv3.WithPrefix())
	require.Len(t, res.Kvs, writers*puts)
	for _, kv := range res.Kvs {
		require.Equal(t, seen[kv.ModRevision], string(kv.Key))
	}
}

func TestBigValues(t *testing.T) {
	c := open(t)
	value := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for i := range 12 {
		put(t, c, fmt.Sprintf("big/%02d", i), string(value))
	}
	res := get(t, c, "big/", clientv3.WithPrefix())
	require.Len(t, res.Kvs, 12, "an answer may be larger than any request")
	for _, kv := range res.Kvs {
		require.True(t, bytes.Equal(value, kv.Value))
	}
	_, err := c.Put(within(t), "big/xx", string(bytes.Repeat([]byte("v"), 1_572_864)))
	require.Equal(t, rpctypes.ErrRequestTooLarge, err)
}

// TestRestart holds that a client finds its member again, with all that was
// acknowledged, however the member went.
func TestRestart(t *testing.T) {
	m := start(t, "--unsafe-no-fsync=false")
	c := connect(t, m)
	revision := put(t, c, "before", "kept")
	before := get(t, c, "before").Header
	for round, end := range []func() error{
		func() error { m.Kill(); return nil },
		m.Stop,
		func() error { m.Kill(); return nil },
	} {
		require.NoError(t, end())
		require.NoError(t, m.Up())
		res := get(t, c, "before")
		require.Equal(t, "kept", string(res.Kvs[0].Value))
		require.Equal(t, revision, res.Header.Revision)
		require.Equal(t, before.ClusterId, res.Header.ClusterId)
		require.Equal(t, before.MemberId, res.Header.MemberId)
		require.GreaterOrEqual(t, res.Header.RaftTerm, before.RaftTerm)
		revision = put(t, c, fmt.Sprint("round ", round), "v")
		require.Equal(t, res.Header.Revision+1, revision)
	}
}
