package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
)

// scrape reads the families at a URL.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	res, err := http.Get(url + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, res.Header.Get("Content-Type"), "text/plain")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(res.Body)
	require.NoError(t, err)
	return families
}

// value is that of the family's one metric with these labels, as name, value
// pairs.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	require.Contains(t, families, name)
	for _, m := range families[name].Metric {
		found := 0
		for _, l := range m.Label {
			for i := 0; i < len(labels); i += 2 {
				if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
					found++
				}
			}
		}
		if 2*found == len(labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("%s%v is not there", name, labels)
	return 0
}

var row = regexp.MustCompile("(?m)^\\| `([a-z_]+)`(?: \\*)? \\| ([^|]*)\\|(?: ([^|]*)\\|)?")

// documented reads docs/metrics.md: served families with type and labels, and
// absent ones.
func documented(t *testing.T) (served map[string][2]string, absent map[string]bool) {
	t.Helper()
	b, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	there, missing, ok := strings.Cut(string(b), "\n## Absent\n")
	require.True(t, ok)
	served, absent = map[string][2]string{}, map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(there, -1) {
		labels := regexp.MustCompile("[A-Za-z_]+").FindAllString(m[3], -1)
		slices.Sort(labels)
		served[m[1]] = [2]string{strings.TrimSpace(m[2]), strings.Join(labels, ",")}
	}
	for _, m := range row.FindAllStringSubmatch(missing, -1) {
		absent[m[1]] = true
	}
	require.Greater(t, len(served), 65)
	require.Greater(t, len(absent), 30)
	return served, absent
}

// What is served is what docs/metrics.md says, by name, type and labels.
func TestMetricsAreAsDocumented(t *testing.T) {
	configs := clusterOf(t, 2)
	for _, c := range configs {
		c.ListenMetricsURLs = mustURLs("http://127.0.0.1:0")
		c.Metrics = "extensive"
	}
	members := startAll(t, configs)
	m := members[leaderOf(t, members)]
	client, metrics := "http://"+m.ClientAddresses()[0].String(), "http://"+m.listeners.metrics[0].Addr().String()
	alarms(t, dial(t, m), &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: etcdserverpb.AlarmType_NOSPACE})
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		res, err := http.Get(client + path)
		require.NoError(t, err)
		res.Body.Close()
	}
	_, err := call[etcdserverpb.RangeResponse](t, dial(t, m), "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.NoError(t, err)
	_, err = call[etcdserverpb.MemberPromoteResponse](t, dial(t, m), "Cluster/MemberPromote", &etcdserverpb.MemberPromoteRequest{ID: 7})
	require.ErrorContains(t, err, "member not found")
	spoil(t, dial(t, m), "Lease/LeaseKeepAlive")
	require.Eventually(t, func() bool { return m.state.View().Members.Version != "" }, 30*time.Second, 50*time.Millisecond)
	served, absent := documented(t)
	for _, url := range []string{client, metrics} {
		families := scrape(t, url)
		for name, want := range served {
			f := families[name]
			require.NotNil(t, f, "%s is documented and not served", name)
			require.Equal(t, want[0], strings.ToLower(f.Type.String()), name)
			for _, metric := range f.Metric {
				var labels []string
				for _, l := range metric.Label {
					labels = append(labels, l.GetName())
				}
				slices.Sort(labels)
				require.Equal(t, want[1], strings.Join(labels, ","), name)
			}
			require.NotEmpty(t, f.GetHelp())
		}
		for name := range families {
			require.NotContains(t, absent, name)
			for _, prefix := range []string{"etcd_", "grpc_", "os_"} {
				if strings.HasPrefix(name, prefix) {
					require.Contains(t, served, name, "%s is served and not documented", name)
				}
			}
		}
		for _, prefix := range []string{"go_goroutines", "process_resident_memory_bytes", "promhttp_metric_handler_requests_total"} {
			require.Contains(t, families, prefix)
		}
	}
	res, err := http.Post(client+"/metrics", "text/plain", nil)
	require.NoError(t, err)
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
}

