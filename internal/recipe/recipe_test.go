package recipe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

var name = []byte("name")

// In a bubble of synctest, Wait returns when everybody else waits for something.

func TestLockIsHeldByOneAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		var held atomic.Int32
		var order []int64
		var wg sync.WaitGroup
		var last int64
		for lease := int64(1); lease <= 20; lease++ {
			wg.Go(func() {
				o, err := Lock(t.Context(), n, Ticket{Name: name, Lease: lease})
				require.NoError(t, err)
				require.Equal(t, int32(1), held.Add(1))
				require.Greater(t, o.Revision, last, "a fencing token rises")
				last = o.Revision
				require.Equal(t, fmt.Sprintf("name/%x", lease), string(o.Key))
				order = append(order, lease)
				time.Sleep(time.Second) // until all others wait
				held.Add(-1)
				_, err = Unlock(t.Context(), n, o.Key)
				require.NoError(t, err)
			})
			synctest.Wait() // it stands in the queue, or holds the lock and waits here
		}
		wg.Wait()
		for i, lease := range order {
			require.Equal(t, int64(i+1), lease)
		}
		require.Len(t, order, 20)
		require.Empty(t, n.below("name/"))
		require.Zero(t, n.watches)
	})
}

func TestLockTwiceWithOneLease(t *testing.T) {
	n := newNaive(t)
	first, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 7})
	require.NoError(t, err)
	again, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 7})
	require.NoError(t, err)
	require.Equal(t, first.Revision, again.Revision)
}

func TestWhoGivesUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		_, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 1})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { _, err := Lock(ctx, n, Ticket{Name: name, Lease: 2}); failed <- err }()
		synctest.Wait()
		require.Equal(t, []string{"1", "2"}, n.below("name/"))
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		require.Equal(t, []string{"1"}, n.below("name/"))
		require.Zero(t, n.watches)
	})
}

func TestALeaseThatEndsInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		o, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 1})
		require.NoError(t, err)
		failed := make(chan error, 2)
		go func() { _, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 2}); failed <- err }()
		synctest.Wait()
		go func() {
			_, _, err := Campaign(t.Context(), n, Ticket{Name: name, Lease: 3, Value: []byte("x")})
			failed <- err
		}()
		synctest.Wait()
		n.expire(2)
		n.expire(3)
		_, err = Unlock(t.Context(), n, o.Key)
		require.NoError(t, err)
		require.ElementsMatch(t, []error{ErrSessionExpired, ErrCampaignExpired}, []error{<-failed, <-failed})
	})
}

func nobody() bool { return false }

// slowToLeave holds back deletions until it may go on.
type slowToLeave struct {
	*naive
	may chan struct{}
}

func (s slowToLeave) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if len(r.Success) == 1 && r.Success[0].GetRequestPut() == nil {
		<-s.may
	}
	return s.naive.Txn(ctx, r)
}

// A client whose connection has died asks again with its lease, at another member:
// both calls share a key. The first, which is told late, takes nothing from the
// second, whether that has the lock by then or waits.
func TestTwoCallsWithOneLease(t *testing.T) {
	for _, unlocked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newNaive(t)
			_, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 1})
			require.NoError(t, err)
			slow := slowToLeave{n, make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			failed, got := make(chan error, 1), make(chan error, 1)
			go func() { _, err := Lock(ctx, slow, Ticket{Name: name, Lease: 2}); failed <- err }()
			synctest.Wait()
			go func() { _, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 2}); got <- err }()
			synctest.Wait()
			cancel()
			synctest.Wait()
			if unlocked {
				require.NoError(t, Abandon(t.Context(), n, name, 1, nobody))
				require.NoError(t, <-got)
			}
			close(slow.may)
			require.ErrorIs(t, <-failed, context.Canceled)
			if !unlocked {
				require.NoError(t, Abandon(t.Context(), n, name, 1, nobody))
				require.NoError(t, <-got)
			}
			_, err = TryLock(t.Context(), n, Ticket{Name: name, Lease: 3})
			require.Equal(t, ErrLocked, err, "it has an owner")
			require.Equal(t, []string{"2"}, n.below("name/"))
		})
	}
}

