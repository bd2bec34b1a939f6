package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/histogram"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/state"
)

// Machine is a state.State whose work is counted, for the replica. Its
// methods are to be called as those are.
type Machine struct {
	*state.State
	r     *Registry
	limit time.Duration
	slow  func(took time.Duration, entries int, index uint64)

	// Of the Apply that runs.
	began    time.Time
	took     time.Duration // until the first answer; 0: there was none yet
	done     func(id uint64, result any, err error)
	answered func(id uint64, result any, err error) // m.answer

	sweeping time.Time // when the sweep of the oldest compaction began; zero: there is none
}

// Machine returns m as one that r counts. It does so for one member only. A batch of
// entries that takes longer than limit to be applied counts as slow, and slow is told of
// it: how many they are, and the index of the last.
func (r *Registry) Machine(m *state.State, limit time.Duration, slow func(took time.Duration, entries int, index uint64)) *Machine {
	counted := &Machine{State: m, r: r, limit: limit, slow: slow}
	counted.answered = counted.answer
	return counted
}

// Apply is machine.Machine's. The clock is read twice for a batch, before it is
// applied and before the first is told: entries share the time equally.
func (m *Machine) Apply(entries []*raftpb.Entry, wanted func(id uint64) bool, done func(id uint64, result any, err error)) (changes []*raftpb.ConfChange, conf *raftpb.ConfState, err error) {
	m.began, m.took, m.done = time.Now(), 0, done
	changes, conf, err = m.State.Apply(entries, wanted, m.answered)
	if m.took == 0 {
		m.took = time.Since(m.began)
	}
	m.done = nil
	if err == nil {
		m.r.applied.add(m.TakeTally(), m.took, len(entries))
		if m.took > m.limit {
			m.r.applied.slow.Add(1)
			m.slow(m.took, len(entries), entries[len(entries)-1].GetIndex())
		}
	}
	return changes, conf, err
}

func (m *Machine) answer(id uint64, result any, err error) {
	if m.took == 0 {
		m.took = time.Since(m.began)
	}
	m.done(id, result, err)
}

// Sweep is machine.Machine's.
func (m *Machine) Sweep() (more bool, err error) {
	if !m.SweepDue() {
		return m.State.Sweep()
	}
	began := time.Now()
	if m.sweeping.IsZero() {
		m.sweeping = began
	}
	more, err = m.State.Sweep()
	ended := time.Now()
	t := m.TakeTally()
	a := m.r.applied
	a.pauses.Observe(0, ended.Sub(began))
	a.swept.Add(t.SweptRecords)
	if t.SweptCompactions > 0 {
		a.sweeps.ObserveMany(0, ended.Sub(m.sweeping), t.SweptCompactions)
		a.lastSwept.Store(ended.Unix())
		m.sweeping = time.Time{}
	}
	return more, err
}

// applied is what a Machine has done. One goroutine at a time adds to it.
type applied struct {
	ranges, puts, deletes, txns, putBytes atomic.Uint64
	slow                                  atomic.Uint64
	took                                  [machine.Kinds][2]*histogram.Histogram // refused and done

	swept          atomic.Uint64
	lastSwept      atomic.Int64 // in Unix seconds
	pauses, sweeps *histogram.Histogram
}

func newApplied() *applied {
	a := &applied{
		pauses: histogram.New(1, histogram.Doubling(time.Millisecond, 13)),
		sweeps: histogram.New(1, histogram.Doubling(100*time.Millisecond, 14)),
	}
	for k := range a.took {
		for i := range a.took[k] {
			a.took[k][i] = histogram.New(1, histogram.Doubling(100*time.Microsecond, 20))
		}
	}
	return a
}

// add takes in what a batch of so many entries has done, in this time.
func (a *applied) add(t machine.Tally, took time.Duration, entries int) {
	each := took / time.Duration(entries)
	for k := range t.Done {
		if n := t.Refused[k]; n > 0 {
			a.took[k][0].ObserveMany(0, each, n)
		}
		if n := t.Done[k]; n > 0 {
			a.took[k][1].ObserveMany(0, each, n)
		}
	}
	if t.Puts > 0 {
		a.puts.Add(t.Puts)
		a.putBytes.Add(t.PutBytes)
	}
	if t.Ranges+t.Deletes > 0 {
		a.ranges.Add(t.Ranges)
		a.deletes.Add(t.Deletes)
	}
	if t.Txns > 0 {
		a.txns.Add(t.Txns)
	}
}

var (
	descPuts      = prometheus.NewDesc("etcd_mvcc_put_total", "Puts that were applied.", nil, nil)
	descDeletes   = prometheus.NewDesc("etcd_mvcc_delete_total", "Deletes that were applied, of a key or of a range.", nil, nil)
	descPutBytes  = gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of the keys and values that were put.")
	descSlow      = prometheus.NewDesc("etcd_server_slow_apply_total", "Batches of entries that took longer to be applied than they should.", nil, nil)
	descApplied   = prometheus.NewDesc("etcd_server_apply_duration_seconds", "How long it took to apply a request: an equal share of its batch's time.", []string{"version", "op", "success"}, nil)
	descSwept     = prometheus.NewDesc("etcd_debugging_mvcc_db_compaction_keys_total", "Records that compactions have taken out of the store.", nil, nil)
	descLastSwept = gauge("etcd_debugging_mvcc_db_compaction_last", "When the last compaction had taken all it was to take, in Unix seconds; 0 for none.")
	descPauses    = prometheus.NewDesc("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "How long applying had to wait for a step of a compaction.", nil, nil)
	descSweeps    = prometheus.NewDesc("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "How long a compaction took to take all it was to take.", nil, nil)
)

// Describe is prometheus.Collector's.
func (a *applied) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPuts, descDeletes, descPutBytes, descSlow, descApplied, descSwept, descLastSwept, descPauses, descSweeps} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (a *applied) Collect(to chan<- prometheus.Metric) {
	count(to, descPuts, a.puts.Load())
	count(to, descDeletes, a.deletes.Load())
	set(to, descPutBytes, float64(a.putBytes.Load()))
	count(to, descSlow, a.slow.Load())
	for k := range a.took {
		for i, success := range [...]string{"false", "true"} {
			if c := a.took[k][i].Counts(); c.Count > 0 {
				durations(to, descApplied, c, time.Second, "v3", machine.Kind(k).String(), success)
			}
		}
	}
	count(to, descSwept, a.swept.Load())
	set(to, descLastSwept, float64(a.lastSwept.Load()))
	durations(to, descPauses, a.pauses.Counts(), time.Millisecond)
	durations(to, descSweeps, a.sweeps.Counts(), time.Millisecond)
}

func set(to chan<- prometheus.Metric, d *prometheus.Desc, value float64) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
}

// durations sends a histogram, in a unit.
func durations(to chan<- prometheus.Metric, d *prometheus.Desc, c histogram.Counts, unit time.Duration, labels ...string) {
	buckets := make(map[float64]uint64, len(c.Bounds))
	for i, bound := range c.Bounds {
		buckets[float64(bound)/float64(unit)] = c.Buckets[i]
	}
	to <- prometheus.MustNewConstHistogram(d, c.Count, float64(c.Sum)/float64(unit), buckets, labels...)
}
