package histogram

import (
	"fmt"
	"sync/atomic"
	"time"
)

// maxBounds is how many bounds a Histogram may have.
const maxBounds = 20

// Histogram counts durations. Any number of goroutines may use it.
type Histogram struct {
	bounds []time.Duration
	lanes  []lane
}

// lane is a share of the counts, as long as three cache lines of 64 bytes.
type lane struct {
	counts [maxBounds + 1]atomic.Uint64 // each of its own bucket; the last has all above the bounds
	sum    atomic.Int64
	_      [2]uint64
}

// New returns a Histogram of so many lanes, a power of two. The upper bounds of
// its buckets begin with first, and each is twice the one before.
func New(lanes int, first time.Duration, bounds int) *Histogram {
	if lanes < 1 || lanes&(lanes-1) != 0 || bounds < 1 || bounds > maxBounds {
		panic(fmt.Sprintf("histogram: %d lanes with %d bounds", lanes, bounds))
	}
	h := &Histogram{lanes: make([]lane, lanes), bounds: make([]time.Duration, bounds)}
	for i := range h.bounds {
		h.bounds[i] = first << i
	}
	return h
}

// Observe counts one duration on a lane; any number will do for one.
func (h *Histogram) Observe(on uint32, d time.Duration) { h.ObserveMany(on, d, 1) }

// ObserveMany counts n durations, d each.
func (h *Histogram) ObserveMany(on uint32, d time.Duration, n uint64) {
	l := &h.lanes[on&uint32(len(h.lanes)-1)]
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	l.counts[i].Add(n)
	l.sum.Add(int64(d) * int64(n))
}

// Counts are what a Histogram, or several of the same bounds, have counted.
type Counts struct {
	Bounds []time.Duration
	// Buckets has for each bound how many durations are at most as long.
	Buckets []uint64
	Count   uint64
	Sum     time.Duration
}

// Counts reads the histogram. What is observed meanwhile may be in it or not.
func (h *Histogram) Counts() Counts {
	c := Counts{Bounds: h.bounds, Buckets: make([]uint64, len(h.bounds))}
	for i := range h.lanes {
		l := &h.lanes[i]
		c.Sum += time.Duration(l.sum.Load())
		for j := range h.bounds {
			c.Buckets[j] += l.counts[j].Load()
		}
		c.Count += l.counts[len(h.bounds)].Load()
	}
	for j := range c.Buckets {
		if j > 0 {
			c.Buckets[j] += c.Buckets[j-1]
		}
	}
	c.Count += c.Buckets[len(c.Buckets)-1]
	return c
}

// Add returns the counts of both, which must have the same bounds.
func (c Counts) Add(o Counts) Counts {
	sum := Counts{Bounds: c.Bounds, Buckets: make([]uint64, len(c.Buckets)), Count: c.Count + o.Count, Sum: c.Sum + o.Sum}
	for i := range sum.Buckets {
		sum.Buckets[i] = c.Buckets[i] + o.Buckets[i]
	}
	return sum
}
