package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func requireKV(t *testing.T, kv *mvccpb.KeyValue, key, value string, create, mod, version int64) {
	t.Helper()
	want := &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: create, ModRevision: mod, Version: version}
	if value == "" {
		want.Value = nil
	}
	require.True(t, proto.Equal(want, kv), "want %v, got %v", want, kv)
}

func TestPutCountsRevisionsAndVersions(t *testing.T) {
	c := open(t)
	require.Equal(t, int64(1), get(t, c, "k").Header.Revision, "an empty key space is at revision 1")
	require.Equal(t, int64(2), put(t, c, "k", "one"))
	require.Equal(t, int64(3), put(t, c, "other", ""))
	require.Equal(t, int64(4), put(t, c, "k", "two"))

	res := get(t, c, "k")
	require.Len(t, res.Kvs, 1)
	require.Equal(t, int64(1), res.Count)
	require.False(t, res.More)
	requireKV(t, res.Kvs[0], "k", "two", 2, 4, 2)

	deleted, err := c.Delete(within(t), "k")
	require.NoError(t, err)
	require.Equal(t, int64(1), deleted.Deleted)
	require.Equal(t, int64(5), deleted.Header.Revision)
	require.Empty(t, get(t, c, "k").Kvs)

	put(t, c, "k", "again")
	requireKV(t, get(t, c, "k").Kvs[0], "k", "again", 6, 6, 1)
	requireKV(t, get(t, c, "k", clientv3.WithRev(4)).Kvs[0], "k", "two", 2, 4, 2)
	require.Empty(t, get(t, c, "k", clientv3.WithRev(5)).Kvs)
}

func TestPutReturnsWhatWasThere(t *testing.T) {
	c := open(t)
	res, err := c.Put(within(t), "k", "one", clientv3.WithPrevKV())
	require.NoError(t, err)
	require.Nil(t, res.PrevKv)
	res, err = c.Put(within(t), "k", "two", clientv3.WithPrevKV())
	require.NoError(t, err)
	requireKV(t, res.PrevKv, "k", "one", 2, 2, 1)
	res, err = c.Put(within(t), "k", "three")
	require.NoError(t, err)
	require.Nil(t, res.PrevKv)
}

func TestPutKeepsValueOrLease(t *testing.T) {
	c := open(t)
	_, err := c.Put(within(t), "k", "", clientv3.WithIgnoreValue())
	require.Equal(t, rpctypes.ErrKeyNotFound, err)
	_, err = c.Put(within(t), "k", "v", clientv3.WithIgnoreLease())
	require.Equal(t, rpctypes.ErrKeyNotFound, err)

	put(t, c, "k", "kept")
	put(t, c, "k", "", clientv3.WithIgnoreValue())
	requireKV(t, get(t, c, "k").Kvs[0], "k", "kept", 2, 3, 2)
	put(t, c, "k", "new", clientv3.WithIgnoreLease())
	requireKV(t, get(t, c, "k").Kvs[0], "k", "new", 2, 4, 3)
}

func TestDeleteTakesRanges(t *testing.T) {
	for _, row := range []struct {
		name string
		key  string
		opts []clientv3.OpOption
		left []string
		gone int64
	}{
		{"one", "b/1", nil, []string{"a", "b", "b/2", "c"}, 1},
		{"none", "nothing", nil, []string{"a", "b", "b/1", "b/2", "c"}, 0},
		{"prefix", "b/", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"a", "b", "c"}, 2},
		{"range", "a", []clientv3.OpOption{clientv3.WithRange("b/2")}, []string{"b/2", "c"}, 3},
		{"inverted", "c", []clientv3.OpOption{clientv3.WithRange("a")}, []string{"a", "b", "b/1", "b/2", "c"}, 0},
		{"from key", "b/1", []clientv3.OpOption{clientv3.WithFromKey()}, []string{"a", "b"}, 3},
		{"all", "", []clientv3.OpOption{clientv3.WithPrefix()}, []string{}, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := open(t)
			for _, key := range []string{"a", "b", "b/1", "b/2", "c"} {
				put(t, c, key, "v")
			}
			res, err := c.Delete(within(t), row.key, append(row.opts, clientv3.WithPrevKV())...)
			require.NoError(t, err)
			require.Equal(t, row.gone, res.Deleted)
			require.Len(t, res.PrevKvs, int(row.gone))
			revision := int64(6)
			if row.gone > 0 {
				revision++
			}
			require.Equal(t, revision, res.Header.Revision, "a delete of nothing is no revision")
			require.Equal(t, row.left, keysOf(get(t, c, "", clientv3.WithPrefix())))
		})
	}
}
