package replica

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A copy that does not arrive is made again after ever longer pauses.
func TestCopiesThatDoNotArriveAreMadeMoreSeldom(t *testing.T) {
	var c checkpoint
	var pauses []int64
	for now := int64(0); now < 1000; now = c.pause {
		c.failed(now, 5, 60)
		pauses = append(pauses, c.pause-now)
	}
	require.Equal(t, []int64{5, 10, 20, 40, 60, 60}, pauses[:6])
}
