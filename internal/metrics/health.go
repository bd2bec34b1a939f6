package metrics

import "github.com/prometheus/client_golang/prometheus"

// health counts what /health, /livez and /readyz have answered.
type health struct {
	success, failures prometheus.Counter
	checks            *prometheus.CounterVec
	last              *prometheus.GaugeVec
}

func newHealth() *health {
	return &health{
		success:  prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_success", Help: "Answers of /health that all is well."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_failures", Help: "Answers of /health that something is wrong."}),
		checks:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_server_healthchecks_total", Help: "Checks behind /livez and /readyz, by what came of them."}, []string{"type", "name", "status"}),
		last:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_healthcheck", Help: "What came of a check last: 1 for well, 0 for not."}, []string{"type", "name"}),
	}
}

func (h *health) all() []prometheus.Collector {
	return []prometheus.Collector{h.success, h.failures, h.checks, h.last}
}

// Describe is prometheus.Collector's.
func (h *health) Describe(to chan<- *prometheus.Desc) {
	for _, c := range h.all() {
		c.Describe(to)
	}
}

// Collect is prometheus.Collector's.
func (h *health) Collect(to chan<- prometheus.Metric) {
	for _, c := range h.all() {
		c.Collect(to)
	}
}

// Health counts one answer of /health.
func (r *Registry) Health(well bool) {
	if well {
		r.health.success.Inc()
	} else {
		r.health.failures.Inc()
	}
}

// Check counts one check behind an endpoint, "livez" or "readyz".
func (r *Registry) Check(endpoint, name string, well bool) {
	status, value := "error", 0.0
	if well {
		status, value = "success", 1
	}
	r.health.checks.WithLabelValues(endpoint, name, status).Inc()
	r.health.last.WithLabelValues(endpoint, name).Set(value)
}
