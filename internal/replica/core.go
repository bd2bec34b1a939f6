package replica

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/wal"
)

// State is the replicated state as the replica sees it.
type State interface {
	// Apply applies committed entries, in order, as one batch, and publishes the
	// state after them. For each entry that wanted says somebody here waits for,
	// it calls done, once, after the publication. It returns the configuration
	// changes among the entries as it decided them, one for each such entry, and
	// the configuration after them. An error means that this member cannot go
	// on. Apply keeps nothing of entries, but may alias their data.
	Apply(entries []*raftpb.Entry, wanted func(id uint64) bool, done func(id uint64, result any, err error)) (changes []*raftpb.ConfChange, conf *raftpb.ConfState, err error)
	// Durable is the last entry whose effects survive a power cut.
	Durable() uint64
	// Busy says that Apply may have to wait for the disk now.
	Busy() bool
	// Flush begins to make durable what has been applied; Durable moves when that
	// is done. It is called when Apply is not under way and State is not Busy, and
	// does not wait then. An error means that this member cannot go on.
	Flush() error
	// Sweep does some of the work that is nobody's request, about a millisecond
	// of it, and reports whether there is more. It is never called beside Apply.
	// An error means that this member cannot go on.
	Sweep() (more bool, err error)
	// Checkpoint makes a copy of the state as it is on disk, to be sent to a member
	// that has fallen behind, and says up to which entry it goes. It is called on a
	// goroutine of its own, beside all else, and takes its time.
	Checkpoint() (*raftpb.SnapshotMetadata, error)
	// Discard takes away the copy that goes up to an entry.
	Discard(index uint64)
	// Install puts the state that has come with a snapshot in the place of this
	// one, on disk and for all readers, whole or not at all. Nothing else is called
	// beside it but Checkpoint, Discard and Drop. An error means that this member
	// cannot go on.
	Install(*raftpb.SnapshotMetadata) error
	// Drop takes away the state that has come with a snapshot that raft does not
	// want.
	Drop(*raftpb.SnapshotMetadata)
}

// Config is what a Core is built from. All fields must be set, but for Logger.
type Config struct {
	Node  *raft.Node
	Log   *wal.Log
	State State
	// Settled is called after answers have been given, on the goroutine that
	// gave them (the loop's or the apply stage's): replies that were put into
	// buffers can be sent now.
	Settled func()
	// Now is the time since some fixed moment.
	Now func() time.Duration
	// Send takes messages to other members. It keeps them, and does not block. nil
	// for a member that will never have another beside it.
	Send func(messages []*raftpb.Message)
	// FirstRead is the id after which those of read barriers begin. They must be
	// unique among all members and all their lives: a late answer to somebody else
	// would be taken for one's own.
	FirstRead uint64
	// Reconfigured, if set, is called when the configuration has changed, on the
	// loop's goroutine and after the new one was published. It does not block.
	Reconfigured func()
	// TakesOver, if set, is called when this member leads in a term and is about to
	// apply the first entry of it; where the member is alone it may come late. It may be
	// called on a goroutine of a stage, and does not block.
	TakesOver func(term uint64)
	// SlowAppend is how long the disk may take for an append before a leader hands
	// leadership over; 0 for any time.
	SlowAppend time.Duration
	// RequestTicks is how long a proposal or a read waits for its answer, and
	// RetryTicks how long a round of read barriers does.
	RequestTicks, RetryTicks int64
	Logger                   *zap.Logger
}

// Stages does what a Core hands over, elsewhere and later: it calls WriteLog or
// ApplyEntries, one call of each at a time and in the order of the tasks, and
// the Core hears of it through its inbox. None of its methods may block.
type Stages interface {
	// InPlace says that the Core may do work itself where it sees fit.
	InPlace() bool
	Append(tasks []*raft.Append)
	Apply(task *raft.Apply)
	// Prepare has the log's next segment made ahead: PrepareLog.
	Prepare()
	// Checkpoint has a copy of the state made: MakeCheckpoint.
	Checkpoint()
	// Install has a snapshot put in the place of the state: InstallSnapshot.
	Install(task *raft.Append)
}

// Status is what is published of the consensus after each step.
type Status struct {
	raft.Status
	// Alone says that the published state may be read without a barrier.
	Alone bool
	// Progress is what a leader knew of the members at the last tick; nil on others.
	Progress []raft.Progress
	// LeaderChanges counts the leaders that this member has seen come, the first
	// and one that comes back among them.
	LeaderChanges uint64
	// SlowReads counts rounds of read barriers that were not answered in time and
	// begun again, FailedReads the reads that were not answered at all.
	SlowReads, FailedReads uint64
	// Installing says that a snapshot is being put in the place of the state.
	Installing bool
}

