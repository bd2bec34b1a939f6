package conformance

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMemberListAndStatus(t *testing.T) {
	m := start(t)
	c := connect(t, m)
	revision := put(t, c, "k", "v")

	list, err := c.MemberList(within(t))
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	me := list.Members[0]
	require.Equal(t, "default", me.Name)
	require.Equal(t, []string{m.URL()}, me.ClientURLs)
	require.Equal(t, []string{"http://localhost:2380"}, me.PeerURLs)
	require.False(t, me.IsLearner)
	require.Equal(t, list.Header.MemberId, me.ID)
	require.Zero(t, list.Header.Revision, "cluster answers tell no revision")

	s, err := c.Status(within(t), m.URL())
	require.NoError(t, err)
	require.Regexp(t, `^3\.7\.\d+$`, s.Version)
	require.Equal(t, me.ID, s.Leader)
	require.Equal(t, revision, s.Header.Revision)
	require.Equal(t, s.Header.RaftTerm, s.RaftTerm)
	require.NotZero(t, s.RaftIndex)
	require.LessOrEqual(t, s.RaftAppliedIndex, s.RaftIndex)
	require.False(t, s.IsLearner)
	require.Empty(t, s.Errors)
	require.NotNil(t, s.DowngradeInfo)

	require.NoError(t, c.Sync(within(t)), "the client takes its endpoints from the member list")
	require.Equal(t, []string{m.URL()}, c.Endpoints())
	require.Equal(t, "v", string(get(t, c, "k").Kvs[0].Value))
}

func TestHeadersTellOneMember(t *testing.T) {
	c := open(t)
	first := get(t, c, "k").Header
	require.NotZero(t, first.ClusterId)
	require.NotZero(t, first.MemberId)
	require.NotZero(t, first.RaftTerm)
	putted, err := c.Put(within(t), "k", "v")
	require.NoError(t, err)
	deleted, err := c.Delete(within(t), "k")
	require.NoError(t, err)
	txn, err := c.Txn(within(t)).Commit()
	require.NoError(t, err)
	list, err := c.MemberList(within(t))
	require.NoError(t, err)
	for _, h := range []*etcdserverpb.ResponseHeader{putted.Header, deleted.Header, txn.Header, list.Header} {
		require.Equal(t, first.ClusterId, h.ClusterId)
		require.Equal(t, first.MemberId, h.MemberId)
		require.Equal(t, first.RaftTerm, h.RaftTerm)
	}
}

func TestCompaction(t *testing.T) {
	m := start(t)
	c := connect(t, m)
	for range 5 {
		put(t, c, "k", "v")
	}
	_, err := c.Compact(within(t), 4, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	require.Equal(t, int64(3), get(t, c, "k", clientv3.WithRev(4)).Kvs[0].Version)
	_, err = c.Get(within(t), "k", clientv3.WithRev(3))
	require.Equal(t, rpctypes.ErrCompacted, err)
	_, err = c.Compact(within(t), 4)
	require.Equal(t, rpctypes.ErrCompacted, err)
	_, err = c.Compact(within(t), 100)
	require.Equal(t, rpctypes.ErrFutureRev, err)
	a, err := c.HashKV(within(t), m.URL(), 0)
	require.NoError(t, err)
	b, err := c.HashKV(within(t), m.URL(), 6)
	require.NoError(t, err)
	require.Equal(t, a.Hash, b.Hash)
	require.Equal(t, int64(4), a.CompactRevision)
}

func TestCallsEndWithTheirContext(t *testing.T) {
	c := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Put(ctx, "k", "v")
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	ctx, cancel = context.WithTimeout(t.Context(), 1)
	defer cancel()
	_, err = c.Get(ctx, "k")
	require.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	put(t, c, "k", "v") // the client and its connection go on
}
