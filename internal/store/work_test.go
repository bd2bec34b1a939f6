package store

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/sim/disk"
)

var workMegabytes = flag.Int("work-mb", 64, "MB of records that the test of compaction writes")

// Records are written in key order, so compaction must cost next to nothing, lease churn or not: bytes compacted per byte flushed stay
// at or below 0.5. The memtable is scaled down with the data; -work-mb=1000 is the real thing.
func TestCompactionIsNearlyFree(t *testing.T) {
	o := Options{FS: disk.New(), Dir: testDir, MemTableBytes: 1 << 20}
	if *workMegabytes > 500 {
		o.FS, o.Dir, o.MemTableBytes = nil, t.TempDir(), 0
	}
	s, err := Open(o)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 280)
	main := int64(1)
	for written := 0; written < *workMegabytes<<20; {
		b := s.NewBatch()
		for range 100 {
			main++
			for i := 0; i < len(value)/2; i += 4 { // half of it does not compress
				binary.LittleEndian.PutUint32(value[i:], rng.Uint32())
			}
			b.SetRecord(Revision{Main: main}, false, value)
			b.SetEntry(Revision{Main: main}, false, value[:50])
			written += len(value)
		}
		for range 10 {
			var lease [8]byte
			binary.BigEndian.PutUint64(lease[:], rng.Uint64N(100_000))
			if rng.IntN(3) == 0 {
				b.Delete(SpaceLease, lease[:])
			} else {
				b.Set(SpaceLease, lease[:], value[:24])
			}
		}
		b.SetApplied(Applied{Index: uint64(main), Term: 1, Revision: main})
		require.NoError(t, b.Commit())
	}
	require.NoError(t, s.Flush())
	for range 100 {
		if m := s.db.Metrics(); m.Compact.NumInProgress == 0 && m.Compact.EstimatedDebt == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	w := s.Work()
	ratio := float64(w.Compacted) / float64(w.Flushed)
	t.Logf("flushed %d KB, compacted %d KB (%.3f), moved %d KB", w.Flushed>>10, w.Compacted>>10, ratio, w.Moved>>10)
	require.LessOrEqual(t, ratio, 0.5)
	disk, err := s.DiskBytes()
	require.NoError(t, err)
	require.Less(t, disk, 2*w.Flushed)
	require.NoError(t, s.Close())
}

// What is deleted is given back by the engine.
func TestDeletedRecordsGiveTheirSpaceBack(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	value := make([]byte, 1000)
	rng := rand.New(rand.NewPCG(1, 1))
	for main := range int64(5000) {
		for i := 0; i < len(value); i += 8 {
			binary.LittleEndian.PutUint64(value[i:], rng.Uint64())
		}
		put(t, s, main, string(value))
	}
	require.NoError(t, s.Flush())
	before, err := s.DiskBytes()
	require.NoError(t, err)
	b := s.NewBatch()
	for main := range int64(4900) {
		b.DeleteRecord(Revision{Main: main}, false) // entries too
	}
	require.NoError(t, b.Commit())
	require.NoError(t, s.Compact())
	require.Eventually(t, func() bool { // the engine deletes files in its own time
		after, err := s.DiskBytes()
		return err == nil && after < before/5
	}, 10*time.Second, 10*time.Millisecond)
	require.Len(t, scan(t, s.Records(Revision{}, Revision{})), 100)
}

// BenchmarkCommit writes batches of records of 300 bytes to a real file system, and what is applied with them.
func BenchmarkCommit(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer s.Close()
	value := make([]byte, 300)
	main := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		batch := s.NewBatch()
		for range 10 {
			main++
			batch.SetRecord(Revision{Main: main}, false, value)
			batch.SetEntry(Revision{Main: main}, false, value[:50])
		}
		batch.SetApplied(Applied{Index: uint64(main), Term: 1, Revision: main})
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord reads one of 100,000 records of 300 bytes, from tables that are in the engine's cache and from ones that are not.
func BenchmarkRecord(b *testing.B) {
	for name, cache := range map[string]int64{"cached": 256 << 20, "uncached": 1} {
		b.Run(name, func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir(), CacheBytes: cache})
			require.NoError(b, err)
			defer s.Close()
			const records = 100_000
			rng := rand.New(rand.NewPCG(1, 1))
			value := make([]byte, 300)
			for main := range int64(records) {
				binary.LittleEndian.PutUint64(value, rng.Uint64())
				put(b, s, main, string(value))
			}
			require.NoError(b, s.Flush())
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf, _, err = s.Record(Revision{Main: rng.Int64N(records)}, buf)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScan walks over 100,000 records of 300 bytes, keys and values.
func BenchmarkScan(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer s.Close()
	value := make([]byte, 300)
	for main := range int64(100_000) {
		put(b, s, main, string(value))
	}
	require.NoError(b, s.Flush())
	for b.Loop() {
		n := 0
		c := s.Records(Revision{}, Revision{})
		for c.Next() {
			if _, err := c.Value(); err != nil {
				b.Fatal(err)
			}
			n++
		}
		require.NoError(b, c.Close())
		require.Equal(b, 100_000, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/record")
}
