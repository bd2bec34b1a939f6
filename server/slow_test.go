package server

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
)

// There is a line a second at most, and it says how much it leaves out.
func TestWhatIsSlowIsLoggedNowAndThen(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	now := time.Unix(1, 0)
	s := slowLines{message: "slow", flag: "warning-apply-duration", limit: 100 * time.Millisecond, logger: zap.New(core), now: func() time.Time { return now }}
	s.note(150*time.Millisecond, zap.Int("entries", 3))
	s.note(900 * time.Millisecond)
	s.note(200 * time.Millisecond)
	now = now.Add(slowPause)
	s.note(300 * time.Millisecond)
	now = now.Add(slowPause)
	s.note(400 * time.Millisecond)
	require.Equal(t, 3, lines.Len())
	first, second, third := lines.All()[0].ContextMap(), lines.All()[1].ContextMap(), lines.All()[2].ContextMap()
	require.Equal(t, map[string]any{"took": 150 * time.Millisecond, "warning-apply-duration": 100 * time.Millisecond, "entries": int64(3)}, first)
	require.Equal(t, int64(2), second["unsaid"])
	require.Equal(t, 900*time.Millisecond, second["longest-unsaid"])
	require.NotContains(t, third, "unsaid")
}

// --warning-apply-duration is what a member counts as slow, and logs, without what is in
// the entries.
func TestWarningApplyDuration(t *testing.T) {
	for limit, slow := range map[time.Duration]bool{time.Hour: false, time.Nanosecond: true} {
		core, lines := observer.New(zapcore.WarnLevel)
		c := testConfig(t)
		c.WarningApplyDuration = limit
		m, err := Start(t.Context(), c, zap.New(core))
		require.NoError(t, err)
		_, err = call[etcdserverpb.PutResponse](t, dial(t, m), "KV/Put", &etcdserverpb.PutRequest{Key: []byte("confidential"), Value: []byte("confidential")})
		require.NoError(t, err)
		require.Equal(t, slow, value(t, scrape(t, "http://"+m.ClientAddresses()[0].String()), "etcd_server_slow_apply_total") > 0)
		require.Equal(t, slow, lines.FilterMessage("entries took long to be applied").Len() > 0)
		for _, line := range lines.All() {
			for _, f := range line.Context {
				require.NotContains(t, f.String, "confidential")
			}
		}
		require.NoError(t, m.Close())
	}
	c, _, err := Parse([]string{"--warning-apply-duration", "250ms"}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, 250*time.Millisecond, c.WarningApplyDuration)
	_, _, err = Parse([]string{"--warning-apply-duration", "-1s"}, nil, nil)
	require.ErrorContains(t, err, "-warning-apply-duration: must not be negative")
}

// Requests that take longer than --warning-unary-request-duration are logged, without what
// is in them; streams and those who wait for a lock are not slow.
func TestWarningUnaryRequestDuration(t *testing.T) {
	for limit, slow := range map[time.Duration]bool{0: false, time.Hour: false, time.Nanosecond: true} {
		core, lines := observer.New(zapcore.WarnLevel)
		c := testConfig(t)
		c.WarningUnaryDuration = limit
		m, err := Start(t.Context(), c, zap.New(core))
		require.NoError(t, err)
		conn := dial(t, m)
		confidential := []byte("confidential")
		must[lockpb.LockResponse](somebody{t, conn, ""}, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: confidential})
		_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: confidential, Value: confidential})
		require.NoError(t, err)
		said := func() int { return lines.FilterMessage("a request took long to be answered").Len() }
		if slow {
			require.Eventually(t, func() bool { return said() > 0 }, 20*time.Second, time.Millisecond)
			line := lines.FilterMessage("a request took long to be answered").All()[0].ContextMap()
			require.Equal(t, "/etcdserverpb.KV/Put", line["method"])
			require.Equal(t, "OK", line["code"])
			require.Contains(t, line["remote-address"], "127.0.0.1:")
			require.Equal(t, time.Nanosecond, line["warning-unary-request-duration"])
		}
		require.NoError(t, m.Close())
		require.Equal(t, slow, said() > 0)
		for _, line := range lines.All() {
			for _, f := range line.Context {
				require.NotContains(t, f.String, "confidential")
			}
		}
	}
	c, _, err := Parse([]string{"--warning-unary-request-duration", "250ms"}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, 250*time.Millisecond, c.WarningUnaryDuration)
}

// Profiles are served on client ports, to those who were started with --enable-pprof or
// are debugged.
func TestProfiles(t *testing.T) {
	for _, flags := range [][]string{nil, {"--enable-pprof"}, {"--log-level", "debug"}} {
		parsed, _, err := Parse(flags, nil, nil)
		require.NoError(t, err)
		c := testConfig(t)
		c.EnablePprof, c.LogLevel = parsed.EnablePprof, parsed.LogLevel
		c.ListenMetricsURLs = mustURLs("http://127.0.0.1:0")
		m, err := Start(t.Context(), c, zap.NewNop())
		require.NoError(t, err)
		want := http.StatusNotFound
		if flags != nil {
			want = http.StatusOK
		}
		for _, page := range []string{"", "heap", "goroutine?debug=1", "cmdline", "symbol", "profile?seconds=1", "trace?seconds=0.1"} {
			for at, want := range map[net.Addr]int{m.ClientAddresses()[0]: want, m.listeners.metrics[0].Addr(): http.StatusNotFound} {
				res, err := http.Get("http://" + at.String() + "/debug/pprof/" + page)
				require.NoError(t, err)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, want, res.StatusCode, "%v %s", flags, page)
				require.NotEmpty(t, body)
			}
		}
		require.NoError(t, m.Close())
	}
}
