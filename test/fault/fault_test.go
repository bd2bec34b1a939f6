package fault

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// settingsOfRuns have elections be short, so that there are many.
var settingsOfRuns = settings{heartbeat: 50 * time.Millisecond, election: 500 * time.Millisecond}

const (
	// epochLength is how long faults come and go before a judgement.
	epochLength = 10 * time.Second
	// cycle is every how many epochs a member lags so far behind that it must be
	// sent the state, and as often one is replaced.
	cycle = 4
)

// TestFaults runs for FAULT_MINUTES, or a single short epoch, with the faults that
// SEED draws.
func TestFaults(t *testing.T) {
	length, end := 6*time.Second, time.Now()
	if s := os.Getenv("FAULT_MINUTES"); s != "" {
		minutes, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err, "FAULT_MINUTES")
		length, end = epochLength, end.Add(time.Duration(minutes*float64(time.Minute)))
	}
	seed := seed(t)
	c := start(t, settingsOfRuns)
	r := newRun(c, seed)
	defer func() { t.Logf("faults\n%s", r.table()) }()
	for first := true; first || time.Now().Before(end); first = false {
		switch r.epochs % cycle {
		case 1:
			r.epoch(func(until time.Time) { r.lag(); r.storm(until) }, length)
		case 3:
			r.epoch(func(until time.Time) { r.replace(); r.storm(until) }, length)
		default:
			r.epoch(r.storm, length)
		}
		if t.Failed() {
			return
		}
	}
}
