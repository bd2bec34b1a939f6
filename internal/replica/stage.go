package replica

import (
	"go.uber.org/zap"

	"etcd.alt/internal/raft"
)

// stage is a queue of tasks and the goroutine behind it. The loop alone gives
// tasks and counts those that have not come back; while there are any, it runs
// no task of that stage itself.
type stage[T any] struct {
	in      chan T
	pending int // owned by the loop
}

// stageDepth bounds what waits for a stage. The loop never has more on its way:
// wantsProposals holds proposals back, and raft bounds what may be applied at
// once.
const stageDepth = 1024

func newStage[T any]() *stage[T] { return &stage[T]{in: make(chan T, stageDepth)} }

func (s *stage[T]) give(tasks ...T) {
	for _, t := range tasks {
		s.pending++
		s.in <- t
	}
}

// routineAppend writes what the loop has handed over: all that waits in one
// go, with one sync.
func (r *Replica) routineAppend() {
	var tasks []*raft.Append
	for first := range r.appends.in {
		tasks = append(tasks[:0], first)
		for more := true; more; {
			select {
			case a, ok := <-r.appends.in:
				if more = ok; ok {
					tasks = append(tasks, a)
				}
			default:
				more = false
			}
		}
		sync := false
		for _, a := range tasks {
			sync = sync || a.MustSync
		}
		took, err := r.writeLog(tasks, sync)
		if err != nil {
			r.inbox.putBroken(err)
			return
		}
		r.inbox.putAppended(tasks, took)
	}
}

// routineApply applies what the loop has handed over, in order.
func (r *Replica) routineApply() {
	for a := range r.applies.in {
		o := r.apply(a)
		r.inbox.putApplied(finished{a, o})
		if o.err != nil {
			return
		}
	}
}

// routinePrepare makes the log's next segment ahead.
func (r *Replica) routinePrepare() {
	if err := r.c.Log.Prepare(); err != nil {
		r.c.Logger.Warn("cannot prepare the next log segment", zap.Error(err))
	}
}
