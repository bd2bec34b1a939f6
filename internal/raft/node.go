package raft

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// ErrDropped says that a proposal was not taken and is in no log: there is no
// leader, leadership is being handed over, or too much is uncommitted.
var ErrDropped = raft.ErrProposalDropped

// Limits of one member. They bound memory, and are what upstream's members
// expect of a peer.
const (
	maxMessageBytes     = 1 << 20  // entries in one append message
	maxApplyBytes       = 8 << 20  // entries handed out to be applied at once
	maxUncommittedBytes = 64 << 20 // entries a leader accepts ahead of the quorum
	maxInflightMessages = 512      // append messages on their way to one peer
	maxInflightBytes    = 64 << 20
)

// MaxEntryBytes is the most data that one entry may have: the largest request that a
// member can be set to take.
const MaxEntryBytes = 64 << 20

// LargestMessage is the most bytes of a message between members, but for what comes with
// a snapshot. A message has up to a few megabytes of entries, or a single one that may
// be larger; what an entry and a message have beside the data are a dozen numbers.
// Whoever bounds what comes from another member must take one of this size: an entry that
// a leader has in its log and a follower never takes holds up all that come after it.
const LargestMessage = MaxEntryBytes + 4<<10

// Config is what a Node starts from.
type Config struct {
	// ID is this member; it is not 0.
	ID uint64
	// ElectionTicks and HeartbeatTicks are timeouts, counted in calls of Tick.
	ElectionTicks, HeartbeatTicks int
	// PreVote asks the others before a term is begun.
	PreVote bool
	// PrevIndex and PrevTerm are the entry before the first of Entries.
	PrevIndex, PrevTerm uint64
	// Entries is the log as it was read from disk; the Node keeps the slice.
	Entries []*raftpb.Entry
	// HardState is the last one on disk, nil for none.
	HardState *raftpb.HardState
	// Applied is the last entry the store has taken in, and ConfState the
	// configuration at that entry.
	Applied   uint64
	ConfState *raftpb.ConfState
	// Logger receives what the library has to say; nil drops it.
	Logger raft.Logger
}

// Append is a task for the disk: write Entries, then HardState, in that order
// and in one batch; sync if MustSync; then hand it back to Appended. Tasks are
// done in the order they were given out, and none may be left out.
type Append struct {
	Entries   []*raftpb.Entry
	HardState *raftpb.HardState // nil when unchanged
	// Snapshot, unless nil, replaces state and log before anything else is
	// written: its index is HardState's Commit.
	Snapshot *raftpb.SnapshotMetadata
	// MustSync says that this must be durable. A task that need not be waits for
	// those before it all the same.
	MustSync bool

	responses []*raftpb.Message
}

// Apply is a task for the state machine: apply Entries, in order, then hand it
// back to Applied.
type Apply struct {
	Entries []*raftpb.Entry

	responses []*raftpb.Message
}

// Index of the last entry of the task.
func (a *Apply) Index() uint64 { return a.Entries[len(a.Entries)-1].GetIndex() }

// Read is an answered read barrier: whoever asked with ID may read once Index
// has been applied.
type Read struct {
	ID    uint64
	Index uint64
}

// Output is the work that Ready hands out.
type Output struct {
	Appends []*Append
	Applies []*Apply
	// Send goes to other members. The messages are kept by nobody else.
	Send  []*raftpb.Message
	Reads []Read
}

// Status is a member's view of the consensus.
type Status struct {
	Leader uint64 // 0 for none
	Term   uint64
	Commit uint64
	// Applied is the last entry acknowledged by Applied.
	Applied  uint64
	IsLeader bool
	// Established says that it leads and has applied an entry of its own term: all
	// that its predecessors have committed is applied here.
	Established bool
	// Learner says that this member has no vote; Removed that it was a member and
	// is none any more.
	Learner, Removed bool
	// LastTerm and LastIndex are of the last durable entry of the log, by which members
	// without a leader compare; 0 while a leader is known, when every append moves them.
	LastTerm, LastIndex uint64
}

