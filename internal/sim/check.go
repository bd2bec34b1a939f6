package sim

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/wal"
)

// What must hold at every moment. What a check finds ends the run.

// checkStart looks at what a member comes back with: all that it has promised
// about terms, and nothing else than what was committed.
func (c *Cluster) checkStart(h *host) {
	r := h.data.Recovered
	found := standing{r.HardState.GetTerm(), r.HardState.GetVote()}
	if found.term < h.known.term || found.term == h.known.term && h.known.vote != 0 && found.vote != h.known.vote {
		c.fail(fmt.Errorf("host %d comes back in term %d with its vote for %d, and had promised term %d, vote %d",
			h.id, found.term, found.vote, h.known.term, h.known.vote))
		return
	}
	h.known = found
	committed := max(r.HardState.GetCommit(), h.data.Applied.Index)
	for _, e := range r.Entries {
		if e.GetIndex() > committed {
			break
		}
		if err := c.model.Holds(e); err != nil {
			c.fail(fmt.Errorf("host %d, in its log: %w", h.id, err))
			return
		}
	}
	if r.Prev.Index > 0 {
		c.out.Released++
	}
	if h.machine.View().Applied > c.model.Index {
		c.fail(fmt.Errorf("host %d comes back at entry %d, and nobody has applied more than %d", h.id, h.machine.View().Applied, c.model.Index))
		return
	}
	c.checkView(h)
}

// checkView holds a member's published keys against the model's at the same
// entry.
func (c *Cluster) checkView(h *host) {
	view := h.machine.View()
	if want := c.model.RevisionAt(view.Applied); view.Keys.Revision != want {
		c.fail(fmt.Errorf("host %d is at revision %d after entry %d, which makes it %d", h.id, view.Keys.Revision, view.Applied, want))
		return
	}
	c.checkUsers(h)
	if err := verifyAt(view.Keys, c.model, view.Keys.Revision); err != nil {
		c.fail(fmt.Errorf("host %d: %w", h.id, err))
	}
}

// hashOdds is how many batches are applied for one after which the keys are
// compared and hashed.
const hashOdds = 16

// checkApplied looks at what a member has published after a batch.
func (c *Cluster) checkApplied(h *host) {
	view := h.machine.View()
	if want := c.model.RevisionAt(view.Applied); view.Keys.Revision != want {
		c.fail(fmt.Errorf("host %d is at revision %d after entry %d, which makes it %d", h.id, view.Keys.Revision, view.Applied, want))
		return
	}
	c.checkUsers(h)
	if view.Applied == c.model.Index {
		c.follow(h)
	}
	if c.rng.IntN(hashOdds) == 0 {
		c.checkView(h)
		c.checkHash(h)
	}
}

// checkHash holds a member's hash against what any other has had under the same
// compaction.
func (c *Cluster) checkHash(h *host) {
	view := h.machine.View().Keys
	got, err := view.Hash(view.Revision)
	if err != nil {
		c.fail(fmt.Errorf("host %d: hash at revision %d: %w", h.id, view.Revision, err))
		return
	}
	at := [2]int64{view.Revision, got.Compacted}
	if want, ok := c.hashes[at]; ok && want != got.Hash {
		c.fail(fmt.Errorf("host %d has the hash %d at revision %d, compacted at %d, and another has %d", h.id, got.Hash, at[0], at[1], want))
	}
	c.hashes[at] = got.Hash
	c.note(noteHash, h.id, uint64(at[0]), uint64(got.Hash))
}

// checkStatus looks at what a member believes of the consensus: a term has one
// leader.
func (c *Cluster) checkStatus(h *host) {
	s := h.core.Status()
	c.tails[h.data.Log.Last()] = true
	if s.Leader == 0 {
		return
	}
	if was := c.leaders[s.Term]; was != 0 && was != s.Leader {
		c.fail(fmt.Errorf("host %d takes %d for the leader of term %d, which was %d", h.id, s.Leader, s.Term, was))
		return
	}
	if c.leaders[s.Term] == 0 {
		c.leaders[s.Term] = s.Leader
		c.say("host %d leads in term %d", s.Leader, s.Term)
		if c.leader != 0 {
			c.out.LeaderChanges++
		}
	}
	if s.IsLeader {
		c.leader = h.id
	}
}

// checkSend holds a message against the disk of its sender: nothing that carries
// a term leaves before that term, and a vote before that vote, is on it.
func (c *Cluster) checkSend(h *host, m *raftpb.Message) {
	var vote uint64
	switch m.GetType() {
	case raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
		return
	case raftpb.MsgVote:
		vote = h.id
	case raftpb.MsgVoteResp:
		if !m.GetReject() {
			vote = m.GetTo()
		}
	}
	promised := func() bool {
		return m.GetTerm() < h.known.term || m.GetTerm() == h.known.term && (vote == 0 || vote == h.known.vote)
	}
	if promised() {
		return
	}
	var err error
	if h.known, err = c.durable(h); err == nil && !promised() {
		err = fmt.Errorf("its disk has term %d and vote %d", h.known.term, h.known.vote)
	}
	if err != nil {
		c.fail(fmt.Errorf("host %d sends %s: %w", h.id, describe(m), err))
	}
}

// durable is the term and the vote that a power cut at this moment would leave
// on a host's disk.
func (c *Cluster) durable(h *host) (standing, error) {
	id := h.data.Identity
	log, r, err := wal.Open(wal.Options{
		FS: h.disk.CrashImage(disk.LoseAll{}), Dir: logDir, SegmentBytes: segmentBytes, Salt: 1,
		ClusterID: id.ClusterID, MemberID: id.MemberID,
	})
	if err != nil {
		return standing{}, err
	}
	return standing{r.HardState.GetTerm(), r.HardState.GetVote()}, log.Close()
}

// checkAnswer holds an answer against what was acknowledged to anybody before
// the question was asked, and what it read against the model.
func (c *Cluster) checkAnswer(h *host, op *operation) {
	a := op.answer
	if op.ask.kind != stale && a.revision != 0 && a.revision < op.atLeast {
		c.fail(fmt.Errorf("operation %d (%v) was answered at revision %d by host %d, after revision %d had been acknowledged", op.id, op.ask, a.revision, h.id, op.atLeast))
		return
	}
	if a.revision > c.model.Revision {
		c.fail(fmt.Errorf("operation %d (%v) was answered at revision %d by host %d, and the newest is %d", op.id, op.ask, a.revision, h.id, c.model.Revision))
		return
	}
	if op.ask.kind != stale {
		c.acknowledged = max(c.acknowledged, a.revision)
	}
	c.out.Answered++
	if op.ask.kind.reads() && a.err == "" {
		rev := a.revision
		if op.ask.revision > 0 {
			rev = op.ask.revision
		}
		if want := c.model.read(op.ask, rev); !want.equal(answer{kvs: a.kvs, count: a.count}) {
			c.fail(fmt.Errorf("operation %d (%v) reads %v at revision %d from host %d, and must read %v", op.id, op.ask, a, rev, h.id, want))
		}
	}
}

// read is what a read at a revision must give.
func (m *Model) read(q question, revision int64) answer {
	var a answer
	for _, k := range m.At(revision) {
		key := string(k.Key)
		if q.covers(key) {
			a.kvs = append(a.kvs, kv{key, string(k.Value), k.CreateRevision, k.ModRevision, k.Version, k.Lease})
			a.count++
		}
	}
	return a
}
