package mvcc

import (
	"sync"
	"sync/atomic"
)

// value is a cached record: the encoded KeyValue of one version. kv is never
// changed; replies splice it.
type value struct {
	kv   []byte
	used atomic.Bool // read since the clock last came by
}

// valueOverhead is what a cached value costs beside its bytes.
const valueOverhead = 72

// cache bounds the bytes of the values that hang on versions. A hit is one
// atomic load on the version; only filling and evicting take the lock. What
// goes is chosen by a clock: a queue in which a value that was used gets a
// second round.
type cache struct {
	budget int64
	mu     struct {
		sync.Mutex
		queue []*version // a ring: count versions from head on
		head  int
		count int
		bytes int64
	}
}

func newCache(budget int64) *cache { return &cache{budget: budget} }

// get returns the value of v if it is held, else nil.
func (c *cache) get(v *version) []byte {
	x := v.cached.Load()
	if x == nil {
		return nil
	}
	if !x.used.Load() {
		x.used.Store(true)
	}
	return x.kv
}

// put holds kv, which was read from the store, as the value of v. The cache
// keeps kv.
func (c *cache) put(v *version, kv []byte) {
	if int64(len(kv))+valueOverhead > c.budget {
		return
	}
	if v.cached.CompareAndSwap(nil, &value{kv: kv}) {
		c.admit(v)
	}
}

// admit takes the value that hangs on v into the budget and lets others go for
// it. A version is admitted once for each time its value is set.
func (c *cache) admit(v *version) {
	x := v.cached.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.bytes += int64(len(x.kv)) + valueOverhead
	c.push(v)
	for c.mu.bytes > c.budget {
		old := c.pop()
		y := old.cached.Load()
		if y.used.Swap(false) {
			c.push(old)
			continue
		}
		old.cached.Store(nil)
		c.mu.bytes -= int64(len(y.kv)) + valueOverhead
	}
}

// push and pop work on the queue under the lock.
func (c *cache) push(v *version) {
	m := &c.mu
	if m.count == len(m.queue) {
		grown := make([]*version, max(64, 2*len(m.queue)))
		n := copy(grown, m.queue[m.head:])
		copy(grown[n:], m.queue[:m.head])
		m.queue, m.head = grown, 0
	}
	m.queue[(m.head+m.count)%len(m.queue)] = v
	m.count++
}

func (c *cache) pop() *version {
	m := &c.mu
	v := m.queue[m.head]
	m.queue[m.head] = nil
	m.head = (m.head + 1) % len(m.queue)
	m.count--
	return v
}

// bytes is what the cache holds, its own overhead included.
func (c *cache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.bytes
}
