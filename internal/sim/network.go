package sim

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// network carries messages between the hosts, as bytes. Without faults it is
// quick, and keeps the order of each link as a stream does.
type network struct {
	c    *Cluster
	cut  map[link]int           // links that faults have cut, and how many did
	last map[link]time.Duration // when the last message of a link arrives
	// foul is the number of faults that make the weather foul: then messages are
	// lost, doubled, late and out of order.
	foul int
}

// link is one way from a host to another.
type link struct{ from, to uint64 }

func newNetwork(c *Cluster) *network {
	return &network{c: c, cut: map[link]int{}, last: map[link]time.Duration{}}
}

// Odds of a message in foul weather, one in so many.
const (
	lossOdds   = 8
	doubleOdds = 4
	lateOdds   = 6
)

// send takes a message to another host on its way.
func (n *network) send(from *host, m *raftpb.Message) {
	data, err := proto.Marshal(m)
	if err != nil {
		n.c.fail(fmt.Errorf("a message of host %d: %w", from.id, err))
		return
	}
	l := link{from.id, m.GetTo()}
	n.c.note(noteSend, l.from, l.to, uint64(m.GetType()), m.GetTerm(), m.GetIndex())
	if m.GetType() == raftpb.MsgSnap {
		n.sendSnapshot(from, m, data)
		return
	}
	rng := n.c.rng
	if n.foul > 0 && rng.IntN(lossOdds) == 0 {
		n.lose(l, m)
		return
	}
	copies := 1
	// A stream would never double a proposal, which would be logged twice.
	if (n.foul > 0 || n.far(l)) && m.GetType() != raftpb.MsgProp && rng.IntN(doubleOdds) == 0 {
		copies = 2
	}
	for range copies {
		n.c.clock.after(n.delay(l), func() { n.deliver(l, m, data) })
	}
}

// delay draws how long a message takes.
func (n *network) delay(l link) time.Duration {
	rng, now := n.c.rng, n.c.clock.now
	d := 100*time.Microsecond + time.Duration(rng.Int64N(int64(900*time.Microsecond)))
	if n.far(l) {
		return d + n.c.between(20*time.Millisecond, 400*time.Millisecond)
	}
	if n.foul > 0 {
		d += time.Duration(rng.Int64N(int64(20 * time.Millisecond)))
		if rng.IntN(lateOdds) == 0 {
			d += time.Duration(rng.Int64N(int64(2 * time.Second)))
		}
		return d
	}
	d = max(d, n.last[l]-now)
	n.last[l] = now + d
	return d
}

// far says that one end of a link is far away: then messages take their time,
// and their order and number are not kept.
func (n *network) far(l link) bool { return n.c.byID[l.from].far > 0 || n.c.byID[l.to].far > 0 }

// deliver hands a message over at its destination; sent is for the trace.
func (n *network) deliver(l link, sent *raftpb.Message, data []byte) {
	to := n.c.byID[l.to]
	if n.cut[l] > 0 || !to.up {
		n.lose(l, sent)
		return
	}
	n.c.note(noteDeliver, l.from, l.to, uint64(sent.GetType()), sent.GetTerm(), sent.GetIndex())
	if n.c.trace != nil && worthTelling(sent) {
		n.c.tell("%d -> %d: %s", l.from, l.to, describe(sent))
	}
	n.hand(to, data)
}

// hand puts a message into a member's inbox.
func (n *network) hand(to *host, data []byte) {
	to.now(func() {
		m := &raftpb.Message{}
		if err := proto.Unmarshal(data, m); err != nil {
			n.c.fail(fmt.Errorf("a message for host %d: %w", to.id, err))
			return
		}
		_ = to.core.Receive(m) // a full inbox loses it
		to.wake()
	})
}

// lose drops a message. The stream it was on is gone, which its sender sees
// sooner or later, or never.
func (n *network) lose(l link, m *raftpb.Message) {
	n.c.out.Lost++
	n.c.note(noteLose, l.from, l.to, uint64(m.GetType()), m.GetTerm(), m.GetIndex())
	if n.c.trace != nil && worthTelling(m) {
		n.c.tell("%d -> %d: lost: %s", l.from, l.to, describe(m))
	}
	from := n.c.byID[l.from]
	if from.up && n.c.rng.IntN(2) == 0 {
		from.after(time.Duration(n.c.rng.Int64N(int64(200*time.Millisecond))), func() {
			from.core.ReportUnreachable(l.to)
			from.wake()
		})
	}
}

// sever cuts links, and returns what mends them.
func (n *network) sever(links []link) (mend func()) {
	for _, l := range links {
		n.cut[l]++
	}
	return func() {
		for _, l := range links {
			n.cut[l]--
		}
	}
}

// worthTelling leaves out what is said all the time.
func worthTelling(m *raftpb.Message) bool {
	t := m.GetType()
	return t != raftpb.MsgHeartbeat && t != raftpb.MsgHeartbeatResp || len(m.GetContext()) > 0
}

func describe(m *raftpb.Message) string {
	s := fmt.Sprintf("%v term %d", m.GetType(), m.GetTerm())
	if m.GetIndex() != 0 || m.GetLogTerm() != 0 {
		s += fmt.Sprintf(" after entry %d of term %d", m.GetIndex(), m.GetLogTerm())
	}
	if e := m.GetEntries(); len(e) > 0 {
		s += fmt.Sprintf(", %d entries", len(e))
	}
	if m.GetCommit() != 0 {
		s += fmt.Sprintf(", commit %d", m.GetCommit())
	}
	if m.GetReject() {
		s += ", refused"
	}
	if c := m.GetContext(); len(c) > 0 {
		s += fmt.Sprintf(", context %x", c)
	}
	return s
}
