package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"etcd.alt/internal/service"
)

// membership turns a member's gauges into families.
type membership struct{ gauges func() service.Gauges }

// State adds the families of a member whose gauges these are. They are read at
// each scrape.
func (r *Registry) State(gauges func() service.Gauges) { r.registry.MustRegister(&membership{gauges}) }

// plain are the families without labels.
var plain = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*service.Gauges) float64
}{
	{gauge("etcd_server_has_leader", "1 while a leader is known."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return truth(g.Raft.Leader != 0) }},
	{gauge("etcd_server_is_leader", "1 while this member leads."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return truth(g.Raft.IsLeader) }},
	{gauge("etcd_server_is_learner", "1 while this member is a learner."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return truth(g.Learner) }},
	{gauge("etcd_server_leader_changes_seen_total", "Leaders that this member has seen come."), prometheus.CounterValue, func(g *service.Gauges) float64 { return float64(g.Raft.LeaderChanges) }},
	{gauge("etcd_server_proposals_committed_total", "Index of the newest committed entry."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.Raft.Commit) }},
	{gauge("etcd_server_proposals_applied_total", "Index of the newest applied entry."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.Applied) }},
	{gauge("etcd_server_proposals_pending", "Proposals of this member that are not applied yet."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.ProposalsPending) }},
	{gauge("etcd_server_proposals_failed_total", "Proposals of this member that came to nothing."), prometheus.CounterValue, func(g *service.Gauges) float64 { return float64(g.ProposalsFailed) }},
	{gauge("etcd_server_slow_read_indexes_total", "Rounds of read barriers that were not answered in time, and begun again."), prometheus.CounterValue, func(g *service.Gauges) float64 { return float64(g.Raft.SlowReads) }},
	{gauge("etcd_server_read_indexes_failed_total", "Reads whose barrier was not answered while they waited."), prometheus.CounterValue, func(g *service.Gauges) float64 { return float64(g.Raft.FailedReads) }},
	{gauge("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot takes the place of the state."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return truth(g.Raft.Installing) }},
	{gauge("etcd_server_learner_promote_successes", "Learners that this member has promoted as the leader."), prometheus.CounterValue, func(g *service.Gauges) float64 { return float64(g.Promoted) }},
	{gauge("etcd_debugging_mvcc_current_revision", "The newest revision."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.Revision) }},
	{gauge("etcd_debugging_mvcc_compact_revision", "The revision below which history is gone; -1 for none."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.Compacted) }},
	{gauge("etcd_server_audit_dropped_total", "Records of the audit log that came to nothing."), prometheus.CounterValue, func(g *service.Gauges) float64 { return float64(g.AuditDropped) }},
	{gauge("etcd_debugging_auth_revision", "The newest auth revision."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.AuthRevision) }},
	{gauge("etcd_debugging_mvcc_keys_total", "Live keys."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.Keys) }},
	{gauge("etcd_server_quota_backend_bytes", "Bytes that may be in use; 0 for any number."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.Quota) }},
	{gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of all records that no compaction has given up, before compression."), prometheus.GaugeValue, func(g *service.Gauges) float64 { return float64(g.InUse) }},
}

var (
	// descDisk is left out when the store's size cannot be read.
	descDisk    = gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the store on disk.")
	descAlarm   = prometheus.NewDesc("etcd_debugging_server_alarms", "1 for each alarm that stands, and for whom.", []string{"server_id", "alarm_type"}, nil)
	descID      = prometheus.NewDesc("etcd_server_id", "This member's id, as a label; always 1.", []string{"server_id"}, nil)
	descCluster = prometheus.NewDesc("etcd_cluster_version", "The cluster's version, as a label; always 1.", []string{"cluster_version"}, nil)
	descRefusal = prometheus.NewDesc("etcd_server_learner_promote_failures", "Promotions that this member has refused as the leader, by reason.", []string{"Reason"}, nil)
	descPeers   = prometheus.NewDesc("etcd_network_known_peers", "1 for each member of the cluster that this one knows, itself among them.", []string{"Local", "Remote"}, nil)
)

func gauge(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe is prometheus.Collector's.
func (s *membership) Describe(to chan<- *prometheus.Desc) {
	for _, f := range plain {
		to <- f.desc
	}
	for _, d := range []*prometheus.Desc{descID, descCluster, descRefusal, descPeers, descDisk, descAlarm} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (s *membership) Collect(to chan<- prometheus.Metric) {
	g := s.gauges()
	for _, f := range plain {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&g))
	}
	one := func(d *prometheus.Desc, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, 1, labels...)
	}
	id := hex(g.MemberID)
	one(descID, id)
	if parts := strings.SplitN(g.ClusterVersion, ".", 3); len(parts) > 1 {
		one(descCluster, parts[0]+"."+parts[1])
	}
	for _, m := range g.MemberIDs {
		one(descPeers, id, hex(m))
	}
	for reason, n := range g.PromotionsRefused {
		count(to, descRefusal, n, reason)
	}
	for _, a := range g.Alarms {
		one(descAlarm, hex(a.MemberID), a.Type.String())
	}
	if g.DiskErr == nil { // better a family less than no answer at all
		to <- prometheus.MustNewConstMetric(descDisk, prometheus.GaugeValue, float64(g.DiskBytes))
	}
}
