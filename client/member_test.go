package client_test

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/server"
)

// open starts a member and returns its client.
func open(t *testing.T) (*client.Client, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := server.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.ListenClientURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenPeerURLs = c.ListenClientURLs
	c.UnsafeNoFsync = true
	c.BcryptCost = 4
	m, err := server.Start(ctx, c, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	cl, err := client.New(ctx, client.Config{Endpoints: []string{m.ClientAddresses()[0].String()}})
	require.NoError(t, err)
	t.Cleanup(func() { cl.Close() })
	return cl, ctx
}

func TestKeys(t *testing.T) {
	c, ctx := open(t)
	for _, kv := range []string{"a", "b", "b/1", "b/2", "c"} {
		_, err := c.Put(ctx, kv, "value of "+kv)
		require.NoError(t, err)
	}
	put, err := c.Put(ctx, "a", "new", client.WithPrevKV())
	require.NoError(t, err)
	require.Equal(t, "value of a", string(put.PrevKv.Value))

	get, err := c.Get(ctx, "b", client.WithPrefix(), client.WithSort(client.SortByKey, client.SortDescend), client.WithLimit(2))
	require.NoError(t, err)
	require.Equal(t, "b/2", string(get.Kvs[0].Key))
	require.Equal(t, "b/1", string(get.Kvs[1].Key))
	require.True(t, get.More)
	require.Equal(t, int64(3), get.Count)

	get, err = c.Get(ctx, "a", client.WithRev(put.Header.Revision-1), client.WithSerializable())
	require.NoError(t, err)
	require.Equal(t, "value of a", string(get.Kvs[0].Value))

	deleted, err := c.Delete(ctx, "b/", client.WithPrefix(), client.WithPrevKV())
	require.NoError(t, err)
	require.Equal(t, int64(2), deleted.Deleted)
	require.Len(t, deleted.PrevKvs, 2)

	res, err := c.Do(ctx, client.OpGet("", client.WithFromKey(), client.WithCountOnly()))
	require.NoError(t, err)
	require.Equal(t, int64(3), res.Get.Count)

	_, err = c.Compact(ctx, put.Header.Revision, client.WithCompactPhysical())
	require.NoError(t, err)
	_, err = c.Get(ctx, "a", client.WithRev(2))
	require.ErrorIs(t, err, errs.Compacted)
	_, err = c.Get(ctx, "a", client.WithRev(1000))
	require.ErrorIs(t, err, errs.FutureRev)
	_, err = c.Put(ctx, "", "v")
	require.ErrorIs(t, err, errs.EmptyKey)
}

func TestTransactions(t *testing.T) {
	c, ctx := open(t)
	commit := func() *client.TxnResponse {
		res, err := c.Txn().
			If(client.Compare(client.Version("k"), "=", 0)).
			Then(client.OpPut("k", "v"), client.OpTxn(nil, []client.Op{client.OpPut("inner", "v")}, nil)).
			Else(client.OpGet("k"), client.OpDelete("inner")).
			Commit(ctx)
		require.NoError(t, err)
		return res
	}
	first := commit()
	require.True(t, first.Succeeded)
	require.NotNil(t, first.Responses[0].GetResponsePut())
	require.True(t, first.Responses[1].GetResponseTxn().Succeeded)
	second := commit()
	require.False(t, second.Succeeded)
	require.Equal(t, "v", string(second.Responses[0].GetResponseRange().Kvs[0].Value))
	require.Equal(t, int64(1), second.Responses[1].GetResponseDeleteRange().Deleted)
}

func TestAListInParts(t *testing.T) {
	c, ctx := open(t)
	const keys = 1000
	for i := 0; i < keys; i += 100 {
		var ops []client.Op
		for j := range 100 {
			ops = append(ops, client.OpPut(fmt.Sprintf("k%04d", i+j), "v"))
		}
		_, err := c.Txn().Then(ops...).Commit(ctx)
		require.NoError(t, err)
	}
	parts, n := 0, 0
	var last *client.GetResponse
	for part, err := range c.GetStream(ctx, "k", client.WithPrefix()) {
		require.NoError(t, err)
		for _, kv := range part.Kvs {
			require.Equal(t, fmt.Sprintf("k%04d", n), string(kv.Key))
			n++
		}
		parts++
		last = part
	}
	require.Equal(t, keys, n)
	require.Greater(t, parts, 1)
	require.Equal(t, int64(keys), last.Count)
	require.Equal(t, int64(11), last.Header.Revision)

	for range c.GetStream(ctx, "k", client.WithPrefix()) {
		break // the call ends with the loop
	}
	for part, err := range c.GetStream(ctx, "k", client.WithPrefix(), client.WithSort(client.SortByKey, client.SortDescend)) {
		require.Nil(t, part)
		require.ErrorIs(t, err, errs.StreamSortOrder)
	}
}

func TestMemberAndStatus(t *testing.T) {
	c, ctx := open(t)
	for _, options := range [][]client.OpOption{nil, {client.WithSerializable()}} {
		list, err := c.MemberList(ctx, options...)
		require.NoError(t, err)
		require.Len(t, list.Members, 1)
	}
	status, err := c.Status(ctx, "http://"+c.Endpoints()[0])
	require.NoError(t, err)
	require.Equal(t, status.Header.MemberId, status.Leader)
	_, err = c.Put(ctx, "k", "v")
	require.NoError(t, err)
	one, err := c.HashKV(ctx, c.Endpoints()[0], 0)
	require.NoError(t, err)
	_, err = c.Put(ctx, "k", "w")
	require.NoError(t, err)
	two, err := c.HashKV(ctx, c.Endpoints()[0], 2)
	require.NoError(t, err)
	require.Equal(t, one.Hash, two.Hash)
	require.Equal(t, int64(2), two.HashRevision)
	_, err = c.Status(ctx, "nonsense")
	require.ErrorContains(t, err, `endpoint "nonsense": host:port expected`)
}
