package replica

import (
	"fmt"
	"runtime/debug"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/raft"
)

// Replica is a Core with the goroutines that drive it. New starts them, Close
// stops them and waits.
type Replica struct {
	core    *Core
	appends *queue[*raft.Append]
	applies *queue[*raft.Apply]
	stages  sync.WaitGroup

	// turning is held by whoever turns the Core: the loop's goroutine, or one that
	// has just brought a message while the loop slept. A turn that panics never
	// gives it back: nobody goes on from the half of a turn.
	turning struct {
		sync.Mutex
		ended  bool  // nobody turns it any more
		failed error // what a Turn elsewhere has returned
	}

	stop chan struct{}
	once sync.Once     // closes stop
	done chan struct{} // everything has ended
	err  error         // why it ended by itself; written before done is closed
}

// New starts a Replica. It owns Node and Log from here on.
func New(c Config) *Replica {
	r := &Replica{
		appends: newQueue[*raft.Append](),
		applies: newQueue[*raft.Apply](),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	r.core = NewCore(c, (*goroutines)(r))
	r.stages.Go(r.routineAppend)
	r.stages.Go(r.routineApply)
	go r.routineLoop()
	return r
}

// Propose is Core.Propose.
func (r *Replica) Propose(id uint64, data []byte, c Caller) error {
	return r.core.Propose(id, data, c)
}

// ProposeInTerm is Core.ProposeInTerm.
func (r *Replica) ProposeInTerm(term, id uint64, data []byte, c Caller) error {
	return r.core.ProposeInTerm(term, id, data, c)
}

// ProposeChange is Core.ProposeChange.
func (r *Replica) ProposeChange(id uint64, data []byte, allowed func() error, c Caller) error {
	return r.core.ProposeChange(id, data, allowed, c)
}

// GiveAway is Core.GiveAway.
func (r *Replica) GiveAway() { r.core.GiveAway() }

// Read is Core.Read.
func (r *Replica) Read(c Caller) error { return r.core.Read(c) }

// Deliver takes a message from another member, as Core.Receive does. If the loop
// sleeps, what the message asks for is done here, a write to the log and its sync
// among it: whoever brings messages has nothing better to do, and a hop to another
// goroutine costs a good part of the time that one write takes.
func (r *Replica) Deliver(m *raftpb.Message) error {
	if err := r.core.Receive(m); err != nil {
		return err
	}
	if !r.turning.TryLock() {
		r.core.Kick()
		return nil
	}
	if !r.turning.ended && r.turning.failed == nil {
		if r.turning.failed = r.turnElsewhere(); r.turning.failed != nil {
			r.core.Kick() // for the loop to end
		}
	}
	r.turning.Unlock()
	return nil
}

// turnElsewhere turns the Core on a goroutine that is not the Replica's own. Who
// owns that may recover what panics on it, as net/http does for its handlers; but
// half a turn cannot be undone, so the panic is raised again where nobody can, and
// ends the process as one on the loop's goroutine does.
func (r *Replica) turnElsewhere() error {
	whole := false
	defer func() {
		if whole {
			return
		}
		why := fmt.Sprintf("replica: a turn has panicked: %v\n\n%s", recover(), debug.Stack())
		go panic(why)
		select {} // the process ends
	}()
	err := r.core.Turn()
	whole = true
	return err
}

// ReportUnreachable is Core.ReportUnreachable.
func (r *Replica) ReportUnreachable(id uint64) { r.core.ReportUnreachable(id) }

// ReportSnapshot is Core.ReportSnapshot.
func (r *Replica) ReportSnapshot(id uint64, ok bool) { r.core.ReportSnapshot(id, ok) }

// Gone is Core.Gone.
func (r *Replica) Gone() { r.core.Gone() }

// Transfer is Core.Transfer.
func (r *Replica) Transfer(to uint64) { r.core.Transfer(to) }

// Alone is Core.Alone.
func (r *Replica) Alone() bool { return r.core.Alone() }

// Kick is Core.Kick.
func (r *Replica) Kick() { r.core.Kick() }

// Tick is Core.Tick.
func (r *Replica) Tick() { r.core.Tick() }

// Status is Core.Status.
func (r *Replica) Status() Status { return r.core.Status() }

// Serving is Core.Serving.
func (r *Replica) Serving() <-chan struct{} { return r.core.Serving() }

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
// the log. The state keeps what was applied. It returns what ended the Replica,
// if it was not this call.
func (r *Replica) Close() error {
	r.once.Do(func() { close(r.stop) })
	<-r.done
	return r.err
}

// routineLoop turns the Core whenever something is in its inbox, until it is
// stopped or something fails.
func (r *Replica) routineLoop() {
	defer close(r.done)
	err := r.loop()
	r.turning.Lock()
	r.turning.ended = true
	r.turning.Unlock()
	r.appends.close()
	r.applies.close()
	r.stages.Wait()
	if ferr := r.core.Finish(err != nil); err == nil {
		err = ferr
	}
	r.err = err
}

func (r *Replica) loop() error {
	for {
		if err := r.turn(); err != nil {
			return err
		}
		select {
		case <-r.core.inbox.wake:
		case <-r.stop:
			return nil
		}
	}
}

func (r *Replica) turn() error {
	r.turning.Lock()
	err := r.turning.failed
	if err == nil {
		err = r.core.Turn()
	}
	r.turning.Unlock() // not deferred: see turning
	return err
}

// routineAppend writes what the loop has handed over: all that waits, in one go.
func (r *Replica) routineAppend() {
	for tasks := r.appends.take(); len(tasks) > 0; tasks = r.appends.take() {
		r.core.WriteLog(tasks)
	}
}

// routineApply applies what the loop has handed over.
func (r *Replica) routineApply() {
	for tasks := r.applies.take(); len(tasks) > 0; tasks = r.applies.take() {
		for _, a := range tasks {
			r.core.ApplyEntries(a)
		}
	}
}

// goroutines is a Replica as its Core's Stages.
type goroutines Replica

// InPlace is Stages'.
func (g *goroutines) InPlace() bool { return true }

// Append is Stages'.
func (g *goroutines) Append(tasks []*raft.Append) { g.appends.put(tasks...) }

// Apply is Stages'.
func (g *goroutines) Apply(task *raft.Apply) { g.applies.put(task) }

// Prepare is Stages'.
func (g *goroutines) Prepare() { g.stages.Go(g.core.PrepareLog) }

// Checkpoint is Stages'.
func (g *goroutines) Checkpoint() { g.stages.Go(g.core.MakeCheckpoint) }

// Install is Stages'.
func (g *goroutines) Install(task *raft.Append) {
	g.stages.Go(func() { g.core.InstallSnapshot(task) })
}

// queue is what waits for a stage's goroutine. It never blocks who puts
// something in: the Core bounds what it hands over, by bytes.
type queue[T any] struct {
	mu struct {
		sync.Mutex
		tasks  []T
		closed bool
	}
	wake *sync.Cond
}

func newQueue[T any]() *queue[T] {
	q := &queue[T]{}
	q.wake = sync.NewCond(&q.mu)
	return q
}

func (q *queue[T]) put(tasks ...T) {
	q.mu.Lock()
	q.mu.tasks = append(q.mu.tasks, tasks...)
	q.mu.Unlock()
	q.wake.Signal()
}

// take waits for tasks and takes all there are; none when the queue is closed
// and empty.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.mu.tasks) == 0 && !q.mu.closed {
		q.wake.Wait()
	}
	tasks := q.mu.tasks
	q.mu.tasks = nil
	return tasks
}

func (q *queue[T]) close() {
	q.mu.Lock()
	q.mu.closed = true
	q.mu.Unlock()
	q.wake.Signal()
}
