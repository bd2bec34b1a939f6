package client

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/recipe"
)

// Recipes is the client as package concurrency uses it. It is of no other use. lost,
// unless it is nil, is called each time that a transaction may still be on its way when
// nobody waits for its answer any more, before it is sent again.
func (c *Client) Recipes(lost func()) recipe.KV { return recipes{c, lost} }

// recipes is a recipe.KV. What a recipe changes is guarded so that it may be changed
// twice, so all of it is sent again as reads are: locks outlive connections and
// leaders.
type recipes struct {
	c    *Client
	lost func()
}

// Range is recipe.KV's.
func (r recipes) Range(ctx context.Context, req *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return call[GetResponse](ctx, r.c, methodRange, req)
}

// Txn is recipe.KV's.
func (r recipes) Txn(ctx context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	res := new(TxnResponse)
	err := r.c.repeat(ctx, methodGuardedTxn, func(token string) error {
		err := translate(ctx, r.c.conn.Invoke(outgoing(ctx, token), methodGuardedTxn.path, req, res))
		if r.lost != nil && mayArrive(err) {
			r.lost()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// mayArrive says whether what failed with err may be on its way still: no answer has come,
// or one that does not know either.
func mayArrive(err error) bool {
	if errors.Is(err, errs.NoLeader) || errors.Is(err, errs.ProposalDropped) || errors.Is(err, errs.NotSupportedForLearner) {
		return false
	}
	var a *answered
	if errors.As(err, &a) {
		return status.Code(err) == codes.Unavailable
	}
	switch status.Code(err) {
	case codes.OK:
		return false
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
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
