package space

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// disk is a file system in memory of a size that the test sets. Files take what
// they hold, beside what others have taken.
type disk struct {
	vfs.FS
	t           *testing.T
	total, used map[string]int64 // by directory
	err         error
}

func (d *disk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if d.err != nil {
		return vfs.DiskUsage{}, d.err
	}
	total, ok := d.total[path]
	if !ok {
		return vfs.DiskUsage{}, fs.ErrNotExist
	}
	used := d.used[path]
	if names, err := d.List(path); err == nil {
		for _, name := range names {
			info, err := d.Stat(d.PathJoin(path, name))
			require.NoError(d.t, err)
			used += info.Size()
		}
	}
	return vfs.DiskUsage{TotalBytes: uint64(total), AvailBytes: uint64(max(total-used, 0)), UsedBytes: uint64(used)}, nil
}

// size is that of the disks.
const size = 256 * mib

// stored is what the store has of it.
const stored = 16 * mib

// world is a watch on two disks.
func world(t *testing.T) (*disk, *Watch, *observer.ObservedLogs) {
	t.Helper()
	d := &disk{FS: vfs.NewMem(), t: t, total: map[string]int64{"/data": size, "/log": size}, used: map[string]int64{}}
	require.NoError(t, d.MkdirAll("/data", 0o700))
	core, said := observer.New(zapcore.InfoLevel)
	return d, watch(d, zap.New(core)), said
}

func watch(d *disk, logger *zap.Logger) *Watch {
	return New(Options{FS: d, Data: "/data", Log: "/log/wal", Logger: logger})
}

// leave lets others take all but free bytes of a disk, the watch's own files not
// counted.
func (d *disk) leave(path string, free int64) { d.used[path] = d.total[path] - free }

