package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
)

const testDir = "/member/store"

func open(t testing.TB, fs *disk.FS) *Store {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: testDir, MemTableBytes: 1 << 20, DisableAutomaticCompactions: true})
	require.NoError(t, err)
	return s
}

// put commits one record and what is applied with it.
func put(t testing.TB, s *Store, main int64, value string) {
	t.Helper()
	b := s.NewBatch()
	b.SetRecord(Revision{Main: main}, false, []byte(value))
	b.SetApplied(Applied{Index: uint64(main), Term: 1, Revision: main, ConfState: &raftpb.ConfState{Voters: []uint64{1}}})
	require.NoError(t, b.Commit())
}

func indexes(t testing.TB, s *Store) (applied, durable uint64) {
	t.Helper()
	a, _, err := s.Applied()
	require.NoError(t, err)
	d, _, err := s.DurableApplied()
	require.NoError(t, err)
	return a.Index, d.Index
}

func scan(t testing.TB, c *Records) (out []string) {
	t.Helper()
	for c.Next() {
		value, err := c.Value()
		require.NoError(t, err)
		line := fmt.Sprintf("%v=%s", c.Revision(), value)
		if c.Tombstone() {
			line += " gone"
		}
		out = append(out, line)
	}
	require.NoError(t, c.Close())
	return out
}

func TestRecords(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	_, ok, err := s.LastRecord()
	require.NoError(t, err)
	require.False(t, ok)

	b := s.NewBatch()
	b.SetRecord(Revision{2, 0}, false, []byte("a"))
	b.SetRecord(Revision{2, 1}, false, []byte("b"))
	b.SetRecord(Revision{3, 0}, true, []byte("c"))
	b.SetRecord(Revision{300, 0}, false, []byte("d"))
	require.Equal(t, 4, b.Len())
	require.Positive(t, b.Bytes())
	require.NoError(t, b.Commit())

	require.Equal(t, []string{"2/0=a", "2/1=b", "3/0=c gone", "300/0=d"}, scan(t, s.Records(Revision{}, Revision{})))
	require.Equal(t, []string{"2/1=b", "3/0=c gone"}, scan(t, s.Records(Revision{2, 1}, Revision{3, 1})))
	last, ok, err := s.LastRecord()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Revision{300, 0}, last)

	buf := make([]byte, 0, 10)
	value, gone, err := s.Record(Revision{2, 1}, buf)
	require.NoError(t, err)
	require.False(t, gone)
	require.Equal(t, "b", string(value))
	require.Same(t, &buf[:1][0], &value[0], "the caller's buffer is used")
	value, gone, err = s.Record(Revision{3, 0}, nil)
	require.NoError(t, err)
	require.True(t, gone)
	require.Equal(t, "c", string(value))
	_, _, err = s.Record(Revision{4, 0}, nil)
	require.ErrorIs(t, err, ErrNotFound)

	before := s.Records(Revision{}, Revision{})
	b = s.NewBatch()
	b.DeleteRecord(Revision{3, 0}, true)
	b.DeleteRecord(Revision{2, 1}, false)
	require.NoError(t, b.Commit())
	require.Equal(t, []string{"2/0=a", "300/0=d"}, scan(t, s.Records(Revision{}, Revision{})))
	require.Len(t, scan(t, before), 4, "a cursor stays with what was when it was made")

	b = s.NewBatch()
	b.SetRecord(Revision{9, 9}, false, nil)
	b.Discard()
	b.Discard()
	require.NoError(t, s.NewBatch().Commit(), "an empty batch")
}

