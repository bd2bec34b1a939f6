package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

const (
	// firstTTL is how long a lease lives for all that is known before the first
	// answer, unless it is known how long it was granted for.
	firstTTL = 5 * time.Second
	// keepAliveBuffer is how many answers wait for whoever keeps a lease alive.
	keepAliveBuffer = 16
	// longestLook is how long the keeper goes without a look at its leases, shortestLook
	// how long it does in any case: a look goes through all of them.
	longestLook  = 500 * time.Millisecond
	shortestLook = 20 * time.Millisecond
	// leastPatience is how long an answer may take in any case before another member is
	// asked.
	leastPatience = 200 * time.Millisecond
)

// errSilent is why a stream is left whose member takes requests and answers none: one
// that hangs, or is cut off without a word.
var errSilent = errors.New("client: the member does not answer keep-alives")

// keeper keeps leases alive over one stream, which it opens again when it breaks.
// Its goroutine is there while there are leases.
type keeper struct {
	mu struct {
		sync.Mutex
		kept    map[LeaseID]*kept
		running bool
		closed  bool
		heard   time.Time     // when the last answer came
		takes   time.Duration // how long answers take, rather too long than too short
	}
	look chan struct{} // there is something new to send
}

// kept is a lease that is kept alive.
type kept struct {
	listeners map[chan *LeaseKeepAliveResponse]func() bool // and what ends their watch of their context
	next      time.Time                                    // of the next request
	asked     time.Time                                    // when, if there is no answer yet
	deadline  time.Time                                    // of the next answer
}

// lifeOf is a TTL in seconds.
func lifeOf(seconds int64) time.Duration { return time.Duration(min(seconds, 1<<33)) * time.Second }

// keep has a lease kept alive, which lives until some time if there is no answer.
func (k *keeper) keep(ctx context.Context, c *Client, id LeaseID, deadline time.Time) (<-chan *LeaseKeepAliveResponse, error) {
	out := make(chan *LeaseKeepAliveResponse, keepAliveBuffer)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return nil, ErrKeepAliveHalted
	}
	if k.mu.kept == nil {
		k.mu.kept, k.look = map[LeaseID]*kept{}, make(chan struct{}, 1)
	}
	one := k.mu.kept[id]
	if one == nil {
		one = &kept{listeners: map[chan *LeaseKeepAliveResponse]func() bool{}, deadline: deadline}
		k.mu.kept[id] = one
	}
	one.listeners[out] = context.AfterFunc(ctx, func() { k.leave(id, out) })
	if !k.mu.running {
		k.mu.running = true
		go k.routineKeep(c)
	}
	k.wake()
	return out, nil
}

func (k *keeper) wake() {
	select {
	case k.look <- struct{}{}:
	default:
	}
}

// leave forgets a listener whose context has ended.
func (k *keeper) leave(id LeaseID, out chan *LeaseKeepAliveResponse) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.mu.kept[id]
	if one == nil || one.listeners[out] == nil {
		return
	}
	delete(one.listeners, out)
	close(out)
	if len(one.listeners) == 0 {
		delete(k.mu.kept, id)
		k.wake()
	}
}

// endLocked ends the keeping of a lease.
func (k *keeper) endLocked(id LeaseID) {
	for out, stop := range k.mu.kept[id].listeners {
		stop()
		close(out)
	}
	delete(k.mu.kept, id)
}

// halt ends all, for good.
func (k *keeper) halt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.closed = true
	for id := range k.mu.kept {
		k.endLocked(id)
	}
	if k.look != nil {
		k.wake()
	}
}

// routineKeep keeps leases alive until there are none.
func (k *keeper) routineKeep(c *Client) {
	pause, logins := firstPause, 0
	for !k.over() {
		token := c.auth.current()
		some, err := k.follow(c, token)
		if some {
			pause, logins = firstPause, 0
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrClosed):
			k.halt()
			continue
		case tokenRefused(err) && c.auth.renewable() && logins < maxLogins:
			logins++
			k.meanwhile(func() {
				ctx, cancel := context.WithTimeout(context.Background(), c.config.DialTimeout)
				defer cancel()
				err = c.logIn(ctx, token)
			})
			if err == nil {
				continue
			}
		}
		c.logger.Debug("leases are kept alive over another stream", zap.Error(err), zap.Duration("pause", pause))
		k.meanwhile(func() {
			timer := time.NewTimer(pause)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-k.look: // there is another lease, or none
			}
		})
		pause = min(2*pause, lastPause)
	}
}

// meanwhile has leases end in time while something takes its own.
func (k *keeper) meanwhile(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	look := time.NewTicker(shortestLook)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			k.dropLate(time.Now())
		case <-done:
			k.dropLate(time.Now())
			return
		}
	}
}

// over says that there is nothing to keep alive; the next lease starts the routine
// anew.
func (k *keeper) over() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.mu.kept) > 0 {
		return false
	}
	k.mu.running = false
	return true
}

