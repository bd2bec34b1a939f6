package sim

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"reflect"
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
	for i, one := range sights {
		if !one.seldom {
			require.GreaterOrEqual(t, 5*sum.saw[i], sum.seeds, "seeds that saw a %s", one.what)
		}
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

// A cluster that is watched goes the same way as one that is not, to the letter, until
// somebody has to wait for those who watch.
func TestWatchersChangeNothing(t *testing.T) {
	story := func(watched bool) (lines []string) {
		var b bytes.Buffer
		c := newCluster(5, &b)
		if !watched {
			c.listeners = nil
		}
		fromSeed(5, func() { require.NoError(t, c.run()) })
		before, _, ended := strings.Cut(b.String(), "no more faults")
		require.True(t, ended)
		for line := range strings.Lines(before) {
			if strings.HasSuffix(line, "\n") && !strings.Contains(line, "listener") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	require.Equal(t, story(false), story(true))
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

// sights are what there is to be seen in a seed, and by how many of them: a fifth,
// but for what is named as seldom: about a fifth.
var sights = []struct {
	what   string
	times  func(*Tally) int
	seldom bool
}{
	{"leader change", func(t *Tally) int { return t.LeaderChanges }, false},
	{"compaction", func(t *Tally) int { return t.Compactions }, false},
	{"truncation of a log's end", func(t *Tally) int { return t.Truncations }, false},
	{"log whose beginning was given back", func(t *Tally) int { return t.Released }, false},
	{"snapshot install", func(t *Tally) int { return t.Snapshots }, false},
	{"membership change", func(t *Tally) int { return t.Changes }, false},
	{"member that its disk has stopped", func(t *Tally) int { return t.Stopped }, false},
	{"snapshot install that was cut short", func(t *Tally) int { return t.Interrupted }, false},
	{"lease whose time was over", func(t *Tally) int { return t.Ended }, false},
	{"renewal of a lease", func(t *Tally) int { return t.Renewals }, false},
	{"watcher that was told of a change", func(t *Tally) int { return t.Watch.Events }, false},
	{"response in fragments", func(t *Tally) int { return t.Watch.Fragments }, false},
	{"watch that went on with another member, or another life", func(t *Tally) int { return t.Watch.Resumed }, false},
	{"watch that went on with a member which was behind", func(t *Tally) int { return t.Watch.Behind }, false},
	{"watch that was refused", func(t *Tally) int { return t.Watch.Refused }, false},
	{"watch that its client has cancelled", func(t *Tally) int { return t.Watch.Canceled }, false},
	{"watch that a compaction has cancelled", func(t *Tally) int { return t.Watch.Compacted }, false},
	{"event without what a compaction has taken", func(t *Tally) int { return t.Watch.Forgotten }, false},
	{"progress that was asked for", func(t *Tally) int { return t.Watch.Asked }, false},
	{"progress that came by itself", func(t *Tally) int { return t.Watch.Notified }, false},
	{"watcher that lagged and caught up", func(t *Tally) int { return t.Watch.Slices }, false},
	{"stream without room", func(t *Tally) int { return t.Watch.Full }, false},
	{"inbox of a hub that ran over", func(t *Tally) int { return t.Watch.Overflows }, false},
	{"change of users", func(t *Tally) int { return t.Users.Changes }, false},
	{"request that a change of users has overtaken", func(t *Tally) int { return t.Users.Overtaken }, false},
	{"refusal at the last verdict", func(t *Tally) int { return t.Users.Denied }, false},
	{"read that was refused", func(t *Tally) int { return t.Users.Unread }, false},
	{"watch that ended for want of rights", func(t *Tally) int { return t.Users.Withdrawn }, false},
	{"read where the newest users were not known", func(t *Tally) int { return t.Users.Lagging }, false},
	{"snapshot install under watchers", func(t *Tally) int { return t.Watch.Replaced }, true},
}

// summary adds up what seeds have to show.
type summary struct {
	seeds int
	total Tally
	saw   [64]int // as sights
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
	addFields(&t.Watch, &o.Watch)
	addFields(&t.Users, &o.Users)
	for i, one := range sights {
		if one.times(&o) > 0 {
			s.saw[i]++
		}
	}
}

// addFields adds up all fields.
func addFields[T any](t, o *T) {
	sum, one := reflect.ValueOf(t).Elem(), reflect.ValueOf(o).Elem()
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + one.Field(i).Int())
	}
}

func (s *summary) String() string {
	var b strings.Builder
	t := &s.total
	fmt.Fprintf(&b, "%d clusters, %v: %d operations, %d answered, %d entries, %d messages lost\n", s.seeds, t.Time.Round(1e9), t.Operations, t.Answered, t.Entries, t.Lost)
	w := &t.Watch
	fmt.Fprintf(&b, "%d events told in %d responses, of which %d were fragments; %d watches begun, %d gone on elsewhere (%d where the member was behind), %d refused, %d cancelled, %d cancelled by a compaction\n",
		w.Events, w.Responses, w.Fragments, w.Created, w.Resumed, w.Behind, w.Refused, w.Canceled, w.Compacted)
	fmt.Fprintf(&b, "%d slices of the past read for those who lagged, %d responses without room, %d inboxes run over; progress: %d times asked for, %d times by itself\n",
		w.Slices, w.Full, w.Overflows, w.Asked, w.Notified)
	u := &t.Users
	fmt.Fprintf(&b, "%d changes of users; %d requests refused at the door, %d at the last verdict, %d reads; %d requests overtaken by a change and begun again, %d reads where the newest was not known, %d watches ended\n",
		u.Changes, u.Barred, u.Denied, u.Unread, u.Overtaken, u.Lagging, u.Withdrawn)
	total := 0
	for _, name := range slices.Sorted(maps.Keys(t.Faults)) {
		fmt.Fprintf(&b, "  %8d  %s\n", t.Faults[name], name)
		total += t.Faults[name]
	}
	fmt.Fprintf(&b, "  %8d  faults\n", total)
	for i, one := range sights {
		fmt.Fprintf(&b, "  %7.0f%%  of the seeds saw a %s\n", 100*float64(s.saw[i])/float64(s.seeds), one.what)
	}
	return b.String()
}
