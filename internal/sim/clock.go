package sim

import (
	"container/heap"
	"time"
)

// clock is virtual time, and what is due in it.
type clock struct {
	now   time.Duration
	queue events
	count uint64 // of events so far
}

// event is something that happens at a time. Those of one moment happen in the
// order in which they were set.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

// after has do called when d has passed.
func (c *clock) after(d time.Duration, do func()) {
	c.count++
	heap.Push(&c.queue, event{c.now + d, c.count, do})
}

// next moves to the next event, which it returns; nil if nothing is to come.
func (c *clock) next() func() {
	if len(c.queue) == 0 {
		return nil
	}
	e := heap.Pop(&c.queue).(event)
	c.now = e.at
	return e.do
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}

func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{} // what it holds on to may go
	*e = old[:len(old)-1]
	return last
}
