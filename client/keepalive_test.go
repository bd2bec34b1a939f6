package client

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// serveKeepAlive answers each keep-alive with what ttl says, 0 for a lease that is
// gone, until that is negative.
func serveKeepAlive(c *received, ttl func(id int64) int64) error {
	for {
		var r etcdserverpb.LeaseKeepAliveRequest
		if err := c.stream.RecvMsg(&r); err != nil {
			return err
		}
		left := ttl(r.ID)
		if left < 0 {
			return c.cutOff()
		}
		if err := c.stream.SendMsg(&etcdserverpb.LeaseKeepAliveResponse{ID: r.ID, TTL: left}); err != nil {
			return err
		}
	}
}

// drained waits until the channel is closed, and counts what came before.
func drained(out <-chan *LeaseKeepAliveResponse) (n int) {
	for range out {
		n++
	}
	return n
}

func TestLeasesAreKeptAliveOverWhateverStream(t *testing.T) {
	var asked atomic.Int64
	f := startFake(t, func(c *received) error {
		n := 0
		return serveKeepAlive(c, func(id int64) int64 {
			asked.Add(1)
			if n++; c.nth < 4 && n > 4 {
				return -1 // the stream breaks again and again
			}
			if id == 2 && c.nth == 4 {
				return 0
			}
			return 1
		})
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	ctx, cancel := context.WithCancel(t.Context())
	first, err := c.KeepAlive(ctx, 1)
	require.NoError(t, err)
	second, err := c.KeepAlive(ctx, 2)
	require.NoError(t, err)
	third, err := c.KeepAlive(ctx, 1)
	require.NoError(t, err)
	require.Positive(t, drained(second), "it is gone")
	require.Equal(t, 4, f.count(methodLeaseKeepAlive))
	for range 5 {
		require.Equal(t, int64(1), (<-first).TTL)
	}
	cancel()
	drained(first)
	drained(third)
	require.Eventually(t, c.keeper.over, 10*time.Second, time.Millisecond, "the routine ends with its leases")
	require.Less(t, asked.Load(), int64(200), "three times in a TTL, and for each stream")
}

func TestALeaseThatNobodyAnswersForIsGivenUp(t *testing.T) {
	var silent atomic.Bool
	f := startFake(t, func(c *received) error {
		return serveKeepAlive(c, func(int64) int64 {
			if silent.Load() {
				<-c.ctx.Done()
			}
			return 1
		})
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	out, err := c.KeepAlive(t.Context(), 1)
	require.NoError(t, err)
	require.NotNil(t, <-out)
	silent.Store(true)
	began := time.Now()
	drained(out)
	require.Greater(t, time.Since(began), 300*time.Millisecond)
}

// A member that hangs takes requests and answers none. Leases outlive it where there
// is another one.
func TestLeasesOutliveAMemberThatHangs(t *testing.T) {
	var hangs [2]atomic.Bool
	var asked [2]atomic.Int64
	var endpoints []string
	for i := range hangs {
		f := startFake(t, func(c *received) error {
			return serveKeepAlive(c, func(int64) int64 {
				if hangs[i].Load() {
					<-c.ctx.Done()
				}
				asked[i].Add(1)
				return 2
			})
		})
		endpoints = append(endpoints, f.address)
	}
	c := connectTo(t, Config{Endpoints: endpoints})
	ctx, cancel := context.WithCancel(t.Context())
	out, err := c.KeepAlive(ctx, 1)
	require.NoError(t, err)
	for turn := range 4 {
		require.NotNil(t, <-out)
		from := 0
		if asked[1].Load() > asked[0].Load() {
			from = 1
		}
		asked[0].Store(0)
		asked[1].Store(0)
		hangs[from].Store(true)
		hangs[1-from].Store(false)
		for range 2 {
			_, alive := <-out
			require.True(t, alive, "turn %d: the lease was given up though the other member answers", turn)
		}
		require.Positive(t, asked[1-from].Load(), "turn %d", turn)
	}
	cancel()
	drained(out)
}

// A member that answers slowly answers: its stream is not left for that.
func TestLeasesAtASlowMemberAreKept(t *testing.T) {
	t.Parallel() // it waits
	for name, one := range map[string]struct {
		leases    int64
		ttl       int64
		takes, by time.Duration
	}{
		"very many":   {3000, 60, time.Millisecond, 6 * time.Second},
		"a short TTL": {1, 2, 500 * time.Millisecond, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, func(c *received) error {
				return serveKeepAlive(c, func(int64) int64 {
					time.Sleep(one.takes)
					return one.ttl
				})
			})
			c := connectTo(t, Config{Endpoints: []string{f.address}, Logger: zap.NewNop()})
			givenUp := keepMany(t, c, one.leases)
			require.Never(t, func() bool { return givenUp.Load() > 0 }, one.by, 100*time.Millisecond)
			require.Equal(t, 1, f.count(methodLeaseKeepAlive), "streams")
		})
	}
}

func TestCloseEndsKeepAlives(t *testing.T) {
	f := startFake(t, func(c *received) error { return serveKeepAlive(c, func(int64) int64 { return 60 }) })
	c, err := New(within(t, 20*time.Second), Config{Endpoints: []string{f.address}})
	require.NoError(t, err)
	out, err := c.KeepAlive(t.Context(), 1)
	require.NoError(t, err)
	require.NotNil(t, <-out)
	require.NoError(t, c.Close())
	drained(out)
	_, err = c.KeepAlive(t.Context(), 1)
	require.ErrorIs(t, err, ErrKeepAliveHalted)
	require.Eventually(t, c.keeper.over, 10*time.Second, time.Millisecond)
}

func TestKeepAliveOnce(t *testing.T) {
	f := startFake(t, func(c *received) error {
		if c.nth == 1 {
			return answer(codes.Unavailable, "etcdserver: no leader")
		}
		return serveKeepAlive(c, func(id int64) int64 { return 10 * (id % 2) })
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	res, err := c.KeepAliveOnce(within(t, 20*time.Second), 1)
	require.NoError(t, err)
	require.Equal(t, int64(10), res.TTL)
	_, err = c.KeepAliveOnce(within(t, 20*time.Second), 2)
	require.True(t, errors.Is(err, errs.LeaseNotFound), err)
}

// keepMany keeps n leases alive, and counts those that were given up.
func keepMany(t *testing.T, c *Client, n int64, options ...KeepAliveOption) (givenUp *atomic.Int64) {
	t.Helper()
	givenUp = &atomic.Int64{}
	for i := range n {
		out, err := c.KeepAlive(t.Context(), LeaseID(1<<62+i), options...)
		require.NoError(t, err)
		go func() {
			drained(out)
			givenUp.Add(1)
		}()
	}
	return givenUp
}

// Neither requests nor answers hold the others up, however many there are.
func TestVeryManyLeasesAreKeptAlive(t *testing.T) {
	const leases = 20_000
	var asked atomic.Int64
	f := startFake(t, func(c *received) error {
		return serveKeepAlive(c, func(int64) int64 { asked.Add(1); return 60 })
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Logger: zap.NewNop()})
	// What is not known to live for longer is given up after five seconds, and a slow machine
	// needs more.
	givenUp := keepMany(t, c, leases, WithGranted(time.Now(), 60))
	require.Eventually(t, func() bool { return asked.Load() >= leases }, 50*time.Second, 5*time.Millisecond)
	require.Zero(t, givenUp.Load())
	require.Less(t, asked.Load(), int64(2*leases), "three times in a TTL")
}

// A member that stands still, and takes nothing: leases are given up in time, though
// nothing can be sent.
func TestManyLeasesAtAMemberThatStandsStill(t *testing.T) {
	const leases = 5000
	var stands atomic.Bool
	f := startFake(t, func(c *received) error {
		for n := 0; n < leases && !stands.Load(); n++ {
			var r etcdserverpb.LeaseKeepAliveRequest
			if err := c.stream.RecvMsg(&r); err != nil {
				return err
			}
			if err := c.stream.SendMsg(&etcdserverpb.LeaseKeepAliveResponse{ID: r.ID, TTL: 3}); err != nil {
				return err
			}
		}
		stands.Store(true)
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Logger: zap.NewNop()})
	givenUp := keepMany(t, c, leases)
	require.Eventually(t, func() bool { return givenUp.Load() == leases }, 20*time.Second, 10*time.Millisecond)
}

// A token that is refused again and again is not renewed without a pause.
func TestATokenThatIsRefusedForEver(t *testing.T) {
	var logins atomic.Int64
	f := startFake(t, func(c *received) error {
		if c.method == methodAuthenticate.path {
			logins.Add(1)
			var r etcdserverpb.AuthenticateRequest
			c.request(&r)
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Token: "x"})
		}
		return answer(codes.Unauthenticated, "etcdserver: invalid auth token")
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "u", Password: "p", Logger: zap.NewNop()})
	out, err := c.KeepAlive(t.Context(), 1)
	require.NoError(t, err)
	drained(out)
	require.Less(t, logins.Load(), int64(20))
}

// A lease lives, before there is an answer, for as long as it was granted for, if that
// is known.
func TestTheTTLOfAGrantIsKnown(t *testing.T) {
	f := startFake(t, func(c *received) error {
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	began := time.Now()
	short, err := c.KeepAlive(t.Context(), 1, WithGranted(time.Now(), 1))
	require.NoError(t, err)
	_, err = c.KeepAlive(t.Context(), 2, WithGranted(time.Now(), 60))
	require.NoError(t, err)
	_, err = c.KeepAlive(t.Context(), 3)
	require.NoError(t, err)
	left := func(id LeaseID) time.Duration {
		c.keeper.mu.Lock()
		defer c.keeper.mu.Unlock()
		return c.keeper.mu.kept[id].deadline.Sub(began)
	}
	require.Greater(t, left(2), 59*time.Second)
	require.LessOrEqual(t, left(3), 6*time.Second)
	drained(short)
	require.Greater(t, time.Since(began), 900*time.Millisecond)
	require.Less(t, time.Since(began), 4*time.Second)
}

// sendIsBlocked says that a request of keep-alives waits to be taken.
func sendIsBlocked() bool {
	stacks := make([]byte, 8<<20)
	for _, one := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(one, "keepStream).routineSend") && strings.Contains(one, "SendMsg") && strings.Contains(one, "select") {
			return true
		}
	}
	return false
}

// A member that takes nothing holds nobody up who has something else to do: the stream
// is cut, whatever it is that ends it.
func TestABlockedSendIsCut(t *testing.T) {
	const leases = 12_000 // more than a stream takes without being read
	for name, end := range map[string]func(c *received) error{
		"the contexts end":         nil,
		"the client is closed":     nil,
		"the connection is lost":   func(c *received) error { return c.cutOff() },
		"no leader, says a member": func(*received) error { return answer(codes.Unavailable, errs.NoLeader.Error()) },
	} {
		t.Run(name, func(t *testing.T) {
			now, cut := make(chan struct{}), make(chan struct{})
			f := startFake(t, func(c *received) error {
				if c.nth > 1 {
					return serveKeepAlive(c, func(int64) int64 { return 30 })
				}
				defer close(cut)
				select {
				case <-c.ctx.Done():
					return c.ctx.Err()
				case <-now:
				}
				return end(c)
			}, grpc.InitialWindowSize(1<<16), grpc.InitialConnWindowSize(1<<16)) // that do not grow
			c, err := New(t.Context(), Config{Endpoints: []string{f.address}})
			require.NoError(t, err)
			closed := false
			defer func() {
				if !closed {
					c.Close()
				}
			}()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var all []<-chan *LeaseKeepAliveResponse
			for i := range LeaseID(leases) {
				out, err := c.KeepAlive(ctx, 1<<62+i, WithGranted(time.Now(), 60))
				require.NoError(t, err)
				all = append(all, out)
			}
			require.Eventually(t, sendIsBlocked, 20*time.Second, 20*time.Millisecond)
			switch name {
			case "the contexts end":
				cancel()
			case "the client is closed":
				closed = true
				c.Close()
			default:
				close(now)
				for _, out := range all {
					require.NotNil(t, <-out, "over another stream")
				}
				cancel()
			}
			select {
			case <-cut:
			case <-time.After(10 * time.Second):
				t.Fatal("the stream stays")
			}
			for _, out := range all {
				drained(out)
			}
			require.Eventually(t, c.keeper.over, 10*time.Second, time.Millisecond)
			require.False(t, sendIsBlocked())
		})
	}
}
