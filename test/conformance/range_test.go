package conformance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// library puts five keys whose orders by key, creation, modification and value
// all differ.
//
//	key      a   b   c   d   e
//	create   6   3   4   5   2
//	mod      6   8  10   5   7
//	version  1   2   3   1   2
//	value   v4  v2  v5  v1  v3
func library(t *testing.T) *clientv3.Client {
	c := open(t)
	put(t, c, "e", "x")  // 2
	put(t, c, "b", "x")  // 3
	put(t, c, "c", "x")  // 4
	put(t, c, "d", "v1") // 5
	put(t, c, "a", "v4") // 6
	put(t, c, "e", "v3") // 7
	put(t, c, "b", "v2") // 8
	put(t, c, "c", "x")  // 9
	put(t, c, "c", "v5") // 10
	return c
}

func TestRangeSorts(t *testing.T) {
	c := library(t)
	all := clientv3.WithPrefix()
	for _, row := range []struct {
		target clientv3.SortTarget
		order  clientv3.SortOrder
		want   string
	}{
		{clientv3.SortByKey, clientv3.SortNone, "[a b c d e]"},
		{clientv3.SortByKey, clientv3.SortAscend, "[a b c d e]"},
		{clientv3.SortByKey, clientv3.SortDescend, "[e d c b a]"},
		{clientv3.SortByCreateRevision, clientv3.SortNone, "[e b c d a]"},
		{clientv3.SortByCreateRevision, clientv3.SortAscend, "[e b c d a]"},
		{clientv3.SortByCreateRevision, clientv3.SortDescend, "[a d c b e]"},
		{clientv3.SortByModRevision, clientv3.SortNone, "[d a e b c]"},
		{clientv3.SortByModRevision, clientv3.SortAscend, "[d a e b c]"},
		{clientv3.SortByModRevision, clientv3.SortDescend, "[c b e a d]"},
		{clientv3.SortByValue, clientv3.SortNone, "[d b e a c]"},
		{clientv3.SortByValue, clientv3.SortAscend, "[d b e a c]"},
		{clientv3.SortByValue, clientv3.SortDescend, "[c a e b d]"},
	} {
		t.Run(fmt.Sprintf("target %d order %d", row.target, row.order), func(t *testing.T) {
			require.Equal(t, row.want, fmt.Sprint(keysOf(get(t, c, "", all, clientv3.WithSort(row.target, row.order)))))
		})
	}
	t.Run("version", func(t *testing.T) {
		for _, order := range []clientv3.SortOrder{clientv3.SortNone, clientv3.SortAscend, clientv3.SortDescend} {
			var versions []int64
			for _, kv := range get(t, c, "", all, clientv3.WithSort(clientv3.SortByVersion, order)).Kvs {
				versions = append(versions, kv.Version)
			}
			want := []int64{1, 1, 2, 2, 3}
			if order == clientv3.SortDescend {
				want = []int64{3, 2, 2, 1, 1}
			}
			require.Equal(t, want, versions)
		}
	})
}

func TestRangeLimits(t *testing.T) {
	c := library(t)
	res := get(t, c, "", clientv3.WithPrefix(), clientv3.WithLimit(2))
	require.Equal(t, []string{"a", "b"}, keysOf(res))
	require.True(t, res.More)
	require.Equal(t, int64(5), res.Count, "the count is not limited")

	res = get(t, c, "", clientv3.WithPrefix(), clientv3.WithLimit(5))
	require.Len(t, res.Kvs, 5)
	require.False(t, res.More)

	// Sorted as asked, then cut.
	res = get(t, c, "", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
	require.Equal(t, []string{"c", "b"}, keysOf(res))
	require.True(t, res.More)

	// Without an order: cut in the order of the keys, one more kept, then sorted.
	res = get(t, c, "", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortNone))
	require.Equal(t, []string{"a", "b"}, keysOf(res))
	require.True(t, res.More)

	require.Equal(t, []string{"a"}, keysOf(get(t, c, "", clientv3.WithFirstKey()...)))
	require.Equal(t, []string{"e"}, keysOf(get(t, c, "", clientv3.WithLastKey()...)))
	require.Equal(t, []string{"e"}, keysOf(get(t, c, "", clientv3.WithFirstCreate()...)))
	require.Equal(t, []string{"a"}, keysOf(get(t, c, "", clientv3.WithLastCreate()...)))
	require.Equal(t, []string{"d"}, keysOf(get(t, c, "", clientv3.WithFirstRev()...)))
	require.Equal(t, []string{"c"}, keysOf(get(t, c, "", clientv3.WithLastRev()...)))
}