// Progress is what a leader knows of a member.
type Progress struct {
	ID uint64
	// Match is the last entry that the member is known to have.
	Match uint64
	// Active says that the member was heard of in the last two election timeouts.
	Active  bool
	Learner bool
	// lost says that the member needs entries that are forgotten, and that no
	// snapshot is on its way to it.
	lost bool
	// next is the entry that the member is sent next.
	next uint64
}

// Node is one member's raft. See the package comment for who owns it.
type Node struct {
	id      uint64
	raw     *raft.RawNode
	log     *Log
	gate    gate
	conf    *raftpb.ConfState // in force, as of applied
	applied uint64
	// appliedTerm is the term of the last applied entry: a leader may answer
	// read barriers only once it is its own term.
	appliedTerm uint64
	learner     bool
	removed     bool
	followers   []Progress // when this member was removed while it led
	// farewellTerm is the term in which it did.
	farewellTerm uint64
	parting      []*raftpb.Message // for those whose removal was applied last
	ticks        int64
	heard        map[uint64]int64  // the tick at which a member was heard of last
	patience     int64             // ticks after which one that is not heard of counts as gone
	term, vote   uint64            // of the last HardState that was given out
	sending      uint64            // whom a snapshot was sent to that has not passed it yet
	installing   int               // snapshots that were given out to be installed
	ready        []*raftpb.Message // messages that passed the gate after a sync
}

// New builds a Node. It refuses a log that cannot belong to the applied state:
// whoever calls it has checked the store and the log against each other, so
// such an error means that one of them was lost.
func New(c Config) (*Node, error) {
	if c.ID == 0 {
		return nil, errors.New("raft: member id is 0")
	}
	log := newLog(c.PrevIndex, c.PrevTerm, c.Entries)
	hard := &raftpb.HardState{}
	if c.HardState != nil {
		hard = proto.Clone(c.HardState).(*raftpb.HardState)
	}
	// A HardState that only moves Commit needs no sync, so the store may be
	// ahead of the one on disk. What was applied was committed.
	if hard.GetCommit() < c.Applied {
		hard.Commit = proto.Uint64(c.Applied)
	}
	if hard.GetCommit() > log.last() {
		return nil, fmt.Errorf("raft: commit index %d is above the last entry %d: the log was lost", hard.GetCommit(), log.last())
	}
	if c.Applied < c.PrevIndex {
		return nil, fmt.Errorf("raft: applied index %d is below the log, which begins after %d", c.Applied, c.PrevIndex)
	}
	appliedTerm, err := log.Term(c.Applied)
	if err != nil {
		return nil, fmt.Errorf("raft: applied index %d: %w", c.Applied, err)
	}
	log.hardState = hard
	log.confState = c.ConfState
	if log.confState == nil {
		log.confState = &raftpb.ConfState{}
	}
	logger := c.Logger
	if logger == nil {
		logger = discard{}
	}
	raw, err := raft.NewRawNode(&raft.Config{
		ID:                        c.ID,
		ElectionTick:              c.ElectionTicks,
		HeartbeatTick:             c.HeartbeatTicks,
		Storage:                   log,
		Applied:                   c.Applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           maxInflightMessages,
		MaxInflightBytes:          maxInflightBytes,
		CheckQuorum:               true,
		PreVote:                   c.PreVote,
		StepDownOnRemoval:         true,
		Logger:                    logger,
	})
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	n := &Node{
		id:          c.ID,
		raw:         raw,
		log:         log,
		gate:        gate{synced: c.HardState.GetTerm()},
		conf:        log.confState,
		applied:     c.Applied,
		appliedTerm: appliedTerm,
		heard:       map[uint64]int64{},
		patience:    2 * int64(c.ElectionTicks),
		term:        c.HardState.GetTerm(),
		vote:        c.HardState.GetVote(),
	}
	n.learner = slices.Contains(n.conf.GetLearners(), n.id)
	log.applied(log.entries[:c.Applied-c.PrevIndex])
	return n, nil
}

// Tick moves the logical clock.
func (n *Node) Tick() {
	n.ticks++
	n.raw.Tick()
}

// Campaign begins an election now. A member that is the only voter calls it as
// soon as it knows that it is.
func (n *Node) Campaign() error { return n.raw.Campaign() }

