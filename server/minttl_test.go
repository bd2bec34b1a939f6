package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An upstream member takes one and a half elections in whole ticks, and so must ours:
// the life of a lease is a part of what all members apply.
func TestTheShortestLife(t *testing.T) {
	for _, tc := range []struct {
		heartbeat, election time.Duration
		want                int64
	}{
		{100 * time.Millisecond, time.Second, 2},
		{100 * time.Millisecond, 1350 * time.Millisecond, 2},
		{700 * time.Millisecond, 3500 * time.Millisecond, 5},
		{time.Second, 50 * time.Second, 75},
	} {
		c := &Config{HeartbeatInterval: tc.heartbeat, ElectionTimeout: tc.election}
		require.Equal(t, tc.want, c.minTTL(), "%v, %v", tc.heartbeat, tc.election)
	}
}
