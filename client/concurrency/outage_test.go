package concurrency_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
	"etcd.alt/client/concurrency"
)

// hook is a network under the test's hand: do is called for each unary call.
type hook struct {
	mu sync.Mutex
	do func(ctx context.Context, method string, req any, send func() error) error
}

func (h *hook) set(do func(ctx context.Context, method string, req any, send func() error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.do = do
}

func (h *hook) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	h.mu.Lock()
	do := h.do
	h.mu.Unlock()
	send := func() error { return invoke(ctx, method, req, reply, cc, opts...) }
	if do == nil || !strings.HasPrefix(method, "/etcdserverpb.KV/") {
		return send()
	}
	return do(ctx, method, req, send)
}

func (h *hook) connect(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(t.Context(), client.Config{Endpoints: []string{address}, DialOptions: []grpc.DialOption{grpc.WithUnaryInterceptor(h.intercept)}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var cut = status.Error(codes.Unavailable, "error reading from server: EOF")

// cutFor is a hook's, of a network that is away for so long from now on.
func cutFor(d time.Duration) func(context.Context, string, any, func() error) error {
	began := time.Now()
	return func(_ context.Context, _ string, _ any, send func() error) error {
		if time.Since(began) < d {
			return cut
		}
		return send()
	}
}

// isFree waits until nobody stands in the queue for a name.
func isFree(t *testing.T, c *client.Client, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		res, err := c.Get(within(t), name+"/", client.WithPrefix(), client.WithCountOnly())
		return err == nil && res.Count == 0
	}, 20*time.Second, 20*time.Millisecond, "a key stays that nobody uses")
}

// A campaign that was given up is decided when its leader has said more.
func TestACampaignThatIsGivenUpOverwritesNothing(t *testing.T) {
	h := &hook{}
	s := session(t, h.connect(t, open(t)))
	e := concurrency.NewElection(s, "e")
	require.NoError(t, e.Campaign(within(t), "first"))
	held, may, farewell := make(chan struct{}), make(chan struct{}), make(chan struct{}, 10)
	var first atomic.Bool
	h.set(func(_ context.Context, _ string, _ any, send func() error) error {
		if first.CompareAndSwap(false, true) {
			close(held)
			<-may
		}
		return send()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-held
		cancel()
	}()
	require.ErrorIs(t, e.Campaign(ctx, "old"), context.Canceled)
	require.NoError(t, e.Proclaim(within(t), "new"))
	h.set(func(_ context.Context, method string, _ any, send func() error) error {
		if strings.HasSuffix(method, "Range") {
			farewell <- struct{}{}
		}
		return send()
	})
	close(may)
	<-farewell // the campaign has ended, and looks what it leaves
	kv, err := e.Leader(within(t))
	require.NoError(t, err)
	require.Equal(t, "new", string(kv.Value))
}

// Two elections of a session are won together, and end together.
func TestNoKeyIsLeftWhenTheLastResigns(t *testing.T) {
	address := open(t)
	c := connect(t, address)
	t.Run("put late", func(t *testing.T) {
		net := &late{}
		s := session(t, net.connect(t, address))
		one, two := concurrency.NewElection(s, "late"), concurrency.NewElection(s, "late")
		net.arm(nil)
		require.NoError(t, one.Campaign(within(t), "a"))
		require.NoError(t, two.Campaign(within(t), "b"))
		require.NoError(t, one.Resign(within(t)))
		require.NoError(t, net.deliver())
		require.NoError(t, two.Resign(within(t)))
		isFree(t, c, "late")
	})
	t.Run("of a third that gave up", func(t *testing.T) {
		s := session(t, c)
		one, two := concurrency.NewElection(s, "third"), concurrency.NewElection(s, "third")
		require.NoError(t, one.Campaign(within(t), "a"))
		require.NoError(t, two.Campaign(within(t), "b"))
		require.NoError(t, one.Resign(within(t)))
		other := concurrency.NewElection(session(t, c), "third")
		require.NoError(t, other.Campaign(within(t), "x"))
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, concurrency.NewElection(s, "third").Campaign(short, "c"), context.DeadlineExceeded)
		require.NoError(t, two.Resign(within(t)))
		require.NoError(t, other.Resign(within(t)))
		isFree(t, c, "third")
	})
}

// Who has won once, and fails to win again what was lost meanwhile, is no candidate.
func TestWhoLostAndGivesUpLeavesNothingBehind(t *testing.T) {
	c := connect(t, open(t))
	s, others := session(t, c), session(t, c)
	one, two, other := concurrency.NewElection(s, "e"), concurrency.NewElection(s, "e"), concurrency.NewElection(others, "e")
	require.NoError(t, one.Campaign(within(t), "a"))
	require.NoError(t, two.Campaign(within(t), "b"))
	require.NoError(t, one.Resign(within(t)))
	require.NoError(t, other.Campaign(within(t), "x"))
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, two.Campaign(short, "c"), context.DeadlineExceeded)
	require.Empty(t, two.Key())
	require.NoError(t, other.Resign(within(t)))
	isFree(t, c, "e")

	// A lock whose release was not heard of.
	h := &hook{}
	s = session(t, h.connect(t, c.Endpoints()[0]))
	m, guest := concurrency.NewMutex(s, "lock"), concurrency.NewMutex(others, "lock")
	require.NoError(t, m.Lock(within(t)))
	unlocking, stop := context.WithCancel(t.Context())
	h.set(func(_ context.Context, method string, _ any, send func() error) error {
		err := send()
		if strings.HasSuffix(method, "Txn") {
			stop()
			return cut
		}
		return err
	})
	require.Error(t, m.Unlock(unlocking), "it does not know")
	h.set(nil)
	require.NoError(t, guest.Lock(within(t)))
	short, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, m.Lock(short), context.DeadlineExceeded)
	require.Empty(t, m.Key())
	require.NoError(t, guest.Unlock(within(t)))
	isFree(t, c, "lock")
}

