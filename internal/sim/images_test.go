package sim

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// TestCrashImages cuts the power of a loaded member whenever it is about to sync
// its log, in every way that a disk may leave the last write: nothing of it, all of
// it, cut at every sector and at every byte of its end, any one sector missing. A
// member that is started on such a disk has every put that was acknowledged, and of
// the others all or none of each. SIM_IMAGES says how many disks are looked at.
func TestCrashImages(t *testing.T) {
	want := int(number(t, "SIM_IMAGES", 300))
	l := newLoaded(t, want)
	for rounds := 0; l.looked < want; rounds++ {
		require.Less(t, rounds, 10*want+100, "the log is not synced any more")
		for range 1 + l.rng.IntN(8) {
			l.put()
		}
		require.NoError(t, l.core.Turn())
		switch l.rng.IntN(6) {
		case 0:
			require.NoError(t, l.data.Store().Flush())
			if l.flushes++; l.flushes%mostTables == 0 {
				require.NoError(t, l.data.Store().Compact())
			}
		case 1:
			l.core.Tick()
		}
	}
	require.NotEmpty(t, l.acked)
	t.Logf("%d disks after a power cut, %d acknowledged puts, none lost", l.looked, len(l.acked))
}

// loaded is a member under load.
type loaded struct {
	*rig
	t    *testing.T
	rng  *rand.Rand
	core *replica.Core

	sent, flushes int
	acked         []int // numbers of puts, in the order in which they were acknowledged
	looked, want  int
}

func newLoaded(t *testing.T, want int) *loaded {
	l := &loaded{t: t, rng: rand.New(rand.NewPCG(7, 7)), want: want}
	l.rig = newRig(t, store.Options{DisableAutomaticCompactions: true}, wal.Options{SegmentBytes: 64 << 10, Salt: 1, AroundSync: func(sync func() error) error {
		if l.core != nil {
			l.look()
		}
		return sync()
	}})
	core := replica.NewCore(l.config(), &manual{inPlace: true})
	require.NoError(t, core.Turn())
	l.core = core
	return l
}

// putKey and putValue are those of the put of a number.
func putKey(n int) string { return fmt.Sprintf("k%06d", n) }

func putValue(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, n*37%400) }

func (l *loaded) put() {
	n := l.sent
	l.sent++
	r := etcdserverpb.InternalRaftRequest{
		Header: &etcdserverpb.RequestHeader{ID: uint64(1000 + n)},
		Put:    &etcdserverpb.PutRequest{Key: []byte(putKey(n)), Value: putValue(n)},
	}
	data, err := r.MarshalVT()
	require.NoError(l.t, err)
	require.NoError(l.t, l.core.Propose(uint64(1000+n), data, told(func(err error) {
		require.NoError(l.t, err)
		l.acked = append(l.acked, n)
	})))
}

type told func(error)

func (f told) Done(_ any, err error) { f(err) }

// look looks at the disks that a power cut may leave now.
func (l *loaded) look() {
	var unsynced []disk.Write
	l.fs.CrashImage(writes{onLog: func(w []disk.Write) []disk.Write { unsynced = w; return nil }})
	var size int64
	var sectors int
	for _, w := range unsynced {
		size += int64(len(w.Data))
		sectors += len(disk.Sectors(w))
	}
	ways := []disk.Crash{disk.LoseAll{}, disk.KeepAll{}, disk.Random(l.rng.Uint64())}
	for at := int64(disk.SectorBytes); at < size; at += disk.SectorBytes {
		ways = append(ways, disk.KeepBytes{N: at})
	}
	for back := int64(1); back <= min(size, 120); back++ { // the end of the last record, and its padding
		ways = append(ways, disk.KeepBytes{N: size - back})
	}
	for missing := range sectors {
		ways = append(ways, writes{onLog: func(w []disk.Write) []disk.Write { return without(w, missing) }})
	}
	l.rng.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
	for _, how := range ways[:min(len(ways), 25)] { // the others come with other writes
		if l.looked < l.want {
			l.looked++
			l.start(l.fs.CrashImage(how), fmt.Sprintf("%T %v of %d bytes", how, how, size))
		}
	}
}

// writes decides what is left of the log's last writes; all else is lost.
type writes struct {
	onLog func([]disk.Write) []disk.Write
}

// Names is disk.Crash's.
func (writes) Names(string, int) int { return 0 }

// Writes is disk.Crash's.
func (w writes) Writes(path string, unsynced []disk.Write) []disk.Write {
	if strings.HasSuffix(path, ".wal") && len(unsynced) > 0 {
		return w.onLog(unsynced)
	}
	return nil
}

// without leaves one sector out.
func without(w []disk.Write, missing int) (left []disk.Write) {
	for _, one := range w {
		for _, s := range disk.Sectors(one) {
			if missing != 0 {
				left = append(left, s)
			}
			missing--
		}
	}
	return left
}

// start starts a member on a disk and holds what it has against what was
// acknowledged.
func (l *loaded) start(fs *disk.FS, how string) {
	m, err := state.Open(state.Options{
		Data: datadir.Options{FS: fs, Path: "data", Log: "data/log", Store: store.Options{DisableAutomaticCompactions: true},
			WAL: wal.Options{SegmentBytes: 64 << 10, Salt: 1}, Begin: func() (datadir.Beginning, error) {
				return datadir.Beginning{}, errors.New("the member has lost its data")
			}},
		CacheBytes: 1 << 20, Machine: machine.Options{MaxLearners: 1, MinTTL: 2},
	})
	require.NoError(l.t, err, how)
	d := m.Data
	node, err := raft.New(raft.Config{ID: 7, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
		PrevIndex: d.Recovered.Prev.Index, PrevTerm: d.Recovered.Prev.Term, Entries: d.Recovered.Entries, HardState: d.Recovered.HardState,
		Applied: d.Applied.Index, ConfState: d.Applied.ConfState})
	require.NoError(l.t, err, how)
	core := replica.NewCore((&rig{fs, d, m, node}).config(), &manual{inPlace: true})
	require.NoError(l.t, core.Turn(), how)
	select {
	case <-core.Serving():
	default:
		l.t.Fatalf("%s: the member does not come to serve", how)
	}
	view := m.View().Keys
	has := func(n int) bool {
		res, err := view.Range(&etcdserverpb.RangeRequest{Key: []byte(putKey(n))})
		require.NoError(l.t, err, how)
		if len(res.KVs) == 0 {
			return false
		}
		require.True(l.t, bytes.Contains(res.KVs[0], putValue(n)), "%s: put %d has another value", how, n)
		return true
	}
	for i := max(0, len(l.acked)-60); i < len(l.acked); i++ {
		require.True(l.t, has(l.acked[i]), "%s: the acknowledged put %d is lost", how, l.acked[i])
	}
	require.GreaterOrEqual(l.t, view.Revision, int64(len(l.acked))+1, how)
	for n := len(l.acked); n < l.sent; n++ {
		has(n) // whole, if it is there
	}
	require.NoError(l.t, errors.Join(core.Finish(false), m.Close()), how)
}
