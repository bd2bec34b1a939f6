package client

import (
	"context"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/recipe"
)

// Recipes is the client as package concurrency uses it. It is of no other use.
func (c *Client) Recipes() recipe.KV { return recipes{c} }

// recipes is a recipe.KV. What a recipe changes is guarded so that it may be changed
// twice, so all of it is sent again as reads are: locks outlive connections and
// leaders.
type recipes struct{ c *Client }

// Range is recipe.KV's.
func (r recipes) Range(ctx context.Context, req *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return call[GetResponse](ctx, r.c, methodRange, req)
}

// Txn is recipe.KV's.
func (r recipes) Txn(ctx context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	return call[TxnResponse](ctx, r.c, methodGuardedTxn, req)
}

// Watch is recipe.KV's.
func (r recipes) Watch(ctx context.Context, key, end []byte, start int64) (recipe.Watch, error) {
	ctx, cancel := context.WithCancel(ctx)
	return &recipeWatch{r.c.watch(ctx, &etcdserverpb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: start}, false), cancel}, nil
}

type recipeWatch struct {
	out    WatchChan
	cancel context.CancelFunc
}

// Next is recipe.Watch's.
func (w *recipeWatch) Next(ctx context.Context) (*etcdserverpb.WatchResponse, error) {
	for {
		select {
		case res, ok := <-w.out:
			switch {
			case !ok && ctx.Err() == nil:
				return nil, ErrClosed
			case !ok:
				return nil, ctx.Err()
			case res.Err() != nil:
				return nil, res.Err()
			case len(res.Events) > 0:
				return &etcdserverpb.WatchResponse{Header: res.Header, Events: res.Events}, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close is recipe.Watch's.
func (w *recipeWatch) Close() { w.cancel() }
