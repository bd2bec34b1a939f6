package metrics

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"etcd.alt/internal/peer"
)

// peers turns what a transport has counted into families.
type peers struct {
	local string // this member's id
	stats func() peer.Stats
}

// Peers adds the families of what this member, local, has exchanged with others.
// They are read at each scrape.
func (r *Registry) Peers(local uint64, stats func() peer.Stats) {
	r.registry.MustRegister(&peers{hex(local), stats})
}

// nobody is the label of what came from a sender that cannot be told.
const nobody = "0"

func hex(id uint64) string { return fmt.Sprintf("%x", id) }

func ofPeer(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// toPeer and fromPeer are the counts of each other member, by direction.
var toPeer = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*peer.PeerStats) float64
}{
	{ofPeer("etcd_network_peer_sent_bytes_total", "Bytes sent to a member.", "To"), prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.SentBytes) }},
	{ofPeer("etcd_network_peer_sent_failures_total", "Messages to a member that were dropped.", "To"), prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.SentFailures) }},
	{ofPeer("etcd_network_snapshot_send_success", "Snapshots that a member has taken.", "To"), prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.SnapshotsSent) }},
	{ofPeer("etcd_network_snapshot_send_failures", "Snapshots that did not arrive at a member.", "To"), prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.SnapshotSendErrors) }},
	{ofPeer("etcd_network_snapshot_send_inflights_total", "Snapshots on their way to a member.", "To"), prometheus.GaugeValue, func(p *peer.PeerStats) float64 { return float64(p.SnapshotSending) }},
}

var fromPeer = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*peer.PeerStats) float64
}{
	{descPeerBytes, prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.ReceivedBytes) }},
	{descPeerRefused, prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.ReceivedFailures) }},
	{ofPeer("etcd_network_snapshot_receive_success", "Snapshots of a member that were taken.", "From"), prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.SnapshotsReceived) }},
	{ofPeer("etcd_network_snapshot_receive_failures", "Snapshots of a member that were cut off, or refused.", "From"), prometheus.CounterValue, func(p *peer.PeerStats) float64 { return float64(p.SnapshotRecvErrors) }},
	{ofPeer("etcd_network_snapshot_receive_inflights_total", "Snapshots that are coming from a member.", "From"), prometheus.GaugeValue, func(p *peer.PeerStats) float64 { return float64(p.SnapshotReceiving) }},
}

var (
	descPeerBytes   = ofPeer("etcd_network_peer_received_bytes_total", "Bytes received from a member; from 0, link heartbeats of all.", "From")
	descPeerRefused = ofPeer("etcd_network_peer_received_failures_total", "Messages of a member that were not taken; of 0, posts whose sender could not be told.", "From")
	descActive      = ofPeer("etcd_network_active_peers", "1 for a member that is connected, 0 for one that is not.", "Local", "Remote")
	descLost        = ofPeer("etcd_network_disconnected_peers_total", "How often a member's last stream was lost.", "Local", "Remote")
	descRoundTrip   = ofPeer("etcd_network_peer_round_trip_time_seconds", "How long it took until a member answered a probe.", "To")
	descSendTime    = ofPeer("etcd_network_snapshot_send_total_duration_seconds", "How long it took to send a snapshot to a member.", "To")
	descReceiveTime = ofPeer("etcd_network_snapshot_receive_total_duration_seconds", "How long it took to receive a snapshot of a member.", "From")
)

// Describe is prometheus.Collector's.
func (p *peers) Describe(to chan<- *prometheus.Desc) {
	for _, f := range slices.Concat(toPeer, fromPeer) {
		to <- f.desc
	}
	for _, d := range []*prometheus.Desc{descActive, descLost, descRoundTrip, descSendTime, descReceiveTime} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (p *peers) Collect(to chan<- prometheus.Metric) {
	all := p.stats()
	for id, s := range all.Peers {
		remote := hex(id)
		for _, f := range slices.Concat(toPeer, fromPeer) {
			to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&s), remote)
		}
		spans(to, descSendTime, s.SnapshotSendTime, remote)
		spans(to, descReceiveTime, s.SnapshotRecvTime, remote)
		if s.Remote {
			continue // there are no streams between it and this member, nor probes
		}
		to <- prometheus.MustNewConstMetric(descActive, prometheus.GaugeValue, truth(s.Active), p.local, remote)
		count(to, descLost, s.Disconnects, p.local, remote)
		spans(to, descRoundTrip, s.RoundTrip, remote)
	}
	if all.HeartbeatBytes > 0 {
		count(to, descPeerBytes, all.HeartbeatBytes, nobody)
	}
	if all.Unidentified > 0 {
		count(to, descPeerRefused, all.Unidentified, nobody)
	}
}

// spans sends a histogram of a transport.
func spans(to chan<- prometheus.Metric, d *prometheus.Desc, s peer.Durations, labels ...string) {
	var total uint64
	buckets := make(map[float64]uint64, len(s.Bounds))
	for i, n := range s.Counts {
		total += n
		if i < len(s.Bounds) {
			buckets[s.Bounds[i]] = total
		}
	}
	to <- prometheus.MustNewConstHistogram(d, total, s.Sum, buckets, labels...)
}