// follow keeps leases alive over a new stream until that breaks, or there are none.
// some says that there was an answer.
//
// What waits for the stream, to open, to take a request, or to give an answer, has a
// goroutine of its own: leases must end in time though all of that stands still.
func (k *keeper) follow(c *Client, token string) (some bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	k.again()
	s := &keepStream{k: k, c: c, due: make(chan []LeaseID), broken: make(chan error, 2)}
	var routines sync.WaitGroup
	defer routines.Wait()
	defer cancel() // before the wait
	routines.Go(func() { s.routineSend(ctx, token, &routines) })
	var due []LeaseID
	for {
		to, wait := s.due, longestLook
		if len(due) == 0 {
			if due, wait = k.due(time.Now()); len(due) == 0 {
				to = nil
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-k.look:
		case to <- due:
			due = nil
		case err := <-s.broken:
			timer.Stop()
			return s.answered.Load(), err
		}
		timer.Stop()
		switch left, silent := k.dropLate(time.Now()); {
		case left == 0:
			return s.answered.Load(), nil
		case silent:
			return s.answered.Load(), errSilent
		}
	}
}

// keepStream is a stream of keep-alives.
type keepStream struct {
	k        *keeper
	c        *Client
	due      chan []LeaseID // to be asked for
	broken   chan error
	answered atomic.Bool
}

// routineSend opens the stream, and asks for what is due, until ctx ends.
func (s *keepStream) routineSend(ctx context.Context, token string, routines *sync.WaitGroup) {
	stream, err := s.c.openKeepAlive(ctx, token)
	if err != nil {
		s.broken <- err
		return
	}
	routines.Go(func() { s.routineReceive(ctx, stream) })
	for {
		select {
		case due := <-s.due:
			for _, id := range due {
				if err := sendTo(ctx, stream, &etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
					s.broken <- err
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// routineReceive takes answers until there are no more.
func (s *keepStream) routineReceive(ctx context.Context, stream grpc.ClientStream) {
	for {
		res, err := receive[LeaseKeepAliveResponse](ctx, stream)
		if err != nil {
			s.broken <- err
			return
		}
		s.answered.Store(true)
		s.k.answered(res, time.Now())
	}
}

// due is which leases a request is to be sent for now, and how long it is until the
// next. One that was asked for is not asked for again before there is an answer: the
// stream loses none.
func (k *keeper) due(now time.Time) (ids []LeaseID, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait = longestLook
	for id, one := range k.mu.kept {
		switch {
		case !one.asked.IsZero():
			wait = min(wait, k.patientLocked(one).Sub(now)+time.Millisecond)
		case !one.next.After(now):
			ids = append(ids, id)
			one.asked = now
		default:
			wait = min(wait, one.next.Sub(now))
		}
	}
	return ids, max(wait, shortestLook)
}

// again has all leases be asked for at once on a new stream: what was sent on the one
// before may be lost.
func (k *keeper) again() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.mu.kept {
		one.next, one.asked = time.Time{}, time.Time{}
	}
}

// answered takes an answer to whoever listens.
func (k *keeper) answered(res *LeaseKeepAliveResponse, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := LeaseID(res.ID)
	one := k.mu.kept[id]
	k.mu.heard = now
	switch {
	case one == nil:
		return
	case res.TTL <= 0:
		k.endLocked(id)
		k.wake()
		return
	}
	// The member has counted from some time between the request and the answer.
	ttl := lifeOf(res.TTL)
	if since := one.asked; !since.IsZero() {
		one.deadline = since.Add(ttl)
		k.mu.takes = max(now.Sub(since), k.mu.takes/2)
	}
	one.next, one.asked = now.Add(ttl/3), time.Time{}
	for out := range one.listeners {
		select {
		case out <- res:
		default:
		}
	}
}

// dropLate ends the keeping of leases for which nobody has answered in time. It says how
// many are left, and whether the stream is silent: one of them waits, and no answer at all
// has come, for half of the time that it had, and for longer than answers take. Then there
// is time to ask another member.
func (k *keeper) dropLate(now time.Time) (left int, silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, one := range k.mu.kept {
		if now.After(one.deadline) {
			k.endLocked(id)
		} else if !one.asked.IsZero() {
			silent = silent || now.After(k.patientLocked(one))
		}
	}
	return len(k.mu.kept), silent
}

// patientLocked is until when the stream may be silent for a lease that waits.
func (k *keeper) patientLocked(one *kept) time.Time {
	since := one.asked
	if k.mu.heard.After(since) {
		since = k.mu.heard
	}
	return since.Add(max(one.deadline.Sub(one.asked)/2, 3*k.mu.takes, leastPatience))
}

// openKeepAlive opens a stream of keep-alives. A member without a leader could keep
// nothing alive, and refuses it.
func (c *Client) openKeepAlive(ctx context.Context, token string) (grpc.ClientStream, error) {
	ctx = outgoing(WithRequireLeader(ctx), token)
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, methodLeaseKeepAlive.path)
	if err != nil {
		return nil, translate(ctx, err)
	}
	return stream, nil
}
