package service

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRestAfterASlowStep(t *testing.T) {
	const took = 5 * time.Millisecond
	began, steps := time.Now(), 0
	stepAndRest(func() { steps++; time.Sleep(took) }, nil)
	require.GreaterOrEqual(t, time.Since(began), took+longestRest)
	require.Equal(t, 1, steps)
}

func TestARestEndsWithTheHub(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	steps := 0
	for range 10_000 {
		stepAndRest(func() {
			for began := time.Now(); time.Since(began) < shortestRest/restShare; {
				continue // a step that is followed by a rest
			}
			steps++
		}, stop)
	}
	require.Equal(t, 10_000, steps, "with rests that last it would take far longer than tests may")
}