func (s *Status) equal(o *Status) bool {
	return s.Status == o.Status && s.Alone == o.Alone && s.LeaderChanges == o.LeaderChanges &&
		s.SlowReads == o.SlowReads && s.FailedReads == o.FailedReads && s.Installing == o.Installing && slices.Equal(s.Progress, o.Progress)
}

// slowSync is the duration of a sync above which the append stage is not run in
// place: the loop must not be away for long.
const slowSync = 5 * time.Millisecond

// Core is the loop without its goroutines: Turn does all there is to do, and
// whoever owns the Core calls it when there is something in the inbox. The other
// exported methods may be called by anybody, but for Turn, Finish and those that
// Stages calls.
type Core struct {
	c      Config
	stages Stages
	inbox  *inbox
	calls  *calls

	status  atomic.Pointer[Status]
	alone   atomic.Bool
	gap     atomic.Int64 // committed and not yet applied
	serving chan struct{}

	// The rest belongs to the owner.
	in        batch
	held      []proposal // that nobody has taken: there is no leader, or it is changing
	offerAt   bool       // it is time to offer them again
	removedAt int64      // tick at which the member was removed, or was told so
	progress  []raft.Progress
	since     time.Duration // when the oldest append that is handed over began to be the oldest
	givenAway int64         // tick at which leadership was given away last
	now       int64         // ticks so far
	reads     reads
	appending int               // append tasks handed over and not back yet
	applying  int               // apply tasks
	parked    *raftpb.HardState // a commit index that waits for company
	install   install
	offered   []*raftpb.SnapshotMetadata // snapshots that raft was told of
	copy      checkpoint
	lastSync  time.Duration
	startedAt uint64 // commit index at start: nobody is served below it
	written   uint64 // bytes of entries given to the log
	flushedAt uint64 // written when the store was last told to flush
	prepareAt int64  // tick before which no segment is prepared
	served    bool

	tookOver uint64 // the term in which TakesOver was called; whoever applies has it

	// Between the loop and its stages.
	releasable    atomic.Uint64 // entries that the log may lose; 0 for nothing new
	prepareFailed atomic.Bool
}

// NewCore builds a Core. It owns Node and Log from here on.
func NewCore(c Config, stages Stages) *Core {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	r := &Core{c: c, stages: stages, inbox: newInbox(), calls: newCalls(), serving: make(chan struct{})}
	r.startedAt = c.Node.Status().Commit
	r.reads.roundID = c.FirstRead
	r.publish()
	return r
}

// Propose offers data for the log under id, which data itself must carry and
// which must be unique. The loop may not be awake: whoever has offered all it
// has calls Kick. An error is returned instead of an answer; then nothing was
// queued.
func (r *Core) Propose(id uint64, data []byte, c Caller) error {
	if r.gap.Load() > maxGap {
		return errs.TooManyRequests
	}
	return r.inbox.propose(proposal{id: id, data: data, caller: c}, r.c.RequestTicks)
}

// ProposeInTerm is Propose for what this member has decided as the leader of a
// term, and what nobody else must be offered in its name: if it does not lead in
// that term any more when raft would be given it, it is answered with
// errs.ProposalDropped and was never logged. Raft itself would send it on to the
// next leader. The gap is not looked at: this is how state shrinks.
func (r *Core) ProposeInTerm(term, id uint64, data []byte, c Caller) error {
	return r.inbox.propose(proposal{id: id, data: data, caller: c, term: term}, r.c.RequestTicks)
}

// maxGap is how far applying may lag behind committing before requests are
// refused.
const maxGap = 5000

// ProposeChange is Propose for a change of the configuration, a raftpb.ConfChange
// of that id. It waits while another change is not applied yet, so that whether it may
// be is asked each time it is offered, on the loop's goroutine: where allowed, which may
// be nil, returns an error, the caller is told and nothing was logged.
func (r *Core) ProposeChange(id uint64, data []byte, allowed func() error, c Caller) error {
	return r.inbox.propose(proposal{id: id, data: data, caller: c, change: true, allowed: allowed}, r.c.RequestTicks)
}

// Read asks for a read barrier: when c is told, everything acknowledged to
// anybody before this call can be read. Kick as for Propose.
func (r *Core) Read(c Caller) error { return r.inbox.read(c) }

// Receive takes a message from another member, which must have been looked at:
// see raft.Node.Step. The message is kept. An error means that it was dropped.
// Kick as for Propose.
func (r *Core) Receive(m *raftpb.Message) error { return r.inbox.receive(m) }

