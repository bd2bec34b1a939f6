package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
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
	addresses := freeAddresses(t, n)
	for i := range n {
		c := testConfig(t)
		c.Name = fmt.Sprintf("infra%d", i+1)
		c.ListenPeerURLs = mustURLs("http://" + addresses[i])
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

// freeAddresses are n different ones.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close() // when all are known
		all = append(all, l.Addr().String())
	}
	return all
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

// A member that was away for longer than the log is kept comes back by a
// snapshot, and goes on from there.
func TestAMemberFarBehindIsSentASnapshot(t *testing.T) {
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	away := (leader + 1) % 3
	require.NoError(t, members[away].Close())

	// More than is kept in memory, in bytes.
	conn := dial(t, members[leader])
	value := make([]byte, 1<<20)
	const keys = 90
	for i := range keys {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i), Value: value})
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := Start(ctx, configs[away], zap.NewNop())
	require.NoError(t, err)
	defer func() { m.Close() }()
	count := func() int64 {
		res, err := call[etcdserverpb.RangeResponse](t, dial(t, m), "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true})
		require.NoError(t, err)
		return res.Count
	}
	require.EqualValues(t, keys, count())
	require.Greater(t, m.state.Data.Store().Dir(), members[away].state.Data.Store().Dir(), "the store in force is another one")

	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k-after")})
	require.NoError(t, err)
	require.EqualValues(t, keys+1, count())
	require.NoError(t, m.Close())
	m, err = Start(ctx, configs[away], zap.NewNop())
	require.NoError(t, err)
	require.EqualValues(t, keys+1, count(), "what came by the snapshot is there after a restart")
}

// joins are the settings of a member that joins those in present, under a name.
func joins(t *testing.T, name string, present []*Config) *Config {
	t.Helper()
	c := clusterOf(t, 1)[0]
	c.Name, c.InitialClusterState = name, stateExisting
	initial := []string{name + "=" + c.ListenPeerURLs[0].String()}
	for _, p := range present {
		initial = append(initial, p.Name+"="+p.ListenPeerURLs[0].String())
	}
	c.InitialCluster = strings.Join(initial, ",")
	return c
}

func TestMembersComeAndGo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	configs := clusterOf(t, 1)
	first := startAll(t, configs)[0]
	conn := dial(t, first)
	_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)

	// A learner is added, catches up, serves reads of its own and nothing else.
	c := joins(t, "second", configs)
	_, err = Start(ctx, c, zap.NewNop())
	require.ErrorContains(t, err, "add this one with `etcdctl member add` first", "who was not added may not join")
	added, err := call[etcdserverpb.MemberAddResponse](t, conn, "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: urlStrings(c.ListenPeerURLs), IsLearner: true})
	require.NoError(t, err)
	require.Len(t, added.Members, 2)
	_, err = call[etcdserverpb.MemberAddResponse](t, conn, "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: urlStrings(c.ListenPeerURLs)})
	require.ErrorContains(t, err, "already exist")
	_, err = call[etcdserverpb.MemberAddResponse](t, conn, "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
	require.ErrorContains(t, err, "too many learner members in cluster")
	second, err := Start(ctx, c, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { second.Close() })
	to := dial(t, second)
	got, err := call[etcdserverpb.RangeResponse](t, to, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), Serializable: true})
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	for method, req := range map[string]any{"KV/Range": &etcdserverpb.RangeRequest{Key: []byte("k")}, "Cluster/MemberList": &etcdserverpb.MemberListRequest{}} {
		_, err = call[etcdserverpb.RangeResponse](t, to, method, req)
		require.ErrorContains(t, err, "rpc not supported for learner", method)
	}
	st, err := call[etcdserverpb.StatusResponse](t, to, "Maintenance/Status", &etcdserverpb.StatusRequest{})
	require.NoError(t, err)
	require.True(t, st.IsLearner)

	// Promoted, it is a voter: a leader of two, and nobody goes on alone.
	require.Eventually(t, func() bool {
		_, err = call[etcdserverpb.MemberPromoteResponse](t, conn, "Cluster/MemberPromote", &etcdserverpb.MemberPromoteRequest{ID: added.Member.ID})
		return err == nil
	}, 10*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { // it hears of it a moment later
		_, err = call[etcdserverpb.PutResponse](t, to, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k2")})
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	_, err = call[etcdserverpb.MoveLeaderResponse](t, to, "Maintenance/MoveLeader", &etcdserverpb.MoveLeaderRequest{TargetID: added.Member.ID})
	require.ErrorContains(t, err, "not leader")
	_, err = call[etcdserverpb.MoveLeaderResponse](t, conn, "Maintenance/MoveLeader", &etcdserverpb.MoveLeaderRequest{TargetID: added.Member.ID})
	require.NoError(t, err)
	require.Eventually(t, second.leads, 10*time.Second, time.Millisecond, "the others may hear of it before it is published there")

	// A third is added at the member that follows, and starts over an empty disk.
	c3 := joins(t, "third", append(configs, c))
	require.Eventually(t, func() bool { // the two must have been connected for a while
		_, err = call[etcdserverpb.MemberAddResponse](t, conn, "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: urlStrings(c3.ListenPeerURLs)})
		return err == nil
	}, 20*time.Second, 100*time.Millisecond, "%v", err)
	third, err := Start(ctx, c3, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { third.Close() })
	got, err = call[etcdserverpb.RangeResponse](t, dial(t, third), "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k2")})
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)

	// The leader is removed: it stops and says why, the others go on without it.
	require.Eventually(t, func() bool { // the third must have been connected for a while, too
		_, err = call[etcdserverpb.MemberRemoveResponse](t, conn, "Cluster/MemberRemove", &etcdserverpb.MemberRemoveRequest{ID: added.Member.ID})
		return err == nil
	}, 20*time.Second, 100*time.Millisecond)
	select {
	case err := <-second.Failed():
		require.ErrorIs(t, err, errRemoved)
	case <-ctx.Done():
		t.Fatal("the removed member goes on")
	}
	require.NoError(t, second.Close())
	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k3")})
	require.NoError(t, err)
	_, err = call[etcdserverpb.MemberRemoveResponse](t, conn, "Cluster/MemberRemove", &etcdserverpb.MemberRemoveRequest{ID: added.Member.ID})
	require.ErrorContains(t, err, "member not found")
	list, err := call[etcdserverpb.MemberListResponse](t, conn, "Cluster/MemberList", &etcdserverpb.MemberListRequest{Linearizable: true})
	require.NoError(t, err)
	require.Len(t, list.Members, 2)
}

// What is left of a cluster goes on alone.
func TestForceNewCluster(t *testing.T) {
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	_, err := call[etcdserverpb.PutResponse](t, dial(t, members[0]), "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
	last := members[2]
	require.Eventually(t, func() bool { return last.state.View().Keys.Revision == 2 }, 10*time.Second, 10*time.Millisecond)
	for _, m := range members {
		require.NoError(t, m.Close())
	}
	c := *configs[2]
	c.ForceNewCluster = true
	m := start(t, &c)
	conn := dial(t, m)
	got, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	list, err := call[etcdserverpb.MemberListResponse](t, conn, "Cluster/MemberList", &etcdserverpb.MemberListRequest{Linearizable: true})
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	require.Equal(t, "infra3", list.Members[0].Name)
	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k2")})
	require.NoError(t, err)
	require.NoError(t, m.Close())

	// Once is enough, and once more does no harm.
	for _, again := range []*Config{configs[2], &c} {
		m = start(t, again)
		got, err = call[etcdserverpb.RangeResponse](t, dial(t, m), "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k2")})
		require.NoError(t, err)
		require.Len(t, got.Kvs, 1)
		require.NoError(t, m.Close())
	}
}

