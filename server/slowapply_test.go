package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"etcd.alt/api/etcdserverpb"
)

// There is a line a second at most, and it says how much it leaves out.
func TestSlowAppliesAreLoggedNowAndThen(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	now := time.Unix(1, 0)
	s := slowApplies{limit: 100 * time.Millisecond, logger: zap.New(core), now: func() time.Time { return now }}
	s.note(150*time.Millisecond, 3, 10)
	s.note(900*time.Millisecond, 1, 11)
	s.note(200*time.Millisecond, 1, 12)
	now = now.Add(slowApplyPause)
	s.note(300*time.Millisecond, 2, 14)
	now = now.Add(slowApplyPause)
	s.note(400*time.Millisecond, 1, 15)
	require.Equal(t, 3, lines.Len())
	first, second, third := lines.All()[0].ContextMap(), lines.All()[1].ContextMap(), lines.All()[2].ContextMap()
	require.Equal(t, map[string]any{"took": 150 * time.Millisecond, "warning-apply-duration": 100 * time.Millisecond, "entries": int64(3), "applied-index": uint64(10)}, first)
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
