package sim

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClusters runs SIM_CLUSTERS clusters from SIM_SEED on, the first SIM_TWICE
// of them twice: both runs must be the same to the letter.
func TestClusters(t *testing.T) {
	first, n, twice := number(t, "SIM_SEED", 1), number(t, "SIM_CLUSTERS", 6), number(t, "SIM_TWICE", 1)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // memory is not what a run is short of
	var sum summary
	for seed := first; seed < first+n; seed++ {
		out, err := RunCluster(seed, nil)
		require.NoError(t, err, "replay with: SIM_SEED=%d go test ./internal/sim -run TestClusterTrace -v", seed)
		sum.add(out)
		if seed < first+twice {
			again, err := RunCluster(seed, nil)
			require.NoError(t, err)
			require.Equal(t, out, again, "seed %d went two ways", seed)
		}
	}
	t.Logf("\n%s", &sum)
	require.NotZero(t, sum.total.Answered)
	if n < 50 {
		return // too few to speak of shares
	}
	for _, s := range sum.saw()[:enough] {
		require.GreaterOrEqual(t, 5*s.seeds, sum.seeds, "seeds that saw a %s", s.what)
	}
}

// TestClusterTrace tells the story of the seed SIM_SEED.
func TestClusterTrace(t *testing.T) {
	if os.Getenv("SIM_SEED") == "" {
		t.Skip("no SIM_SEED")
	}
	var story bytes.Buffer
	out, err := RunCluster(number(t, "SIM_SEED", 1), &story)
	t.Logf("\n%s", story.Bytes())
	require.NoError(t, err)
	t.Logf("%+v", out)
}

// A history with one answer changed is not linearizable any more: the search
// does look.
func TestAWrongHistoryIsFound(t *testing.T) {
	wrong := map[string]func(c *Cluster, op *operation) bool{
		"a value that was not written": func(_ *Cluster, op *operation) bool {
			if op.ask.kind != get || len(op.answer.kvs) == 0 {
				return false
			}
			op.answer.kvs[0].value += "?"
			return true
		},
		"a read of the past": func(_ *Cluster, op *operation) bool {
			if op.ask.kind != get || op.answer.revision < 10 || len(op.answer.kvs) > 0 {
				return false
			}
			op.answer.revision--
			return true
		},
		"a comparison that held": func(_ *Cluster, op *operation) bool {
			if op.ask.kind != compareAndSet {
				return false
			}
			op.answer.succeeded = !op.answer.succeeded
			return true
		},
		"a write that is not there": func(c *Cluster, op *operation) bool {
			if op.ask.kind != put {
				return false
			}
			c.history = slices.DeleteFunc(c.history, func(o *operation) bool { return o == op })
			return true
		},
		"a write before its time": func(c *Cluster, op *operation) bool {
			if op.ask.kind != put {
				return false
			}
			for _, later := range c.history {
				if later.ask.kind == put && later.outcome == answered && later.answer.err == "" && later.called > op.returned {
					op.called, later.called = later.called, op.called
					op.returned, later.returned = later.returned, op.returned
					return true
				}
			}
			return false
		},
	}
	c := newCluster(3, nil)
	fromSeed(3, func() { require.NoError(t, c.run()) })
	right := c.history
	for name, change := range wrong {
		t.Run(name, func(t *testing.T) {
			c.history = nil
			for _, op := range right {
				one := *op
				one.answer.kvs = slices.Clone(op.answer.kvs)
				c.history = append(c.history, &one)
			}
			require.NoError(t, c.linearizable())
			for _, op := range slices.Clone(c.history) {
				if op.outcome == answered && op.answer.err == "" && change(c, op) {
					break
				}
			}
			require.ErrorContains(t, c.linearizable(), "not linearizable")
		})
	}
}

// enough is how many of the kinds of seeds there must be a fifth of, at least.
const enough = 6

// summary adds up what seeds have to show.
type summary struct {
	seeds int
	total Tally
	saws  [10]int
}

type saw struct {
	what  string
	seeds int
}

func (s *summary) add(o Tally) {
	s.seeds++
	t := &s.total
	if t.Faults == nil {
		t.Faults = map[string]int{}
	}
	for name, n := range o.Faults {
		t.Faults[name] += n
	}
	t.Time += o.Time
	t.Operations += o.Operations
	t.Answered += o.Answered
	t.Lost += o.Lost
	t.Entries += o.Entries
	t.Stopped += o.Stopped
	for i, n := range []int{o.LeaderChanges, o.Compactions, o.Truncations, o.Released, o.Snapshots, o.Changes, o.Stopped, o.Interrupted, o.Ended, o.Renewals} {
		if n > 0 {
			s.saws[i]++
		}
	}
}

func (s *summary) saw() []saw {
	return []saw{
		{"leader change", s.saws[0]}, {"compaction", s.saws[1]}, {"truncation of a log's end", s.saws[2]},
		{"log whose beginning was given back", s.saws[3]}, {"snapshot install", s.saws[4]}, {"membership change", s.saws[5]},
		{"member that its disk has stopped", s.saws[6]}, {"snapshot install that was cut short", s.saws[7]},
		{"lease whose time was over", s.saws[8]}, {"renewal of a lease", s.saws[9]},
	}
}

func (s *summary) String() string {
	var b strings.Builder
	t := &s.total
	fmt.Fprintf(&b, "%d clusters, %v: %d operations, %d answered, %d entries, %d messages lost\n", s.seeds, t.Time.Round(1e9), t.Operations, t.Answered, t.Entries, t.Lost)
	total := 0
	for _, name := range slices.Sorted(maps.Keys(t.Faults)) {
		fmt.Fprintf(&b, "  %8d  %s\n", t.Faults[name], name)
		total += t.Faults[name]
	}
	fmt.Fprintf(&b, "  %8d  faults\n", total)
	for _, one := range s.saw() {
		fmt.Fprintf(&b, "  %7.0f%%  of the seeds saw a %s\n", 100*float64(one.seeds)/float64(s.seeds), one.what)
	}
	return b.String()
}