// Step takes a message from another member, which the Node keeps. What raft does
// not want (a proposal that finds no leader, a message of somebody who is not a
// member) is dropped, as a network may drop it. An error means that this member
// has lost entries of its log and must not go on.
//
// The message must have passed the checks for what makes the library panic: a
// context of a length it does not expect, a type that does not travel.
func (n *Node) Step(m *raftpb.Message) error {
	s := n.Status()
	n.heard[m.GetFrom()] = n.ticks
	switch m.GetType() {
	case raftpb.MsgHeartbeat:
		// A leader tells of no more than we have acknowledged to it.
		if m.GetTerm() >= s.Term && m.GetCommit() > n.log.last() {
			return fmt.Errorf("raft: member %x knows that this one had the entry %d, and the log ends at %d: the log was lost",
				m.GetFrom(), m.GetCommit(), n.log.last())
		}
	case raftpb.MsgReadIndex:
		// With one voter the library answers before an entry of the leader's own
		// term is committed. Who has asked asks again.
		if s.IsLeader && n.appliedTerm != s.Term {
			return nil
		}
	}
	if plantOldTerm && m.GetTerm() > 0 {
		m.Term = proto.Uint64(max(m.GetTerm(), s.Term))
	}
	_ = n.raw.Step(m) // it reports what it drops
	return nil
}

// ReportUnreachable says that messages to a member were lost.
func (n *Node) ReportUnreachable(id uint64) { n.raw.ReportUnreachable(id) }

// Transfer hands leadership over to a member, if this one leads. While that goes
// on proposals are dropped; it is given up after an election timeout.
func (n *Node) Transfer(to uint64) {
	if n.Status().IsLeader {
		n.raw.TransferLeader(to)
	}
}

// GiveAway hands leadership over to the voter that is furthest among those that
// were heard of lately, and says whether there is one.
func (n *Node) GiveAway() bool {
	var to uint64
	var match uint64
	for _, p := range n.Progress() {
		if p.ID != n.id && p.Active && !p.Learner && (to == 0 || p.Match > match) {
			to, match = p.ID, p.Match
		}
	}
	if to != 0 {
		n.Transfer(to)
	}
	return to != 0
}

