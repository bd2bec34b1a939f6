package replica

import (
	"fmt"
	"sync"
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
	// Flush makes what has been applied durable. It returns at once; Durable
	// moves when it is done. An error means that this member cannot go on.
	Flush() error
}

// Config is what a Replica is built from. All fields must be set, but for
// Logger.
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
	// RequestTicks is how long a proposal or a read waits for its answer, and
	// RetryTicks how long a round of read barriers does.
	RequestTicks, RetryTicks int64
	Logger                   *zap.Logger
}

// Status is what is published of the consensus after each step.
type Status struct {
	raft.Status
	// Alone says that the published state may be read without a barrier.
	Alone bool
}

// slowSync is the duration of a sync above which the append stage is not run in
// place: the loop must not be away for long.
const slowSync = 5 * time.Millisecond

// Bounds of what is kept behind.
const (
	// keptEntries stay in memory below the applied index.
	keptEntries = 5000
	// keptBytes bound them.
	keptBytes = 16 << 20
	// unflushedEntries and unflushedBytes are how far the store may be behind
	// the log before it is told to flush: they bound the replay at start.
	unflushedEntries = 50_000
	unflushedBytes   = 16 << 20
)

// Replica owns a member's consensus. New starts its goroutines, Close stops
// them and waits.
type Replica struct {
	c     Config
	inbox *inbox
	calls *calls

	status  atomic.Pointer[Status]
	alone   atomic.Bool
	gap     atomic.Int64 // committed and not yet applied
	serving chan struct{}
	stop    chan struct{}
	done    chan struct{} // everything has ended
	err     error         // why it ended, before done is closed

	loop    loop
	appends *stage[*raft.Append]
	applies *stage[*raft.Apply]
	stages  sync.WaitGroup
}

// loop is the state of routineLoop.
type loop struct {
	in        batch
	now       int64 // ticks so far
	reads     reads
	parked    *raftpb.HardState // a commit index that waits for company
	lastSync  time.Duration
	startedAt uint64 // commit index at start: nobody is served below it
	flushedAt uint64 // bytes of the log when the store was last told to flush
	served    bool
}

