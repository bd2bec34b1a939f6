package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// A put is acknowledged, applied by all, and a while passes. Then the two that
// follow are lost, and the leader is killed (no power cut: what was written stays). Its log has
// the put; that the put is committed stood in its memory only.
func TestForceNewClusterKeepsWhatWasAcknowledgedAWhileAgo(t *testing.T) {
	c := newSites(t, 3, false)
	leader := c.elect(1)
	id := uint64(1000)
	for range 3 {
		done := c.put(leader, &id, 1, 1)
		require.EqualValues(t, 1, done.n.Load())
		require.Zero(t, done.failed.Load())
		for range 100 { // ten seconds
			c.tick()
		}
	}
	require.EqualValues(t, 4, leader.m.View().Keys.Revision, "and served it")

	fs := leader.fs.CrashImage(disk.KeepAll{})
	m, err := state.Open(state.Options{
		Data: datadir.Options{FS: fs, Path: "data", Log: "data/log", Store: store.Options{DisableAutomaticCompactions: true},
			WAL: wal.Options{SegmentBytes: 1 << 20, Salt: 1}},
		CacheBytes: 1 << 10, Machine: machine.Options{MaxLearners: 1, MinTTL: 2},
	})
	require.NoError(t, err)
	d := m.Data
	t.Logf("entries to %d, commit %d", d.Recovered.Prev.Index+uint64(len(d.Recovered.Entries)), d.Recovered.HardState.GetCommit())
	_, err = m.ForceNewCluster()
	require.NoError(t, err)
	node, err := raft.New(raft.Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
		PrevIndex: d.Recovered.Prev.Index, PrevTerm: d.Recovered.Prev.Term, Entries: d.Recovered.Entries, HardState: d.Recovered.HardState,
		Applied: d.Applied.Index, ConfState: d.Applied.ConfState})
	require.NoError(t, err)
	r := &rig{fs, d, m, node}
	core := replica.NewCore(r.config(), &manual{inPlace: true})
	for range 5 {
		core.Tick()
		require.NoError(t, core.Turn())
	}
	require.True(t, core.Alone())
	require.EqualValues(t, 4, m.View().Keys.Revision, "the last put, which was acknowledged ten seconds before")
}
