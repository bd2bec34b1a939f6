package conformance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func commit(t *testing.T, txn clientv3.Txn) *clientv3.TxnResponse {
	t.Helper()
	res, err := txn.Commit()
	require.NoError(t, err)
	return res
}

func TestTxnTakesABranch(t *testing.T) {
	c := open(t)
	put(t, c, "k", "old")
	res := commit(t, c.Txn(within(t)).
		If(clientv3.Compare(clientv3.Value("k"), "=", "old")).
		Then(clientv3.OpPut("k", "new", clientv3.WithPrevKV()), clientv3.OpGet("k"), clientv3.OpPut("l", ""), clientv3.OpDelete("none")).
		Else(clientv3.OpPut("never", "")))
	require.True(t, res.Succeeded)
	require.Equal(t, int64(3), res.Header.Revision)
	require.Len(t, res.Responses, 4)
	requireKV(t, res.Responses[0].GetResponsePut().PrevKv, "k", "old", 2, 2, 1)
	requireKV(t, res.Responses[1].GetResponseRange().Kvs[0], "k", "new", 2, 3, 2)
	require.Zero(t, res.Responses[3].GetResponseDeleteRange().Deleted)
	for _, r := range []*etcdserverpb.ResponseHeader{res.Responses[0].GetResponsePut().Header, res.Responses[1].GetResponseRange().Header} {
		require.Equal(t, int64(3), r.Revision)
		require.Zero(t, r.ClusterId)
		require.Zero(t, r.MemberId)
		require.Zero(t, r.RaftTerm)
	}

	res = commit(t, c.Txn(within(t)).
		If(clientv3.Compare(clientv3.Value("k"), "=", "old")).
		Then(clientv3.OpPut("never", "")).
		Else(clientv3.OpGet("", clientv3.WithPrefix(), clientv3.WithKeysOnly())))
	require.False(t, res.Succeeded)
	require.Equal(t, int64(3), res.Header.Revision)
	require.Len(t, res.Responses[0].GetResponseRange().Kvs, 2)
}

func TestTxnComparesEverything(t *testing.T) {
	c := open(t)
	put(t, c, "k", "a") // create 2
	put(t, c, "k", "m") // mod 3, version 2
	results := func(order int64) map[string]bool {
		return map[string]bool{"=": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0}
	}
	check := func(name string, holds map[string]bool, cmp func(result string) clientv3.Cmp) {
		for result, want := range holds {
			res := commit(t, c.Txn(within(t)).If(cmp(result)))
			require.Equal(t, want, res.Succeeded, "%s %s", name, result)
			require.Empty(t, res.Responses)
			require.Equal(t, int64(3), res.Header.Revision)
		}
	}
	for _, row := range []struct {
		left func(key string) clientv3.Cmp
		key  string
		is   int64
	}{
		{clientv3.Version, "k", 2},
		{clientv3.CreateRevision, "k", 2},
		{clientv3.ModRevision, "k", 3},
		{clientv3.LeaseValue, "k", 0},
		{clientv3.Version, "missing", 0},
		{clientv3.CreateRevision, "missing", 0},
		{clientv3.ModRevision, "missing", 0},
		{clientv3.LeaseValue, "missing", 0},
	} {
		for _, right := range []int64{row.is - 1, row.is, row.is + 1} {
			check(fmt.Sprintf("%s, %d against %d", row.key, row.is, right), results(row.is-right), func(result string) clientv3.Cmp {
				return clientv3.Compare(row.left(row.key), result, right)
			})
		}
	}
	for right, order := range map[string]int64{"a": 1, "m": 0, "z": -1, "": 1} {
		check("value against "+right, results(order), func(result string) clientv3.Cmp {
			return clientv3.Compare(clientv3.Value("k"), result, right)
		})
	}
	check("value of a missing key", map[string]bool{"=": false, "!=": false, "<": false, ">": false}, func(result string) clientv3.Cmp {
		return clientv3.Compare(clientv3.Value("missing"), result, "")
	})
}

func TestTxnComparesRanges(t *testing.T) {
	c := open(t)
	for _, key := range []string{"a/1", "a/2", "a/3"} {
		put(t, c, key, "same")
	}
	holds := func(cmp clientv3.Cmp) bool { return commit(t, c.Txn(within(t)).If(cmp)).Succeeded }
	require.True(t, holds(clientv3.Compare(clientv3.Value("a/").WithPrefix(), "=", "same")))
	require.True(t, holds(clientv3.Compare(clientv3.Version("a/1").WithRange("a/3"), "=", 1)))
	require.True(t, holds(clientv3.Compare(clientv3.CreateRevision("a/").WithPrefix(), ">", 1)))
	require.False(t, holds(clientv3.Compare(clientv3.ModRevision("a/").WithPrefix(), ">", 2)), "one of them is not")
	require.True(t, holds(clientv3.Compare(clientv3.CreateRevision("b/").WithPrefix(), "=", 0)), "an empty range is one missing key")
	require.False(t, holds(clientv3.Compare(clientv3.Value("b/").WithPrefix(), "!=", "x")), "which has no value")
}

// TestTxnNests holds that nested comparisons see the state before the whole
// transaction, and operations see what came before them.
func TestTxnNests(t *testing.T) {
	c := open(t)
	res := commit(t, c.Txn(within(t)).Then(
		clientv3.OpPut("a", "1"),
		clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("a"), "=", 0)},
			[]clientv3.Op{clientv3.OpGet("a"), clientv3.OpPut("b", "2"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("c")}, nil)},
			[]clientv3.Op{clientv3.OpPut("never", "")}),
		clientv3.OpGet("", clientv3.WithPrefix(), clientv3.WithKeysOnly())))
	require.True(t, res.Succeeded)
	require.Equal(t, int64(2), res.Header.Revision)
	nested := res.Responses[1].GetResponseTxn()
	require.True(t, nested.Succeeded)
	require.NotNil(t, nested.Header)
	require.Zero(t, nested.Header.Revision, "a nested header is there and empty")
	require.Len(t, nested.Responses, 3)
	requireKV(t, nested.Responses[0].GetResponseRange().Kvs[0], "a", "1", 2, 2, 1)
	require.True(t, nested.Responses[2].GetResponseTxn().Succeeded)
	require.Len(t, res.Responses[2].GetResponseRange().Kvs, 2)
}

func TestTxnWritesAllOrNothing(t *testing.T) {
	c := open(t)
	put(t, c, "k", "v")
	_, err := c.Txn(within(t)).Then(clientv3.OpPut("new", "v"), clientv3.OpPut("missing", "", clientv3.WithIgnoreValue())).Commit()
	require.Error(t, err)
	_, err = c.Txn(within(t)).Then(clientv3.OpPut("new", "v"), clientv3.OpGet("k", clientv3.WithRev(100))).Commit()
	require.Error(t, err)
	res := get(t, c, "", clientv3.WithPrefix())
	require.Equal(t, []string{"k"}, keysOf(res))
	require.Equal(t, int64(2), res.Header.Revision)
}

func TestTxnDeletesAndPutsAtOneRevision(t *testing.T) {
	c := open(t)
	put(t, c, "k", "v")
	res := commit(t, c.Txn(within(t)).Then(clientv3.OpDelete("k", clientv3.WithFromKey()), clientv3.OpPut("k", "new")))
	require.Equal(t, int64(3), res.Header.Revision)
	requireKV(t, get(t, c, "k").Kvs[0], "k", "new", 3, 3, 1)
}
