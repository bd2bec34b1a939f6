package sim

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err, name)
	return n
}

// TestPlanted is run with a bug built in (one of the plant_ build tags), and must
// find it within 200 seeds, as a member alone or as a cluster.
func TestPlanted(t *testing.T) {
	if os.Getenv("SIM_PLANTED") == "" {
		t.Skip("no bug is planted; make planted does that")
	}
	for seed := range uint64(200) {
		_, err := Run(seed, 600, nil)
		if err == nil {
			_, err = RunCluster(seed, nil)
		}
		if err != nil {
			t.Logf("found: %.2000v", err)
			return
		}
	}
	t.Fatal("200 seeds did not find the planted bug")
}

// TestSeeds runs SIM_SEEDS seeds from SIM_SEED on, each of SIM_STEPS steps.
func TestSeeds(t *testing.T) {
	first, n, steps := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", 40), number(t, "SIM_STEPS", 600)
	var sum Outcome
	for seed := first; seed < first+n; seed++ {
		out, err := Run(seed, int(steps), nil)
		require.NoError(t, err, "replay with: SIM_SEED=%d SIM_STEPS=%d go test ./internal/sim -run TestTrace -v", seed, steps)
		sum.Crashes += out.Crashes
		sum.Entries += out.Entries
		sum.Acknowledged += out.Acknowledged
		sum.Reads += out.Reads
		sum.FailedSyncs += out.FailedSyncs
	}
	t.Logf("%d seeds: %d power cuts, %d entries, %d acknowledged, %d reads, %d failed syncs", n, sum.Crashes, sum.Entries, sum.Acknowledged, sum.Reads, sum.FailedSyncs)
	require.NotZero(t, sum.Acknowledged)
	require.NotZero(t, sum.Reads)
}

// TestTrace runs one seed twice; both runs must be the same to the letter. With
// -v and SIM_SEED it tells the story of that seed.
func TestTrace(t *testing.T) {
	seed, steps := number(t, "SIM_SEED", 1), int(number(t, "SIM_STEPS", 600))
	var story bytes.Buffer
	first, err := Run(seed, steps, &story)
	if os.Getenv("SIM_SEED") != "" {
		t.Logf("\n%s", story.Bytes())
	}
	require.NoError(t, err)
	second, err := Run(seed, steps, nil)
	require.NoError(t, err)
	require.Equal(t, first, second, "the same seed went two ways")
}