// The second gives up: the first goes on waiting, and has its turn.
func TestTheSecondCallWithALeaseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		_, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 1})
		require.NoError(t, err)
		got := make(chan error, 1)
		go func() { _, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 2}); got <- err }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { _, err := Lock(ctx, n, Ticket{Name: name, Lease: 2}); failed <- err }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		require.NoError(t, Abandon(t.Context(), n, name, 1, nobody))
		require.NoError(t, <-got, "its session has not expired")
		require.Equal(t, []string{"2"}, n.below("name/"))
	})
}

// late answers when the caller has gone.
type late struct {
	*naive
	gone context.CancelFunc
}

func (l late) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	res, err := l.naive.Txn(ctx, r)
	l.gone()
	time.Sleep(time.Second)
	return res, err
}

func TestWhoGivesUpBeforeTheAnswerLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { _, err := Lock(ctx, late{n, cancel}, Ticket{Name: name, Lease: 2}); failed <- err }()
		require.ErrorIs(t, <-failed, context.Canceled)
		time.Sleep(2 * leaveTimeout)
		require.Empty(t, n.below("name/"), "nobody holds the lock")
		require.Equal(t, int64(3), n.revision)
	})
}

// Who leads, and asks again and fails, leads on.
func TestASecondCampaignThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		l, _, err := Campaign(t.Context(), n, Ticket{Name: name, Lease: 1, Value: []byte("a")})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, _, err := Campaign(ctx, late{n, cancel}, Ticket{Name: name, Lease: 1, Value: []byte("b")})
			failed <- err
		}()
		require.ErrorIs(t, <-failed, context.Canceled)
		time.Sleep(2 * leaveTimeout)
		_, err = Proclaim(t.Context(), n, l, []byte("c"))
		require.NoError(t, err)
	})
}

// between calls something between an observer's look and its watch.
type between struct {
	*naive
	looked func()
}

func (b *between) Watch(ctx context.Context, key, end []byte, start int64) (Watch, error) {
	if f := b.looked; f != nil {
		b.looked = nil
		f()
	}
	return b.naive.Watch(ctx, key, end, start)
}

func TestAShortLeadershipIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		b := &between{n, func() {
			l, _, err := Campaign(t.Context(), n, Ticket{Name: name, Lease: 1, Value: []byte("a")})
			require.NoError(t, err)
			_, err = Resign(t.Context(), n, l)
			require.NoError(t, err)
		}}
		ended := make(chan error, 1)
		go func() {
			ended <- Observe(ctx, b, name, func(kv *mvccpb.KeyValue, _ *etcdserverpb.ResponseHeader) error {
				seen = append(seen, string(kv.Value))
				return nil
			})
		}()
		synctest.Wait()
		require.Equal(t, []string{"a"}, seen)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestACompactionWhileOneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		o, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 1})
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { _, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 2}); done <- err }()
		synctest.Wait()
		for i := range int64(5) { // what happens elsewhere
			_, err := n.Txn(t.Context(), &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{put([]byte("other"), nil, 100+i)}})
			require.NoError(t, err)
		}
		n.compact()
		synctest.Wait()
		require.Equal(t, 1, n.watches, "it waits again")
		_, err = Unlock(t.Context(), n, o.Key)
		require.NoError(t, err)
		require.NoError(t, <-done)
	})
}

func TestTryLock(t *testing.T) {
	n := newNaive(t)
	o, err := TryLock(t.Context(), n, Ticket{Name: name, Lease: 1})
	require.NoError(t, err)
	_, err = TryLock(t.Context(), n, Ticket{Name: name, Lease: 2})
	require.Equal(t, ErrLocked, err)
	require.Equal(t, []string{"1"}, n.below("name/"))
	_, err = Unlock(t.Context(), n, o.Key)
	require.NoError(t, err)
	_, err = TryLock(t.Context(), n, Ticket{Name: name, Lease: 2})
	require.NoError(t, err)
}

func TestElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		var seen []string
		ctx, cancel := context.WithCancel(t.Context())
		observed := make(chan error, 1)
		go func() {
			observed <- Observe(ctx, n, name, func(kv *mvccpb.KeyValue, h *etcdserverpb.ResponseHeader) error {
				require.GreaterOrEqual(t, h.Revision, kv.ModRevision)
				seen = append(seen, string(kv.Key)+"="+string(kv.Value))
				return nil
			})
		}()
		_, _, err := Leader(t.Context(), n, name)
		require.Equal(t, ErrNoLeader, err)
		synctest.Wait()

		first, _, err := Campaign(t.Context(), n, Ticket{Name: name, Lease: 1, Value: []byte("a")})
		require.NoError(t, err)
		synctest.Wait()
		won := make(chan *Leadership, 1)
		go func() {
			l, _, err := Campaign(t.Context(), n, Ticket{Name: name, Lease: 2, Value: []byte("b")})
			require.NoError(t, err)
			won <- l
		}()
		synctest.Wait()
		kv, _, err := Leader(t.Context(), n, name)
		require.NoError(t, err)
		require.Equal(t, "a", string(kv.Value))
		_, err = Proclaim(t.Context(), n, first, []byte("a2"))
		require.NoError(t, err)
		synctest.Wait()

		n.compact()
		_, err = Resign(t.Context(), n, first)
		require.NoError(t, err)
		second := <-won
		require.Greater(t, second.Revision, first.Revision)
		synctest.Wait()
		_, err = Proclaim(t.Context(), n, first, []byte("too late"))
		require.Equal(t, ErrNotLeader, err)
		_, err = Resign(t.Context(), n, first)
		require.NoError(t, err, "it has resigned already")
		again, _, err := Campaign(t.Context(), n, Ticket{Name: name, Lease: 2, Value: []byte("b2")})
		require.NoError(t, err)
		require.Equal(t, second.Revision, again.Revision)
		synctest.Wait()
		require.Equal(t, []string{"name/1=a", "name/1=a2", "name/2=b", "name/2=b2"}, seen)
		cancel()
		require.ErrorIs(t, <-observed, context.Canceled)
		require.Zero(t, n.watches)
	})
}

// deaf is a cluster whose watches tell nothing.
type deaf struct{ *naive }

func (d deaf) Watch(context.Context, []byte, []byte, int64) (Watch, error) { return deafWatch{}, nil }

type deafWatch struct{}

func (deafWatch) Next(ctx context.Context) (*etcdserverpb.WatchResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (deafWatch) Close() {}

// The second call with a lease gives up when the first has the lock already: it must
// not take that away.
func TestTheSecondCallGivesUpWhenTheFirstHasTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		holder, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 1})
		require.NoError(t, err)
		got, failed := make(chan error, 1), make(chan error, 1)
		go func() { _, err := Lock(t.Context(), n, Ticket{Name: name, Lease: 2}); got <- err }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, err := Lock(ctx, deaf{n}, Ticket{Name: name, Lease: 2}); failed <- err }()
		synctest.Wait()
		_, err = Unlock(t.Context(), n, holder.Key)
		require.NoError(t, err)
		require.NoError(t, <-got)
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		_, err = TryLock(t.Context(), n, Ticket{Name: name, Lease: 3})
		require.Equal(t, ErrLocked, err)
	})
}

// dawdling is a cluster that answers when it is let to.
type dawdling struct {
	*naive
	answer chan struct{}
}

func (d dawdling) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	<-d.answer
	return d.naive.Txn(ctx, r)
}

// What outlives a call can be waited for: it ends when the key is gone that was put after
// the caller.
func TestWhatOutlivesACallCanBeWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNaive(t)
		d := dawdling{n, make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var outliving sync.WaitGroup
		failed, ended := make(chan error, 1), make(chan struct{})
		go func() {
			_, err := Lock(ctx, d, Ticket{Name: name, Lease: 2, Go: outliving.Go})
			failed <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		go func() {
			outliving.Wait()
			close(ended)
		}()
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("nobody waits for the answer")
		default:
		}
		close(d.answer)
		<-ended
		require.Empty(t, n.below("name/"))
		require.Equal(t, int64(3), n.revision, "it was put, and taken away")
	})
}
