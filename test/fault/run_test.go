package fault

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
	"etcd.alt/test/fault/history"
)

// run is a row of epochs on one cluster.
type run struct {
	c      *cluster
	rng    *rand.Rand
	began  time.Time
	ledger *history.Ledger
	record *record // of the epoch
	epochs int

	followers []*follower // of the epoch

	// What is told at the end.
	brought           map[string]int // faults by their name
	answered, unknown int
	refused           int
	told              int // events of all watches
	moved             int
	slowest           time.Duration // until all served again after a storm
	watch             *leaders
}

func newRun(c *cluster, seed uint64) *run {
	r := &run{c: c, rng: rand.New(rand.NewPCG(seed, 0)), began: time.Now(), ledger: history.NewLedger(), brought: map[string]int{}, watch: watchLeaders(c)}
	c.story = r.story
	return r
}

// story is what has happened, and what the clients of the last epoch were told.
func (r *run) story() string {
	var b strings.Builder
	for _, line := range r.c.said {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "\nthe clients' time 0 is %s\n", r.began.Format("15:04:05.000"))
	r.record.mu.Lock()
	defer r.record.mu.Unlock()
	for _, o := range r.record.mu.ops {
		fmt.Fprintln(&b, o)
	}
	return b.String()
}

// sleep waits for a time that is drawn, in milliseconds.
func (r *run) sleep(least, most int) {
	timer := time.NewTimer(time.Duration(least+r.rng.IntN(most-least)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.c.t.Context().Done():
	}
}

// await waits until something holds.
func (r *run) await(what string, holds func() bool) {
	r.c.t.Helper()
	require.Eventually(r.c.t, holds, time.Minute, 20*time.Millisecond, what)
}

// epoch has the clients work while disturb disturbs the cluster, heals it, and
// judges what came of it.
func (r *run) epoch(disturb func(until time.Time), length time.Duration) {
	r.c.t.Helper()
	r.epochs++
	r.record = &record{c: r.c, began: r.began, prefix: fmt.Sprintf("e%d/", r.epochs)}
	ctx, cancel := context.WithCancel(r.c.t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel() // before the wait
	r.follow(ctx, r.ledger.Revision()+1, &following)
	working, rest := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer rest()
	for i := range workers {
		w := &worker{r: r.record, number: i, rng: rand.New(rand.NewPCG(r.rng.Uint64(), 0)), seen: map[string]int64{}}
		work.Go(func() { w.routineWork(working) })
	}
	disturb(time.Now().Add(length))
	r.c.heal()
	healed := time.Now()
	r.c.awaitServing(time.Minute)
	r.slowest = max(r.slowest, time.Since(healed))
	rest()
	work.Wait()
	r.judge()
}

// storm brings about whatever is drawn until the time has come. Some faults end
// soon, some last.
func (r *run) storm(until time.Time) {
	odds := 0
	for _, f := range faults {
		odds += f.odds
	}
	for time.Now().Before(until) && r.c.t.Context().Err() == nil {
		n := r.rng.IntN(odds)
		i := slices.IndexFunc(faults, func(f fault) bool { n -= f.odds; return n < 0 })
		r.brought[faults[i].name]++
		r.c.say("fault: %s", faults[i].name)
		faults[i].do(r)
		r.sleep(100, 2500)
		if r.rng.IntN(3) != 0 {
			r.c.heal()
			r.sleep(100, 1500)
		}
	}
}

// judge settles and judges the epoch, and compares the members.
func (r *run) judge() {
	t := r.c.t
	t.Helper()
	ops := r.record.mu.ops // nobody else is there any more
	for _, o := range ops {
		switch o.Outcome {
		case history.Answered:
			r.answered++
		case history.Refused:
			r.refused++
		default:
			r.unknown++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	now, err := r.c.anywhere.Get(ctx, "x")
	require.NoError(t, err)
	from, to := r.ledger.Revision(), now.Header.Revision
	began := time.Now()
	late, err := r.ledger.Settle(ops, to, func(revision int64) (history.Change, error) { return r.look(ctx, r.c.anywhere, revision) })
	require.NoError(t, err, "epoch %d", r.epochs)
	require.NoError(t, r.ledger.Judge(ops, late), "epoch %d", r.epochs)
	t.Logf("epoch %d: %d operations, %d effects of unknown ends, revision %d, judged in %v", r.epochs, len(ops), len(late), to, time.Since(began).Round(time.Millisecond))
	r.compare(ctx, to)
	r.sample(ctx, from, to)
	r.followed(from, to)
	if r.rng.IntN(2) == 0 {
		_, err := r.c.anywhere.Compact(ctx, to)
		require.NoError(t, err)
	}
}

// compare looks whether all members have the same, and what was judged.
func (r *run) compare(ctx context.Context, to int64) {
	t := r.c.t
	t.Helper()
	type hash struct {
		hash       uint32
		compaction int64
	}
	hashes := map[hash]int{}
	for i, h := range r.c.hosts {
		_, err := r.c.at[i].Get(ctx, "x")
		require.NoError(t, err)
		res, err := r.c.at[i].HashKV(ctx, h.Address(), to)
		require.NoError(t, err)
		hashes[hash{res.Hash, res.CompactRevision}]++
		for _, prefix := range []string{"e", "bulk"} {
			got, err := r.c.at[i].Get(ctx, prefix, client.WithPrefix(), client.WithRev(to), client.WithSerializable())
			require.NoError(t, err)
			require.Equal(t, r.ledger.List(prefix, to), kvs(got.Kvs...), "what %s has at revision %d", name(i), to)
		}
	}
	require.Len(t, hashes, 1, "members have different hashes at revision %d: %v", to, hashes)
}

// samples is how many revisions of an epoch are asked for again, at members that
// are drawn.
const samples = 50

// sample looks whether revisions mean what they are judged to have meant.
func (r *run) sample(ctx context.Context, from, to int64) {
	for range min(samples, to-from-1) {
		// A compaction at from may have taken what was before.
		revision, i := from+2+r.rng.Int64N(to-from-1), r.anyone()
		got, err := r.look(ctx, r.c.at[i], revision)
		require.NoError(r.c.t, err)
		require.Equal(r.c.t, r.ledger.At(revision), got, "what revision %d did, says %s", revision, name(i))
	}
}

// look asks what a revision has changed.
func (r *run) look(ctx context.Context, c *client.Client, revision int64) (history.Change, error) {
	get := func(key string, at int64, options ...client.OpOption) ([]*client.KeyValue, error) {
		res, err := c.Get(ctx, key, append(options, client.WithRev(at))...)
		if err != nil {
			return nil, err
		}
		return res.Kvs, nil
	}
	put, err := get("", revision, client.WithFromKey(), client.WithKeysOnly(), client.WithMinModRev(revision))
	if err != nil {
		return history.Change{}, err
	}
	if len(put) > 0 {
		kv, err := get(string(put[0].Key), revision)
		if err != nil || len(put) > 1 || len(kv) != 1 {
			return history.Change{}, fmt.Errorf("%d keys were put, and then there are %d: %w", len(put), len(kv), err)
		}
		return history.Change{Key: string(kv[0].Key), Value: kvs(kv...)[0].Value}, nil
	}
	before, err := get("", revision-1, client.WithFromKey(), client.WithKeysOnly())
	if err != nil {
		return history.Change{}, err
	}
	after, err := get("", revision, client.WithFromKey(), client.WithKeysOnly())
	if err != nil {
		return history.Change{}, err
	}
	for i, kv := range before {
		if i == len(after) || string(after[i].Key) != string(kv.Key) {
			return history.Change{Key: string(kv.Key), Deleted: true}, nil
		}
	}
	return history.Change{}, fmt.Errorf("nothing was changed: %d keys before, %d after", len(before), len(after))
}

// table is what a run tells at its end.
func (r *run) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	total := 0
	for _, name := range slices.Sorted(maps.Keys(r.brought)) {
		fmt.Fprintf(w, "%s\t%d\n", name, r.brought[name])
		total += r.brought[name]
	}
	fmt.Fprintf(w, "faults\t%d\n", total)
	fmt.Fprintf(w, "epochs\t%d\n", r.epochs)
	fmt.Fprintf(w, "operations\t%d\n", r.answered+r.unknown+r.refused)
	fmt.Fprintf(w, "acknowledged\t%d\n", r.answered)
	fmt.Fprintf(w, "end unknown\t%d (%d had an effect)\n", r.unknown, r.ledger.Late)
	fmt.Fprintf(w, "refused\t%d\n", r.refused)
	fmt.Fprintf(w, "revisions\t%d\n", r.ledger.Revision())
	fmt.Fprintf(w, "events told\t%d\n", r.told)
	fmt.Fprintf(w, "leaders seen\t%d\n", r.watch.seen())
	fmt.Fprintf(w, "leadership moved by request\t%d\n", r.moved)
	fmt.Fprintf(w, "all serve again after, at most\t%v\n", r.slowest.Round(time.Millisecond))
	fmt.Fprintf(w, "snapshots installed\t%d\n", r.c.installed())
	verdict := "no violation"
	if r.c.t.Failed() {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "verdict\t%s\n", verdict)
	_ = w.Flush() // to memory
	return b.String()
}

// seed is SEED, or another one each time.
func seed(r interface{ Logf(string, ...any) }) uint64 {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			panic("SEED is no number: " + s)
		}
	}
	r.Logf("SEED=%d", n)
	return n
}
