package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/watch"
)

// line is what connects a listener with a member: a watch.Sink, with little room or
// much, and the requests on their way.
type line struct {
	l       *listener
	h       *host
	life    uint64 // of the member
	cluster uint64
	stream  *watch.Stream

	user      string // who watches
	made      uint64 // the auth revision that has made him; 0 as long as nobody had to be named
	withdrawn int    // watches that were ended for want of rights, which the client has not heard of

	budget, bytes int
	queue         []response
	ready         []func() // to be called when there is room
	reading       bool     // somebody is about to read
	dead          bool     // nobody reads any more

	requests []func()
	asked    []int64 // the member's revisions when it was asked for progress, and has not said

	creating []*watching         // not answered yet, in order
	watches  map[int64]*watching // as far as the client has heard
}

// response is one that waits to be read, and where the member was that has sent it.
type response struct {
	*etcdserverpb.WatchResponse
	size                int
	revision, compacted int64
}

// request sends the member something to be done with the stream. Requests stay in
// order.
func (n *line) request(do func()) {
	n.requests = append(n.requests, do)
	n.h.in(n.life, func() {
		n.h.after(20*time.Microsecond+time.Duration(n.l.c.dice.Int64N(int64(2*time.Millisecond))), n.serve)
	})
}

// serve does what was requested first.
func (n *line) serve() {
	if len(n.requests) == 0 || n.dead {
		return
	}
	do := n.requests[0]
	n.requests = n.requests[1:]
	do()
	n.h.catchUp()
}

// revision is how far the member is.
func (n *line) revision() int64 { return n.h.machine.View().Keys.Revision }

// Header is watch.Sink's.
func (n *line) Header() watch.Header {
	return watch.Header{Cluster: n.h.data.Identity.ClusterID, Member: n.h.id, Term: n.h.core.Status().Term}
}

// Offer is watch.Sink's.
func (n *line) Offer(messages []byte, count int) bool {
	if n.bytes >= n.budget {
		n.l.c.out.Watch.Full++
		return false
	}
	n.take(messages, count)
	return true
}

// Push is watch.Sink's.
func (n *line) Push(message []byte) { n.take(message, 1) }

// Room is watch.Sink's.
func (n *line) Room(ready func()) bool {
	if n.bytes <= n.budget/2 {
		return true
	}
	n.ready = append(n.ready, ready)
	return false
}

// Flush is watch.Sink's.
func (n *line) Flush() {
	n.wait()
	n.h.meanwhile()
}

// End is watch.Sink's.
func (n *line) End(err error) {
	n.l.c.fail(fmt.Errorf("host %d ends the stream of listener %d: %w", n.h.id, n.l.id, err))
}

// take has messages wait to be read.
func (n *line) take(messages []byte, count int) {
	keys := n.h.machine.View().Keys
	for ; count > 0 && len(messages) > prefix; count-- {
		size := prefix + int(binary.BigEndian.Uint32(messages[1:]))
		m := &etcdserverpb.WatchResponse{}
		if err := m.UnmarshalVT(append([]byte(nil), messages[prefix:size]...)); err != nil {
			n.l.c.fail(fmt.Errorf("host %d sends listener %d what is no response: %w", n.h.id, n.l.id, err))
			return
		}
		n.bytes += size
		n.queue = append(n.queue, response{m, size, keys.Revision, keys.Compacted})
		n.checkAsked(m)
		n.checkEvents(m)
		messages = messages[size:]
	}
	if count != 0 || len(messages) != 0 {
		n.l.c.fail(fmt.Errorf("host %d offers listener %d %d messages less than it says, and %d bytes more", n.h.id, n.l.id, count, len(messages)))
	}
}

// prefix is what gRPC puts before each message.
const prefix = 5

// checkAsked holds an answer to questions for progress against them: it is there
// since somebody has asked, and not behind where the member was then.
func (n *line) checkAsked(m *etcdserverpb.WatchResponse) {
	if m.WatchId != -1 || m.Created {
		return
	}
	if len(n.asked) == 0 {
		n.l.c.fail(fmt.Errorf("host %d tells listener %d of progress, and was not asked", n.h.id, n.l.id))
	}
	for _, revision := range n.asked {
		if m.Header.Revision < revision {
			n.l.c.fail(fmt.Errorf("host %d tells listener %d of progress up to %d, and was asked at %d", n.h.id, n.l.id, m.Header.Revision, revision))
		}
	}
	n.asked = nil
}

// wait has the listener read in a while what there is.
func (n *line) wait() {
	if n.reading || n.dead || len(n.queue) == 0 {
		return
	}
	n.reading = true
	n.h.after(n.l.c.readPause(), n.read)
}

// readPause draws how long a listener takes until it reads on. Some stall.
func (c *Cluster) readPause() time.Duration {
	least, most := time.Millisecond, 30*time.Millisecond
	switch n := c.dice.IntN(30); {
	case c.closing:
	case n == 0:
		least, most = 3*time.Second, 25*time.Second
	case n < 5:
		least, most = 100*time.Millisecond, 1500*time.Millisecond
	}
	return least + time.Duration(c.dice.Int64N(int64(most-least)))
}

// read reads some of what waits.
func (n *line) read() {
	n.reading = false
	if n.dead {
		return
	}
	some := len(n.queue)
	if n.l.c.dice.IntN(2) == 0 {
		some = 1 + n.l.c.dice.IntN(some)
	}
	n.hear(some)
	if n.bytes <= n.budget/2 {
		ready := n.ready
		n.ready = nil
		for _, do := range ready {
			do()
		}
		n.h.catchUp()
	}
	n.wait()
}

// hear has the listener hear the first responses that wait.
func (n *line) hear(some int) {
	for range some {
		r := n.queue[0]
		n.queue = n.queue[1:]
		n.bytes -= r.size
		n.heard(r)
	}
}
