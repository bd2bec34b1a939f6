package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"etcd.alt/internal/service"
)

// leases turns what a service has counted of leases into families.
type leases struct{ counts func() service.LeaseCounts }

// Leases adds the families of the service whose counts these are.
func (r *Registry) Leases(counts func() service.LeaseCounts) {
	r.registry.MustRegister(&leases{counts})
}

var (
	descGranted = prometheus.NewDesc("etcd_debugging_lease_granted_total", "Leases that were granted.", nil, nil)
	descRevoked = prometheus.NewDesc("etcd_debugging_lease_revoked_total", "Leases that were revoked, by clients or since their time was over.", nil, nil)
	descRenewed = prometheus.NewDesc("etcd_debugging_lease_renewed_total", "Renewals that this member has carried out as the leader.", nil, nil)
	descExpired = prometheus.NewDesc("etcd_debugging_server_lease_expired_total", "Leases that this member, as the leader, has revoked since their time was over.", nil, nil)
	descTTLs    = prometheus.NewDesc("etcd_debugging_lease_ttl_total", "Seconds of life that leases were granted.", nil, nil)
)

// Describe is prometheus.Collector's.
func (l *leases) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descGranted, descRevoked, descRenewed, descExpired, descTTLs} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (l *leases) Collect(to chan<- prometheus.Metric) {
	c := l.counts()
	count(to, descGranted, c.Granted)
	count(to, descRevoked, c.Revoked)
	count(to, descRenewed, c.Renewed)
	count(to, descExpired, c.Expired)
	durations(to, descTTLs, c.TTLs, c.TTLUnit)
}
