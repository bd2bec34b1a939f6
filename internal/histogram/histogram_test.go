package histogram

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDurationsFallIntoTheirBuckets(t *testing.T) {
	h := New(4, Doubling(time.Millisecond, 3))
	for i, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 4 * time.Millisecond, time.Second} {
		h.Observe(uint32(i), d)
	}
	h.ObserveMany(9, 3*time.Millisecond, 10)
	c := h.Counts()
	require.Equal(t, []time.Duration{time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond}, c.Bounds)
	require.Equal(t, []uint64{2, 3, 14}, c.Buckets)
	require.Equal(t, uint64(15), c.Count)
	require.Equal(t, 1036*time.Millisecond+1, c.Sum)
	both := c.Add(c)
	require.Equal(t, []uint64{4, 6, 28}, both.Buckets)
	require.Equal(t, uint64(30), both.Count)
	require.Equal(t, []uint64{2, 3, 14}, c.Buckets)

	few := New(1, []time.Duration{2 * time.Millisecond})
	few.Observe(0, time.Millisecond)
	sum := few.Counts().Add(c)
	require.Equal(t, []uint64{4}, sum.Buckets)
	require.Equal(t, uint64(16), sum.Count)
}

func TestNothingIsLostBetweenGoroutines(t *testing.T) {
	h := New(2, Doubling(time.Millisecond, 14))
	var wg sync.WaitGroup
	for g := range uint32(8) {
		wg.Go(func() {
			for range 1000 {
				h.Observe(g, time.Millisecond)
			}
		})
	}
	wg.Wait()
	require.Equal(t, uint64(8000), h.Counts().Count)
	require.Equal(t, 8*time.Second, h.Counts().Sum)
}

func BenchmarkObserve(b *testing.B) {
	h := New(8, Doubling(time.Millisecond, 14))
	for b.Loop() {
		h.Observe(3, time.Microsecond)
	}
}
