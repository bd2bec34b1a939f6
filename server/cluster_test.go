package server

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
)

// clusterOf are the settings of a new cluster of n members.
func clusterOf(t *testing.T, n int) []*Config {
	t.Helper()
	var all []*Config
	var initial []string
	for i := range n {
		c := testConfig(t)
		c.Name = fmt.Sprintf("infra%d", i+1)
		c.ListenPeerURLs = mustURLs("http://" + freeAddress(t))
		c.InitialAdvertisePeerURLs = c.ListenPeerURLs
		c.InitialClusterToken = t.Name()
		c.HeartbeatInterval, c.ElectionTimeout = 50*time.Millisecond, 500*time.Millisecond
		initial = append(initial, c.Name+"="+c.ListenPeerURLs[0].String())
		all = append(all, c)
	}
	for _, c := range all {
		c.InitialCluster = strings.Join(initial, ",")
	}
	return all
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// startAll starts members side by side: none is served before they agree.
func startAll(t *testing.T, configs []*Config) []*Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	members, failed := make([]*Member, len(configs)), make(chan error, len(configs))
	for i, c := range configs {
		go func() {
			var err error
			members[i], err = Start(ctx, c, zap.NewNop())
			failed <- err
		}()
	}
	for range configs {
		require.NoError(t, <-failed)
	}
	t.Cleanup(func() {
		for _, m := range members {
			m.Close()
		}
	})
	return members
}

func (m *Member) leads() bool { return m.replica.Status().IsLeader }

// leaderOf waits until one of the members leads.
func leaderOf(t *testing.T, members []*Member) int {
	t.Helper()
	i := -1
	require.Eventually(t, func() bool {
		i = slices.IndexFunc(members, (*Member).leads)
		return i >= 0
	}, time.Minute, 10*time.Millisecond)
	return i
}

func TestThreeMembers(t *testing.T) {
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	put := func(m *Member, key string) {
		t.Helper()
		_, err := call[etcdserverpb.PutResponse](t, dial(t, m), "KV/Put", &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte("v")})
		require.NoError(t, err)
	}
	has := func(m *Member, key string) {
		t.Helper()
		res, err := call[etcdserverpb.RangeResponse](t, dial(t, m), "KV/Range", &etcdserverpb.RangeRequest{Key: []byte(key)})
		require.NoError(t, err)
		require.Len(t, res.Kvs, 1, "a linearizable read sees what was acknowledged at another member")
	}
	for i, m := range members {
		key := fmt.Sprintf("at-%d", i)
		put(m, key)
		for _, other := range members {
			has(other, key)
		}
	}

	// The leader leaves; it hands leadership over, and the others go on.
	old := leaderOf(t, members)
	require.NoError(t, members[old].Close())
	left := slices.Delete(slices.Clone(members), old, old+1)
	put(left[0], "without the leader")
	has(left[1], "without the leader")

	// It comes back and has what it missed.
	m, err := Start(ctx, configs[old], zap.NewNop())
	require.NoError(t, err)
	defer m.Close()
	has(m, "without the leader")
	put(m, "back")
	has(left[0], "back")

	// All three have the same hash at the same revision.
	hashes := map[uint32]int{}
	for _, one := range append(left, m) {
		has(one, "back")
		res, err := call[etcdserverpb.HashKVResponse](t, dial(t, one), "Maintenance/HashKV", &etcdserverpb.HashKVRequest{})
		require.NoError(t, err)
		hashes[res.Hash]++
	}
	require.Len(t, hashes, 1)
	list, err := call[etcdserverpb.MemberListResponse](t, dial(t, m), "Cluster/MemberList", &etcdserverpb.MemberListRequest{Linearizable: true})
	require.NoError(t, err)
	require.Len(t, list.Members, 3)
	for i, one := range list.Members {
		require.NotEmpty(t, one.Name, "member %d has made itself known", i)
	}
}
