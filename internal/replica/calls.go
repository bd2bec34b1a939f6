package replica

import (
	"sync"

	"etcd.alt/api/errs"
)

// calls are the proposals on their way, by request id. An answer is given to
// whoever takes the call out, so there is one.
type calls struct {
	mu struct {
		sync.Mutex
		byID map[uint64]Caller
		// queue has the ids in the order they came, with the tick at which
		// they have waited long enough.
		queue []expiry
	}
}

type expiry struct {
	id   uint64
	tick int64
}

func newCalls() *calls {
	c := &calls{}
	c.mu.byID = map[uint64]Caller{}
	return c
}

func (c *calls) add(proposals []proposal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range proposals {
		c.mu.byID[p.id] = p.caller
		c.mu.queue = append(c.mu.queue, expiry{p.id, p.deadline})
	}
}

// has says whether somebody here waits for id.
func (c *calls) has(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mu.byID[id]
	return ok
}

// take removes the call of id; nil if nobody waits.
func (c *calls) take(id uint64) Caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	caller := c.mu.byID[id]
	delete(c.mu.byID, id)
	return caller
}

// expire answers those that have waited until now with a time-out.
func (c *calls) expire(now int64) {
	var late []Caller
	c.mu.Lock()
	n := 0
	for ; n < len(c.mu.queue); n++ {
		e := c.mu.queue[n]
		caller, waiting := c.mu.byID[e.id]
		if waiting && e.tick > now {
			break
		}
		if waiting {
			delete(c.mu.byID, e.id)
			late = append(late, caller)
		}
	}
	rest := copy(c.mu.queue, c.mu.queue[n:])
	c.mu.queue = c.mu.queue[:rest]
	c.mu.Unlock()
	for _, caller := range late {
		caller.Done(nil, errs.Timeout)
	}
}

// fail answers all that wait with err, in the order they came.
func (c *calls) fail(err error) {
	c.mu.Lock()
	byID, queue := c.mu.byID, c.mu.queue
	c.mu.byID, c.mu.queue = map[uint64]Caller{}, nil
	c.mu.Unlock()
	for _, e := range queue {
		if caller, waiting := byID[e.id]; waiting {
			delete(byID, e.id)
			caller.Done(nil, err)
		}
	}
}
