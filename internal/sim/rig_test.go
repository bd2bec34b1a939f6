package sim

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
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

// rig is a member's rooms over a disk in memory, to be driven step by step.
type rig struct {
	fs   *disk.FS
	data *datadir.Data
	m    *state.State
	node *raft.Node
}

func newRig(t *testing.T, so store.Options, wo wal.Options) *rig {
	t.Helper()
	self := member.Member{ID: 7, PeerURLs: []string{"http://127.0.0.1:2380"}, Name: "r"}
	fs := disk.New()
	m, err := state.Open(state.Options{
		Data:       datadir.Options{FS: fs, Path: "data", Log: "data/log", Store: so, WAL: wo, Begin: datadir.NewCluster(7, []member.Member{self})},
		CacheBytes: 1 << 10, Machine: machine.Options{MaxLearners: 1, MinTTL: 2},
	})
	require.NoError(t, err)
	d := m.Data
	node, err := raft.New(raft.Config{ID: 7, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
		PrevIndex: d.Recovered.Prev.Index, PrevTerm: d.Recovered.Prev.Term, Entries: d.Recovered.Entries, HardState: d.Recovered.HardState,
		Applied: d.Applied.Index, ConfState: d.Applied.ConfState})
	require.NoError(t, err)
	return &rig{fs, d, m, node}
}

func (r *rig) config() replica.Config {
	return replica.Config{Node: r.node, Log: r.data.Log, State: r.m, Settled: func() {}, Now: func() time.Duration { return 0 }, RequestTicks: 70, RetryTicks: 5}
}

// manual keeps what is handed over until a test does it.
type manual struct {
	inPlace bool
	appends []*raft.Append
	applies []*raft.Apply
	prepare int
	install []*raft.Append
	copies  int
}

func (s *manual) InPlace() bool               { return s.inPlace }
func (s *manual) Append(tasks []*raft.Append) { s.appends = append(s.appends, tasks...) }
func (s *manual) Apply(a *raft.Apply)         { s.applies = append(s.applies, a) }
func (s *manual) Prepare()                    { s.prepare++ }
func (s *manual) Checkpoint()                 { s.copies++ }
func (s *manual) Install(a *raft.Append)      { s.install = append(s.install, a) }

// count is a caller that counts how often it was told.
type count struct{ n, failed atomic.Int64 }

func (c *count) Done(_ any, err error) {
	c.n.Add(1)
	if err != nil {
		c.failed.Add(1)
	}
}

func putData(id uint64, key string, n int) []byte {
	b, _ := (&etcdserverpb.InternalRaftRequest{Header: &etcdserverpb.RequestHeader{ID: id}, Put: &etcdserverpb.PutRequest{Key: []byte(key), Value: make([]byte, n)}}).MarshalVT()
	return b
}

// Whoever was taken from the inbox in the turn that finds a stage's failure is
// told like the others.
func TestEveryCallerIsToldOfAFailure(t *testing.T) {
	r := newRig(t, store.Options{DisableAutomaticCompactions: true}, wal.Options{SegmentBytes: 1 << 20, Salt: 1})
	s := &manual{inPlace: true}
	core := replica.NewCore(r.config(), s)
	require.NoError(t, core.Turn())
	s.inPlace = false
	var first, second, read count
	require.NoError(t, core.Propose(100, putData(100, "a", 1), &first))
	require.NoError(t, core.Turn())
	require.Len(t, s.appends, 1)
	r.fs.Inject(func(op disk.Op, path string) error {
		if op == disk.OpSync && strings.HasSuffix(path, ".wal") {
			return errors.New("EIO")
		}
		return nil
	})
	core.WriteLog(s.appends)
	require.NoError(t, core.Propose(101, putData(101, "b", 1), &second))
	require.NoError(t, core.Read(&read))
	require.Error(t, core.Turn())
	core.Finish(true)
	require.EqualValues(t, 1, first.n.Load())
	require.EqualValues(t, 1, second.n.Load(), "the second proposal was never answered")
	require.EqualValues(t, 1, read.n.Load(), "the read was never answered")
}

