package mixed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
)

const (
	// workers are the clients that work beside each other, keys what they share.
	workers = 8
	keys    = 200
	// every is how many revisions lie between two comparisons.
	every = 1000
)

// work makes about n requests at all members, and compares them at every
// thousandth revision.
func (c *cluster) work(n int) {
	c.t.Helper()
	c.during(func(ctx context.Context) { c.quietly(ctx, n) })
	for next := c.compared - c.compared%every + every; next <= c.newest(); next += every {
		c.compare(next)
	}
}

// during has something happen under a bound of time.
func (c *cluster) during(do func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	do(ctx)
}

// quietly makes about n requests, of which some may fail: a member may be down.
func (c *cluster) quietly(ctx context.Context, n int) {
	c.t.Helper()
	before := c.newest()
	var wg sync.WaitGroup
	for range workers {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		wg.Go(func() {
			for range n / workers {
				at := rng.IntN(len(c.clients))
				if at == c.away && rng.IntN(10) != 0 {
					at = (at + 1) % len(c.clients) // who asks there waits for nothing
				}
				c.request(ctx, c.clients[at], rng)
			}
		})
	}
	wg.Wait()
	require.NoError(c.t, ctx.Err(), "%d requests", n)
	require.Greater(c.t, c.newest(), before+int64(n)/4, "too few of %d requests were answered", n)
}

func (c *cluster) newest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.acknowledged
}

// request makes a request that is drawn.
func (c *cluster) request(ctx context.Context, at *client.Client, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	res, err := at.Do(ctx, draw(rng, 0))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.acknowledged = max(c.mu.acknowledged, revision(res))
}

func revision(res client.OpResponse) int64 {
	switch {
	case res.Put != nil:
		return res.Put.Header.Revision
	case res.Delete != nil:
		return res.Delete.Header.Revision
	case res.Txn != nil:
		return res.Txn.Header.Revision
	}
	return res.Get.Header.Revision
}

func key(rng *rand.Rand) string { return fmt.Sprintf("k%03d", rng.IntN(keys)) }

// draw draws a put, a delete or a transaction, inside which there may be more.
func draw(rng *rand.Rand, depth int) client.Op {
	switch n := rng.IntN(20); {
	case n < 12:
		return client.OpPut(key(rng), fmt.Sprintf("%0*d", 1+rng.IntN(64), rng.IntN(1000)), client.WithPrevKV())
	case n < 14:
		return client.OpDelete(key(rng), client.WithPrevKV())
	case n < 15:
		return client.OpDelete(key(rng), client.WithRange(key(rng)))
	}
	return client.OpTxn(compares(rng), branch(rng, depth), branch(rng, depth))
}

func compares(rng *rand.Rand) []client.Cmp {
	var out []client.Cmp
	for range rng.IntN(3) {
		k := key(rng)
		out = append(out, []client.Cmp{
			client.Compare(client.Version(k), ">", rng.IntN(3)),
			client.Compare(client.CreateRevision(k), "!=", rng.IntN(2)),
			client.Compare(client.Value(k), "<", fmt.Sprint(rng.IntN(1000))),
			client.Compare(client.ModRevision(k), ">", rng.IntN(5000)),
		}[rng.IntN(4)])
	}
	return out
}

// branch draws operations on keys that no two of them share: what changes a key
// twice is refused.
func branch(rng *rand.Rand, depth int) []client.Op {
	var out []client.Op
	used := map[string]bool{}
	for range rng.IntN(4) {
		k := key(rng)
		if used[k] {
			continue
		}
		used[k] = true
		switch n := rng.IntN(8); {
		case n < 3:
			out = append(out, client.OpPut(k, fmt.Sprint(rng.IntN(1000))))
		case n < 4:
			out = append(out, client.OpDelete(k))
		case n < 6:
			out = append(out, client.OpGet(k, client.WithRange(key(rng))))
		case depth < 2:
			// What it changes may be changed outside too; then it is refused, which
			// members must agree on as well.
			out = append(out, client.OpTxn(compares(rng), branch(rng, depth+1), branch(rng, depth+1)))
		}
	}
	return out
}
