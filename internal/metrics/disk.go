package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// disk is how long the disk took. Each is observed for a batch of requests.
type disk struct {
	fsync, write, commit prometheus.Histogram
	save                 prometheus.Histogram // of a snapshot
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
		save:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "etcd_snap_db_save_total_duration_seconds", Help: "How long it took to receive a snapshot and make a durable store of it.", Buckets: prometheus.ExponentialBuckets(0.1, 2, 10)}),
		written: prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_disk_wal_write_bytes_total", Help: "Bytes of the batches written to the log."}),
	}
}

func (d *disk) all() []prometheus.Collector {
	return []prometheus.Collector{d.fsync, d.write, d.commit, d.save, d.written}
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

// AroundSave runs what makes a store of a snapshot that comes in, and counts its
// time if there is one then.
func (r *Registry) AroundSave(save func() error) error {
	began := time.Now()
	err := save()
	if err == nil {
		r.disk.save.Observe(time.Since(began).Seconds())
	}
	return err
}

func timed(h prometheus.Histogram, do func() error) error {
	began := time.Now()
	err := do()
	h.Observe(time.Since(began).Seconds())
	return err
}
