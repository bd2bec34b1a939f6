package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// While a copy is made (a flush, hard links, an open), a busy leader writes more
// than it keeps. The copy must not be useless then, nor hold the log for ever.
func TestACopyThatTheLogHasPassedIsNotTheLast(t *testing.T) {
	c, leader, id := behind(t)
	third := c.all[3]
	leader.slow = true
	for range 30 {
		c.tick()
		if leader.s.copies > 0 {
			break
		}
	}
	require.Equal(t, 1, leader.s.copies, "a copy is being made")
	var err error
	leader.state.begun, err = leader.m.Checkpoint()
	require.NoError(t, err)
	for range 25 {
		c.put(leader, id, 500, 1)
		c.tick()
	}
	require.LessOrEqual(t, leader.node.First(), leader.state.begun.GetIndex()+1, "what comes after the copy is kept")
	leader.slow = false // the copy is there

	for range 300 { // an age of 30 seconds, nearly idle
		c.put(leader, id, 100, 1)
		c.tick()
	}
	t.Logf("pinned %d, first %d, applied %d, log of %d bytes, %d snapshots", leader.node.Pinned(), leader.node.First(), leader.node.Status().Applied, leader.node.LogBytes(), c.snapped)
	require.NotZero(t, c.snapped, "snapshots that were sent")
	require.Equal(t, leader.node.Status().Applied, third.node.Status().Applied)
	require.Zero(t, leader.node.Pinned())
}
