package lease

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheLongestLife(t *testing.T) {
	k := promoted(Pace{})
	k.Apply([]Change{{Lease{1, MaxTTL, 0}, Granted}}, time.Second)
	k.Sure(time.Second)
	ttl, _, _ := k.Renew(1, time.Second)
	left, _ := k.Left(1, time.Second)
	require.EqualValues(t, MaxTTL, left/time.Second)
	require.EqualValues(t, MaxTTL, ttl)
}
