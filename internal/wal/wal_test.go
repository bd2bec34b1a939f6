package wal

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
)

func testOptions(fs *disk.FS) Options {
	return Options{FS: fs, Dir: "/member/log", SegmentBytes: 4096, ClusterID: 0xc1, MemberID: 0xa1, Salt: 7}
}

func entry(index, term uint64, data string) *raftpb.Entry {
	e := &raftpb.Entry{Index: &index, Term: &term, Type: new(raftpb.EntryNormal)}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

func entries(from, to, term uint64) (es []*raftpb.Entry) {
	for i := from; i <= to; i++ {
		es = append(es, entry(i, term, fmt.Sprintf("entry %d of term %d", i, term)))
	}
	return es
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return hardState{term, vote, commit}.message()
}

func describe(e *raftpb.Entry) string {
	return fmt.Sprintf("%d/%d %v %q", e.GetIndex(), e.GetTerm(), e.GetType(), e.GetData())
}

func describeAll(es []*raftpb.Entry) []string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = describe(e)
	}
	return out
}

// appendSynced appends one batch per call and syncs it.
func appendSynced(t *testing.T, l *Log, b Batch) {
	t.Helper()
	require.NoError(t, l.Append(b))
	require.NoError(t, l.Sync())
}

func TestCreateIsDurable(t *testing.T) {
	fs := disk.New()
	_, err := Create(testOptions(fs), Position{5, 2}, hard(3, 1, 5))
	require.NoError(t, err)

	image := fs.CrashImage(disk.LoseAll{})
	l, r, err := Open(testOptions(image))
	require.NoError(t, err)
	require.Equal(t, Position{5, 2}, r.Prev)
	require.Empty(t, r.Entries)
	require.Equal(t, hardState{3, 1, 5}, plainHardState(r.HardState))
	require.Equal(t, Position{5, 2}, l.Last())

	_, err = Create(testOptions(image), Position{}, nil)
	require.ErrorIs(t, err, ErrNotEmpty)
	exists, err := Exists(image, "/member/log")
	require.NoError(t, err)
	require.True(t, exists)
	exists, err = Exists(image, "/member/other")
	require.NoError(t, err)
	require.False(t, exists)
}

func TestCreateRefusesCommitAboveStart(t *testing.T) {
	_, err := Create(testOptions(disk.New()), Position{5, 2}, hard(3, 1, 6))
	require.ErrorContains(t, err, "Commit 6")
}

func TestOpenNothing(t *testing.T) {
	fs := disk.New()
	_, _, err := Open(testOptions(fs))
	require.ErrorIs(t, err, ErrNoLog)
	require.NoError(t, fs.MkdirAll("/member/log", 0o700))
	_, _, err = Open(testOptions(fs))
	require.ErrorIs(t, err, ErrNoLog)
}

func TestIdentity(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for _, change := range []func(*Options){
		func(o *Options) { o.ClusterID++ },
		func(o *Options) { o.MemberID++ },
	} {
		o := testOptions(fs)
		change(&o)
		_, _, err = Open(o)
		var wrong *IdentityError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, uint64(0xc1), wrong.ClusterID)
	}
}

func TestAppendRefusesWhatContradictsTheLog(t *testing.T) {
	l, err := Create(testOptions(disk.New()), Position{10, 1}, hard(1, 0, 10))
	require.NoError(t, err)
	appendSynced(t, l, Batch{Entries: entries(11, 15, 2), HardState: hard(2, 3, 13)})
	before := l.Written()
	for name, b := range map[string]Batch{
		"follows last entry 15":     {Entries: entries(17, 18, 2)},
		"follows entry 16":          {Entries: []*raftpb.Entry{entry(16, 2, ""), entry(18, 2, "")}},
		"is not above Commit 13":    {Entries: entries(13, 16, 3)},
		"goes back from (2, 13)":    {HardState: hard(1, 0, 13)},
		"commit 12) goes back":      {HardState: hard(2, 3, 12)},
		"commit 16 above the last":  {HardState: hard(2, 3, 16)},
		"commit 15 above the last ": {Entries: entries(14, 14, 3), HardState: hard(3, 3, 15)},
	} {
		require.ErrorContains(t, l.Append(b), name)
	}
	require.Equal(t, before, l.Written())
	require.NoError(t, l.Append(Batch{}))
	require.Equal(t, before, l.Written())
	appendSynced(t, l, Batch{Entries: entries(14, 14, 3), HardState: hard(3, 3, 14)})
}