func TestRangeFilters(t *testing.T) {
	c := library(t)
	for _, row := range []struct {
		name string
		opts []clientv3.OpOption
		want string
	}{
		{"min mod", []clientv3.OpOption{clientv3.WithMinModRev(7)}, "[b c e]"},
		{"max mod", []clientv3.OpOption{clientv3.WithMaxModRev(7)}, "[a d e]"},
		{"min create", []clientv3.OpOption{clientv3.WithMinCreateRev(5)}, "[a d]"},
		{"max create", []clientv3.OpOption{clientv3.WithMaxCreateRev(3)}, "[b e]"},
		{"all four", []clientv3.OpOption{clientv3.WithMinModRev(7), clientv3.WithMaxModRev(8), clientv3.WithMinCreateRev(3), clientv3.WithMaxCreateRev(3)}, "[b]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := get(t, c, "", append(row.opts, clientv3.WithPrefix())...)
			require.Equal(t, row.want, fmt.Sprint(keysOf(res)))
			require.Equal(t, int64(5), res.Count, "the count is not filtered")
			require.False(t, res.More)
		})
	}
}

func TestRangeShapes(t *testing.T) {
	c := library(t)
	require.Equal(t, []string{"b", "c"}, keysOf(get(t, c, "b", clientv3.WithRange("d"))))
	require.Equal(t, []string{"d", "e"}, keysOf(get(t, c, "d", clientv3.WithFromKey())))
	require.Equal(t, []string{"c"}, keysOf(get(t, c, "c", clientv3.WithPrefix())))
	require.Empty(t, get(t, c, "d", clientv3.WithRange("b")).Kvs)
	require.Equal(t, []string{"a"}, keysOf(get(t, c, "a", clientv3.WithSerializable())))

	res := get(t, c, "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.Equal(t, int64(5), res.Count)
	require.Empty(t, res.Kvs)
	require.False(t, res.More)

	res = get(t, c, "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, keysOf(res))
	for _, kv := range res.Kvs {
		require.Nil(t, kv.Value)
		require.NotZero(t, kv.ModRevision)
	}
	res = get(t, c, "", clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend))
	require.Equal(t, []string{"c", "a", "e", "b", "d"}, keysOf(res))
	require.Nil(t, res.Kvs[0].Value)
}

func TestRangeAtRevisions(t *testing.T) {
	c := library(t)
	for revision, want := range []string{"", "[]", "[e]", "[b e]", "[b c e]", "[b c d e]", "[a b c d e]"} {
		if revision == 0 {
			continue
		}
		res := get(t, c, "", clientv3.WithPrefix(), clientv3.WithRev(int64(revision)))
		require.Equal(t, want, fmt.Sprint(keysOf(res)), "revision %d", revision)
		require.Equal(t, int64(10), res.Header.Revision, "the header is at the current revision")
		require.Equal(t, int64(len(res.Kvs)), res.Count)
	}
}

// TestPagingIsOfOneRevision reads many keys page by page while others write.
func TestPagingIsOfOneRevision(t *testing.T) {
	const keys, perTxn, page = 5000, 100, 333
	c := open(t)
	for from := 0; from < keys; from += perTxn {
		var ops []clientv3.Op
		for i := from; i < from+perTxn; i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("k/%05d", i), fmt.Sprint(i)))
		}
		_, err := c.Txn(within(t)).Then(ops...).Commit()
		require.NoError(t, err)
	}
	first := get(t, c, "k/", clientv3.WithPrefix(), clientv3.WithLimit(page))
	at := first.Header.Revision
	res, n := first, 0
	for {
		for _, kv := range res.Kvs {
			require.Equal(t, fmt.Sprintf("k/%05d", n), string(kv.Key))
			require.Equal(t, fmt.Sprint(n), string(kv.Value))
			n++
		}
		require.Equal(t, int64(keys-n+len(res.Kvs)), res.Count)
		if !res.More {
			break
		}
		put(t, c, fmt.Sprintf("k/%05d", (n*7)%keys), "written since")
		_, err := c.Delete(within(t), fmt.Sprintf("k/%05d", (n*11)%keys))
		require.NoError(t, err)
		next := string(res.Kvs[len(res.Kvs)-1].Key) + "\x00"
		res = get(t, c, next, clientv3.WithRange(clientv3.GetPrefixRangeEnd("k/")), clientv3.WithLimit(page), clientv3.WithRev(at))
	}
	require.Equal(t, keys, n)
}
