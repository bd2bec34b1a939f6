package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/raft"
	"etcd.alt/internal/sim/disk"
)

// A snapshot travels beside the messages: what its MsgSnap speaks of is read at
// the sender, is received into the disk of the destination, and then the message
// is handed over there. Its sender hears once what came of it.

// Odds of a snapshot on its way, one in so many.
const (
	cutOdds   = 6 // it ends before its end
	spoilOdds = 8 // a bit of it is changed
)

// interruptOdds is how many installs there are for one that a power cut ends, and
// installCalls how many changing calls on the disk one makes, about.
const (
	interruptOdds = 3
	installCalls  = 40
)

// sendSnapshot takes a snapshot on its way.
func (n *network) sendSnapshot(from *host, m *raftpb.Message, data []byte) {
	c, l := n.c, link{from.id, m.GetTo()}
	from.after(c.between(time.Millisecond, 50*time.Millisecond), func() {
		archive, err := from.readSnapshot(m)
		if err != nil {
			c.say("host %d has no snapshot for host %d: %v", l.from, l.to, err)
			from.snapshotSent(l.to, false)
			return
		}
		spoiled := c.spoil(&archive)
		life, took := from.life, c.between(time.Millisecond, 500*time.Millisecond)
		c.clock.after(n.delay(l)+took, func() {
			ok := n.deliverSnapshot(l, m, data, archive, spoiled)
			c.clock.after(c.between(time.Millisecond, 100*time.Millisecond), func() {
				from.in(life, func() { from.snapshotSent(l.to, ok) })
			})
		})
	})
}

func (h *host) readSnapshot(m *raftpb.Message) ([]byte, error) {
	r, err := h.state.Open(m.GetSnapshot().GetMetadata())
	if err != nil {
		return nil, err
	}
	archive, err := io.ReadAll(r)
	return archive, errors.Join(err, r.Close())
}

// snapshotSent tells the sender what came of it.
func (h *host) snapshotSent(to uint64, ok bool) {
	h.core.ReportSnapshot(to, ok)
	h.wake()
}

// spoil has something happen to some snapshots.
func (c *Cluster) spoil(archive *[]byte) bool {
	switch {
	case c.rng.IntN(cutOdds) == 0:
		*archive = (*archive)[:c.rng.IntN(len(*archive))]
	case c.rng.IntN(spoilOdds) == 0:
		(*archive)[c.rng.IntN(len(*archive))] ^= 1 << c.rng.IntN(8)
	default:
		return false
	}
	return true
}

// deliverSnapshot hands a snapshot over, and says whether it has arrived.
func (n *network) deliverSnapshot(l link, sent *raftpb.Message, data, archive []byte, spoiled bool) bool {
	to, meta := n.c.byID[l.to], sent.GetSnapshot().GetMetadata()
	if n.cut[l] > 0 || !to.up || to.paused > 0 || to.damaged != "" {
		n.c.say("a snapshot at entry %d does not reach host %d", meta.GetIndex(), l.to)
		return false
	}
	err := to.state.Receive(meta, bytes.NewReader(archive))
	switch {
	case err == nil && to.machine.View().Applied >= meta.GetIndex():
		n.c.say("host %d has the snapshot at entry %d already", l.to, meta.GetIndex())
	case err == nil && spoiled:
		n.c.fail(fmt.Errorf("host %d takes a snapshot at entry %d that was spoiled on its way", l.to, meta.GetIndex()))
		return false
	case err != nil && !spoiled:
		n.c.say("host %d cannot take a snapshot at entry %d: %v", l.to, meta.GetIndex(), err)
		return false
	case err != nil:
		n.c.say("host %d refuses a spoiled snapshot at entry %d", l.to, meta.GetIndex())
		return false
	}
	n.c.say("host %d has received a snapshot at entry %d", l.to, meta.GetIndex())
	n.hand(to, data)
	return true
}

// errNoSpace is why a full disk takes no copy: production asks for the room
// before.
var errNoSpace = errors.New("no space left on device")

// Checkpoint is replica.Stages'.
func (s *hostStages) Checkpoint() {
	h := (*host)(s)
	h.after(h.syncTime(), func() {
		h.core.MakeCheckpoint()
		h.wake()
	})
}

// Install is replica.Stages'.
func (s *hostStages) Install(task *raft.Append) {
	h := (*host)(s)
	h.installing = task
	h.after(h.syncTime(), func() {
		if h.damaged == "" && h.c.rng.IntN(interruptOdds) == 0 {
			h.interrupt()
			h.end(h.c.loss())
			h.c.clock.after(h.c.between(300*time.Millisecond, 3*time.Second), h.start)
			return
		}
		h.installing = nil
		h.core.InstallSnapshot(task)
		h.wake()
	})
}

// interrupt has a snapshot's install begun, and the power gone after some calls on
// the disk. The member is not to go on after it.
func (h *host) interrupt() {
	if h.installing == nil {
		return
	}
	left := h.c.rng.IntN(installCalls)
	h.c.out.Faults["power cut of an install"]++
	h.c.say("host %d installs a snapshot, and after %d calls on its disk the power is gone", h.id, left)
	h.c.out.Interrupted++
	h.dying = true
	h.disk.Inject(func(op disk.Op, path string) error {
		if op == disk.OpRead || op == disk.OpOpen {
			return nil
		}
		// The stores tidy up on goroutines of their own, at no certain time: what they do
		// in their directories is not counted.
		if !strings.Contains(path, "/store-") {
			left--
		}
		if left >= 0 {
			return nil
		}
		return errors.New("the power is gone")
	})
	h.core.InstallSnapshot(h.installing)
}

// Checkpoint is replica.State's.
func (s *hostState) Checkpoint() (*raftpb.SnapshotMetadata, error) {
	if s.damaged != "" {
		return nil, errNoSpace
	}
	// A copy begins with a flush.
	if err := (*host)(s).writeDown(); err != nil {
		return nil, err
	}
	s.tables++
	m, err := s.state.Checkpoint()
	if err == nil {
		s.c.say("host %d has a copy of its state at entry %d", s.id, m.GetIndex())
	}
	return m, err
}

// Discard is replica.State's.
func (s *hostState) Discard(index uint64) { s.state.Discard(index) }

// Install is replica.State's.
func (s *hostState) Install(m *raftpb.SnapshotMetadata) error {
	err := s.state.Install(m)
	s.tables = mostTables - 1 // nobody counted those of the store that has come
	if err == nil && !s.dying {
		s.c.out.Snapshots++
		s.c.say("host %d has installed a snapshot at entry %d", s.id, m.GetIndex())
		s.c.checkView((*host)(s))
		s.c.checkHash((*host)(s))
		if s.state.Watch.Stats().Watchers > 0 {
			s.c.out.Watch.Replaced++
		}
		(*host)(s).stir()
	}
	return err
}
