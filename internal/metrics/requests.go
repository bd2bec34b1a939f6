package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"etcd.alt/internal/service"
)

// requests turns what a service has counted into families. Ranges are carried
// out there and, now and then, in the log; so are transactions.
type requests struct {
	counts  func() service.Counts
	applied *applied
}

// Requests adds the families of the service whose counts these are.
func (r *Registry) Requests(counts func() service.Counts) {
	r.registry.MustRegister(&requests{counts, r.applied})
}

var (
	descRequests = prometheus.NewDesc("etcd_server_request_duration_seconds", "How long it took from a request until something came of it.", []string{"type", "success"}, nil)
	descRangeFor = prometheus.NewDesc("etcd_server_range_duration_seconds", "How long it took to carry a range out.", []string{"success"}, nil)
	descRanges   = prometheus.NewDesc("etcd_mvcc_range_total", "Ranges that were carried out.", nil, nil)
	descTxns     = prometheus.NewDesc("etcd_mvcc_txn_total", "Transactions of more than one operation that were carried out.", nil, nil)
	descFailures = prometheus.NewDesc("etcd_network_server_stream_failures_total", "Streams that have failed, and that no client has ended.", []string{"Type", "API"}, nil)
	descHash     = prometheus.NewDesc("etcd_mvcc_hash_duration_seconds", "How long it took to hash all that is replicated.", nil, nil)
	descHashRev  = prometheus.NewDesc("etcd_mvcc_hash_rev_duration_seconds", "How long it took to hash the keys at a revision.", nil, nil)
)

// Describe is prometheus.Collector's.
func (q *requests) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descRangeFor, descRanges, descTxns, descFailures, descHash, descHashRev} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (q *requests) Collect(to chan<- prometheus.Metric) {
	c := q.counts()
	for _, r := range c.Requests {
		durations(to, descRequests, r.Took, time.Second, r.Kind, strconv.FormatBool(r.Well))
	}
	if c.RangesWell.Count > 0 {
		durations(to, descRangeFor, c.RangesWell, time.Second, "true")
	}
	if c.RangesFailed.Count > 0 {
		durations(to, descRangeFor, c.RangesFailed, time.Second, "false")
	}
	count(to, descRanges, c.Ranges+q.applied.ranges.Load())
	count(to, descTxns, c.Txns+q.applied.txns.Load())
	for _, f := range c.StreamFailures {
		to <- prometheus.MustNewConstMetric(descFailures, prometheus.CounterValue, float64(f.Count), f.Type, f.API)
	}
	durations(to, descHash, c.Hash, time.Second)
	durations(to, descHashRev, c.HashKV, time.Second)
}
