package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/auth"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/sim/policy"
)

// host is a machine with a disk, on which a member runs or does not. Everything
// that happens to the member happens through at, now or after, so that it stands
// still while it is paused, and so that nothing of one life reaches the next.
type host struct {
	c     *Cluster
	id    uint64
	disk  *disk.FS
	begin func() (datadir.Beginning, error)

	known standing // what is known to be in force on the disk

	tables int // flushes of the store so far

	life   uint64 // one more at each start and each end
	up     bool
	gone   bool     // its member was removed
	paused int      // how many faults hold it
	held   []func() // what waits until it goes on

	*rooms
	core   *replica.Core
	keeper *lease.Keeper
	woken  bool
	beat   time.Duration // between two ticks: clocks differ
	lag    time.Duration // by which Now is behind while a sync has not ended
	served bool
	attend attendance

	announced *auth.View // the newest users that were announced
	compared  struct {   // last with the model's
		view  *auth.View
		state *policy.State
	}

	handed     []*raft.Append // for the append stage
	writing    []*raft.Append // what it works on
	entries    []*raft.Apply  // for the apply stage
	installing *raft.Append   // a snapshot that is to be installed
	dying      bool           // the power is gone in the midst of something

	far     int         // how many faults have put it far away
	slow    int         // how many faults make its disk slow
	damaged string      // the fault that its disk has, which may end the member
	reads   readFailure // of a start
}

// standing is a term and who has the vote in it.
type standing struct{ term, vote uint64 }

// now calls do in the member's present life.
func (h *host) now(do func()) { h.in(h.life, do) }

// after calls do when d has passed, if the member still lives then.
func (h *host) after(d time.Duration, do func()) {
	life := h.life
	h.c.clock.after(d, func() { h.in(life, do) })
}

func (h *host) in(life uint64, do func()) {
	switch {
	case h.life != life || !h.up:
	case h.paused > 0:
		h.held = append(h.held, func() { h.in(life, do) })
	default:
		do()
	}
}

// pause holds the member; resume lets it go on, with what has come meanwhile.
func (h *host) pause() { h.paused++ }

func (h *host) resume() {
	if h.paused--; h.paused > 0 {
		return
	}
	held := h.held
	h.held = nil
	for _, do := range held {
		do()
	}
}

// start opens the member on its disk as it is.
func (h *host) start() {
	if h.up || h.gone {
		return
	}
	h.life++
	h.keeper = lease.NewKeeper(lease.Pace{Extension: time.Second})
	h.disk.Inject(h.reads.inject())
	rooms, err := opening{
		fs: h.disk, begin: h.begin, segment: segmentBytes,
		fatal:  h.storeFailed,
		sync:   h.sync,
		inbox:  h.c.drawInbox(),
		users:  h.announce,
		leased: func(changes []lease.Change) { h.keeper.Apply(changes, h.c.clock.now) },
	}.open()
	h.disk.Inject(nil)
	if err != nil {
		h.refused(err)
		return
	}
	h.reads = readFailure{}
	h.rooms, h.up, h.woken, h.served, h.lag = rooms, true, false, false, 0
	h.handed, h.writing, h.entries, h.installing, h.dying = nil, nil, nil, nil, false
	h.damaged, h.held = "", nil
	h.c.say("host %d starts: the store has %d, the log %d to %d", h.id, h.data.Applied.Index, h.data.Recovered.Prev.Index+1, h.last())
	h.c.checkStart(h)
	h.core = replica.NewCore(replica.Config{
		Node: h.node, Log: h.data.Log, State: (*hostState)(h),
		Settled:      func() {},
		Now:          func() time.Duration { return h.c.clock.now - h.lag },
		Send:         h.send,
		TakesOver:    h.takesOver,
		FirstRead:    h.id<<48 | h.life<<32,
		RequestTicks: requestTicks, RetryTicks: 5,
	}, (*hostStages)(h))
	h.beat = 95*time.Millisecond + time.Duration(h.c.rng.Int64N(int64(10*time.Millisecond)))
	h.after(time.Duration(h.c.rng.Int64N(int64(h.beat))), h.tick)
	h.after(h.flushPause(), h.flush)
	h.attend = attendance{}
	h.tickHub()
	h.wake()
}

// refused takes note of a start that failed, which it may where a read failed;
// the member is started again.
func (h *host) refused(err error) {
	if !h.reads.struck {
		h.c.fail(fmt.Errorf("host %d: %w", h.id, err))
		return
	}
	h.reads = readFailure{}
	h.c.say("host %d does not start: %v", h.id, err)
	h.disk = h.disk.CrashImage(disk.KeepAll{}) // the end of a process frees its locks
	h.c.clock.after(time.Second, h.start)
}

// storeFailed hears that the storage engine has given up.
func (h *host) storeFailed(err error) {
	if !h.dying {
		h.c.fail(fmt.Errorf("host %d: %w", h.id, err))
	}
}

