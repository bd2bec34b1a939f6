package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"etcd.alt/api/wire"
	"etcd.alt/internal/rpc"
)

// calls turns the engine's counters into families. They are the engine's anyway:
// nothing is counted twice.
type calls struct {
	stats   func() rpc.Stats
	latency bool
	methods map[string]*wire.Method
}

// RPC adds the families of the engine whose counters stats are. latency has the
// histogram of durations too, which the engine must have been told to take.
func (r *Registry) RPC(stats func() rpc.Stats, latency bool) {
	c := &calls{stats: stats, latency: latency, methods: map[string]*wire.Method{}}
	for _, m := range wire.Methods() {
		c.methods[m.Path] = &m
	}
	r.registry.MustRegister(c)
}

var (
	ofMethod     = []string{"grpc_type", "grpc_service", "grpc_method"}
	descStarted  = prometheus.NewDesc("grpc_server_started_total", "Calls begun.", ofMethod, nil)
	descHandled  = prometheus.NewDesc("grpc_server_handled_total", "Calls ended, by status code.", append(ofMethod[:3:3], "grpc_code"), nil)
	descReceived = prometheus.NewDesc("grpc_server_msg_received_total", "Messages received.", ofMethod, nil)
	descSent     = prometheus.NewDesc("grpc_server_msg_sent_total", "Messages sent.", ofMethod, nil)
	descHandling = prometheus.NewDesc("grpc_server_handling_seconds", "How long calls took.", ofMethod, nil)
	descBytesIn  = prometheus.NewDesc("etcd_network_client_grpc_received_bytes_total", "Bytes of messages received from clients.", nil, nil)
	descBytesOut = prometheus.NewDesc("etcd_network_client_grpc_sent_bytes_total", "Bytes of messages sent to clients.", nil, nil)
)

// Describe is prometheus.Collector's.
func (c *calls) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descStarted, descHandled, descReceived, descSent, descBytesIn, descBytesOut} {
		to <- d
	}
	if c.latency {
		to <- descHandling
	}
}

// Collect is prometheus.Collector's.
func (c *calls) Collect(to chan<- prometheus.Metric) {
	var in, out uint64
	st := c.stats()
	for i := range st.Methods {
		m := &st.Methods[i]
		in += m.ReceivedBytes
		out += m.SentBytes
		w := c.methods[m.Path]
		if w == nil || m.Started == 0 && !standing(w.Service) {
			continue
		}
		c.method(to, w, m)
	}
	count(to, descBytesIn, in)
	count(to, descBytesOut, out)
}

// standing says whether a service's families are there before its first call.
func standing(service string) bool {
	return strings.HasPrefix(service, "etcdserverpb.") || service == "grpc.health.v1.Health"
}

func (c *calls) method(to chan<- prometheus.Metric, w *wire.Method, m *rpc.MethodStats) {
	labels := []string{w.Type(), w.Service, w.Name}
	count(to, descStarted, m.Started, labels...)
	count(to, descReceived, m.ReceivedMsgs, labels...)
	count(to, descSent, m.SentMsgs, labels...)
	for code, n := range m.Handled {
		count(to, descHandled, n, append(labels[:3:3], codes.Code(code).String())...)
	}
	if !c.latency {
		return
	}
	var total uint64
	buckets := map[float64]uint64{}
	for i, n := range m.Took.Counts {
		total += n
		if i < len(rpc.LatencyBounds) {
			buckets[rpc.LatencyBounds[i]] = total
		}
	}
	to <- prometheus.MustNewConstHistogram(descHandling, total, m.Took.Sum.Seconds(), buckets, labels...)
}

func count(to chan<- prometheus.Metric, d *prometheus.Desc, n uint64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}