func TestSpaces(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	b := s.NewBatch()
	b.SetRecord(Revision{1, 0}, false, nil)
	b.Set(SpaceLease, []byte{1}, []byte("one"))
	b.Set(SpaceLease, []byte{2}, []byte("two"))
	b.Set(SpaceAuth, []byte("root"), []byte("user"))
	b.Set(SpaceMember, bytes.Repeat([]byte("k"), 200), nil)
	b.SetMeta("compacted", []byte("7"))
	require.NoError(t, b.Commit())

	list := func(space Space, from []byte) (out []string) {
		c := s.Space(space, from)
		for c.Next() {
			value, err := c.Value()
			require.NoError(t, err)
			out = append(out, fmt.Sprintf("%q=%s", c.Key(), value))
		}
		require.NoError(t, c.Close())
		return out
	}
	require.Equal(t, []string{`"\x01"=one`, `"\x02"=two`}, list(SpaceLease, nil))
	require.Equal(t, []string{`"\x02"=two`}, list(SpaceLease, []byte{2}))
	require.Empty(t, list(SpaceAlarm, nil))
	value, ok, err := s.Get(SpaceAuth, []byte("root"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "user", string(value))
	value, ok, err = s.Get(SpaceMember, bytes.Repeat([]byte("k"), 200))
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, value)
	value, ok, err = s.Meta("compacted")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "7", string(value))

	b = s.NewBatch()
	b.DeleteSpace(SpaceLease)
	b.Delete(SpaceAuth, []byte("root"))
	b.DeleteMeta("compacted")
	require.NoError(t, b.Commit())
	require.Empty(t, list(SpaceLease, nil))
	require.Empty(t, list(SpaceAuth, nil))
	require.Len(t, list(SpaceMember, nil), 1)
	_, ok, err = s.Meta("compacted")
	require.NoError(t, err)
	require.False(t, ok)
	require.Panics(t, func() { s.NewBatch().Set('s', nil, nil) }, "nothing sorts above the records")
}

func TestIdentityAndFormat(t *testing.T) {
	fs := disk.New()
	exists, err := Exists(fs, testDir)
	require.NoError(t, err)
	require.False(t, exists)
	s := open(t, fs)
	_, ok, err := s.Identity()
	require.NoError(t, err)
	require.False(t, ok)
	b := s.NewBatch()
	b.SetIdentity(Identity{ClusterID: 1, MemberID: 2})
	require.NoError(t, b.Commit())
	require.NoError(t, s.Close())
	exists, err = Exists(fs, testDir)
	require.NoError(t, err)
	require.True(t, exists)

	s = open(t, fs)
	id, ok, err := s.Identity()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Identity{ClusterID: 1, MemberID: 2}, id)
	b = s.NewBatch()
	b.SetMeta(metaFormat, []byte{0, 0, 0, formatVersion + 1})
	require.NoError(t, b.Commit())
	require.NoError(t, s.Close())
	_, err = Open(Options{FS: fs, Dir: testDir})
	require.ErrorIs(t, err, ErrNewerFormat)
}

func TestForeignStoreIsRefused(t *testing.T) {
	fs := disk.New()
	db, err := pebble.Open(testDir, &pebble.Options{FS: fs, Logger: engineLogger{&Store{}}})
	require.NoError(t, err)
	require.NoError(t, db.Set([]byte("x"), nil, pebble.Sync))
	require.NoError(t, db.Close())
	_, err = Open(Options{FS: fs, Dir: testDir})
	require.ErrorContains(t, err, "not a store of ours")
}

func TestDurableAppliedFollowsTheFlush(t *testing.T) {
	heard := make(chan struct{}, 1)
	s, err := Open(Options{FS: disk.New(), Dir: testDir, OnFlush: func() {
		select {
		case heard <- struct{}{}:
		default:
		}
	}})
	require.NoError(t, err)
	defer s.Close()
	_, ok, err := s.Applied()
	require.NoError(t, err)
	require.False(t, ok)
	put(t, s, 1, "a")
	require.NoError(t, s.Flush())
	put(t, s, 2, "b")
	applied, durable := indexes(t, s)
	require.Equal(t, [2]uint64{2, 1}, [2]uint64{applied, durable})
	<-heard
	before := s.Flushes()
	require.NoError(t, s.StartFlush())
	select {
	case <-heard:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody told of the flush")
	}
	require.Greater(t, s.Flushes(), before)
	before = s.Flushes()
	require.NoError(t, s.StartFlush())
	require.NoError(t, s.StartFlush())
	require.Equal(t, before, s.Flushes(), "nothing was committed: nothing to flush")
	a, ok, err := s.DurableApplied()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Applied{Index: 2, Term: 1, Revision: 2}, Applied{Index: a.Index, Term: a.Term, Revision: a.Revision})
	require.Equal(t, []uint64{1}, a.ConfState.Voters)
}

