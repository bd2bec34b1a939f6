package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"etcd.alt/internal/watch"
)

// watches turns what a hub says of itself into families.
type watches struct{ stats func() watch.Stats }

// Watch adds the families of a hub.
func (r *Registry) Watch(stats func() watch.Stats) { r.registry.MustRegister(&watches{stats}) }

var (
	descWatchStreams = gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watchers that are open.")
	descWatchers     = gauge("etcd_debugging_mvcc_watcher_total", "Watchers that there are.")
	descLagging      = gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that lag, and are told from the store.")
	descEvents       = prometheus.NewDesc("etcd_debugging_mvcc_events_total", "Events that were handed to streams, once for each watcher.", nil, nil)
	descPending      = gauge("etcd_debugging_mvcc_pending_events_total", "Changes that are applied and not yet handed to those who watch them live.")
)

// Describe is prometheus.Collector's.
func (w *watches) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWatchStreams, descWatchers, descLagging, descEvents, descPending} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (w *watches) Collect(to chan<- prometheus.Metric) {
	s := w.stats()
	set(to, descWatchStreams, float64(s.Streams))
	set(to, descWatchers, float64(s.Watchers))
	set(to, descLagging, float64(s.Slow))
	count(to, descEvents, s.Events)
	set(to, descPending, float64(s.Pending))
}
