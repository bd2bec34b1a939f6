package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// inBackground starts a member that is not expected to come up soon, and stops it at the
// end of the test.
func inBackground(t *testing.T, c *Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if m, err := Start(ctx, c, zap.NewNop()); err == nil {
			<-ctx.Done()
			m.Close()
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// probe is what is said under a path of the metrics port, within five seconds.
func probe(t *testing.T, c *Config, path string) (code int, body string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(c.ListenMetricsURLs[0].String() + path)
	require.NoError(t, err, path)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err, path)
	return res.StatusCode, string(b)
}

// says waits until a path has an answer of this code, and returns it.
func says(t *testing.T, c *Config, path string, want int) (body string) {
	t.Helper()
	require.Eventually(t, func() bool {
		res, err := http.Get(c.ListenMetricsURLs[0].String() + path)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		body = string(b)
		return err == nil && res.StatusCode == want
	}, 30*time.Second, 20*time.Millisecond, path)
	return body
}

// While the members have no majority, whoever watches one of them gets an answer: one
// that waits for the others can be told from one that hangs.
func TestMetricsPortsAnswerWithoutAMajority(t *testing.T) {
	configs := clusterOf(t, 3)
	c := configs[0]
	c.ListenMetricsURLs = mustURLs("http://" + freeAddresses(t, 1)[0])
	inBackground(t, c)

	require.Equal(t, "ok\n", says(t, c, "/livez", http.StatusOK))
	families := scrape(t, c.ListenMetricsURLs[0].String())
	require.Zero(t, value(t, families, "etcd_server_has_leader"))
	require.Len(t, families["etcd_network_known_peers"].Metric, 3)
	for path, want := range map[string]string{
		"/health":                   `{"health":"false","reason":"RAFT NO LEADER"}` + "\n",
		"/readyz":                   "[+]data_corruption ok\n[+]non_learner ok\n[+]serializable_read ok\n[-]linearizable_read failed: clients are not served yet\n\n",
		"/readyz/linearizable_read": "[-]linearizable_read failed: clients are not served yet\n\n",
	} {
		code, body := probe(t, c, path)
		require.Equal(t, http.StatusServiceUnavailable, code, path)
		require.Equal(t, want, body, path)
	}
	for _, path := range []string{"/health?serializable=true", "/readyz/serializable_read"} {
		code, body := probe(t, c, path)
		require.Equal(t, http.StatusOK, code, "%s: %s", path, body)
	}

	// The others come, and all is well.
	for _, other := range configs[1:] {
		inBackground(t, other)
	}
	for _, path := range []string{"/health", "/readyz"} {
		says(t, c, path, http.StatusOK)
	}
	require.EqualValues(t, 1, value(t, scrape(t, c.ListenMetricsURLs[0].String()), "etcd_server_has_leader"))
}

// Without a majority each member says how far its log goes: by that the one to go on with
// is chosen if the others are lost.
func TestAMemberThatWaitsSaysHowFarItsLogGoes(t *testing.T) {
	t.Parallel() // it waits, mostly
	c := clusterOf(t, 3)[0]
	core, lines := observer.New(zap.WarnLevel)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Start(ctx, c, zap.New(core))
		done <- err
	}()
	waits := func() []observer.LoggedEntry {
		return lines.FilterMessageSnippet("clients are not served yet").All()
	}
	require.Eventually(t, func() bool { return len(waits()) > 0 }, 6*waitReport, 50*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	said := waits()[0].ContextMap()
	require.Equal(t, "0", said["leader"])
	require.EqualValues(t, 1, said["last-term"])
	require.EqualValues(t, 3, said["last-index"], "the three members, who are in the log from the beginning")
}

// Before the data is open there is nothing to read: that is said, too. Here the member
// waits for another one that takes the connection and never answers.
func TestMetricsPortsAnswerBeforeTheDataIsOpen(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	c := clusterOf(t, 1)[0]
	c.InitialCluster += ",silent=http://" + silent.Addr().String()
	c.InitialClusterState = stateExisting
	c.ListenMetricsURLs = mustURLs("http://" + freeAddresses(t, 1)[0])
	inBackground(t, c)

	require.Equal(t, "[-]serializable_read failed: the data is not open yet\n\n", says(t, c, "/livez", http.StatusServiceUnavailable))
	for path, want := range map[string]string{
		"/health":                   `{"health":"false","reason":"RAFT NO LEADER"}` + "\n",
		"/health?serializable=true": `{"health":"false","reason":"RANGE ERROR:the data is not open yet"}` + "\n",
		"/readyz":                   "[+]data_corruption ok\n[+]non_learner ok\n[-]linearizable_read failed: clients are not served yet\n[-]serializable_read failed: the data is not open yet\n\n",
	} {
		code, body := probe(t, c, path)
		require.Equal(t, http.StatusServiceUnavailable, code, path)
		require.Equal(t, want, body, path)
	}
	require.Contains(t, scrape(t, c.ListenMetricsURLs[0].String()), "etcd_server_health_failures")
}
