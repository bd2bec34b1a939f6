package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestErrorsAreTheClientsOwn holds that the official client recognises every
// error: it returns its own value for it.
func TestErrorsAreTheClientsOwn(t *testing.T) {
	c := open(t)
	put(t, c, "k", "v")
	get := func(opts ...clientv3.OpOption) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.Get(ctx, "k", opts...)
			return err
		}
	}
	put := func(key, value string, opts ...clientv3.OpOption) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.Put(ctx, key, value, opts...)
			return err
		}
	}
	txn := func(ops ...clientv3.Op) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.Txn(ctx).Then(ops...).Commit()
			return err
		}
	}
	many := func(n int) []clientv3.Op {
		var ops []clientv3.Op
		for i := range n {
			ops = append(ops, clientv3.OpPut(fmt.Sprint("many/", i), ""))
		}
		return ops
	}
	for _, row := range []struct {
		name string
		want error
		do   func(context.Context) error
	}{
		{"get without a key", rpctypes.ErrEmptyKey, func(ctx context.Context) error { _, err := c.Get(ctx, ""); return err }},
		{"put without a key", rpctypes.ErrEmptyKey, put("", "v")},
		{"delete without a key", rpctypes.ErrEmptyKey, func(ctx context.Context) error { _, err := c.Delete(ctx, ""); return err }},
		{"put without a key in a transaction", rpctypes.ErrEmptyKey, txn(clientv3.OpPut("", "v"))},
		{"get of the future", rpctypes.ErrFutureRev, get(clientv3.WithRev(100))},
		{"get of the future in a transaction", rpctypes.ErrFutureRev, txn(clientv3.OpGet("k", clientv3.WithRev(100)))},
		{"put with an unknown lease", rpctypes.ErrLeaseNotFound, put("k", "v", clientv3.WithLease(12345))},
		{"put with an unknown lease in a transaction", rpctypes.ErrLeaseNotFound, txn(clientv3.OpPut("k", "v", clientv3.WithLease(12345)))},
		{"keep the value of nothing", rpctypes.ErrKeyNotFound, put("none", "", clientv3.WithIgnoreValue())},
		{"keep the lease of nothing", rpctypes.ErrKeyNotFound, put("none", "v", clientv3.WithIgnoreLease())},
		{"keep and give a value", rpctypes.ErrValueProvided, put("k", "v", clientv3.WithIgnoreValue())},
		{"keep and give a lease", rpctypes.ErrLeaseProvided, put("k", "v", clientv3.WithIgnoreLease(), clientv3.WithLease(1))},
		{"a key twice", rpctypes.ErrDuplicateKey, txn(clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2"))},
		{"a key put and deleted", rpctypes.ErrDuplicateKey, txn(clientv3.OpDelete("a", clientv3.WithRange("z")), clientv3.OpPut("k", "2"))},
		{"a key twice, once nested", rpctypes.ErrDuplicateKey, txn(clientv3.OpPut("k", "1"), clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpPut("k", "2")}))},
		{"128 operations", nil, txn(many(128)...)},
		{"129 operations", rpctypes.ErrTooManyOps, txn(many(129)...)},
		{"129 operations, 128 nested", rpctypes.ErrTooManyOps, txn(clientv3.OpTxn(nil, many(128), nil))},
		{"a request that is too large", rpctypes.ErrRequestTooLarge, put("k", strings.Repeat("v", 1_600_000))},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, row.do(within(t))) })
	}
}

// TestErrorsOfRawRequests sends what the official client would not.
func TestErrorsOfRawRequests(t *testing.T) {
	conn, err := start(t).Dial()
	require.NoError(t, err)
	defer conn.Close()
	kv := etcdserverpb.NewKVClient(conn)
	for name, r := range map[string]*etcdserverpb.RangeRequest{
		"order 3":   {Key: []byte("k"), SortOrder: 3},
		"order -1":  {Key: []byte("k"), SortOrder: -1},
		"target 5":  {Key: []byte("k"), SortTarget: 5},
		"target -1": {Key: []byte("k"), SortTarget: -1, SortOrder: 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := kv.Range(within(t), r)
			require.Equal(t, rpctypes.ErrInvalidSortOption, rpctypes.Error(err))
			_, err = kv.Txn(within(t), &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
				{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte("k")}}},
				{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: r}},
			}})
			require.Equal(t, rpctypes.ErrInvalidSortOption, rpctypes.Error(err))
		})
	}
	t.Run("an operation that is none", func(t *testing.T) {
		_, err := kv.Txn(within(t), &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{{}}})
		require.Equal(t, rpctypes.ErrKeyNotFound, rpctypes.Error(err))
	})
	t.Run("a keeping put behind its key's end", func(t *testing.T) {
		_, err := kv.Put(within(t), &etcdserverpb.PutRequest{Key: []byte("kept"), Value: []byte("v")})
		require.NoError(t, err)
		_, err = kv.Txn(within(t), &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
			{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte{0}}}},
			{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte("kept"), IgnoreValue: true}}},
		}})
		require.Equal(t, rpctypes.ErrKeyNotFound, rpctypes.Error(err))
		res, err := kv.Range(within(t), &etcdserverpb.RangeRequest{Key: []byte("kept")})
		require.NoError(t, err)
		require.Equal(t, int64(1), res.Count, "nothing was deleted")
	})
	t.Run("a message above the limit", func(t *testing.T) {
		_, err := kv.Put(within(t), &etcdserverpb.PutRequest{Key: []byte("k"), Value: make([]byte, 2_200_000)})
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.Equal(t, "grpc: received message larger than max (2200008 vs. 2097152)", status.Convert(err).Message())
	})
	t.Run("an unknown method", func(t *testing.T) {
		err := conn.Invoke(within(t), "/etcdserverpb.KV/Unheard", &etcdserverpb.RangeRequest{}, &etcdserverpb.RangeResponse{})
		require.Equal(t, codes.Unimplemented, status.Code(err))
		require.Equal(t, "unknown method Unheard for service etcdserverpb.KV", status.Convert(err).Message())
		err = conn.Invoke(within(t), "/no.Such/Thing", &etcdserverpb.RangeRequest{}, &etcdserverpb.RangeResponse{})
		require.Equal(t, codes.Unimplemented, status.Code(err))
		require.Equal(t, "unknown service no.Such", status.Convert(err).Message())
	})
}
