package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/member"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// site is a member of a few, driven by hand.
type site struct {
	*rig
	state *timed
	id    uint64
	core  *replica.Core
	s     *manual
	sent  []*raftpb.Message
	hold  bool // a snapshot takes its time to be installed
	slow  bool // a copy takes its time to be made
}

// timed is a state whose copies are begun before they are asked for: what is
// written between the two is written while the copy is made.
type timed struct {
	*state.State
	begun *raftpb.SnapshotMetadata
}

func (s *timed) Checkpoint() (*raftpb.SnapshotMetadata, error) {
	if s.begun != nil {
		m := s.begun
		s.begun = nil
		return m, nil
	}
	return s.State.Checkpoint()
}

// sites are members of one cluster, driven by hand.
type sites struct {
	t    *testing.T
	all  map[uint64]*site
	ids  []uint64
	down map[uint64]bool
	// lose, if set, says which messages do not arrive.
	lose func(m *raftpb.Message) bool
	// snapped counts the snapshots that arrived.
	snapped int
}

func newSites(t *testing.T, n int, learner bool) *sites {
	t.Helper()
	c := &sites{t: t, all: map[uint64]*site{}, down: map[uint64]bool{}}
	var members []member.Member
	for i := range n {
		id := uint64(i + 1)
		c.ids = append(c.ids, id)
		members = append(members, member.Member{ID: id, Name: "m", PeerURLs: []string{"http://127.0.0.1:" + string(rune('0'+id))}, Learner: learner && i > 0})
	}
	for _, id := range c.ids {
		fs := disk.New()
		m, err := state.Open(state.Options{
			Data: datadir.Options{FS: fs, Path: "data", Log: "data/log", Store: store.Options{DisableAutomaticCompactions: true},
				WAL: wal.Options{SegmentBytes: 1 << 20, Salt: 1}, Begin: datadir.NewCluster(id, members)},
			CacheBytes: 1 << 10, Machine: machine.Options{MaxLearners: n, MinTTL: 2},
		})
		require.NoError(t, err)
		d := m.Data
		node, err := raft.New(raft.Config{ID: id, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
			PrevIndex: d.Recovered.Prev.Index, PrevTerm: d.Recovered.Prev.Term, Entries: d.Recovered.Entries, HardState: d.Recovered.HardState,
			Applied: d.Applied.Index, ConfState: d.Applied.ConfState})
		require.NoError(t, err)
		one := &site{rig: &rig{fs, d, m, node}, state: &timed{State: m}, id: id, s: &manual{inPlace: true}}
		cfg := one.config()
		cfg.State = one.state
		cfg.Send = func(ms []*raftpb.Message) { one.sent = append(one.sent, ms...) }
		cfg.FirstRead = id << 48
		cfg.Now = func() time.Duration { return 0 }
		one.core = replica.NewCore(cfg, one.s)
		c.all[id] = one
	}
	return c
}

// work has a member do all there is to do.
func (c *sites) work(s *site) {
	c.t.Helper()
	for {
		require.NoError(c.t, s.core.Turn())
		switch {
		case len(s.s.appends) > 0:
			do := s.s.appends
			s.s.appends = nil
			s.core.WriteLog(do)
		case len(s.s.applies) > 0:
			do := s.s.applies[0]
			s.s.applies = s.s.applies[1:]
			s.core.ApplyEntries(do)
		case len(s.s.install) > 0 && !s.hold:
			do := s.s.install[0]
			s.s.install = nil
			s.core.InstallSnapshot(do)
		case s.s.copies > 0 && !s.slow:
			s.s.copies--
			s.core.MakeCheckpoint()
		default:
			return
		}
	}
}

// settle carries messages until there are none.
func (c *sites) settle() {
	c.t.Helper()
	for {
		moved := false
		for _, id := range c.ids {
			s := c.all[id]
			if c.down[id] {
				continue
			}
			c.work(s)
			out := s.sent
			s.sent = nil
			for _, m := range out {
				moved = true
				c.carry(s, m)
			}
		}
		if !moved {
			return
		}
	}
}

func (c *sites) carry(from *site, m *raftpb.Message) {
	c.t.Helper()
	to := c.all[m.GetTo()]
	lost := c.down[m.GetTo()] || c.lose != nil && c.lose(m)
	if m.GetType() != raftpb.MsgSnap {
		if !lost {
			require.NoError(c.t, to.core.Receive(m))
		}
		return
	}
	if lost {
		from.core.ReportSnapshot(to.id, false)
		return
	}
	meta := m.GetSnapshot().GetMetadata()
	body, err := from.m.Open(meta)
	require.NoError(c.t, err)
	require.NoError(c.t, to.m.Receive(meta, body))
	require.NoError(c.t, body.Close())
	require.NoError(c.t, to.core.Receive(m))
	c.snapped++
	from.core.ReportSnapshot(to.id, true)
}

// tick lets time pass for those that are up.
func (c *sites) tick() {
	c.t.Helper()
	for _, id := range c.ids {
		if !c.down[id] {
			c.all[id].core.Tick()
		}
	}
	c.settle()
}

// elect has a member lead.
func (c *sites) elect(id uint64) *site {
	c.t.Helper()
	c.settle()
	s := c.all[id]
	for range 40 {
		if s.core.Status().IsLeader {
			c.settle()
			return s
		}
		s.core.Tick()
		c.settle()
	}
	c.t.Fatalf("member %d is not elected", id)
	return nil
}

// put writes so many keys of so many bytes at a member, 500 at a time.
func (c *sites) put(s *site, id *uint64, n, bytes int) *count {
	c.t.Helper()
	var done count
	for i := range n {
		*id++
		require.NoError(c.t, s.core.Propose(*id, putData(*id, "k", bytes), &done))
		if i%500 == 499 {
			c.settle()
		}
	}
	c.settle()
	return &done
}
