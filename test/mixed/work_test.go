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
				c.request(ctx, at, rng)
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

// told takes down that somebody was told a revision.
func (c *cluster) told(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.acknowledged = max(c.mu.acknowledged, revision)
}

// request makes a request of a member that is drawn: of its leases, of the users, or
// of its keys, these now and then as somebody who may not touch all of them.
func (c *cluster) request(ctx context.Context, at int, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	switch n := rng.IntN(40); {
	case n < 3:
		c.lease(ctx, c.clients[at], rng)
		return
	case n < 4:
		_, _ = drawChange(ctx, c.clients[at], rng) // who was not there, or had it already
		return
	}
	by := c.clients[at]
	if rng.IntN(5) == 0 {
		by = c.some[at]
	}
	d := drawer{rng, c.granted()}
	if res, err := by.Do(ctx, d.draw(0)); err == nil {
		c.told(revision(res))
	}
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

// drawer draws what is asked for.
type drawer struct {
	*rand.Rand
	leases []client.LeaseID // to put keys on
}

func (d drawer) key() string { return fmt.Sprintf("k%03d", d.IntN(keys)) }

// put draws a put. Some are on a lease, which may have ended.
func (d drawer) put(key string, options ...client.OpOption) client.Op {
	if len(d.leases) > 0 && d.IntN(6) == 0 {
		options = append(options, client.WithLease(d.leases[d.IntN(len(d.leases))]))
	}
	return client.OpPut(key, fmt.Sprintf("%0*d", 1+d.IntN(64), d.IntN(1000)), options...)
}

// draw draws a put, a delete or a transaction, inside which there may be more.
func (d drawer) draw(depth int) client.Op {
	switch n := d.IntN(20); {
	case n < 12:
		return d.put(d.key(), client.WithPrevKV())
	case n < 14:
		return client.OpDelete(d.key(), client.WithPrevKV())
	case n < 15:
		return client.OpDelete(d.key(), client.WithRange(d.key()))
	}
	return client.OpTxn(d.compares(), d.branch(depth), d.branch(depth))
}

func (d drawer) compares() []client.Cmp {
	var out []client.Cmp
	for range d.IntN(3) {
		k := d.key()
		out = append(out, []client.Cmp{
			client.Compare(client.Version(k), ">", d.IntN(3)),
			client.Compare(client.CreateRevision(k), "!=", d.IntN(2)),
			client.Compare(client.Value(k), "<", fmt.Sprint(d.IntN(1000))),
			client.Compare(client.ModRevision(k), ">", d.IntN(5000)),
		}[d.IntN(4)])
	}
	return out
}

// branch draws operations on keys that no two of them share: what changes a key
// twice is refused.
func (d drawer) branch(depth int) []client.Op {
	var out []client.Op
	used := map[string]bool{}
	for range d.IntN(4) {
		k := d.key()
		if used[k] {
			continue
		}
		used[k] = true
		switch n := d.IntN(8); {
		case n < 3:
			out = append(out, d.put(k))
		case n < 4:
			out = append(out, client.OpDelete(k))
		case n < 6:
			out = append(out, client.OpGet(k, client.WithRange(d.key())))
		case depth < 2:
			// What it changes may be changed outside too; then it is refused, which
			// members must agree on as well.
			out = append(out, client.OpTxn(d.compares(), d.branch(depth+1), d.branch(depth+1)))
		}
	}
	return out
}