// The log is released and the store flushed also where an append is under way at
// every tick.
func TestUpkeepUnderSteadyLoad(t *testing.T) {
	run := func(busy bool) int64 {
		r := newRig(t, store.Options{DisableAutomaticCompactions: true}, wal.Options{SegmentBytes: 1 << 20, Salt: 1})
		s := &manual{inPlace: true}
		core := replica.NewCore(r.config(), s)
		require.NoError(t, core.Turn())
		s.inPlace = false
		var c count
		id := uint64(100)
		for range 3000 {
			id++
			require.NoError(t, core.Propose(id, putData(id, "a", 20<<10), &c))
			require.NoError(t, core.Turn())
			// the disk finishes the older of the two appends, the other is under way
			if n := len(s.appends); n >= 2 || !busy {
				k := 1
				if !busy {
					k = n
				}
				do := s.appends[:k:k]
				s.appends = append([]*raft.Append(nil), s.appends[k:]...)
				core.WriteLog(do)
				require.NoError(t, core.Turn())
			}
			for _, a := range s.applies {
				core.ApplyEntries(a)
			}
			s.applies = nil
			core.Tick()
			require.NoError(t, core.Turn())
		}
		// All that was applied is durable now. In the busy case an append is under
		// way when the tick comes, and the stage releases with the next one.
		require.NoError(t, r.data.Store().Flush())
		core.Tick()
		require.NoError(t, core.Turn())
		for range 2 {
			id++
			require.NoError(t, core.Propose(id, putData(id, "a", 1), &c))
			require.NoError(t, core.Turn())
			core.WriteLog(s.appends)
			s.appends = nil
			require.NoError(t, core.Turn())
		}
		return r.data.Log.Size()
	}
	idle := run(false)
	busy := run(true)
	require.Less(t, idle, int64(8<<20))
	require.Less(t, busy, int64(8<<20))
}

// What is committed and waits to be applied is bounded by bytes: the rest is
// refused at the door.
func TestUnappliedEntriesAreBounded(t *testing.T) {
	r := newRig(t, store.Options{DisableAutomaticCompactions: true}, wal.Options{SegmentBytes: 64 << 20, Salt: 1})
	s := &manual{inPlace: true}
	core := replica.NewCore(r.config(), s)
	require.NoError(t, core.Turn())
	s.inPlace = false
	var c count
	data := int64(0)
	for id := uint64(100); id < 700; id++ {
		d := putData(id, "a", 1<<20)
		if err := core.Propose(id, d, &c); err != nil {
			require.ErrorIs(t, err, errs.TooManyRequests)
			break
		}
		data += int64(len(d))
		require.NoError(t, core.Turn())
		if len(s.appends) > 0 {
			do := s.appends
			s.appends = nil
			core.WriteLog(do)
			require.NoError(t, core.Turn())
		}
	}
	require.Less(t, data, int64(256<<20))
	require.Zero(t, c.failed.Load(), "what was taken in is kept")
}

// A first start that was cut short, then one with another --wal-dir: what lies
// there is another member's and stays.
func TestABootstrapClearsOnlyItsOwnLog(t *testing.T) {
	fs := disk.New()
	self := member.Member{ID: 7, PeerURLs: []string{"http://127.0.0.1:2380"}}
	open := func(path, log string) (*datadir.Data, error) {
		return datadir.Open(datadir.Options{FS: fs, Path: path, Log: log, WAL: wal.Options{Salt: 1, SegmentBytes: 1 << 20},
			Store: store.Options{DisableAutomaticCompactions: true}, Begin: datadir.NewCluster(7, []member.Member{self})})
	}
	b, err := open("b", "b/log") // a healthy member
	require.NoError(t, err)
	require.NoError(t, errors.Join(b.Log.Close(), b.Close()))
	fs.Inject(func(op disk.Op, path string) error {
		if strings.HasPrefix(path, "a/log") && op == disk.OpSync {
			return errors.New("EIO")
		}
		return nil
	})
	_, err = open("a", "a/log") // a bootstrap that is interrupted
	require.Error(t, err)
	fs.Inject(nil)
	require.NoError(t, fs.WriteFile("b/log/precious", []byte("x")))
	_, err = open("a", "b/log") // the wrong directory
	require.ErrorContains(t, err, "--wal-dir b/log holds a log")
	_, err = fs.ReadFile("b/log/precious")
	require.NoError(t, err, "what was in the other directory is gone")
}