// New starts a Replica. It owns Node and Log from here on.
func New(c Config) *Replica {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	r := &Replica{
		c:       c,
		inbox:   newInbox(),
		calls:   newCalls(),
		serving: make(chan struct{}),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	r.loop.startedAt = c.Node.Status().Commit
	r.appends = newStage[*raft.Append]()
	r.applies = newStage[*raft.Apply]()
	r.publish()
	r.stages.Go(r.routineAppend)
	r.stages.Go(r.routineApply)
	go r.routineLoop()
	return r
}

// Propose offers data for the log under id, which data itself must carry and
// which must be unique. The loop may not be awake: whoever has offered all it
// has calls Kick. An error is returned instead of an answer; then nothing was
// queued.
func (r *Replica) Propose(id uint64, data []byte, c Caller) error {
	if r.gap.Load() > maxGap {
		return errs.TooManyRequests
	}
	return r.inbox.propose(proposal{id, data, c})
}

// maxGap is how far applying may lag behind committing before requests are
// refused.
const maxGap = 5000

// Read asks for a read barrier: when c is told, everything acknowledged to
// anybody before this call can be read. Kick as for Propose.
func (r *Replica) Read(c Caller) error { return r.inbox.read(c) }

// Alone says that no barrier is needed at present; see raft.Node.Alone.
func (r *Replica) Alone() bool { return r.alone.Load() }

// Kick wakes the loop for what was queued.
func (r *Replica) Kick() { r.inbox.kick() }

// Tick moves the logical clock by one.
func (r *Replica) Tick() { r.inbox.tick() }

// Status returns what was published last.
func (r *Replica) Status() Status { return *r.status.Load() }

// Serving is closed when clients may be served: all that was known to be
// committed at start is applied, and a leader is known.
func (r *Replica) Serving() <-chan struct{} { return r.serving }

// Done is closed when the Replica has ended, by Close or by itself.
func (r *Replica) Done() <-chan struct{} { return r.done }

// Err says why a Replica ended by itself, once Done is closed; nil after Close.
func (r *Replica) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Close stops the Replica, fails what still waits with errs.Stopped, and closes
// the log. The state keeps what was applied.
func (r *Replica) Close() error {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	<-r.done
	return r.err
}

// routineLoop steps raft with all that waits, until it is stopped or something
// fails.
func (r *Replica) routineLoop() {
	err := r.run()
	close(r.appends.in)
	close(r.applies.in)
	r.stages.Wait()
	if err == nil {
		err = r.flushParked()
	}
	if cerr := r.c.Log.Close(); err == nil {
		err = cerr
	}
	r.err = err
	r.fail()
	close(r.done)
}

// fail answers everybody who waits.
func (r *Replica) fail() {
	proposals, readers := r.inbox.close(errs.Stopped)
	for _, p := range proposals {
		p.caller.Done(nil, errs.Stopped)
	}
	for _, c := range readers {
		c.Done(nil, errs.Stopped)
	}
	r.calls.fail(errs.Stopped)
	r.loop.reads.fail(errs.Stopped)
	r.c.Settled()
}

func (r *Replica) run() error {
	l := &r.loop
	for {
		for more := true; more; {
			var err error
			if more, err = r.work(); err != nil {
				return err
			}
		}
		r.publish()
		for r.inbox.take(&l.in, r.wantsProposals()); l.in.empty(); r.inbox.take(&l.in, r.wantsProposals()) {
			select {
			case <-r.inbox.wake:
			case <-r.stop:
				return nil
			}
		}
		if err := r.step(); err != nil {
			return err
		}
	}
}

// wantsProposals says that the append stage has room: while two batches are on
// their way, those that come gather into a third.
func (r *Replica) wantsProposals() bool { return r.appends.pending < 2 }

// step gives raft what was taken from the inbox.
func (r *Replica) step() error {
	l, node := &r.loop, r.c.Node
	if l.in.broken != nil {
		return l.in.broken
	}
	if len(l.in.appended) > 0 {
		l.lastSync = l.in.took
	}
	for _, a := range l.in.appended {
		r.appends.pending--
		if err := node.Appended(a); err != nil {
			return err
		}
	}
	for _, f := range l.in.applied {
		r.applies.pending--
		if err := r.finish(f.task, f.outcome); err != nil {
			return err
		}
	}
	if l.in.ticks > 0 {
		l.now++
		node.Tick()
		r.calls.expire(l.now)
		l.reads.tick(l.now)
		if err := r.upkeep(); err != nil {
			return err
		}
		r.c.Settled()
	}
	if len(l.in.proposals) > 0 {
		r.propose()
	}
	l.reads.add(l.in.reads, l.now+r.c.RequestTicks)
	l.reads.begin(node.ReadIndex, l.now, r.c.RetryTicks)
	return nil
}

// propose steps the batch of proposals.
func (r *Replica) propose() {
	l := &r.loop
	r.calls.add(l.in.proposals, l.now+r.c.RequestTicks)
	// The entries are kept by raft, so they are not reused.
	slab := make([]raftpb.Entry, len(l.in.proposals))
	entries := make([]*raftpb.Entry, len(slab))
	for i, p := range l.in.proposals {
		slab[i].Data = p.data
		entries[i] = &slab[i]
	}
	if err := r.c.Node.Propose(entries); err != nil {
		for _, p := range l.in.proposals {
			if c := r.calls.take(p.id); c != nil {
				c.Done(nil, errs.ProposalDropped)
			}
		}
		r.c.Settled()
	}
}

// work does what raft hands out, and reports whether there was any.
func (r *Replica) work() (bool, error) {
	l := &r.loop
	if err := r.c.Node.CampaignAlone(); err != nil {
		return false, fmt.Errorf("replica: campaign: %w", err)
	}
	out := r.c.Node.Ready()
	if len(out.Appends)+len(out.Applies)+len(out.Send)+len(out.Reads) == 0 {
		return false, nil
	}
	for _, a := range out.Reads {
		l.reads.answered(a)
	}
	tasks, sync := r.gather(out.Appends)
	// With both to do, the disk works while the entries are applied here.
	handOver := len(tasks) > 0 && (r.appends.pending > 0 || l.lastSync > slowSync || (sync && len(out.Applies) > 0))
	if handOver {
		r.appends.give(tasks...)
	}
	for _, a := range out.Applies {
		if r.applies.pending > 0 || r.c.State.Busy() {
			r.applies.give(a)
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
	if len(out.Reads) > 0 && l.reads.release(r.c.Node.Status().Applied) {
		r.c.Settled()
	}
	return true, nil
}

// gather says which append tasks are to be written and whether they must be
// synced. A lone commit index is parked: nobody waits for it, and it is written
// in the batch of the next task, whose own HardState would say more.
func (r *Replica) gather(appends []*raft.Append) (tasks []*raft.Append, sync bool) {
	for _, a := range appends {
		if !a.MustSync && len(a.Entries) == 0 {
			r.loop.parked = a.HardState
			continue
		}
		if a.HardState == nil {
			a.HardState = r.loop.parked
		}
		r.loop.parked = nil
		tasks = append(tasks, a)
		sync = sync || a.MustSync
	}
	return tasks, sync
}

// appendInPlace writes and syncs tasks on the loop's own goroutine.
func (r *Replica) appendInPlace(tasks []*raft.Append, sync bool) error {
	d, err := r.writeLog(tasks, sync)
	if err != nil {
		return err
	}
	r.loop.lastSync = d
	for _, a := range tasks {
		if err := r.c.Node.Appended(a); err != nil {
			return err
		}
	}
	return nil
}

// writeLog is the append stage. It returns how long the sync took.
func (r *Replica) writeLog(tasks []*raft.Append, sync bool) (time.Duration, error) {
	for _, a := range tasks {
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

// flushParked writes the commit index that still waited, at the end.
func (r *Replica) flushParked() error {
	if r.loop.parked == nil {
		return nil
	}
	if err := r.c.Log.Append(wal.Batch{HardState: r.loop.parked}); err != nil {
		return fmt.Errorf("replica: write the log: %w", err)
	}
	return nil
}

// outcome is what came of an apply task.
type outcome struct {
	changes []*raftpb.ConfChange
	conf    *raftpb.ConfState
	err     error
}

// apply is the apply stage.
func (r *Replica) apply(a *raft.Apply) outcome {
	var o outcome
	o.changes, o.conf, o.err = r.c.State.Apply(a.Entries, r.calls.has, func(id uint64, result any, err error) {
		if c := r.calls.take(id); c != nil {
			c.Done(result, err)
		}
	})
	if o.err == nil {
		r.c.Settled()
	}
	return o
}

// finish acknowledges an apply task to raft.
func (r *Replica) finish(a *raft.Apply, o outcome) error {
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
	if r.loop.reads.release(a.Index()) {
		r.c.Settled()
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

// upkeep lets go of the log's past and has the store keep up.
func (r *Replica) upkeep() error {
	l, node := &r.loop, r.c.Node
	applied, durable := node.Status().Applied, r.c.State.Durable()
	if applied > keptEntries && node.First() < applied-keptEntries {
		node.Compact(applied - keptEntries)
	}
	for node.LogBytes() > keptBytes && node.First() < applied {
		node.Compact(node.First() + (applied-node.First()+1)/2)
	}
	if r.appends.pending > 0 {
		return nil // the log is the append stage's
	}
	if err := r.c.Log.Release(durable); err != nil {
		r.c.Logger.Warn("cannot delete old log segments", zap.Error(err))
	}
	written := r.c.Log.Written()
	if applied-durable > unflushedEntries || (applied > durable && written-l.flushedAt > unflushedBytes) {
		l.flushedAt = written
		if err := r.c.State.Flush(); err != nil {
			return fmt.Errorf("replica: flush: %w", err)
		}
	}
	if r.c.Log.NeedsPrepare() {
		r.stages.Go(r.routinePrepare)
	}
	return nil
}

// publish makes the step's outcome visible to other goroutines.
func (r *Replica) publish() {
	node := r.c.Node
	s := Status{Status: node.Status(), Alone: node.Alone()}
	r.alone.Store(s.Alone)
	r.gap.Store(int64(s.Commit) - int64(s.Applied))
	if old := r.status.Load(); old == nil || *old != s {
		r.status.Store(&s)
	}
	// A leader's read barriers need an entry of its own term; a follower's are
	// its leader's affair.
	if l := &r.loop; !l.served && s.Leader != 0 && s.Applied >= l.startedAt && (s.Alone || !node.SoleVoter()) {
		l.served = true
		close(r.serving)
	}
}
