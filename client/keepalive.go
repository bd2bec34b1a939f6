package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

const (
	// firstTTL is how long a lease lives for all that is known before the first
	// answer.
	firstTTL = 5 * time.Second
	// keepAliveBuffer is how many answers wait for whoever keeps a lease alive.
	keepAliveBuffer = 16
	// longestLook is how long the keeper goes without a look at its leases.
	longestLook = 500 * time.Millisecond
)

// keeper keeps leases alive over one stream, which it opens again when it breaks.
// Its goroutine is there while there are leases.
type keeper struct {
	mu struct {
		sync.Mutex
		kept    map[LeaseID]*kept
		running bool
		closed  bool
	}
	look chan struct{} // there is something new to send
}

// kept is a lease that is kept alive.
type kept struct {
	listeners map[chan *LeaseKeepAliveResponse]func() bool // and what ends their watch of their context
	next      time.Time                                    // of the next request
	deadline  time.Time                                    // of the next answer
}

// keep has a lease kept alive.
func (k *keeper) keep(ctx context.Context, c *Client, id LeaseID) (<-chan *LeaseKeepAliveResponse, error) {
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
		one = &kept{listeners: map[chan *LeaseKeepAliveResponse]func() bool{}, deadline: time.Now().Add(firstTTL)}
		k.mu.kept[id] = one
	}
	one.next = time.Now()
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
	pause := firstPause
	for !k.over() {
		token := c.auth.current()
		some, err := k.follow(c, token)
		if some {
			pause = firstPause
		}
		if tokenRefused(err) && c.auth.renewable() {
			ctx, cancel := context.WithTimeout(context.Background(), c.config.DialTimeout)
			err = c.logIn(ctx, token)
			cancel()
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrClosed):
			k.halt()
			continue
		}
		c.logger.Debug("leases are kept alive over another stream", zap.Error(err), zap.Duration("pause", pause))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-k.look: // there is another lease, or none
			timer.Stop()
		}
		k.dropLate(time.Now())
		pause = min(2*pause, lastPause)
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
func (k *keeper) follow(c *Client, token string) (some bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answers, broken := make(chan *LeaseKeepAliveResponse), make(chan error, 1)
	var stream grpc.ClientStream
	opened := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel() // before the wait
	// To open a stream may take as long as there is no connection. Meanwhile leases
	// end.
	reading.Go(func() {
		var err error
		if stream, err = c.openKeepAlive(ctx, token); err != nil {
			broken <- err
			return
		}
		close(opened)
		for {
			res, err := receive[LeaseKeepAliveResponse](ctx, stream)
			if err != nil {
				broken <- err
				return
			}
			select {
			case answers <- res:
			case <-ctx.Done():
			}
		}
	})
	open := false
	for {
		wait := longestLook
		if open {
			var due []LeaseID
			due, wait = k.due(time.Now())
			for _, id := range due {
				if err := sendTo(ctx, stream, &etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
					return some, err
				}
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-k.look:
		case <-opened:
			open, opened = true, nil
		case res := <-answers:
			some = true
			k.answered(res, time.Now())
		case err := <-broken:
			timer.Stop()
			k.again()
			return some, err
		}
		timer.Stop()
		if k.dropLate(time.Now()) == 0 {
			return some, nil
		}
	}
}

// due is which leases a request is to be sent for now, and how long it is until the
// next.
func (k *keeper) due(now time.Time) (ids []LeaseID, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait = longestLook
	for id, one := range k.mu.kept {
		if !one.next.After(now) {
			ids = append(ids, id)
			one.next = now.Add(longestLook) // unless an answer says otherwise
		}
		wait = min(wait, one.next.Sub(now))
	}
	return ids, wait
}

// again has all leases be asked for at once on the next stream: what was sent may be
// lost.
func (k *keeper) again() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, one := range k.mu.kept {
		one.next = now
	}
}

// answered takes an answer to whoever listens.
func (k *keeper) answered(res *LeaseKeepAliveResponse, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := LeaseID(res.ID)
	one := k.mu.kept[id]
	switch {
	case one == nil:
		return
	case res.TTL <= 0:
		k.endLocked(id)
		return
	}
	ttl := time.Duration(min(res.TTL, 1<<33)) * time.Second
	one.next, one.deadline = now.Add(ttl/3), now.Add(ttl)
	for out := range one.listeners {
		select {
		case out <- res:
		default:
		}
	}
}

// dropLate ends the keeping of leases for which nobody has answered in time, and
// says how many are left.
func (k *keeper) dropLate(now time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, one := range k.mu.kept {
		if now.After(one.deadline) {
			k.endLocked(id)
		}
	}
	return len(k.mu.kept)
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
