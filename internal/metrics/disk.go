package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// disk is how long the disk took. Each is observed for a batch of requests.
type disk struct {
	fsync, write, commit prometheus.Histogram
	written              prometheus.Gauge
}

func newDisk() *disk {
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)})
	}
	return &disk{
		fsync:   histogram("etcd_disk_wal_fsync_duration_seconds", "How long it took to make the log durable."),
		write:   histogram("etcd_disk_wal_write_duration_seconds", "How long it took to write a batch to the log, without making it durable."),
		commit:  histogram("etcd_disk_backend_commit_duration_seconds", "How long the store took to take a batch in; it waits for the disk only while it is held up."),
		written: prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_disk_wal_write_bytes_total", Help: "Bytes of the batches written to the log."}),
	}
}

func (d *disk) all() []prometheus.Collector {
	return []prometheus.Collector{d.fsync, d.write, d.commit, d.written}
}

// AroundSync runs a sync of the log and counts its time.
func (r *Registry) AroundSync(sync func() error) error { return timed(r.disk.fsync, sync) }

// AroundWrite runs a write of so many bytes to the log and counts it.
func (r *Registry) AroundWrite(bytes int, write func() error) error {
	err := timed(r.disk.write, write)
	if err == nil {
		r.disk.written.Add(float64(bytes))
	}
	return err
}

// AroundCommit runs a commit of the store and counts its time.
func (r *Registry) AroundCommit(commit func() error) error { return timed(r.disk.commit, commit) }

func timed(h prometheus.Histogram, do func() error) error {
	began := time.Now()
	err := do()
	h.Observe(time.Since(began).Seconds())
	return err
}
