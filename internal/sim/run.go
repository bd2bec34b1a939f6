package sim

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/errs"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/member"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/sim/disk"
)

// Outcome is what a Run has to show.
type Outcome struct {
	Steps, Crashes, Entries, Acknowledged, Reads, FailedSyncs int
	// Trace is a hash over everything that was drawn and answered: the same
	// seed gives the same.
	Trace uint64
}

// Run runs one member through steps drawn from seed, and returns what it found
// wrong. The trace in words goes to trace, which may be nil.
func Run(seed uint64, steps int, trace io.Writer) (Outcome, error) {
	r := &run{
		rng:   rand.New(rand.NewPCG(seed, 0x5eed)),
		disk:  disk.New(),
		model: NewModel(),
		trace: trace,
	}
	r.load = workload{r.rng}
	hash := fnv.New64a()
	r.hash = hash
	err := r.all(steps)
	r.out.Entries = int(r.model.Index)
	r.out.Trace = hash.Sum64()
	if err != nil {
		return r.out, fmt.Errorf("seed %d, step %d: %w", seed, r.out.Steps, err)
	}
	return r.out, nil
}

type run struct {
	rng   *rand.Rand
	load  workload
	disk  *disk.FS
	model *Model
	trace io.Writer
	hash  io.Writer
	out   Outcome

	*rooms
	core *replica.Core
	dead bool // the member has stopped by itself and waits for the power cut

	now          time.Duration
	handed       []*raft.Append
	entries      []*raft.Apply
	nextID       uint64
	acknowledged int64 // newest revision that a caller was told
	open         int   // callers that wait
	failSyncs    bool
	err          error // found inside a callback
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.hash, format+"\n", args...)
	if r.trace != nil {
		fmt.Fprintf(r.trace, "%5d  %s\n", r.out.Steps, fmt.Sprintf(format, args...))
	}
}

func (r *run) all(steps int) error {
	if err := r.start(); err != nil {
		return err
	}
	for r.out.Steps < steps {
		r.out.Steps++
		if err := r.step(); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
	}
	if err := r.crash(disk.LoseAll{}); err != nil {
		return err
	}
	return r.stop()
}

// start opens the member on the disk as it is, lets it replay, and looks at
// what it came back with.
func (r *run) start() error {
	self := member.Member{ID: 7, PeerURLs: []string{"http://127.0.0.1:2380"}, Name: "sim"}
	var err error
	r.rooms, err = opening{
		fs: r.disk, begin: datadir.NewCluster(self.ID, []member.Member{self}), segment: 16 << 10,
		fatal: func(err error) { r.err = err },
	}.open()
	if err != nil {
		return err
	}
	r.handed, r.entries, r.dead = nil, nil, false
	r.core = replica.NewCore(replica.Config{
		Node: r.node, Log: r.data.Log, State: (*runState)(r),
		Settled:      func() {},
		Now:          func() time.Duration { return r.now },
		RequestTicks: 70, RetryTicks: 5,
	}, (*stages)(r))
	r.say("start: durable %d, log %d", r.data.Applied.Index, r.last())
	for i := 0; ; i++ {
		if err := r.turn(); err != nil {
			return err
		}
		r.finishStages()
		select {
		case <-r.core.Serving():
			return r.verify()
		default:
		}
		if i > 100 {
			return errors.New("the member does not come to serve")
		}
	}
}

// verify holds the member's whole content against the model's, at every
// revision.
func (r *run) verify() error {
	view := r.machine.View()
	if view.Keys.Revision < r.acknowledged {
		return fmt.Errorf("revision %d was acknowledged and the member is at %d", r.acknowledged, view.Keys.Revision)
	}
	return verify(view, r.model)
}

// step draws one step.
func (r *run) step() error {
	switch n := r.rng.IntN(100); {
	case n < 2:
		return r.crash(disk.Random(r.rng.Uint64()))
	case r.dead:
		return nil
	case n < 35:
		return r.propose()
	case n < 45:
		return r.read()
	case n < 70:
		return r.turn()
	case n < 80:
		r.finishAppends()
	case n < 88:
		r.finishApplies()
	case n < 96:
		r.core.Tick()
	case n < 98:
		r.say("flush")
		return r.data.Store().Flush()
	default:
		if r.rng.IntN(10) == 0 {
			r.say("syncs of the log fail from now on")
			r.failSyncs = true
			r.disk.Inject(func(op disk.Op, path string) error {
				if op == disk.OpSync && bytes.HasSuffix([]byte(path), []byte(".wal")) {
					return errors.New("input/output error")
				}
				return nil
			})
		}
	}
	return nil
}

// turn turns the core. It may end only where a sync was made to fail.
func (r *run) turn() error {
	if err := r.core.Turn(); err != nil {
		return r.died(err)
	}
	return r.err
}

func (r *run) died(err error) error {
	if !r.failSyncs {
		return fmt.Errorf("the member has stopped: %w", err)
	}
	r.say("the member has stopped: %v", err)
	r.dead = true
	r.out.FailedSyncs++
	return nil
}

// crash cuts the power and starts the member again on what is left.
func (r *run) crash(how disk.Crash) error {
	r.out.Crashes++
	image := r.disk.CrashImage(how)
	r.say("power cut: entry %d, revision %d, %d appends and %d applies under way", r.model.Index, r.model.Revision, len(r.handed), len(r.entries))
	// What still runs on the old disk changes nothing any more.
	r.handed, r.entries = nil, nil
	r.disk.Inject(nil)
	applied := r.model.Index
	if err := r.stop(); err != nil {
		return err
	}
	if r.model.Index != applied {
		return errors.New("something was applied after the power cut")
	}
	r.disk, r.failSyncs = image, false
	return r.start()
}