func (d *disk) reserved() int64 {
	info, err := d.Stat("/data/" + ReserveFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	require.NoError(d.t, err)
	return info.Size()
}

func looks(w *Watch, n int) {
	for range n {
		w.Look(stored)
		w.KeepReserve()
	}
}

func TestPlans(t *testing.T) {
	for _, total := range []int64{64 * mib, 200 * mib, 1 << 30, 4 << 30, 10 << 30, 1 << 50} {
		p := PlanFor(total, 0)
		require.Less(t, p.Critical, p.Low, total)
		require.Less(t, p.Low, p.Fine, total)
		require.GreaterOrEqual(t, p.Low, memTables*p.MemTable+p.Segment, "what is in memory and a segment have room on %d bytes", total)
		require.LessOrEqual(t, memTables*p.MemTable, p.Critical, total)
		// A member alone on the disk, with two segments and the reserve, still
		// takes writes when its store has a quarter of the disk.
		stored := total / 4
		p = PlanFor(total, stored)
		require.Greater(t, total-stored-p.Reserve-2*p.Segment, p.Fine, total)
		require.GreaterOrEqual(t, p.Low, min(stored, mostCompaction)+p.Critical+p.Segment, total)
	}
	require.Equal(t, Plan{MemTable: 16 * mib, Segment: 64 * mib, Critical: 64 * mib, Low: 128 * mib, Fine: 192 * mib, Reserve: 32 * mib}, PlanFor(1<<30, 0))
	require.Equal(t, PlanFor(1<<30, 0), PlanFor(1<<60, 0))
	require.EqualValues(t, 768*mib, PlanFor(1<<60, 1<<50).Low)
}

func TestWritesAreRefusedBelowLowAndTakenAgainAtFine(t *testing.T) {
	d, w, said := world(t)
	p := PlanFor(size, stored)
	require.True(t, w.Admit(1), "before the first look")
	looks(w, 20)
	require.True(t, w.Admit(1))
	require.Empty(t, w.Trouble())
	require.Equal(t, p.Reserve, d.reserved())

	d.leave("/data", p.Low+p.Reserve-1)
	looks(w, 3)
	require.False(t, w.Admit(1))
	require.Equal(t, "disk space low: 50331647 bytes are free for /data; puts are refused below 50331648 and taken again at 67108864", w.Trouble())
	require.Equal(t, 1, said.Len(), "said once")
	require.Equal(t, zapcore.WarnLevel, said.All()[0].Level)
	require.Equal(t, map[string]any{"path": "/data", "free-bytes": p.Low - 1, "refused-below-bytes": p.Low, "taken-again-at-bytes": p.Fine}, said.All()[0].ContextMap())

	d.leave("/data", p.Fine+p.Reserve-1)
	looks(w, 1)
	require.False(t, w.Admit(1), "not before there is some more")
	d.leave("/data", p.Fine+p.Reserve)
	looks(w, 1)
	require.True(t, w.Admit(1))
	require.Empty(t, w.Trouble())
	require.Equal(t, 2, said.Len())
	require.Equal(t, "disk space is back: puts are taken again", said.All()[1].Message)
}

// The log may lie on a disk of its own, in a directory that is not made yet.
func TestTheDiskOfTheLogCounts(t *testing.T) {
	d, w, _ := world(t)
	d.leave("/log", 1)
	looks(w, 1)
	require.False(t, w.Admit(1))
	require.Contains(t, w.Trouble(), "1 bytes are free for /log/wal")
	d.leave("/data", 0)
	d.leave("/log", size/2)
	looks(w, 1)
	require.False(t, w.Admit(1))
	require.Contains(t, w.Trouble(), "bytes are free for /data;")
	d.leave("/data", size/2)
	looks(w, 1)
	require.True(t, w.Admit(1))
}

func TestTheReserve(t *testing.T) {
	d, w, said := world(t)
	p := PlanFor(size, stored)
	w.Look(stored)
	require.Zero(t, d.reserved(), "a look writes nothing")
	looks(w, 1)
	require.EqualValues(t, reserveStep, d.reserved(), "it is built up in steps")
	looks(w, 10)
	require.Equal(t, p.Reserve, d.reserved())
	f, err := d.Open("/data/" + ReserveFile)
	require.NoError(t, err)
	b := make([]byte, p.Reserve)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	seen := map[[8]byte]bool{}
	for i := 0; i < 256<<10; i += 8 {
		seen[[8]byte(b[i:])] = true
	}
	require.Greater(t, len(seen), 32<<10-2, "it holds what cannot be compressed")

	// An earlier run has left it.
	w = watch(d, w.logger)
	d.leave("/data", p.Critical+p.Reserve)
	looks(w, 2)
	require.Equal(t, p.Reserve, d.reserved(), "low is no reason to give it up")
	require.False(t, w.Admit(1))
	d.leave("/data", p.Critical+p.Reserve-1)
	looks(w, 1)
	require.Zero(t, d.reserved())
	require.False(t, w.Admit(1), "what it gives is not for puts")
	require.Equal(t, "disk space is very low: the reserve was given up", said.All()[said.Len()-1].Message)

	d.leave("/data", p.Fine+p.Reserve-1)
	looks(w, 3)
	require.True(t, w.Admit(1))
	require.Zero(t, d.reserved(), "no room for all of it")
	d.leave("/data", p.Fine+p.Reserve)
	looks(w, 10)
	require.Equal(t, p.Reserve, d.reserved())
	require.True(t, w.Admit(1), "it does not make space low")
}

// What comes between two looks is counted: no burst is through before the next.
func TestABurstIsRefusedBeforeTheNextLook(t *testing.T) {
	d, w, said := world(t)
	p := PlanFor(size, stored)
	looks(w, 20)
	d.leave("/data", p.Fine+p.Reserve)
	looks(w, 1)
	var let int64
	for w.Admit(mib) {
		let += mib
	}
	require.Equal(t, (p.Fine-p.Low)/amplification/mib*mib, let)
	require.False(t, w.Admit(1))
	looks(w, 1)
	require.True(t, w.Admit(1), "nothing came of it")
	require.Equal(t, 1, said.Len())
	require.Contains(t, said.All()[0].Message, "for a moment")

	for w.Admit(mib) {
	}
	d.leave("/data", p.Fine+p.Reserve-1)
	looks(w, 1)
	require.False(t, w.Admit(1), "now it is low")
	require.Contains(t, said.All()[1].Message, "disk space is low")
}

func TestADiskThatCannotBeMeasured(t *testing.T) {
	d, w, said := world(t)
	looks(w, 2)
	d.err = errors.New("statfs: out of order")
	looks(w, 5)
	require.True(t, w.Admit(1<<40))
	require.Equal(t, 1, said.Len(), "said once")
	d.err = nil
	d.total["/log"], d.total["/data"] = 0, 0
	looks(w, 5)
	require.True(t, w.Admit(1<<40))
	require.Equal(t, 1, said.Len())
}

func TestAReserveThatCannotBeWritten(t *testing.T) {
	d, _, _ := world(t)
	require.NoError(t, d.MkdirAll("/data/"+ReserveFile, 0o700))
	core, said := observer.New(zapcore.InfoLevel)
	w := watch(d, zap.New(core))
	looks(w, 20)
	require.True(t, w.Admit(1))
	require.Equal(t, 2, said.Len(), "once when it was found, once when it was tried")
	looks(w, retryLooks)
	require.Equal(t, 3, said.Len())
}

// Files that are too large for the disk are refused, and nothing else is.
func TestFilesThatDoNotFitCloseNothing(t *testing.T) {
	d, w, said := world(t)
	d.leave("/data", 200*mib)
	looks(w, 1)
	require.False(t, w.AdmitFiles(200*mib))
	require.True(t, w.Admit(1))
	require.False(t, w.Low())
	require.True(t, w.AdmitFiles(100*mib), "they are written once")
	require.False(t, w.AdmitFiles(100*mib), "the first are counted")
	looks(w, 1)
	require.True(t, w.AdmitFiles(100*mib))
	require.Empty(t, said.FilterMessageSnippet("refused").All())
	d.leave("/data", 1*mib)
	looks(w, 1)
	require.False(t, w.AdmitFiles(1))
}
