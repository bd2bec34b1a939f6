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

// Run starts the goroutines. The caller closes the Runner when nothing is taken in
// any more.
func Run(h *Hub) *Runner {
	r := &Runner{h: h, stop: make(chan struct{})}
	r.wg.Go(r.routineStep)
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

func (r *Runner) routineStep() {
	for {
		select {
		case <-r.h.Due():
			r.h.Step()
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