func TestSyncErrorIsFinal(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.Append(Batch{Entries: entries(1, 2, 1)}))
	fs.Inject(func(op disk.Op, _ string) error {
		if op == disk.OpSync {
			return syscall.EIO
		}
		return nil
	})
	first := l.Sync()
	require.ErrorIs(t, first, syscall.EIO)
	fs.Inject(nil)
	for _, again := range []error{
		l.Sync(), l.Append(Batch{Entries: entries(3, 3, 1)}), l.Release(1), l.Reset(Position{9, 9}), l.Close(),
	} {
		require.Equal(t, first, again)
	}
	require.Equal(t, ErrClosed, l.Sync())
	require.NoError(t, l.Close())
}

// A disk that fills up shows first where a segment is made, and that can be tried again.
func TestFullDisk(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	require.False(t, l.NeedsPrepare())
	next := uint64(1)
	for !l.NeedsPrepare() {
		appendSynced(t, l, Batch{Entries: entries(next, next+4, 1)})
		next += 5
	}
	fs.SetCapacity(fs.Used() + 100)
	require.ErrorIs(t, l.Prepare(), syscall.ENOSPC)
	require.True(t, l.NeedsPrepare())
	for {
		err = l.Append(Batch{Entries: entries(next, next+4, 1)})
		if err != nil {
			break
		}
		next += 5
		require.NoError(t, l.Sync())
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "segment 2")
	require.NoError(t, l.Sync(), "an error from making a segment is not final")

	fs.SetCapacity(0)
	require.NoError(t, l.Prepare())
	appendSynced(t, l, Batch{Entries: entries(next, next+4, 1)})
	require.NoError(t, l.Close())
	_, r, err := Open(testOptions(fs))
	require.NoError(t, err)
	require.Equal(t, describeAll(entries(1, next+4, 1)), describeAll(r.Entries))
}

// The write of a batch that fails ends the log; what it left is a torn tail.
func TestFailedWriteIsFinal(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	appendSynced(t, l, Batch{Entries: entries(1, 2, 1)})
	fs.Inject(func(op disk.Op, _ string) error {
		if op == disk.OpWrite {
			return syscall.EIO
		}
		return nil
	})
	first := l.Append(Batch{Entries: entries(3, 4, 1)})
	require.ErrorIs(t, first, syscall.EIO)
	fs.Inject(nil)
	require.Equal(t, first, l.Append(Batch{Entries: entries(3, 4, 1)}))
	require.Equal(t, first, l.Sync())

	_, r, err := Open(testOptions(fs))
	require.NoError(t, err)
	require.Equal(t, describeAll(entries(1, 2, 1)), describeAll(r.Entries))
}

func TestPreparedSegmentIsTaken(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.Prepare())
	require.NoError(t, l.Prepare(), "one is ready: nothing to do")
	names, _ := fs.List("/member/log")
	require.Equal(t, []string{"0000000000000001.wal", "spare-2.tmp"}, names)
	next := uint64(1)
	for len(l.segments) == 1 {
		appendSynced(t, l, Batch{Entries: entries(next, next+4, 1)})
		next += 5
	}
	names, _ = fs.List("/member/log")
	require.Equal(t, []string{"0000000000000001.wal", "0000000000000002.wal"}, names)
	require.EqualValues(t, 4096, l.filled)
	data, _ := fs.ReadFile("/member/log/0000000000000002.wal")
	require.Len(t, data, 4096)
}

// Space that is kept free is not filled with a segment made ahead.
func TestPrepareKeepsSpaceFree(t *testing.T) {
	o := testOptions(disk.New())
	usage := &spaceLeft{FS: o.FS, avail: 1<<20 + uint64(o.SegmentBytes) - 1}
	o.FS, o.KeepFree = usage, 1<<20
	l, err := Create(o, Position{}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, l.Prepare(), ErrLittleSpace)
	_, temporary, err := listSegments(o.FS, o.Dir)
	require.NoError(t, err)
	require.Empty(t, temporary)
	usage.avail++
	require.NoError(t, l.Prepare())
	_, temporary, err = listSegments(o.FS, o.Dir)
	require.NoError(t, err)
	require.Len(t, temporary, 1)
	require.NoError(t, l.Close())
}

// spaceLeft is a disk that says how much of it is free.
type spaceLeft struct {
	vfs.FS
	avail uint64
}

