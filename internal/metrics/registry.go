package metrics

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry is what one member counts.
type Registry struct {
	registry *prometheus.Registry
	disk     *disk
	applied  *applied
	health   *health
}

// New returns a registry of the process's families and of those whose counts it
// keeps itself. version is the server's.
func New(version string) *Registry {
	r := &Registry{registry: prometheus.NewRegistry(), health: newHealth(), disk: newDisk(), applied: newApplied()}
	r.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		descriptors{},
		one("etcd_server_version", "Version of this server, as a label; always 1.", "server_version", version),
		one("etcd_server_go_version", "Version of Go the server was built with, as a label; always 1.", "server_go_version", runtime.Version()),
		r.applied,
		r.health,
	)
	r.registry.MustRegister(r.disk.all()...)
	return r
}

// one is a gauge of value 1 that says something by its label.
func one(name, help, label, value string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}})
	g.Set(1)
	return g
}

// Handler serves the families.
func (r *Registry) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(r.registry, promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{}))
}
