package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// A snapshot comes while an append and then an apply are under way elsewhere. It is
// handed over when both have come back: they are of the state that it replaces.
func TestAnInstallWaitsForTheStages(t *testing.T) {
	c := newSites(t, 3, false)
	c.settle()
	third := c.all[3]
	third.s.inPlace = false
	app := func(index, commit uint64) {
		require.NoError(t, third.core.Receive(&raftpb.Message{Type: raftpb.MsgApp.Enum(), From: ptr(uint64(2)), To: ptr(uint64(3)), Term: ptr(uint64(2)),
			Index: ptr(index - 1), LogTerm: ptr(min(index-3, 2)), Commit: &commit, Entries: []*raftpb.Entry{{Term: ptr(uint64(2)), Index: &index}}}))
		require.NoError(t, third.core.Turn())
	}
	app(4, 4)
	third.core.WriteLog(third.s.appends)
	third.s.appends = nil
	require.NoError(t, third.core.Turn())
	require.Len(t, third.s.applies, 1)
	app(5, 4)
	require.NotEmpty(t, third.s.appends)

	require.NoError(t, third.core.Receive(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: ptr(uint64(2)), To: ptr(uint64(3)), Term: ptr(uint64(2)),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: ptr(uint64(10)), Term: ptr(uint64(2)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}}))
	require.NoError(t, third.core.Turn())
	require.Empty(t, third.s.install, "an append and an apply are under way")
	third.core.WriteLog(third.s.appends)
	require.NoError(t, third.core.Turn())
	require.Empty(t, third.s.install, "an apply is under way")
	third.core.ApplyEntries(third.s.applies[0])
	require.NoError(t, third.core.Turn())
	require.Len(t, third.s.install, 1)
}

// A member that starts again serves nobody before it has applied all that it knew to
// be committed, though it knows a leader.
func TestNobodyIsServedBeforeWhatWasCommittedIsApplied(t *testing.T) {
	c := newSites(t, 3, false)
	c.settle()
	third := c.all[3]
	require.NoError(t, third.data.Store().Flush())
	leader, id := c.elect(1), uint64(1000)
	c.put(leader, &id, 1, 1)
	for range 3 {
		c.tick()
	}
	commit, term := third.node.Status().Commit, third.node.Status().Term

	fs := third.fs.CrashImage(disk.KeepAll{})
	m, err := state.Open(state.Options{
		Data: datadir.Options{FS: fs, Path: "data", Log: "data/log", Store: store.Options{DisableAutomaticCompactions: true},
			WAL: wal.Options{SegmentBytes: 1 << 20, Salt: 1}},
		CacheBytes: 1 << 10, Machine: machine.Options{MaxLearners: 1, MinTTL: 2},
	})
	require.NoError(t, err)
	d := m.Data
	require.Equal(t, commit, d.Recovered.HardState.GetCommit())
	require.Less(t, d.Applied.Index, commit)
	node, err := raft.New(raft.Config{ID: 3, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
		PrevIndex: d.Recovered.Prev.Index, PrevTerm: d.Recovered.Prev.Term, Entries: d.Recovered.Entries, HardState: d.Recovered.HardState,
		Applied: d.Applied.Index, ConfState: d.Applied.ConfState})
	require.NoError(t, err)
	s := &manual{}
	cfg := (&rig{fs, d, m, node}).config()
	cfg.Send = func([]*raftpb.Message) {}
	core := replica.NewCore(cfg, s)
	require.NoError(t, core.Receive(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: ptr(uint64(1)), To: ptr(uint64(3)), Term: &term, Commit: &commit}))
	require.NoError(t, core.Turn())
	require.EqualValues(t, 1, core.Status().Leader)
	served := func() bool {
		select {
		case <-core.Serving():
			return true
		default:
			return false
		}
	}
	require.NotEmpty(t, s.applies)
	require.False(t, served(), "entries up to %d were known to be committed", commit)
	for _, a := range s.applies {
		core.ApplyEntries(a)
	}
	require.NoError(t, core.Turn())
	require.True(t, served())
}
