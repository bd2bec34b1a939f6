package metrics

import (
	"os"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// descriptors are the process's open files and how many it may have.
type descriptors struct{}

var (
	descUsed  = prometheus.NewDesc("os_fd_used", "File descriptors in use.", nil, nil)
	descLimit = prometheus.NewDesc("os_fd_limit", "File descriptors that the process may have.", nil, nil)
)

// Describe is prometheus.Collector's.
func (descriptors) Describe(to chan<- *prometheus.Desc) {
	to <- descUsed
	to <- descLimit
}

// Collect is prometheus.Collector's. What the system does not tell is left out.
func (descriptors) Collect(to chan<- prometheus.Metric) {
	if dir, err := os.Open("/proc/self/fd"); err == nil {
		names, err := dir.Readdirnames(-1)
		dir.Close()
		if err == nil {
			to <- prometheus.MustNewConstMetric(descUsed, prometheus.GaugeValue, float64(len(names)-1)) // without dir itself
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		to <- prometheus.MustNewConstMetric(descLimit, prometheus.GaugeValue, float64(limit.Cur))
	}
}
