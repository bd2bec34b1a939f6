package service

import (
	"runtime"
	"sync"

	"etcd.alt/api/errs"
	"etcd.alt/internal/rpc"
)

// maxWaitingJobs bounds what waits for a worker.
const maxWaitingJobs = 100_000

// workers are a bounded number of goroutines for what may have to wait for the
// disk. The queue is a slice and not a channel so that a connection's goroutine
// never blocks on it.
type workers struct {
	mu struct {
		sync.Mutex
		jobs   []job
		closed bool
	}
	wake sync.Cond
	wg   sync.WaitGroup
}

// job is a call and what answers it.
type job struct {
	call *rpc.Call
	run  func()
}

func (w *workers) start() {
	w.wake.L = &w.mu.Mutex
	for range max(4, 2*runtime.GOMAXPROCS(0)) {
		w.wg.Go(w.routineWork)
	}
}

// do has run answer c on a worker. The call must have been kept. Where there is no
// room, or the workers have ended, it is answered here, and do returns false.
func (w *workers) do(c *rpc.Call, run func()) bool {
	w.mu.Lock()
	switch {
	case w.mu.closed:
		w.mu.Unlock()
		fail(c, errs.Stopped)
		c.Flush()
		return false
	case len(w.mu.jobs) >= maxWaitingJobs:
		w.mu.Unlock()
		fail(c, errs.TooManyRequests)
		c.Flush()
		return false
	}
	w.mu.jobs = append(w.mu.jobs, job{c, run})
	w.mu.Unlock()
	w.wake.Signal()
	return true
}

// hand is do for who may not wait, nor answer c, and for calls that were with a worker
// before: there is room for them, and when the workers have ended the server ends the
// call.
func (w *workers) hand(c *rpc.Call, run func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mu.closed {
		w.mu.jobs = append(w.mu.jobs, job{c, run})
		w.wake.Signal()
	}
}

func (w *workers) routineWork() {
	for {
		w.mu.Lock()
		for len(w.mu.jobs) == 0 && !w.mu.closed {
			w.wake.Wait()
		}
		if w.mu.closed {
			w.mu.Unlock()
			return
		}
		j := w.mu.jobs[0]
		w.mu.jobs[0] = job{}
		w.mu.jobs = w.mu.jobs[1:]
		w.mu.Unlock()
		j.run()
		j.call.Flush()
	}
}

// stop ends the workers after what they are at, and fails what still waits.
func (w *workers) stop() {
	w.mu.Lock()
	w.mu.closed = true
	left := w.mu.jobs
	w.mu.jobs = nil
	w.mu.Unlock()
	w.wake.Broadcast()
	w.wg.Wait()
	for _, j := range left {
		fail(j.call, errs.Stopped)
		j.call.Flush()
	}
}
