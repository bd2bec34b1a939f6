package peer

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// The bounds of queues. A leader has up to 512 messages of a megabyte under way
// to a follower; most of what waits is entries that the log holds in memory
// anyhow.
const (
	streamMessages   = 4096
	pipelineMessages = 64
	queueBytes       = 64 << 20
	// besideLargest is room for what is small beside a message of the largest size: a
	// proposal that is dropped on the way to the leader is not sent again.
	besideLargest = 1 << 20
)

// queueBytes is how many bytes may wait in a queue.
func (c *Config) queueBytes() int { return max(queueBytes, int(c.MaxMessage)+besideLargest) }

// item is a message that waits, with what it counts for.
type item struct {
	m    *raftpb.Message
	size int
}

// cost is about what a message takes in memory, and on the wire.
func cost(m *raftpb.Message) int {
	n := 64 + len(m.Context)
	for _, e := range m.Entries {
		n += 48 + len(e.Data)
	}
	if m.Snapshot != nil {
		n += len(m.Snapshot.Data)
	}
	return n
}

// queue holds messages up to a number and a size. What was taken out counts
// until it is done.
type queue struct {
	maxCount, maxBytes int
	wake               chan struct{} // gets a value when the queue is empty no more, or closed

	mu struct {
		sync.Mutex
		items        []item
		count, bytes int
		closed       bool
	}
}

func newQueue(count, bytes int) *queue {
	return &queue{maxCount: count, maxBytes: bytes, wake: make(chan struct{}, 1)}
}

// push appends the message unless the queue is full or closed. A message larger
// than the queue fits in when nothing else is there.
func (q *queue) push(m *raftpb.Message) bool {
	size := cost(m)
	q.mu.Lock()
	ok := !q.mu.closed && q.mu.count < q.maxCount && (q.mu.count == 0 || q.mu.bytes+size <= q.maxBytes)
	first := false
	if ok {
		first = len(q.mu.items) == 0
		q.mu.items = append(q.mu.items, item{m, size})
		q.mu.count++
		q.mu.bytes += size
	}
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return ok
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits, and false when nothing more will come: the queue is
// closed or sealed. It leaves spare, emptied, to be filled.
func (q *queue) take(spare []item) ([]item, bool) {
	clear(spare)
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.mu.items
	q.mu.items = spare[:0]
	return items, !q.mu.closed
}

// done gives back the room of items that were taken.
func (q *queue) done(items []item) {
	bytes := 0
	for _, i := range items {
		bytes += i.size
	}
	q.mu.Lock()
	q.mu.count -= len(items)
	q.mu.bytes -= bytes
	q.mu.Unlock()
}

// seal lets nothing more in. What waits can still be taken.
func (q *queue) seal() {
	q.mu.Lock()
	q.mu.closed = true
	q.mu.Unlock()
	q.signal()
}

// close empties the queue for good and returns what waited.
func (q *queue) close() []item {
	q.mu.Lock()
	items := q.mu.items
	q.mu.items, q.mu.closed = nil, true
	q.mu.Unlock()
	q.signal()
	return items
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.closed
}

// takeOne returns the first that waits.
func (q *queue) takeOne() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.items) == 0 {
		return item{}, false
	}
	first := q.mu.items[0]
	q.mu.items[0] = item{}
	q.mu.items = q.mu.items[1:]
	return first, true
}
