package concurrency_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
	"etcd.alt/client/concurrency"
	"etcd.alt/server"
)

// open starts a member and returns where it serves.
func open(t *testing.T) string {
	t.Helper()
	c := server.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.ListenClientURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenPeerURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.UnsafeNoFsync = true
	m, err := server.Start(t.Context(), c, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m.ClientAddresses()[0].String()
}

func connect(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(t.Context(), client.Config{Endpoints: []string{address}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // a test may have closed it
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func session(t *testing.T, c *client.Client, options ...concurrency.SessionOption) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(within(t), c, options...)
	require.NoError(t, err)
	return s
}

func TestOneAtATimeHoldsALock(t *testing.T) {
	address := open(t)
	var held, rounds atomic.Int64
	var last int64
	var wg sync.WaitGroup
	for range 8 {
		c := connect(t, address)
		wg.Go(func() {
			s := session(t, c)
			m := concurrency.NewMutex(s, "lock")
			for range 10 {
				require.NoError(t, m.Lock(within(t)))
				require.Equal(t, int64(1), held.Add(1))
				require.Greater(t, m.Revision(), last, "a fencing token rises")
				last = m.Revision()
				res, err := c.Txn().If(m.IsOwner()).Then(client.OpPut("guarded", fmt.Sprint(last))).Commit(within(t))
				require.NoError(t, err)
				require.True(t, res.Succeeded)
				held.Add(-1)
				require.NoError(t, m.Unlock(within(t)))
				rounds.Add(1)
			}
			require.ErrorIs(t, m.Unlock(within(t)), concurrency.ErrLockReleased)
			require.NoError(t, s.Close(within(t)))
		})
	}
	wg.Wait()
	require.Equal(t, int64(80), rounds.Load())
}

func TestTryLock(t *testing.T) {
	c := connect(t, open(t))
	one, two := concurrency.NewMutex(session(t, c), "lock"), concurrency.NewMutex(session(t, c), "lock")
	require.NoError(t, one.TryLock(within(t)))
	require.ErrorIs(t, two.TryLock(within(t)), concurrency.ErrLocked)
	require.Empty(t, two.Key())
	res, err := c.Txn().If(two.IsOwner()).Commit(within(t))
	require.NoError(t, err)
	require.False(t, res.Succeeded)
	require.NoError(t, one.Unlock(within(t)))
	require.NoError(t, two.TryLock(within(t)))
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, one.Lock(short), context.DeadlineExceeded)
	list, err := c.Get(within(t), "lock/", client.WithPrefix(), client.WithCountOnly())
	require.NoError(t, err)
	require.Equal(t, int64(1), list.Count, "who gave up is not in the queue")
}

// A process that dies holds what it has until its TTL has passed, and not much
// longer.
func TestASessionThatIsLost(t *testing.T) {
	address := open(t)
	c := connect(t, address)
	dead := session(t, connect(t, address), concurrency.WithTTL(2))
	m := concurrency.NewMutex(dead, "lock")
	require.NoError(t, m.Lock(within(t)))
	dead.Orphan()
	<-dead.Done()
	began := time.Now()
	s := session(t, c)
	require.NoError(t, concurrency.NewMutex(s, "lock").Lock(within(t)))
	require.Greater(t, time.Since(began), time.Second)

	lost := session(t, c, concurrency.WithTTL(10))
	_, err := c.Revoke(within(t), lost.Lease())
	require.NoError(t, err)
	select {
	case <-lost.Done():
	case <-time.After(20 * time.Second):
		require.Fail(t, "a session whose lease is gone is not told")
	}

	again := session(t, c, concurrency.WithLease(s.Lease()))
	require.NoError(t, concurrency.NewMutex(again, "lock").TryLock(within(t)), "the lock is the lease's")
}

func TestElection(t *testing.T) {
	c := connect(t, open(t))
	one, two := concurrency.NewElection(session(t, c), "e"), concurrency.NewElection(session(t, c), "e")
	_, err := one.Leader(within(t))
	require.ErrorIs(t, err, concurrency.ErrElectionNoLeader)
	require.ErrorIs(t, one.Proclaim(within(t), "x"), concurrency.ErrElectionNotLeader)

	seen := make(chan string, 10)
	watching, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for res, err := range concurrency.Observe(watching, c, "e") {
			if err != nil {
				ended <- err
				return
			}
			seen <- string(res.Kvs[0].Value)
		}
	}()
	saw := func(want string) {
		t.Helper()
		select {
		case got := <-seen:
			require.Equal(t, want, got)
		case <-time.After(20 * time.Second):
			require.Fail(t, "not seen", want)
		}
	}

	require.NoError(t, one.Campaign(within(t), "a"))
	saw("a")
	for res, err := range one.Observe(within(t)) {
		require.NoError(t, err)
		require.Equal(t, one.Key(), string(res.Kvs[0].Key))
		require.GreaterOrEqual(t, res.Header.Revision, one.Rev())
		break
	}
	won := make(chan error, 1)
	go func() { won <- two.Campaign(within(t), "b") }()
	require.NoError(t, one.Proclaim(within(t), "a2"))
	saw("a2")
	require.NoError(t, one.Resign(within(t)))
	require.NoError(t, <-won)
	saw("b")
	kv, err := one.Leader(within(t))
	require.NoError(t, err)
	require.Equal(t, two.Key(), string(kv.Key))
	require.Equal(t, two.Rev(), kv.CreateRevision)

	resumed := concurrency.ResumeElection(session(t, c), "e", two.Key(), two.Rev())
	require.NoError(t, resumed.Resign(within(t)))
	require.ErrorIs(t, two.Proclaim(within(t), "too late"), concurrency.ErrElectionNotLeader)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// Callers that give up at whatever moment leave nothing behind, though their session
// lives on.
func TestWhoGivesUpLeavesNothingBehind(t *testing.T) {
	c := connect(t, open(t))
	holder := concurrency.NewMutex(session(t, c), "lock")
	require.NoError(t, holder.Lock(within(t)))
	s := session(t, c)
	for i := range 100 {
		short, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		err := concurrency.NewMutex(s, "lock").Lock(short)
		cancel()
		require.Error(t, err)
	}
	alone := func() bool {
		res, err := c.Get(within(t), "lock/", client.WithPrefix(), client.WithCountOnly())
		return err == nil && res.Count == 1
	}
	require.Eventually(t, alone, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, holder.Unlock(within(t)))
	require.NoError(t, concurrency.NewMutex(s, "lock").TryLock(within(t)))
}

// A session whose lease nobody has kept alive even once ends with the TTL that it was
// granted.
func TestASessionKnowsItsTTLFromTheGrant(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	silent := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(stream); method == "/etcdserverpb.Lease/LeaseGrant" {
			if err := stream.RecvMsg(&etcdserverpb.LeaseGrantRequest{}); err != nil {
				return err
			}
			time.Sleep(time.Second) // on its way: the lease lives already
			return stream.SendMsg(&etcdserverpb.LeaseGrantResponse{ID: 7, TTL: 8})
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}))
	go silent.Serve(l)
	defer silent.Stop()
	began := time.Now()
	s := session(t, connect(t, l.Addr().String()))
	<-s.Done()
	require.Greater(t, time.Since(began), 7900*time.Millisecond, "a guess would be 5 s")
	require.Less(t, time.Since(began), 8900*time.Millisecond, "the lease has ended, at 8 s")
}