// ReportUnreachable says that messages to a member were lost.
func (r *Core) ReportUnreachable(id uint64) { r.inbox.unreachable(id) }

// Transfer begins to hand leadership over to another member, if this one leads.
func (r *Core) Transfer(to uint64) { r.inbox.transfer(to) }

// GiveAway begins to hand leadership over to whoever is furthest, if this member
// leads and there is somebody.
func (r *Core) GiveAway() { r.inbox.transfer(anybody) }

// anybody is no member's id.
const anybody = math.MaxUint64

// Gone says that this member was removed, as another one has told it: it may have been
// cut off from hearing of that itself. It ends with ErrRemoved soon, as it does when it
// has applied its own removal; what is still on its way to it has until then.
func (r *Core) Gone() { r.inbox.toldGone() }

// ErrRemoved ends a member that was removed from the cluster.
var ErrRemoved = errors.New("replica: this member was removed from the cluster")

// Alone says that no barrier is needed at present; see raft.Node.Alone.
func (r *Core) Alone() bool { return r.alone.Load() }

// Kick wakes the loop for what was queued.
func (r *Core) Kick() { r.inbox.kick() }

// Tick moves the logical clock by one.
func (r *Core) Tick() { r.inbox.tick() }

// Status returns what was published last.
func (r *Core) Status() Status { return *r.status.Load() }

// Serving is closed when clients may be served: all that was known to be
// committed at start is applied, and a leader is known.
func (r *Core) Serving() <-chan struct{} { return r.serving }

// Turn does all there is to do: the work raft hands out, then what waits in the
// inbox, until there is neither. An error is the end of this member; Finish is
// still to be called.
func (r *Core) Turn() error {
	for {
		for more := true; more; {
			var err error
			if more, err = r.work(); err != nil {
				return err
			}
		}
		r.publish()
		if err := r.sweep(); err != nil {
			return err
		}
		r.inbox.take(&r.in, r.wantsProposals())
		if r.in.empty() {
			return nil
		}
		if err := r.step(); err != nil {
			return err
		}
	}
}

// sweep does a slice of the state's own work if the apply stage is free, and has
// the loop come back if there is more: requests go in between.
func (r *Core) sweep() error {
	if r.applying > 0 || r.install.running || r.c.State.Busy() {
		return nil
	}
	more, err := r.c.State.Sweep()
	if err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	if more {
		r.inbox.kick()
	}
	return nil
}

// Finish writes what still waits, if the log has not failed, closes it, and
// answers everybody who waits with errs.Stopped. What was handed over must have
// come back.
func (r *Core) Finish(failed bool) error {
	var err error
	if !failed {
		err = r.writeParked()
	}
	if cerr := r.c.Log.Close(); err == nil && !failed {
		err = cerr
	}
	proposals, readers := r.inbox.close(errs.Stopped)
	// What was taken from the inbox when something failed comes first.
	// Those that are held are among the calls.
	for _, p := range append(r.in.proposals, proposals...) {
		p.caller.Done(nil, errs.Stopped)
	}
	for _, c := range append(r.in.reads, readers...) {
		c.Done(nil, errs.Stopped)
	}
	r.calls.fail(errs.Stopped)
	r.reads.fail(errs.Stopped)
	r.c.Settled()
	return err
}

// step gives raft what was taken from the inbox.
func (r *Core) step() error {
	node := r.c.Node
	if r.in.broken != nil {
		return r.in.broken
	}
	if r.in.installed {
		if err := r.installed(); err != nil {
			return err
		}
	}
	if r.in.copied != nil {
		r.copied(r.in.copied)
	}
	if len(r.in.appended) > 0 {
		if r.in.took > 0 {
			r.lastSync = r.in.took
		}
	}
	if len(r.in.appended) > 0 {
		r.since = r.c.Now()
	}
	for _, a := range r.in.appended {
		r.appending--
		if err := node.Appended(a); err != nil {
			return err
		}
	}
	for _, f := range r.in.applied {
		r.applying--
		if err := r.finish(f.task, f.outcome); err != nil {
			return err
		}
	}
	for _, m := range r.in.messages {
		if m.GetType() == raftpb.MsgApp && node.UnappliedBytes() > 2*maxLogBytes && r.gap.Load() > 0 {
			continue // applying does not keep up; the leader sends it again
		}
		if m.GetType() == raftpb.MsgSnap {
			r.offered = append(r.offered, m.GetSnapshot().GetMetadata())
		}
		if err := node.Step(m); err != nil {
			return err
		}
	}
	clear(r.in.messages)
	for _, id := range r.in.lost {
		node.ReportUnreachable(id)
	}
	for _, s := range r.in.sent {
		r.snapshotSent(s)
	}
	switch r.in.transfer {
	case 0:
	case anybody:
		node.GiveAway()
	default:
		node.Transfer(r.in.transfer)
	}
	if r.in.ticks > 0 {
		r.now++
		r.offerAt = true
		node.Tick()
		r.calls.expire(r.now)
		for _, p := range r.inbox.expired(r.now) {
			p.caller.Done(nil, errs.Timeout)
		}
		r.reads.tick(r.now)
		if err := r.upkeep(); err != nil {
			return err
		}
		r.c.Settled()
	}
	if len(r.in.proposals) > 0 {
		r.propose()
		clear(r.in.proposals)
		r.in.proposals = r.in.proposals[:0]
	}
	r.reads.add(r.in.reads, r.now+r.c.RequestTicks)
	clear(r.in.reads)
	r.in.reads = r.in.reads[:0]
	return nil
}