// The numbers are those of what was done.
func TestMetricsTellTheTruth(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	url := "http://" + m.ClientAddresses()[0].String()
	conn := dial(t, m)
	before := scrape(t, url)
	putLabels := []string{"grpc_service", "etcdserverpb.KV", "grpc_method", "Put", "grpc_type", "unary"}
	require.Zero(t, value(t, before, "grpc_server_started_total", putLabels...))
	require.Zero(t, value(t, before, "grpc_server_handled_total", append(putLabels, "grpc_code", "DataLoss")...))
	require.NotContains(t, before, "grpc_server_handling_seconds")
	require.Equal(t, -1.0, value(t, before, "etcd_debugging_mvcc_compact_revision"))
	for range 10 {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: make([]byte, 1000)})
		require.NoError(t, err)
	}
	_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Lease: 77})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: 5})
	require.NoError(t, err)
	after := scrape(t, url)
	require.Equal(t, 12.0, value(t, after, "grpc_server_started_total", putLabels...))
	require.Equal(t, 10.0, value(t, after, "grpc_server_handled_total", append(putLabels, "grpc_code", "OK")...))
	require.Equal(t, 1.0, value(t, after, "grpc_server_handled_total", append(putLabels, "grpc_code", "InvalidArgument")...))
	require.Equal(t, 1.0, value(t, after, "grpc_server_handled_total", append(putLabels, "grpc_code", "NotFound")...))
	require.Equal(t, 12.0, value(t, after, "grpc_server_msg_received_total", putLabels...))
	require.Equal(t, 10.0, value(t, after, "grpc_server_msg_sent_total", putLabels...))
	require.Greater(t, value(t, after, "etcd_network_client_grpc_received_bytes_total"), 10000.0)
	require.Greater(t, value(t, after, "etcd_network_client_grpc_sent_bytes_total"), 100.0)
	require.Equal(t, 11.0, value(t, after, "etcd_debugging_mvcc_current_revision"))
	require.Equal(t, 5.0, value(t, after, "etcd_debugging_mvcc_compact_revision"))
	require.Equal(t, 1.0, value(t, after, "etcd_debugging_mvcc_keys_total"))
	require.Equal(t, 1.0, value(t, after, "etcd_server_has_leader"))
	require.Equal(t, 1.0, value(t, after, "etcd_server_is_leader"))
	require.Zero(t, value(t, after, "etcd_server_is_learner"))
	require.Zero(t, value(t, after, "etcd_server_proposals_pending"))
	require.Zero(t, value(t, after, "etcd_server_proposals_failed_total"))
	require.Equal(t, 12.0, value(t, after, "etcd_server_proposals_applied_total")-value(t, before, "etcd_server_proposals_applied_total"))
	require.GreaterOrEqual(t, value(t, after, "etcd_disk_wal_fsync_duration_seconds")-value(t, before, "etcd_disk_wal_fsync_duration_seconds"), 12.0)
	require.Equal(t, 1.0, value(t, after, "etcd_cluster_version", "cluster_version", "3.7"))
	require.Equal(t, 1.0, value(t, after, "etcd_server_version", "server_version", "3.7.1"))
	require.Positive(t, value(t, after, "etcd_mvcc_db_total_size_in_bytes"))
	require.Positive(t, value(t, after, "os_fd_used"))
}

// What a member counts of another is what went on between them: connected,
// messages both ways, and a snapshot for one that was away for too long.
func TestMetricsOfPeers(t *testing.T) {
	t.Parallel() // it waits, mostly
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	at, away := members[leader], (leader+1)%3
	id := func(m *Member) string { return fmt.Sprintf("%x", m.state.Data.Identity.MemberID) }
	url := func(m *Member) string { return "http://" + m.ClientAddresses()[0].String() }
	local, remote := id(at), id(members[away])
	of := func(m *Member, name string, labels ...string) float64 {
		return value(t, scrape(t, url(m)), name, labels...)
	}

	require.Eventually(t, func() bool {
		return of(at, "etcd_network_active_peers", "Local", local, "Remote", remote) == 1
	}, 10*time.Second, 50*time.Millisecond)
	require.Len(t, scrape(t, url(at))["etcd_network_known_peers"].Metric, 3)
	require.Len(t, scrape(t, url(at))["etcd_network_active_peers"].Metric, 2)
	require.Positive(t, of(at, "etcd_network_peer_sent_bytes_total", "To", remote))
	require.Positive(t, of(at, "etcd_network_peer_received_bytes_total", "From", remote))
	require.Zero(t, of(at, "etcd_network_snapshot_send_success", "To", remote))
	conn := dial(t, at)
	_, err := call[etcdserverpb.MemberPromoteResponse](t, conn, "Cluster/MemberPromote", &etcdserverpb.MemberPromoteRequest{ID: members[away].state.Data.Identity.MemberID})
	require.ErrorContains(t, err, "can only promote a learner")
	require.Equal(t, 1.0, of(at, "etcd_server_learner_promote_failures"))
	require.Zero(t, of(at, "etcd_server_learner_promote_successes"))

	require.NoError(t, members[away].Close())
	require.Eventually(t, func() bool {
		return of(at, "etcd_network_active_peers", "Local", local, "Remote", remote) == 0 &&
			of(at, "etcd_network_disconnected_peers_total", "Local", local, "Remote", remote) == 1
	}, 10*time.Second, 50*time.Millisecond)
	value := make([]byte, 1<<20)
	for i := range 90 { // more than the log is kept for
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i), Value: value})
		require.NoError(t, err)
	}
	m := start(t, configs[away])
	defer m.Close()
	require.Eventually(t, func() bool {
		return of(at, "etcd_network_snapshot_send_success", "To", remote) == 1
	}, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, 1.0, of(at, "etcd_network_snapshot_send_total_duration_seconds", "To", remote))
	require.Zero(t, of(at, "etcd_network_snapshot_send_inflights_total", "To", remote))
	require.Equal(t, 1.0, of(m, "etcd_network_snapshot_receive_success", "From", local))
	require.Equal(t, 1.0, of(m, "etcd_network_snapshot_receive_total_duration_seconds", "From", local))
	require.Equal(t, 1.0, of(m, "etcd_snap_db_save_total_duration_seconds"))
	require.Eventually(t, func() bool { // it may serve while it installs
		return of(m, "etcd_server_snapshot_apply_in_progress_total") == 0 && of(m, "etcd_mvcc_db_total_size_in_use_in_bytes") > 90<<20
	}, 10*time.Second, 50*time.Millisecond)
	require.Greater(t, of(m, "etcd_network_peer_received_bytes_total", "From", local), of(at, "etcd_network_peer_received_bytes_total", "From", remote))

	// Without a majority, the barrier of a read is not answered.
	for _, other := range append(slices.Delete(slices.Clone(members), leader, leader+1), m) {
		other.Close()
	}
	_, err = call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.Error(t, err)
	require.Eventually(t, func() bool { // the read is answered a moment before it is counted
		return of(at, "etcd_server_read_indexes_failed_total") > 0
	}, 10*time.Second, 50*time.Millisecond)
}

