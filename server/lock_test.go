package server

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/electionpb"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
)

// invoke is call for services of other packages.
func invoke[R any](t *testing.T, conn *grpc.ClientConn, path string, req any) (*R, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	res := new(R)
	return res, conn.Invoke(ctx, path, req, res)
}

func grant(t *testing.T, conn *grpc.ClientConn, ttl int64) int64 {
	t.Helper()
	r, err := call[etcdserverpb.LeaseGrantResponse](t, conn, "Lease/LeaseGrant", &etcdserverpb.LeaseGrantRequest{TTL: ttl})
	require.NoError(t, err)
	return r.ID
}

func TestLock(t *testing.T) {
	conn := dial(t, start(t, testConfig(t)))
	one, two := grant(t, conn, 60), grant(t, conn, 60)
	first, err := invoke[lockpb.LockResponse](t, conn, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: one})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("l/%x", one), string(first.Key))
	require.NotZero(t, first.Header.ClusterId)
	require.NotZero(t, first.Header.Revision)

	got := make(chan *lockpb.LockResponse, 1)
	go func() {
		r, err := invoke[lockpb.LockResponse](t, conn, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: two})
		if err == nil {
			got <- r
		}
		close(got)
	}()
	queued := func(n int64) func() bool {
		return func() bool {
			r, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("l/"), RangeEnd: []byte("l0"), CountOnly: true})
			return err == nil && r.Count == n
		}
	}
	require.Eventually(t, queued(2), 10*time.Second, 5*time.Millisecond)

	// One whose call ends leaves the queue.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		gone <- conn.Invoke(ctx, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: grant(t, conn, 60)}, &lockpb.LockResponse{})
	}()
	require.Eventually(t, queued(3), 10*time.Second, 5*time.Millisecond)
	cancel()
	require.Equal(t, codes.Canceled, status.Code(<-gone))
	require.Eventually(t, queued(2), 10*time.Second, 5*time.Millisecond)

	_, err = invoke[lockpb.UnlockResponse](t, conn, "/v3lockpb.Lock/Unlock", &lockpb.UnlockRequest{Key: first.Key})
	require.NoError(t, err)
	second := <-got
	require.NotNil(t, second)
	require.Equal(t, fmt.Sprintf("l/%x", two), string(second.Key))
	_, err = invoke[lockpb.UnlockResponse](t, conn, "/v3lockpb.Lock/Unlock", &lockpb.UnlockRequest{Key: first.Key})
	require.NoError(t, err, "what is not held is given up already")

	_, err = invoke[lockpb.LockResponse](t, conn, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: 4711})
	require.Equal(t, status.Error(codes.Unknown, "etcdserver: requested lease not found").Error(), err.Error())
}

// A lease that ends in the queue does not get the lock.
func TestALockWhoseLeaseEndsWhileItWaits(t *testing.T) {
	conn := dial(t, start(t, testConfig(t)))
	first, err := invoke[lockpb.LockResponse](t, conn, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l")})
	require.NoError(t, err, "a lease is made")
	short := grant(t, conn, 60)
	failed := make(chan error, 1)
	go func() {
		_, err := invoke[lockpb.LockResponse](t, conn, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: short})
		failed <- err
	}()
	own := &etcdserverpb.RangeRequest{Key: fmt.Appendf(nil, "l/%x", short)}
	require.Eventually(t, func() bool {
		r, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", own)
		return err == nil && r.Count == 1
	}, 10*time.Second, 5*time.Millisecond)
	_, err = call[etcdserverpb.LeaseRevokeResponse](t, conn, "Lease/LeaseRevoke", &etcdserverpb.LeaseRevokeRequest{ID: short})
	require.NoError(t, err)
	_, err = invoke[lockpb.UnlockResponse](t, conn, "/v3lockpb.Lock/Unlock", &lockpb.UnlockRequest{Key: first.Key})
	require.NoError(t, err)
	require.Equal(t, status.Error(codes.Unknown, "mutex: session is expired").Error(), (<-failed).Error())
}

