package concurrency_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"etcd.alt/client"
	"etcd.alt/client/concurrency"
)

// late is a network that loses sight of one transaction: its caller hears that the
// connection is gone, and it arrives when deliver is called.
type late struct {
	mu      sync.Mutex
	armed   bool   // the next is lost
	lost    func() // is called then
	deliver func() error
}

// arm has the next transaction lost, and lost called then.
func (l *late) arm(lost func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.lost = true, lost
}

func (l *late) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed && method == "/etcdserverpb.KV/Txn" {
		l.armed = false
		again := proto.Clone(req.(proto.Message))
		l.deliver = func() error {
			return cc.Invoke(context.WithoutCancel(ctx), method, again, proto.Clone(reply.(proto.Message)))
		}
		if l.lost != nil {
			l.lost()
		}
		return status.Error(codes.Unavailable, "error reading from server: EOF")
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

func (l *late) connect(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(t.Context(), client.Config{Endpoints: []string{address}, DialOptions: []grpc.DialOption{grpc.WithUnaryInterceptor(l.intercept)}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A transaction that takes a lock arrives when the lock was given up: it is sent again
// after a lost connection, and the first of the two may come last.
func TestALateTransactionTakesNoLock(t *testing.T) {
	address := open(t)
	net := &late{}
	s := session(t, net.connect(t, address))
	m := concurrency.NewMutex(s, "lock")
	net.arm(nil)
	require.NoError(t, m.Lock(within(t)))
	require.NoError(t, net.deliver())
	require.NoError(t, m.Unlock(within(t)))
	other := session(t, connect(t, address))
	for range 3 {
		require.NoError(t, net.deliver())
		guest := concurrency.NewMutex(other, "lock")
		require.NoError(t, guest.Lock(within(t)), "nobody holds the lock for long")
		require.NoError(t, net.deliver())
		require.NoError(t, guest.Unlock(within(t)))
	}
	// The session uses its lock all the same.
	require.NoError(t, m.Lock(within(t)))
	require.NoError(t, net.deliver())
	require.ErrorIs(t, concurrency.NewMutex(other, "lock").TryLock(within(t)), concurrency.ErrLocked)
	require.NoError(t, m.Unlock(within(t)))
	require.NoError(t, s.Close(within(t)))
	require.Error(t, net.deliver(), "its lease has ended")
}

// The same for who gave up before it was known whether he stands in the queue.
func TestALateTransactionOfWhoGaveUp(t *testing.T) {
	address := open(t)
	net := &late{}
	s := session(t, net.connect(t, address))
	ctx, cancel := context.WithCancel(t.Context())
	net.arm(cancel)
	require.ErrorIs(t, concurrency.NewElection(s, "lock").Campaign(ctx, "me"), context.Canceled)
	require.NoError(t, net.deliver())
	require.NoError(t, concurrency.NewMutex(session(t, connect(t, address)), "lock").Lock(within(t)))
}

// And for what a leader says: the older word comes last, and overwrites nothing.
func TestALateProclamationOverwritesNothing(t *testing.T) {
	address := open(t)
	net := &late{}
	s := session(t, net.connect(t, address))
	e := concurrency.NewElection(s, "election")
	says := func(want string) {
		t.Helper()
		require.NoError(t, net.deliver())
		kv, err := e.Leader(within(t))
		require.NoError(t, err)
		require.Equal(t, want, string(kv.Value))
	}
	net.arm(nil)
	require.NoError(t, e.Campaign(within(t), "first"))
	require.NoError(t, e.Proclaim(within(t), "second"))
	says("second")
	net.arm(nil)
	require.NoError(t, e.Proclaim(within(t), "third"))
	says("third")
	require.NoError(t, e.Proclaim(within(t), "fourth"))
	says("fourth")
	before := e
	e = concurrency.ResumeElection(s, "election", e.Key(), e.Rev())
	net.arm(nil)
	require.NoError(t, e.Proclaim(within(t), "fifth"))
	require.NoError(t, e.Proclaim(within(t), "sixth"))
	says("sixth")
	net.arm(nil)
	require.NoError(t, e.Campaign(within(t), "seventh"))
	require.NoError(t, e.Proclaim(within(t), "eighth"))
	says("eighth")
	// Nobody leads once who led has resigned.
	require.NoError(t, before.Resign(within(t)))
	require.NoError(t, e.Resign(within(t)))
	require.NoError(t, net.deliver())
	require.Eventually(t, func() bool {
		_, err := e.Leader(within(t))
		return err != nil
	}, 20*time.Second, 10*time.Millisecond)
}