func (d *spaceLeft) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: d.avail}, nil
}

// Prepare runs beside appends on another goroutine; the race detector watches.
func TestPrepareBesideAppend(t *testing.T) {
	l, err := Create(testOptions(disk.New()), Position{}, nil)
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		var errs error
		for {
			select {
			case <-stop:
				done <- errs
				return
			default:
				if l.NeedsPrepare() {
					errs = errors.Join(errs, l.Prepare())
				}
			}
		}
	}()
	for i := uint64(1); i < 2000; i++ {
		require.NoError(t, l.Append(Batch{Entries: entries(i, i, 1), HardState: hard(1, 1, i)}))
		if i%10 == 0 {
			require.NoError(t, l.Sync())
			require.NoError(t, l.Release(i-5))
		}
	}
	close(stop)
	require.NoError(t, <-done)
	require.NoError(t, l.Close())
}

// A batch larger than a segment has one of its own.
func TestBatchLargerThanASegment(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	want := append(entries(1, 3, 1), entry(4, 1, string(make([]byte, 20000))))
	appendSynced(t, l, Batch{Entries: want[:3]})
	appendSynced(t, l, Batch{Entries: want[3:]})
	want = append(want, entries(5, 6, 1)...)
	appendSynced(t, l, Batch{Entries: want[4:]})
	require.Len(t, l.segments, 3)
	require.NoError(t, l.Close())
	_, r, err := Open(testOptions(fs))
	require.NoError(t, err)
	require.Equal(t, describeAll(want), describeAll(r.Entries))
}

func TestNoSyncVouchesForNothing(t *testing.T) {
	fs := disk.New()
	o := testOptions(fs)
	o.NoSync = true
	l, err := Create(o, Position{}, nil)
	require.NoError(t, err)
	for i := uint64(1); i <= 5; i++ {
		appendSynced(t, l, Batch{Entries: entries(i, i, 1)})
	}
	end := l.end
	require.NoError(t, fs.Flip("/member/log/0000000000000001.wal", end-200, 1))
	_, r, err := Open(o)
	require.NoError(t, err, "later batches do not claim that anything was durable")
	require.NotNil(t, r.Cut)
	require.Less(t, len(r.Entries), 5)
}

func TestAppendDoesNotAllocate(t *testing.T) {
	o := testOptions(disk.New())
	o.FS, o.Dir = nil, t.TempDir()
	o.SegmentBytes = 64 << 20
	written := 0
	o.AroundWrite = func(bytes int, write func() error) error {
		written += bytes
		return write()
	}
	l, err := Create(o, Position{}, nil)
	require.NoError(t, err)
	defer l.Close()
	defer func() { require.Equal(t, l.Written(), uint64(written)) }()
	e := entry(1, 1, string(make([]byte, 300)))
	b := Batch{Entries: []*raftpb.Entry{e}, HardState: hard(1, 1, 0)}
	require.NoError(t, l.Append(b))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		*e.Index++
		*b.HardState.Commit++
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
	}))
}

// The whole life of a log on a real disk.
func TestOnARealDisk(t *testing.T) {
	o := Options{Dir: t.TempDir() + "/member/log", SegmentBytes: 64 << 10, ClusterID: 1, MemberID: 2, Salt: 3}
	l, err := Create(o, Position{}, nil)
	require.NoError(t, err)
	for i := uint64(1); i <= 2000; i++ {
		appendSynced(t, l, Batch{Entries: entries(i, i, 1), HardState: hard(1, 2, i-1)})
		if l.NeedsPrepare() {
			require.NoError(t, l.Prepare())
		}
	}
	require.NoError(t, l.Release(1000))
	require.NoError(t, l.Close())
	l, r, err := Open(o)
	require.NoError(t, err)
	require.Positive(t, r.Prev.Index)
	require.LessOrEqual(t, r.Prev.Index, uint64(1000))
	require.Equal(t, describeAll(entries(r.Prev.Index+1, 2000, 1)), describeAll(r.Entries))
	require.NoError(t, l.Reset(Position{5000, 1}))
	appendSynced(t, l, Batch{Entries: entries(5001, 5001, 1)})
	require.NoError(t, l.Close())
	_, r, err = Open(o)
	require.NoError(t, err)
	require.Equal(t, Position{5000, 1}, r.Prev)
	require.Len(t, r.Entries, 1)
}
