package histogram

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// maxBounds is how many bounds a Histogram may have.
const maxBounds = 34

// Histogram counts durations. Any number of goroutines may use it.
type Histogram struct {
	bounds []time.Duration
	lanes  []lane
}

// lane is a share of the counts, as long as five cache lines of 64 bytes.
type lane struct {
	counts [maxBounds + 1]atomic.Uint64 // each of its own bucket; the last has all above the bounds
	sum    atomic.Int64
	_      [4]uint64
}

// Doubling returns n bounds, of which each is twice the one before.
func Doubling(first time.Duration, n int) []time.Duration {
	bounds := make([]time.Duration, n)
	for i := range bounds {
		bounds[i] = first << i
	}
	return bounds
}

// New returns a Histogram of so many lanes, a power of two, and of buckets with
// these upper bounds, ascending.
func New(lanes int, bounds []time.Duration) *Histogram {
	if lanes < 1 || lanes&(lanes-1) != 0 || len(bounds) < 1 || len(bounds) > maxBounds || !slices.IsSorted(bounds) {
		panic(fmt.Sprintf("histogram: %d lanes with the bounds %v", lanes, bounds))
	}
	return &Histogram{lanes: make([]lane, lanes), bounds: bounds}
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
	if i == len(h.bounds) {
		i = maxBounds
	}
	l.counts[i].Add(n)
	l.sum.Add(int64(d) * int64(n))
}

// Counts are what a Histogram has counted.
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
		c.Count += l.counts[maxBounds].Load()
	}
	for j := 1; j < len(c.Buckets); j++ {
		c.Buckets[j] += c.Buckets[j-1]
	}
	c.Count += c.Buckets[len(c.Buckets)-1]
	return c
}

// Add returns the counts of both, in the buckets of c: o has all their bounds.
func (c Counts) Add(o Counts) Counts {
	sum := Counts{Bounds: c.Bounds, Buckets: slices.Clone(c.Buckets), Count: c.Count + o.Count, Sum: c.Sum + o.Sum}
	for i, bound := range c.Bounds {
		j, _ := slices.BinarySearch(o.Bounds, bound)
		sum.Buckets[i] += o.Buckets[j]
	}
	return sum
}