// work does what raft hands out, and reports whether there was any.
func (r *Core) work() (bool, error) {
	if err := r.c.Node.CampaignAlone(); err != nil {
		return false, fmt.Errorf("replica: campaign: %w", err)
	}
	if len(r.install.tasks) > 0 {
		return r.whileInstalling()
	}
	r.offerHeld()
	r.reads.begin(r.c.Node.ReadIndex, r.now, r.c.RetryTicks)
	out := r.c.Node.Ready()
	before := r.untilSnapshot(out.Appends)
	r.dropUnwanted()
	if len(out.Appends)+len(out.Applies)+len(out.Send)+len(out.Reads) == 0 {
		return false, nil
	}
	if len(out.Send) > 0 {
		r.c.Send(out.Send)
	}
	for _, a := range out.Reads {
		r.reads.answered(a)
	}
	tasks, sync := r.gather(before)
	// With both to do, the disk works while the entries are applied here.
	handOver := len(tasks) > 0 && (r.appending > 0 || sync && (!r.stages.InPlace() || r.lastSync > slowSync || len(out.Applies) > 0))
	if handOver {
		if r.appending == 0 {
			r.since = r.c.Now()
		}
		r.appending += len(tasks)
		r.stages.Append(tasks)
	}
	for _, a := range out.Applies {
		if !r.stages.InPlace() || r.applying > 0 || r.c.State.Busy() {
			r.applying++
			r.stages.Apply(a)
			continue
		}
		if err := r.finish(a, r.apply(a)); err != nil {
			return false, err
		}
	}
	if len(tasks) > 0 && !handOver {
		if err := r.appendInPlace(tasks, sync); err != nil {
			return false, err
		}
	}
	if len(out.Reads) > 0 && r.reads.release(r.c.Node.Status().Applied) {
		r.c.Settled()
	}
	return true, nil
}

// gather says which append tasks are to be written and whether they must be
// synced. A lone commit index is parked: nobody waits for it, and it is written
// in the batch of the next task, whose own HardState would say more.
func (r *Core) gather(appends []*raft.Append) (tasks []*raft.Append, sync bool) {
	for _, a := range appends {
		if !a.MustSync {
			if a.HardState != nil {
				r.parked = a.HardState
			}
			if a.Answered() {
				tasks = append(tasks, a) // nothing to write, but its place in the order
			}
			continue
		}
		if a.HardState == nil {
			a.HardState = r.parked
		}
		r.parked = nil
		for _, e := range a.Entries {
			r.written += uint64(len(e.GetData()))
		}
		tasks, sync = append(tasks, a), true
	}
	return tasks, sync
}

// appendInPlace writes and syncs tasks on the loop's own goroutine.
func (r *Core) appendInPlace(tasks []*raft.Append, sync bool) error {
	d, err := r.writeLog(tasks, sync)
	if err != nil {
		return err
	}
	if sync {
		r.lastSync = d
	}
	for _, a := range tasks {
		if err := r.c.Node.Appended(a); err != nil {
			return err
		}
	}
	return nil
}

// WriteLog is the append stage: it writes tasks, syncs if one of them has to be,
// and reports to the inbox.
func (r *Core) WriteLog(tasks []*raft.Append) {
	sync := false
	for _, a := range tasks {
		sync = sync || a.MustSync
	}
	took, err := r.writeLog(tasks, sync)
	r.inbox.putAppended(tasks, took, err)
}