// Progress is what a leader knows of all members, itself among them, ascending
// by id; nil on others.
func (n *Node) Progress() []Progress {
	if !n.Status().IsLeader {
		return nil
	}
	var all []Progress
	n.raw.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		all = append(all, Progress{
			ID: id, Match: p.Match, Active: id == n.id || n.active(id), Learner: kind == raft.ProgressTypeLearner,
			lost: p.State != tracker.StateSnapshot && p.Next <= n.log.prevIndex,
			next: p.Next,
		})
	})
	slices.SortFunc(all, func(a, b Progress) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// active says whether a member was heard of lately. Raft's own idea of that begins
// anew with each election timeout.
func (n *Node) active(id uint64) bool {
	at, ok := n.heard[id]
	return ok && n.ticks-at <= n.patience
}

// CampaignAlone begins an election if this member is the only voter and does
// not lead or stand yet: nobody else could.
func (n *Node) CampaignAlone() error {
	if !n.SoleVoter() || n.raw.BasicStatus().RaftState != raft.StateFollower {
		return nil
	}
	return n.Campaign()
}

// Propose offers entries for the log as one batch: all are taken or, with
// ErrDropped, none is and none ever will be.
func (n *Node) Propose(entries []*raftpb.Entry) error {
	// What is sent to a leader that was removed is lost, and nobody would know.
	if n.Status().Leader == 0 {
		return ErrDropped
	}
	return n.raw.Step(&raftpb.Message{
		Type:    raftpb.MsgProp.Enum(),
		From:    proto.Uint64(n.id),
		Entries: entries,
	})
}

// ProposeChange offers a configuration change for the log, which travels alone.
// With ErrDropped it is in no log and never will be; that is also the answer
// while another change is not applied yet.
func (n *Node) ProposeChange(data []byte) error {
	s := n.Status()
	// Nor before an entry of the leader's own term is applied: until it has applied that,
	// its library puts an empty entry in the place of a change, and a follower that sent it
	// on would never know.
	if n.appliedTerm != s.Term || n.log.changeAbove(n.applied) {
		return ErrDropped
	}
	entries := []*raftpb.Entry{{Type: raftpb.EntryConfChange.Enum(), Data: data}}
	if err := n.Propose(entries); err != nil {
		return err
	}
	if entries[0].GetType() != raftpb.EntryConfChange {
		return ErrDropped // the library has put an empty entry in its place
	}
	return nil
}

// ReadIndex asks for a read barrier under id. It returns false when none can
// be had at present: no leader is known, or this leader has not yet applied an
// entry of its own term. The caller asks again later, under a fresh id.
func (n *Node) ReadIndex(id uint64) bool {
	s := n.Status()
	if s.Leader == 0 || (s.IsLeader && n.appliedTerm != s.Term && !plantOwnTerm) {
		return false
	}
	n.raw.ReadIndex(binary.BigEndian.AppendUint64(make([]byte, 0, 8), id))
	return true
}

// Alone says that this member leads, that it is the only voter and that it has
// applied an entry of its own term. Whatever has been acknowledged to anybody
// has then been applied here, so its applied state may be read without a
// barrier. It ends when a configuration change is in the log: whoever that makes
// a voter may be ahead in applying it, and acknowledge what is not applied here.
func (n *Node) Alone() bool {
	if !n.SoleVoter() || n.log.changeAbove(n.applied) {
		return false
	}
	s := n.Status()
	return s.IsLeader && (n.appliedTerm == s.Term || plantOwnTerm)
}

// SoleVoter says that this member alone is the quorum. It may then campaign at
// once: nobody else could.
func (n *Node) SoleVoter() bool {
	v := n.conf.GetVoters()
	return len(v) == 1 && v[0] == n.id && len(n.conf.GetVotersOutgoing()) == 0
}

// Ready hands out all work there is. It returns nothing once the Node waits
// for tasks to come back, for time, or for messages.
func (n *Node) Ready() Output {
	var out Output
	out.Send, n.ready = n.ready, nil
	for n.raw.HasReady() {
		rd := n.raw.Ready()
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				out.Appends = append(out.Appends, n.newAppend(m))
			case raft.LocalApplyThread:
				out.Applies = append(out.Applies, &Apply{Entries: m.GetEntries(), responses: m.GetResponses()})
			default:
				n.sent(m)
				out.Send = n.gate.pass(out.Send, []*raftpb.Message{m})
			}
		}
		for _, r := range rd.ReadStates {
			out.Reads = append(out.Reads, Read{ID: binary.BigEndian.Uint64(r.RequestCtx), Index: r.Index})
		}
	}
	return out
}

func (n *Node) newAppend(m *raftpb.Message) *Append {
	a := &Append{Entries: m.GetEntries(), responses: m.GetResponses(), MustSync: len(m.GetEntries()) > 0}
	if m.Term != nil {
		a.HardState = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		// A commit index need not be durable for anything. A term must be, also one
		// that came with a heartbeat: the gate holds the answers back until it is.
		a.MustSync = a.MustSync || m.GetTerm() != n.term || m.GetVote() != n.vote
		n.term, n.vote = m.GetTerm(), m.GetVote()
	}
	if !raft.IsEmptySnap(m.GetSnapshot()) {
		a.Snapshot, a.MustSync = m.GetSnapshot().GetMetadata(), true
		n.installing++
	}
	return a
}

// Answered says whether somebody waits for the task to come back.
func (a *Append) Answered() bool { return len(a.responses) > 0 }

// Appended takes back a task whose batch is written, and synced if it had to
// be.
func (n *Node) Appended(a *Append) error {
	if s := a.Snapshot; s != nil {
		n.installed(s)
	}
	n.log.append(a.Entries)
	if a.MustSync && a.HardState != nil {
		n.ready = n.gate.open(n.ready, a.HardState.GetTerm())
	}
	for _, m := range a.responses {
		if m.GetTo() != n.id {
			n.ready = n.gate.pass(n.ready, []*raftpb.Message{m})
			continue
		}
		// A leader that was removed while it wrote does not count itself any more.
		if err := n.raw.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
			return fmt.Errorf("raft: append response: %w", err)
		}
	}
	return nil
}

