package watch

import (
	"runtime"
	"sync"
)

// Runner gives a hub its goroutines: one for what is live, and few for those that
// lag, so that these leave the processors to others.
type Runner struct {
	h    *Hub
	stop chan struct{}
	wg   sync.WaitGroup
}

// mostCatchingUp is how many streams may be read for at a time.
const mostCatchingUp = 4

// Pace makes a step, and then waits if it wants what has come meanwhile to be handed
// out in one go, but no longer than until stop is closed.
type Pace func(step func(), stop <-chan struct{})

// Run starts the goroutines, of which one steps at a pace. The caller closes the Runner
// when nothing is taken in any more.
func Run(h *Hub, pace Pace) *Runner {
	r := &Runner{h: h, stop: make(chan struct{})}
	r.wg.Go(func() { r.routineStep(pace) })
	for range min(mostCatchingUp, max(1, runtime.GOMAXPROCS(0)-1)) {
		r.wg.Go(r.routineCatchUp)
	}
	return r
}

// Close ends them.
func (r *Runner) Close() {
	close(r.stop)
	r.h.lagging.close()
	r.wg.Wait()
}

func (r *Runner) routineStep(pace Pace) {
	for {
		select {
		case <-r.h.Due():
			pace(r.h.Step, r.stop)
		case <-r.stop:
			return
		}
	}
}

func (r *Runner) routineCatchUp() {
	for s := r.h.lagging.pop(true); s != nil; s = r.h.lagging.pop(true) {
		r.h.CatchUp(s)
		runtime.Gosched()
	}
}