func TestExtensiveMetrics(t *testing.T) {
	c := testConfig(t)
	c.Metrics = "extensive"
	m := start(t, c)
	defer m.Close()
	conn := dial(t, m)
	for range 3 {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
	}
	families := scrape(t, "http://"+m.ClientAddresses()[0].String())
	h := families["grpc_server_handling_seconds"]
	for _, metric := range h.Metric {
		var method string
		for _, l := range metric.Label {
			if l.GetName() == "grpc_method" {
				method = l.GetValue()
			}
		}
		if method == "Put" {
			require.Equal(t, uint64(3), metric.Histogram.GetSampleCount())
			require.Positive(t, metric.Histogram.GetSampleSum())
			require.Equal(t, 0.005, metric.Histogram.Bucket[0].GetUpperBound())
			return
		}
	}
	t.Fatal("there is no histogram of Put")
}

// raw is a codec of messages that are bytes.
type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(data mem.BufferSlice, v any) error { return nil }

// spoil opens a stream and sends what is no message.
func spoil(t *testing.T, conn *grpc.ClientConn, method string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb."+method, grpc.ForceCodecV2(raw{}))
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg([]byte{0xff}))
	require.Equal(t, codes.Internal, status.Code(stream.RecvMsg(nil)))
}

// Streams that fail are counted, and those that their clients end are not.
func TestStreamsThatFailAreCounted(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	const family = "etcd_network_server_stream_failures_total"
	url := "http://" + m.ClientAddresses()[0].String()
	l := leasesAt(t, m)
	l.grant(1, 60)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		r := l.renewing(ctx)
		r.renew(1)
		watch, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Watch/Watch")
		require.NoError(t, err)
		require.NoError(t, watch.SendMsg(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte("k")}}}))
		require.NoError(t, watch.RecvMsg(&etcdserverpb.WatchResponse{}))
		cancel()
		short, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
		r = l.renewing(short)
		require.Equal(t, codes.DeadlineExceeded, status.Code(r.RecvMsg(&etcdserverpb.LeaseKeepAliveResponse{})))
		end()
	}
	require.Eventually(t, func() bool {
		f := scrape(t, url)
		return value(t, f, "etcd_debugging_mvcc_watch_stream_total") == 0 &&
			value(t, f, "grpc_server_handled_total", "grpc_method", "LeaseKeepAlive", "grpc_service", "etcdserverpb.Lease", "grpc_code", "Canceled") >= 3
	}, 10*time.Second, 10*time.Millisecond)
	require.NotContains(t, scrape(t, url), family)
	spoil(t, l.conn, "Lease/LeaseKeepAlive")
	for range 2 {
		spoil(t, l.conn, "Watch/Watch")
	}
	after := scrape(t, url)
	require.Equal(t, 1.0, value(t, after, family, "Type", "receive", "API", "lease-keepalive"))
	require.Equal(t, 2.0, value(t, after, family, "Type", "receive", "API", "watch"))
	require.Len(t, after[family].Metric, 2)
}