// Applied takes back a task whose entries are applied. changes are the
// configuration changes among them as the state machine decided them, in order
// and one for every such entry: one that it refused has node id 0. The
// configuration after them is returned, nil if there was no change.
func (n *Node) Applied(a *Apply, changes []*raftpb.ConfChange) (*raftpb.ConfState, error) {
	var conf *raftpb.ConfState
	var followers []Progress
	if len(changes) > 0 {
		followers = n.Progress()
	}
	for _, c := range changes {
		if n.installing > 0 {
			break // raft has the configuration of the snapshot, which is newer
		}
		conf = n.raw.ApplyConfChange(c)
	}
	last := a.Entries[len(a.Entries)-1]
	if last.GetIndex() <= n.applied {
		return nil, fmt.Errorf("raft: entry %d applied twice", last.GetIndex())
	}
	n.applied, n.appliedTerm = last.GetIndex(), last.GetTerm()
	n.log.applied(a.Entries)
	for _, m := range a.responses {
		if err := n.raw.Step(m); err != nil {
			return nil, fmt.Errorf("raft: apply response: %w", err)
		}
	}
	if conf != nil {
		slices.Sort(conf.Voters)
		slices.Sort(conf.Learners)
		n.configured(conf)
		n.part(followers)
		if n.removed {
			n.followers, n.farewellTerm = followers, n.raw.BasicStatus().HardState.GetTerm()
		}
	}
	return conf, nil
}

// configured takes note of a configuration that is in force.
func (n *Node) configured(conf *raftpb.ConfState) {
	was := isMember(n.conf, n.id)
	n.conf = conf
	n.learner = slices.Contains(conf.GetLearners(), n.id)
	n.removed = !isMember(conf, n.id) && (was || n.removed)
}

// installed takes note of a snapshot in whose state this member is now.
func (n *Node) installed(s *raftpb.SnapshotMetadata) {
	n.log.reset(s.GetIndex(), s.GetTerm())
	n.applied, n.appliedTerm = s.GetIndex(), s.GetTerm()
	n.installing--
	n.configured(s.GetConfState())
}

func isMember(c *raftpb.ConfState, id uint64) bool {
	return slices.Contains(c.GetVoters(), id) || slices.Contains(c.GetLearners(), id)
}

// Droppable is the last entry that may be forgotten: it is applied, and the log is
// not kept from it on for somebody.
func (n *Node) Droppable() uint64 {
	if n.log.pin != 0 {
		return min(n.applied, n.log.pin)
	}
	return n.applied
}

// Compact forgets the entries up to index, or up to what has been applied, or is
// kept for somebody, if that is less.
func (n *Node) Compact(index uint64) { n.log.compact(min(index, n.Droppable())) }

// LogBytes is the memory that the log holds, and UnappliedBytes what of it is not
// applied yet.
func (n *Node) LogBytes() int64       { return n.log.bytes }
func (n *Node) UnappliedBytes() int64 { return n.log.bytes - n.log.behind }

// First is the index of the first entry that is kept.
func (n *Node) First() uint64 { return n.log.prevIndex + 1 }

// Status reports where the consensus stands.
func (n *Node) Status() Status {
	s := n.raw.BasicStatus()
	leader := s.Lead
	if leader != n.id && !isMember(n.conf, leader) {
		leader = 0 // it was removed, and raft has not missed it yet
	}
	leads, term := s.RaftState == raft.StateLeader, s.HardState.GetTerm()
	status := Status{
		Leader:      leader,
		Term:        term,
		Commit:      s.HardState.GetCommit(),
		Applied:     n.applied,
		IsLeader:    leads,
		Established: leads && n.appliedTerm == term,
		Learner:     n.learner,
		Removed:     n.removed,
	}
	if leader == 0 {
		status.LastIndex = n.log.last()
		status.LastTerm, _ = n.log.Term(status.LastIndex) // it has that of its last entry
	}
	return status
}