// With its log off the engine forgets the memtables at Close and in a checkpoint, whatever it is asked to flush: the reason why our
// Close and Checkpoint flush first. If this fails, the engine has changed.
func TestEngineForgetsMemtables(t *testing.T) {
	fs := disk.New()
	options := func() *pebble.Options {
		return &pebble.Options{FS: fs, DisableWAL: true, FormatMajorVersion: engineFormat, Logger: engineLogger{&Store{}}}
	}
	value := func(db *pebble.DB) string {
		v, closer, err := db.Get([]byte("applied"))
		require.NoError(t, err)
		defer closer.Close()
		return string(v)
	}
	db, err := pebble.Open("d", options())
	require.NoError(t, err)
	require.NoError(t, db.Set([]byte("applied"), []byte("1"), pebble.NoSync))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Set([]byte("applied"), []byte("2"), pebble.NoSync))
	require.NoError(t, db.Checkpoint("c", pebble.WithFlushedWAL()))
	require.Equal(t, "2", value(db))
	require.NoError(t, db.Close())
	for _, dir := range []string{"c", "d"} {
		db, err = pebble.Open(dir, options())
		require.NoError(t, err)
		require.Equal(t, "1", value(db), dir)
		require.NoError(t, db.Close())
	}
}

func TestCloseAndCheckpointForgetNothing(t *testing.T) {
	fs := disk.New()
	s := open(t, fs)
	put(t, s, 1, "a")
	require.NoError(t, s.Flush())
	put(t, s, 2, "b")
	require.NoError(t, s.Checkpoint("/member/copy"))
	put(t, s, 3, "c")
	require.NoError(t, s.Close())

	fs = fs.CrashImage(disk.LoseAll{})
	s = open(t, fs)
	applied, durable := indexes(t, s)
	require.Equal(t, [2]uint64{3, 3}, [2]uint64{applied, durable})
	require.Equal(t, []string{"1/0=a", "2/0=b", "3/0=c"}, scan(t, s.Records(Revision{}, Revision{})))
	require.NoError(t, s.Close())

	s, err := Open(Options{FS: fs, Dir: "/member/copy", ReadOnly: true})
	require.NoError(t, err)
	applied, _ = indexes(t, s)
	require.EqualValues(t, 2, applied)
	require.Equal(t, []string{"1/0=a", "2/0=b"}, scan(t, s.Records(Revision{}, Revision{})))
	require.NoError(t, s.Close())
	_, err = Open(Options{FS: fs, Dir: "/member/none", ReadOnly: true})
	require.Error(t, err)
}

var crashSeeds = flag.Uint64("crash-seeds", 40, "seeds of the crash test")