// Where there is no data (a --data-dir that is spelled wrong, a disk that is not
// mounted), there is nothing to go on with: an empty cluster under the ids of the old one
// must not come of it.
func TestForceNewClusterNeedsData(t *testing.T) {
	for _, state := range []string{stateNew, stateExisting} {
		c := clusterOf(t, 3)[0]
		c.ForceNewCluster, c.InitialClusterState = true, state
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		m, err := Start(ctx, c, zap.NewNop())
		if err == nil {
			m.Close()
		}
		require.ErrorContains(t, err, "--force-new-cluster goes on with the data of a member, and there is none in --data-dir "+c.DataDir)

		// Nothing was made there: without the flag it is the first start still.
		c.ForceNewCluster = false
		c.InitialCluster, c.InitialClusterState = "", stateNew
		m, err = Start(ctx, c, zap.NewNop())
		require.NoError(t, err)
		require.NoError(t, m.Close())
	}
}

// A learner serves few RPCs: who sends clients to those that are ready must not send them
// there. Promoted, it is ready.
func TestALearnerIsNotReady(t *testing.T) {
	configs := clusterOf(t, 1)
	first := startAll(t, configs)[0]
	c := joins(t, "second", configs)
	c.ListenMetricsURLs = mustURLs("http://127.0.0.1:0")
	conn := dial(t, first)
	added, err := call[etcdserverpb.MemberAddResponse](t, conn, "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: urlStrings(c.ListenPeerURLs), IsLearner: true})
	require.NoError(t, err)
	second := start(t, c)
	t.Cleanup(func() { second.Close() })
	get := func(address net.Addr, path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + address.String() + path)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	both := []net.Addr{second.ClientAddresses()[0], second.listeners.metrics[0].Addr()}
	for _, address := range both {
		for _, path := range []string{"/readyz", "/readyz/non_learner"} {
			code, body := get(address, path)
			require.Equal(t, http.StatusServiceUnavailable, code, "%s: %s", path, body)
			require.Contains(t, body, "[-]non_learner failed: not supported for learner\n", path)
		}
		for _, path := range []string{"/livez", "/health", "/readyz?exclude=non_learner"} {
			code, body := get(address, path)
			require.Equal(t, http.StatusOK, code, "%s: %s", path, body)
		}
	}
	require.Eventually(t, func() bool {
		_, err = call[etcdserverpb.MemberPromoteResponse](t, conn, "Cluster/MemberPromote", &etcdserverpb.MemberPromoteRequest{ID: added.Member.ID})
		return err == nil
	}, 10*time.Second, 50*time.Millisecond)
	for _, address := range both {
		require.Eventually(t, func() bool { // it hears of it a moment later
			code, _ := get(address, "/readyz")
			return code == http.StatusOK
		}, 10*time.Second, 10*time.Millisecond)
	}
}