// tick moves the member's clock.
func (h *host) tick() {
	h.core.Tick()
	h.wake()
	h.lookAtLeases()
	h.after(h.beat, h.tick)
}

// wake has the loop turn soon.
func (h *host) wake() {
	if !h.woken {
		h.woken = true
		h.after(time.Duration(h.c.rng.Int64N(int64(50*time.Microsecond))), h.turn)
	}
}

// turn turns the loop.
func (h *host) turn() {
	h.woken = false
	if err := h.core.Turn(); err != nil {
		h.died(err)
		return
	}
	h.c.checkStatus(h)
	if h.served {
		return
	}
	select {
	case <-h.core.Serving():
		h.served = true
		h.c.say("host %d serves, at entry %d", h.id, h.machine.View().Applied)
	default:
	}
}

// died takes note that the member has ended by itself, which it may only where
// its disk is at fault. The disk is repaired and the member started again.
func (h *host) died(err error) {
	if errors.Is(err, replica.ErrRemoved) && h.machine.View().Members.IsRemoved(h.id) {
		h.c.leave(h)
		return
	}
	if h.damaged == "" {
		h.c.fail(fmt.Errorf("host %d has stopped: %w", h.id, err))
		return
	}
	h.c.say("host %d has stopped: %v", h.id, err)
	h.c.out.Stopped++
	h.end(disk.Random(h.c.rng.Uint64()))
	h.c.clock.after(h.c.between(500*time.Millisecond, 3*time.Second), h.start)
}

// end ends the member's life without any ceremony; how says what of its disk is
// left.
func (h *host) end(how disk.Crash) {
	image := h.disk.CrashImage(how)
	// What still runs on the old disk changes nothing any more.
	h.disk.Inject(nil)
	h.up = false
	h.life++
	// What fails on it is nobody's concern, and nobody needs a last flush.
	_ = h.core.Finish(true)
	_ = h.data.Store().Retire()
	_ = h.close()
	h.disk, h.held, h.damaged = image, nil, ""
}

// tear has the log written to and not synced, so that a power cut finds a batch
// half on its way. The member is not to go on after it.
func (h *host) tear() {
	tasks := h.writing
	if len(tasks) == 0 {
		tasks = h.handed
	}
	if len(tasks) == 0 {
		return
	}
	h.disk.Inject(failLog(disk.OpSync, errors.New("the power is gone")))
	h.core.WriteLog(tasks)
	h.handed, h.writing = nil, nil
}

// stop ends the member as an operator does: what was handed over is still done.
func (h *host) stop() {
	for _, tasks := range [][]*raft.Append{h.writing, h.handed} {
		if len(tasks) > 0 {
			h.core.WriteLog(tasks)
		}
	}
	for _, task := range h.entries {
		h.core.ApplyEntries(task)
	}
	if h.installing != nil {
		h.core.InstallSnapshot(h.installing)
	}
	h.up = false
	h.life++
	h.tables++ // closing flushes
	if err := errors.Join(h.core.Finish(false), h.close()); err != nil {
		h.c.fail(fmt.Errorf("host %d: stop: %w", h.id, err))
	}
	h.held = nil
}

// flush has the store write down what it has, now and then.
func (h *host) flush() {
	if h.damaged == "" {
		h.c.note(noteFlush, h.id)
		if err := h.writeDown(); err != nil {
			h.c.fail(fmt.Errorf("host %d: flush: %w", h.id, err))
		}
	}
	h.after(h.flushPause(), h.flush)
}

// mostTables is how many flushes the store takes before it is compacted, which
// the engine would do of itself at moments of its own choosing. It stalls at two
// dozen.
const mostTables = 10

// writeDown flushes the store, and compacts it now and then.
func (h *host) writeDown() error {
	if h.tables++; h.tables%mostTables == 0 {
		return errors.Join(h.data.Store().Flush(), h.data.Store().Compact())
	}
	return h.data.Store().Flush()
}

func (h *host) flushPause() time.Duration { return h.c.between(3*time.Second, 25*time.Second) }

// send is replica.Config's.
func (h *host) send(messages []*raftpb.Message) {
	for _, m := range messages {
		h.c.checkSend(h, m)
		h.c.network.send(h, m)
	}
}

// failLog makes calls on the log's files fail.
func failLog(what disk.Op, err error) func(disk.Op, string) error {
	return func(op disk.Op, path string) error {
		if op == what && strings.HasSuffix(path, ".wal") {
			return err
		}
		return nil
	}
}

// readFailure makes a read of a start fail.
type readFailure struct {
	after  int // how many succeed before; 0 for none that fails
	struck bool
}

func (r *readFailure) inject() func(disk.Op, string) error {
	if r.after == 0 {
		return nil
	}
	return func(op disk.Op, _ string) error {
		if op != disk.OpRead || r.struck {
			return nil
		}
		if r.after--; r.after > 0 {
			return nil
		}
		r.struck = true
		return errInputOutput
	}
}