// After any crash the store is what a prefix of the batches made of it, no shorter than what was durable.
func TestCrash(t *testing.T) {
	for seed := range *crashSeeds {
		rng := rand.New(rand.NewPCG(seed, 2))
		fs := disk.New()
		s := open(t, fs)
		var content []map[int64]string // after each batch
		content = append(content, map[int64]string{})
		floor := 0
		for i := 1; i <= 60; i++ {
			now := map[int64]string{}
			for k, v := range content[len(content)-1] {
				now[k] = v
			}
			b := s.NewBatch()
			for j := range int64(rng.IntN(4)) {
				main := int64(len(content))*10 + j
				now[main] = strings.Repeat("v", rng.IntN(5000))
				b.SetRecord(Revision{Main: main}, false, []byte(now[main]))
			}
			if rng.IntN(8) == 0 {
				from := rng.Int64N(int64(i) * 10)
				for k := from; k < from+30; k++ {
					if _, there := now[k]; there {
						b.DeleteRecord(Revision{Main: k}, false)
						delete(now, k)
					}
				}
			}
			b.SetApplied(Applied{Index: uint64(len(content)), Term: 1})
			require.NoError(t, b.Commit())
			content = append(content, now)
			switch rng.IntN(12) {
			case 0:
				require.NoError(t, s.Flush())
			case 1:
				require.NoError(t, s.Compact())
			}
			d, _, err := s.DurableApplied()
			require.NoError(t, err)
			require.GreaterOrEqual(t, int(d.Index), floor, "what is durable stays so")
			floor = int(d.Index)
			if rng.IntN(10) > 0 {
				continue
			}
			image := fs.CrashImage(disk.Random(rng.Uint64()))
			_ = s.Close()
			fs, s = image, open(t, image)
			applied, durable := indexes(t, s)
			require.Equal(t, applied, durable, "seed %d", seed)
			require.GreaterOrEqual(t, int(applied), floor, "seed %d: less than was durable", seed)
			require.Less(t, int(applied), len(content), "seed %d", seed)
			content = content[:applied+1]
			floor = int(applied)
			found := map[int64]string{}
			c := s.Records(Revision{}, Revision{})
			for c.Next() {
				value, err := c.Value()
				require.NoError(t, err)
				found[c.Revision().Main] = string(value)
			}
			require.NoError(t, c.Close())
			require.Equal(t, content[applied], found, "seed %d: applied %d", seed, applied)
		}
		require.NoError(t, s.Close())
	}
}

// A disk that fails under a flush ends the store once, in order: the owner hears of it, callers get ErrDead, nothing spins.
func TestFailedFlush(t *testing.T) {
	for _, strike := range []struct {
		op   disk.Op
		path string
	}{{disk.OpWrite, ""}, {disk.OpSync, ""}, {disk.OpCreate, ""}, {disk.OpWrite, "MANIFEST"}, {disk.OpSync, "MANIFEST"}} {
		fs := disk.New()
		var told, calls atomic.Int64
		s, err := Open(Options{FS: fs, Dir: testDir, OnFatal: func(err error) { told.Add(1) }})
		require.NoError(t, err)
		put(t, s, 1, "a")
		require.NoError(t, s.Flush())
		put(t, s, 2, "b")
		fs.Inject(func(op disk.Op, path string) error {
			if op == strike.op && strings.Contains(path, strike.path) {
				calls.Add(1)
				return syscall.ENOSPC
			}
			return nil
		})
		require.ErrorIs(t, s.Flush(), ErrDead, "%v", strike)
		require.EqualValues(t, 1, told.Load())
		require.Less(t, calls.Load(), int64(20), "no retries without end")
		_, _, err = s.Applied()
		require.ErrorIs(t, err, ErrDead)
		_, _, err = s.Record(Revision{1, 0}, nil)
		require.ErrorIs(t, err, ErrDead)
		b := s.NewBatch()
		b.SetMeta("x", nil)
		require.ErrorIs(t, b.Commit(), ErrDead)
		require.ErrorIs(t, s.Checkpoint("/x"), ErrDead)
		require.ErrorIs(t, s.Records(Revision{}, Revision{}).Close(), ErrDead)
		require.True(t, errors.Is(s.Close(), ErrDead))

		fs.Inject(nil)
		s = open(t, fs.CrashImage(disk.LoseAll{}))
		applied, _ := indexes(t, s)
		require.EqualValues(t, 1, applied)
		require.NoError(t, s.Close())
	}
}