// writeLog writes tasks and returns how long the sync took.
func (r *Core) writeLog(tasks []*raft.Append, sync bool) (time.Duration, error) {
	r.release()
	for _, a := range tasks {
		if !a.MustSync {
			continue // its HardState is parked
		}
		if err := r.c.Log.Append(wal.Batch{Entries: a.Entries, HardState: a.HardState}); err != nil {
			return 0, fmt.Errorf("replica: write the log: %w", err)
		}
	}
	if !sync {
		return 0, nil
	}
	start := r.c.Now()
	if err := r.c.Log.Sync(); err != nil {
		return 0, fmt.Errorf("replica: sync the log: %w", err)
	}
	return r.c.Now() - start, nil
}

// outcome is what came of an apply task.
type outcome struct {
	changes []*raftpb.ConfChange
	conf    *raftpb.ConfState
	err     error
}

// ApplyEntries is the apply stage: it applies a task and reports to the inbox.
func (r *Core) ApplyEntries(a *raft.Apply) { r.inbox.putApplied(finished{a, r.apply(a)}) }

// apply applies a task, in two parts where this member takes over in its midst.
func (r *Core) apply(a *raft.Apply) (o outcome) {
	entries := a.Entries
	if own, takes := r.takesOver(entries); takes {
		if own > 0 {
			r.applyEntries(&o, entries[:own])
		}
		if entries = entries[own:]; o.err == nil {
			r.c.TakesOver(r.tookOver)
		}
	}
	if o.err == nil {
		r.applyEntries(&o, entries)
	}
	if o.err == nil {
		r.c.Settled()
	}
	return o
}

// takesOver finds the first entry of the term in which this member leads, where none of
// them was applied before.
func (r *Core) takesOver(entries []*raftpb.Entry) (own int, takes bool) {
	term := entries[len(entries)-1].GetTerm()
	if r.c.TakesOver == nil || term == r.tookOver {
		return 0, false
	}
	if s := r.status.Load(); !s.IsLeader || s.Term != term {
		return 0, false
	}
	r.tookOver = term
	return slices.IndexFunc(entries, func(e *raftpb.Entry) bool { return e.GetTerm() == term }), true
}

// applyEntries applies entries and adds what came of them.
func (r *Core) applyEntries(o *outcome, entries []*raftpb.Entry) {
	changes, conf, err := r.c.State.Apply(entries, r.calls.has, func(id uint64, result any, err error) {
		if c := r.calls.take(id); c != nil {
			c.Done(result, err)
		}
	})
	o.changes, o.conf, o.err = append(o.changes, changes...), conf, err
}

// finish acknowledges an apply task to raft.
func (r *Core) finish(a *raft.Apply, o outcome) error {
	if o.err != nil {
		return fmt.Errorf("replica: apply: %w", o.err)
	}
	conf, err := r.c.Node.Applied(a, o.changes)
	if err != nil {
		return err
	}
	if conf != nil && !sameVoters(conf, o.conf) {
		return fmt.Errorf("replica: after entry %d raft has the configuration %v and the state %v", a.Index(), conf, o.conf)
	}
	if r.reads.release(a.Index()) {
		r.c.Settled()
	}
	if words := r.c.Node.Parting(); len(words) > 0 {
		r.c.Send(words) // before whoever hears of the change cuts them off
	}
	if conf != nil && r.c.Reconfigured != nil {
		r.c.Reconfigured()
	}
	return nil
}

func sameVoters(a, b *raftpb.ConfState) bool {
	return equal(a.GetVoters(), b.GetVoters()) && equal(a.GetLearners(), b.GetLearners())
}

func equal(a, b []uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// publish makes the step's outcome visible to other goroutines.
func (r *Core) publish() {
	node := r.c.Node
	s := Status{
		Status: node.Status(), Alone: node.Alone(), Progress: r.progress,
		SlowReads: r.reads.slow, FailedReads: r.reads.failed, Installing: r.install.running,
	}
	if !s.IsLeader {
		s.Progress = nil
	}
	r.alone.Store(s.Alone)
	r.gap.Store(int64(s.Commit) - int64(s.Applied))
	old := r.status.Load()
	if old != nil {
		s.LeaderChanges = old.LeaderChanges
	}
	if old != nil && (old.Leader != s.Leader || old.Term != s.Term) {
		// Whoever was asked is not the leader any more.
		r.offerAt = true
		if r.reads.retry() || len(r.held) > 0 {
			r.inbox.kick()
		}
	}
	if s.Leader != 0 && (old == nil || old.Leader != s.Leader) {
		s.LeaderChanges++
	}
	if old == nil || !s.equal(old) {
		r.status.Store(&s)
	}
	// A leader's read barriers need an entry of its own term; a follower's are
	// its leader's affair.
	if !r.served && s.Leader != 0 && s.Applied >= r.startedAt && (s.Alone || !node.SoleVoter()) {
		r.served = true
		close(r.serving)
	}
}
