package replica

import (
	"sync"

	"go.uber.org/zap"

	"etcd.alt/internal/raft"
)

// Replica is a Core with the goroutines that drive it. New starts them, Close
// stops them and waits.
type Replica struct {
	*Core
	appends chan *raft.Append
	applies chan *raft.Apply
	stages  sync.WaitGroup

	stop chan struct{}
	once sync.Once     // closes stop
	done chan struct{} // everything has ended
	err  error         // why it ended by itself; written before done is closed
}

// stageDepth bounds what waits for a stage. A Core never has more on its way: it
// takes no proposals while two appends are, and raft bounds what may be applied
// at once.
const stageDepth = 1024

// New starts a Replica. It owns Node and Log from here on.
func New(c Config) *Replica {
	r := &Replica{
		appends: make(chan *raft.Append, stageDepth),
		applies: make(chan *raft.Apply, stageDepth),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	r.Core = NewCore(c, (*goroutines)(r))
	r.stages.Go(r.routineAppend)
	r.stages.Go(r.routineApply)
	go r.routineLoop()
	return r
}

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
	close(r.appends)
	close(r.applies)
	r.stages.Wait()
	if ferr := r.Finish(err != nil); err == nil {
		err = ferr
	}
	r.err = err
}

func (r *Replica) loop() error {
	for {
		if err := r.Turn(); err != nil {
			return err
		}
		select {
		case <-r.inbox.wake:
		case <-r.stop:
			return nil
		}
	}
}

// routineAppend writes what the loop has handed over: all that waits, in one go.
func (r *Replica) routineAppend() {
	for first := range r.appends {
		tasks := []*raft.Append{first}
		for n := len(r.appends); n > 0; n-- {
			if a, ok := <-r.appends; ok {
				tasks = append(tasks, a)
			}
		}
		r.WriteLog(tasks)
	}
}

// routineApply applies what the loop has handed over.
func (r *Replica) routineApply() {
	for a := range r.applies {
		r.ApplyEntries(a)
	}
}

// goroutines is a Replica as its Core's Stages.
type goroutines Replica

// InPlace is Stages'.
func (g *goroutines) InPlace() bool { return true }

// Append is Stages'.
func (g *goroutines) Append(tasks []*raft.Append) {
	for _, a := range tasks {
		g.appends <- a
	}
}

// Apply is Stages'.
func (g *goroutines) Apply(task *raft.Apply) { g.applies <- task }

// Prepare is Stages'.
func (g *goroutines) Prepare() {
	g.stages.Go(func() {
		if err := g.c.Log.Prepare(); err != nil {
			g.c.Logger.Warn("cannot prepare the next log segment", zap.Error(err))
		}
	})
}