func TestElections(t *testing.T) {
	m := start(t, testConfig(t))
	conn := dial(t, m)
	name := []byte("e")
	_, err := invoke[electionpb.LeaderResponse](t, conn, "/v3electionpb.Election/Leader", &electionpb.LeaderRequest{Name: name})
	require.Equal(t, status.Error(codes.Unknown, "election: no leader").Error(), err.Error())
	_, err = invoke[electionpb.ProclaimResponse](t, conn, "/v3electionpb.Election/Proclaim", &electionpb.ProclaimRequest{})
	require.Equal(t, status.Error(codes.Unknown, `"leader" field must be provided`).Error(), err.Error())
	_, err = invoke[electionpb.ResignResponse](t, conn, "/v3electionpb.Election/Resign", &electionpb.ResignRequest{})
	require.Equal(t, status.Error(codes.Unknown, `"leader" field must be provided`).Error(), err.Error())

	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/v3electionpb.Election/Observe")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&electionpb.LeaderRequest{Name: name}))
	require.NoError(t, stream.CloseSend())
	saw := func(want string) {
		t.Helper()
		var r electionpb.LeaderResponse
		require.NoError(t, stream.RecvMsg(&r))
		require.Equal(t, want, string(r.Kv.Value))
		require.GreaterOrEqual(t, r.Header.Revision, r.Kv.ModRevision)
	}

	one, two := grant(t, conn, 60), grant(t, conn, 60)
	first, err := invoke[electionpb.CampaignResponse](t, conn, "/v3electionpb.Election/Campaign", &electionpb.CampaignRequest{Name: name, Lease: one, Value: []byte("a")})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("e/%x", one), string(first.Leader.Key))
	require.Equal(t, one, first.Leader.Lease)
	require.Equal(t, first.Header.Revision, first.Leader.Rev)
	saw("a")
	won := make(chan *electionpb.CampaignResponse, 1)
	go func() {
		r, err := invoke[electionpb.CampaignResponse](t, conn, "/v3electionpb.Election/Campaign", &electionpb.CampaignRequest{Name: name, Lease: two, Value: []byte("b")})
		if err == nil {
			won <- r
		}
		close(won)
	}()
	_, err = invoke[electionpb.ProclaimResponse](t, conn, "/v3electionpb.Election/Proclaim", &electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte("a2")})
	require.NoError(t, err)
	saw("a2")
	led, err := invoke[electionpb.LeaderResponse](t, conn, "/v3electionpb.Election/Leader", &electionpb.LeaderRequest{Name: name})
	require.NoError(t, err)
	require.Equal(t, "a2", string(led.Kv.Value))
	require.Equal(t, first.Leader.Rev, led.Kv.CreateRevision)

	_, err = call[etcdserverpb.LeaseRevokeResponse](t, conn, "Lease/LeaseRevoke", &etcdserverpb.LeaseRevokeRequest{ID: one})
	require.NoError(t, err)
	second := <-won
	require.NotNil(t, second)
	saw("b")
	_, err = invoke[electionpb.ProclaimResponse](t, conn, "/v3electionpb.Election/Proclaim", &electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte("late")})
	require.Equal(t, status.Error(codes.Unknown, "election: not leader").Error(), err.Error())
	_, err = invoke[electionpb.ResignResponse](t, conn, "/v3electionpb.Election/Resign", &electionpb.ResignRequest{Leader: second.Leader})
	require.NoError(t, err)

	// A member that stops does not wait for whoever observes, or waits his turn.
	began := time.Now()
	require.NoError(t, m.Close())
	require.Less(t, time.Since(began), drainTimeout)
	err = stream.RecvMsg(&electionpb.LeaderResponse{})
	require.Error(t, err)
	require.NotEqual(t, io.EOF, err)
}

// What a call has begun before its caller left is waited for when the member stops: it
// looks at a store that is closed then.
func TestAMemberThatStopsWaitsForItsLocks(t *testing.T) {
	members := startAll(t, clusterOf(t, 2))
	at := leaderOf(t, members)
	conn := dial(t, members[at])
	lease := grant(t, conn, 60)
	require.NoError(t, members[1-at].Close()) // no put comes through any more
	ctx, cancel := context.WithCancel(t.Context())
	const calls = 200
	failed := make(chan error, calls)
	for i := range calls {
		go func() {
			failed <- conn.Invoke(ctx, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: fmt.Append(nil, i), Lease: lease}, &lockpb.LockResponse{})
		}()
	}
	require.Eventually(t, func() bool { return outliving() == calls }, 10*time.Second, 10*time.Millisecond)
	cancel()
	for range calls {
		require.Equal(t, codes.Canceled, status.Code(<-failed))
	}
	require.Equal(t, calls, outliving())
	require.NoError(t, members[at].Close())
	require.Zero(t, outliving())
}

// outliving counts the goroutines that ask for a place in a queue.
func outliving() int {
	stacks := make([]byte, 16<<20)
	n := 0
	for _, one := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(one, "recipe.ask(") {
			n++
		}
	}
	return n
}