// MayStall says so before a Commit waits.
func TestMayStall(t *testing.T) {
	fs := disk.New()
	s, err := Open(Options{FS: fs, Dir: testDir, MemTableBytes: 1 << 20})
	require.NoError(t, err)
	require.False(t, s.MayStall())
	hold, entered := make(chan struct{}), make(chan struct{}, 1)
	var held atomic.Bool
	stuck := &slowDisk{FS: fs, hold: hold, entered: entered, held: &held}
	require.NoError(t, s.Close())

	s, err = Open(Options{FS: stuck, Dir: testDir, MemTableBytes: 1 << 20})
	require.NoError(t, err)
	held.Store(true)
	value := strings.Repeat("v", 10_000)
	commits := int64(0)
	for ; !s.MayStall(); commits++ {
		put(t, s, commits+1, value)
		require.Less(t, commits, int64(1000))
	}
	require.False(t, s.stalled.Load(), "no commit has waited")
	require.Greater(t, commits, int64(100))
	held.Store(false)
	close(hold)
	require.NoError(t, s.Flush())
	put(t, s, commits+1, value)
	require.False(t, s.MayStall())
	require.NoError(t, s.Close())
}

// Readers, snapshots and flushes run beside the writer; each sees whole batches. The race detector watches.
func TestReadersBesideTheWriter(t *testing.T) {
	s, err := Open(Options{FS: disk.New(), Dir: testDir, MemTableBytes: 256 << 10})
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan error, 3)
	reader := func(look func() error) {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := look(); err != nil {
				done <- err
				return
			}
		}
	}
	go reader(func() error {
		n := 0
		c := s.Records(Revision{}, Revision{})
		for c.Next() {
			n++
		}
		if n%2 != 0 {
			return fmt.Errorf("%d records: half a batch", n)
		}
		return c.Close()
	})
	go reader(func() error {
		a, _, err := s.Applied()
		if err != nil {
			return err
		}
		if a.Index > 0 {
			_, _, err = s.Record(Revision{Main: int64(a.Index), Sub: 1}, nil)
		}
		return err
	})
	go reader(func() error {
		d, _, err := s.DurableApplied()
		if err != nil {
			return err
		}
		if a, _, _ := s.Applied(); a.Index < d.Index {
			return fmt.Errorf("durable %d, applied %d", d.Index, a.Index)
		}
		_ = s.MayStall()
		return s.Flush()
	})
	value := make([]byte, 1000)
	for main := int64(1); main <= 1500; main++ {
		b := s.NewBatch()
		b.SetRecord(Revision{main, 0}, false, value)
		b.SetRecord(Revision{main, 1}, false, value)
		b.SetApplied(Applied{Index: uint64(main), Term: 1})
		require.NoError(t, b.Commit())
	}
	close(stop)
	for range 3 {
		require.NoError(t, <-done)
	}
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Close(), ErrDead)
}

// The same on a real disk: a checkpoint is hard links, and stays when the store goes on.
func TestCheckpointOnARealDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir + "/store"})
	require.NoError(t, err)
	put(t, s, 1, "a")
	require.NoError(t, s.Checkpoint(dir+"/copy"))
	require.Error(t, s.Checkpoint(dir+"/copy"), "it exists")
	b := s.NewBatch()
	b.DeleteRecord(Revision{1, 0}, false)
	require.NoError(t, b.Commit())
	require.NoError(t, s.Flush())
	require.NoError(t, s.Compact())
	_, err = Open(Options{Dir: dir + "/store"})
	require.Error(t, err, "the directory is locked")
	require.NoError(t, s.Close())
	s, err = Open(Options{Dir: dir + "/copy"})
	require.NoError(t, err)
	require.Equal(t, []string{"1/0=a"}, scan(t, s.Records(Revision{}, Revision{})))
	require.NoError(t, s.Close())
}