// stop closes the member's files.
func (r *run) stop() error {
	if err := r.core.Finish(r.dead || r.failSyncs); err != nil && !r.failSyncs {
		return err
	}
	if r.open != 0 {
		return fmt.Errorf("%d callers were never told", r.open)
	}
	return r.close()
}

// propose offers a request.
func (r *run) propose() error {
	r.nextID++
	data, err := r.load.request(r.nextID, r.model.Revision)
	if err != nil {
		return err
	}
	r.say("propose %d: %x", r.nextID, data)
	r.open++
	return r.core.Propose(r.nextID, data, &write{r, r.nextID, false})
}

// write is the caller of a request.
type write struct {
	*run
	id   uint64
	told bool
}

// Done is replica.Caller's.
func (w *write) Done(result any, err error) {
	w.once(&w.told)
	if err != nil {
		w.say("request %d: %v", w.id, err)
		return
	}
	res := result.(*machine.Result)
	w.out.Acknowledged++
	w.acknowledged = max(w.acknowledged, res.Revision)
	w.say("request %d: revision %d", w.id, res.Revision)
}

// read asks for a barrier.
func (r *run) read() error {
	r.open++
	return r.core.Read(&query{r, r.acknowledged, false})
}

// query is the caller of a read barrier; it must see what was acknowledged when
// it was asked.
type query struct {
	*run
	atLeast int64
	told    bool
}

// once notes that a caller was told, which happens to each one time.
func (r *run) once(told *bool) {
	if *told {
		r.err = errors.New("a caller was told twice")
	}
	*told = true
	r.open--
}

// Done is replica.Caller's.
func (q *query) Done(_ any, err error) {
	q.once(&q.told)
	if err != nil {
		if !errors.Is(err, errs.Stopped) && !errors.Is(err, errs.Timeout) {
			q.err = err
		}
		return
	}
	q.out.Reads++
	view := q.machine.View().Keys
	if view.Revision < q.atLeast {
		q.err = fmt.Errorf("a read sees revision %d, after revision %d was acknowledged", view.Revision, q.atLeast)
		return
	}
	if err := verifyAt(view, q.model, view.Revision); err != nil {
		q.err = fmt.Errorf("a read: %w", err)
	}
	if err := verifyHash(view, q.model, view.Revision); err != nil {
		q.err = fmt.Errorf("a read: %w", err)
	}
	q.say("read at revision %d", view.Revision)
}

// finishAppends does some of the appends that were handed over.
func (r *run) finishAppends() {
	if len(r.handed) == 0 {
		return
	}
	n := 1 + r.rng.IntN(len(r.handed))
	tasks := r.handed[:n:n]
	r.handed = r.handed[n:]
	r.say("write %d appends", n)
	r.core.WriteLog(tasks)
}

// finishApplies does one of the applies that were handed over.
func (r *run) finishApplies() {
	if len(r.entries) == 0 {
		return
	}
	task := r.entries[0]
	r.entries = r.entries[1:]
	r.say("apply up to %d", task.Index())
	r.core.ApplyEntries(task)
}

func (r *run) finishStages() {
	for len(r.handed) > 0 {
		r.finishAppends()
	}
	for len(r.entries) > 0 {
		r.finishApplies()
	}
}

// stages is a run as the core's Stages: what is handed over is done in a later
// step, or never.
type stages run

// InPlace is replica.Stages'.
func (s *stages) InPlace() bool { return s.rng.IntN(2) == 0 }

// Append is replica.Stages'.
func (s *stages) Append(tasks []*raft.Append) { s.handed = append(s.handed, tasks...) }

// Apply is replica.Stages'.
func (s *stages) Apply(task *raft.Apply) { s.entries = append(s.entries, task) }

// Prepare is replica.Stages'.
func (s *stages) Prepare() { s.core.PrepareLog() }

// Checkpoint is replica.Stages'. Nobody is there to send one to.
func (s *stages) Checkpoint() { s.err = errors.New("a member alone makes a copy of its state") }

// Install is replica.Stages'.
func (s *stages) Install(*raft.Append) { s.err = errors.New("a member alone installs a snapshot") }

// runState is a run as the core's State: the machine, watched.
type runState run

// Apply is replica.State's.
func (s *runState) Apply(entries []*raftpb.Entry, wanted func(uint64) bool, done func(uint64, any, error)) ([]*raftpb.ConfChange, *raftpb.ConfState, error) {
	if err := s.model.Apply(entries); err != nil {
		return nil, nil, err
	}
	return s.state.Apply(entries, wanted, done)
}

// Durable is replica.State's.
func (s *runState) Durable() uint64 { return s.machine.Durable() }

// Busy is replica.State's.
func (s *runState) Busy() bool { return s.rng.IntN(4) == 0 }

// Flush is replica.State's. The engine's own flush would end at a moment of its
// own choosing.
func (s *runState) Flush() error { return s.data.Store().Flush() }

// Sweep is replica.State's.
func (s *runState) Sweep() (bool, error) { return s.machine.Sweep() }

// Checkpoint is replica.State's.
func (s *runState) Checkpoint() (*raftpb.SnapshotMetadata, error) { return s.rooms.state.Checkpoint() }

// Discard is replica.State's.
func (s *runState) Discard(index uint64) { s.rooms.state.Discard(index) }

// Install is replica.State's.
func (s *runState) Install(m *raftpb.SnapshotMetadata) error { return s.rooms.state.Install(m) }

// Drop is replica.State's.
func (s *runState) Drop(m *raftpb.SnapshotMetadata) { s.rooms.state.Drop(m) }
