package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Once what was written is flushed the store is not busy any more, whether or not
// somebody writes: what waits for that moment (a sweep, a flush) writes nothing
// while it waits.
func TestMayStallEndsWithTheFlush(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()
	value := make([]byte, 1<<20)
	for i := range 200 {
		value[i] = byte(i)
	}
	main := int64(1)
	for !s.MayStall() {
		b := s.NewBatch()
		for range 8 {
			main++
			b.SetRecord(Revision{Main: main}, false, value)
		}
		require.NoError(t, b.Commit())
	}
	require.NoError(t, s.Flush())
	require.Eventually(t, func() bool { return !s.MayStall() }, 5*time.Second, 10*time.Millisecond)
}