// A session of the same lease that has asked for nothing gives nothing up.
func TestWhoNeverAskedTakesNothing(t *testing.T) {
	c := connect(t, open(t))
	s := session(t, c)
	require.NoError(t, concurrency.NewMutex(s, "lock").Lock(within(t)))
	again := session(t, c, concurrency.WithLease(s.Lease()))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, concurrency.NewMutex(again, "lock").Lock(over), context.Canceled)
	require.ErrorIs(t, concurrency.NewElection(again, "lock").Campaign(over, ""), context.Canceled)
	require.ErrorIs(t, concurrency.NewMutex(session(t, c), "lock").TryLock(within(t)), concurrency.ErrLocked)
}

func TestALateResignationTakesNothing(t *testing.T) {
	net := &late{}
	s := session(t, net.connect(t, open(t)))
	e := concurrency.NewElection(s, "e")
	require.NoError(t, e.Campaign(within(t), "first"))
	ctx, cancel := context.WithCancel(t.Context())
	net.arm(cancel)
	require.Error(t, e.Resign(ctx))
	require.NoError(t, e.Campaign(within(t), "second"))
	require.NoError(t, net.deliver())
	kv, err := e.Leader(within(t))
	require.NoError(t, err, "it was won anew after the resignation")
	require.Equal(t, "second", string(kv.Value))
}

// Who unlocks may wait for longer than one who gives up.
func TestUnlockWaitsAsLongAsItsCaller(t *testing.T) {
	t.Parallel()
	h := &hook{}
	s := session(t, h.connect(t, open(t)))
	m := concurrency.NewMutex(s, "lock")
	require.NoError(t, m.Lock(within(t)))
	h.set(cutFor(7 * time.Second))
	require.NoError(t, m.Unlock(within(t)))
}

// A session's sweep fails once, and what it is there for comes after that.
func TestASweepOutlivesAnError(t *testing.T) {
	t.Parallel()
	address := open(t)
	for _, failure := range []error{status.Error(codes.Unknown, "etcdserver: too many requests"), status.Error(codes.Unavailable, "etcdserver: no leader")} {
		h := &hook{}
		s, err := concurrency.NewSession(client.WithRequireLeader(within(t)), h.connect(t, address))
		require.NoError(t, err)
		m := concurrency.NewMutex(s, "lock")
		var mu sync.Mutex
		lost, failed := false, make(chan struct{})
		again := &etcdserverpb.TxnRequest{}
		h.set(func(_ context.Context, method string, req any, send func() error) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case strings.HasSuffix(method, "Txn") && !lost:
				lost = true
				proto.Merge(again, req.(proto.Message))
				return cut
			case strings.HasSuffix(method, "Range") && failed != nil:
				close(failed)
				failed = nil
				return failure
			}
			return send()
		})
		hasFailed := failed
		require.NoError(t, m.Lock(within(t)))
		<-hasFailed
		require.NoError(t, m.Unlock(within(t)))
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		require.NoError(t, conn.Invoke(within(t), "/etcdserverpb.KV/Txn", again, &etcdserverpb.TxnResponse{}))
		require.NoError(t, conn.Close())
		isFree(t, connect(t, address), "lock")
	}
}

// The cluster is away when somebody gives up, for longer than he takes over it.
func TestAFarewellThatFails(t *testing.T) {
	t.Parallel()
	address := open(t)
	c := connect(t, address)
	holder := concurrency.NewMutex(session(t, c), "lock")
	require.NoError(t, holder.Lock(within(t)))
	h := &hook{}
	s := session(t, h.connect(t, address))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- concurrency.NewMutex(s, "lock").Lock(ctx) }()
	require.Eventually(t, func() bool {
		res, err := c.Get(within(t), "lock/", client.WithPrefix(), client.WithCountOnly())
		return err == nil && res.Count == 2
	}, 20*time.Second, 10*time.Millisecond)
	h.set(cutFor(time.Hour))
	cancel()
	err := <-failed
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "may stand in the queue")
	h.set(nil)
	require.NoError(t, holder.Unlock(within(t)))
	isFree(t, c, "lock")
}

// The same where the call had ended by then, so that nobody can be told.
func TestALateFarewellThatFails(t *testing.T) {
	t.Parallel()
	address := open(t)
	h := &hook{}
	s := session(t, h.connect(t, address))
	ctx, cancel := context.WithCancel(t.Context())
	held, may := make(chan struct{}), make(chan struct{})
	h.set(func(_ context.Context, method string, _ any, send func() error) error {
		if strings.HasSuffix(method, "Txn") {
			close(held)
			<-may
		}
		return send()
	})
	go func() {
		<-held
		cancel()
	}()
	require.ErrorIs(t, concurrency.NewMutex(s, "lock").Lock(ctx), context.Canceled)
	h.set(cutFor(7 * time.Second))
	close(may)
	c := connect(t, address)
	require.Eventually(t, func() bool {
		res, err := c.Get(within(t), "lock/", client.WithPrefix(), client.WithCountOnly())
		return err == nil && res.Count == 1
	}, 5*time.Second, 10*time.Millisecond, "it was put late")
	isFree(t, c, "lock")
}
