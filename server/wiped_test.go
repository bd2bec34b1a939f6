package server

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
)

// A member that has lost its disk is started again by the same command, whose
// --initial-cluster-state is new: its votes and what it has acknowledged are gone,
// and it must not count for the quorum as if nothing had been. (Upstream asks the
// others and refuses: "member … has already been bootstrapped".)
func TestAMemberWithoutItsDiskIsNotBootstrappedAgain(t *testing.T) {
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	wiped, late := (leader+1)%3, (leader+2)%3

	require.Eventually(t, func() bool { // it has heard of the one that will lose its disk
		one, ok := members[late].state.View().Members.Get(members[wiped].state.Data.Identity.MemberID)
		return ok && len(one.ClientURLs) > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, members[late].Close())
	_, err := call[etcdserverpb.PutResponse](t, dial(t, members[leader]), "KV/Put", &etcdserverpb.PutRequest{Key: []byte("acknowledged"), Value: []byte("v")})
	require.NoError(t, err)
	require.NoError(t, members[wiped].Close())
	require.NoError(t, os.RemoveAll(configs[wiped].directory()))
	require.NoError(t, members[leader].Close())
	startWiped(t, configs[wiped], configs[late])
}

// A member that was added and has joined (--initial-cluster-state existing, as `member
// add` prints it, and as it stays in the unit file) loses its disk and is started again
// by the same command.
func TestAMemberThatHadJoinedIsNotTakenForItselfWithoutItsDisk(t *testing.T) {
	configs := clusterOf(t, 2)
	c := joins(t, "third", configs)
	for _, one := range append(configs, c) {
		one.StrictReconfigCheck = false // which would have the test wait
	}
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	late := 1 - leader
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	added, err := call[etcdserverpb.MemberAddResponse](t, dial(t, members[leader]), "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: urlStrings(c.ListenPeerURLs)})
	require.NoError(t, err)
	third, err := Start(ctx, c, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { third.Close() })
	require.Eventually(t, func() bool { // the one that will lag has heard of it
		one, ok := members[late].state.View().Members.Get(added.Member.ID)
		return ok && len(one.ClientURLs) > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return members[late].service.ClusterVersion() != "" }, 10*time.Second, 10*time.Millisecond)

	require.NoError(t, members[late].Close())
	_, err = call[etcdserverpb.PutResponse](t, dial(t, members[leader]), "KV/Put", &etcdserverpb.PutRequest{Key: []byte("acknowledged"), Value: []byte("v")})
	require.NoError(t, err)
	require.NoError(t, third.Close())
	require.NoError(t, os.RemoveAll(c.directory()))
	require.NoError(t, members[leader].Close())
	startWiped(t, c, configs[late])
}

// startWiped starts a member that has lost its disk, by its own command, beside one that
// lags: it is refused, or knows what was acknowledged.
func startWiped(t *testing.T, wiped, late *Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	started := make(chan *Member, 1)
	go func() {
		m, _ := Start(ctx, late, zap.NewNop())
		started <- m
	}()
	require.Eventually(t, func() bool { // the other is there, and can be asked
		res, err := http.Get(late.ListenPeerURLs[0].String() + "/members")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
	m, err := Start(ctx, wiped, zap.NewNop())
	if err != nil {
		require.ErrorContains(t, err, "has already been bootstrapped")
		cancel()
		if other := <-started; other != nil {
			other.Close()
		}
		return
	}
	defer m.Close()
	if other := <-started; other != nil {
		defer other.Close()
	}
	res, err := call[etcdserverpb.RangeResponse](t, dial(t, m), "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("acknowledged")})
	require.NoError(t, err)
	require.Len(t, res.Kvs, 1, "a linearizable read of what was acknowledged")
}
