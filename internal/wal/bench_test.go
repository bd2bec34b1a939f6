package wal

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkAppend writes entries of 300 bytes to a real file, with and without a sync for each batch.
func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, n := range []uint64{1, 10, 100} {
			b.Run(fmt.Sprintf("sync=%v/entries=%d", sync, n), func(b *testing.B) {
				l, err := Create(Options{Dir: b.TempDir(), SegmentBytes: 256 << 20}, Position{}, nil)
				require.NoError(b, err)
				defer l.Close()
				batch := Batch{Entries: entries(1, n, 1), HardState: hard(1, 1, 0)}
				for _, e := range batch.Entries {
					e.Data = make([]byte, 300)
				}
				b.ReportAllocs()
				b.SetBytes(int64(n) * 300)
				if sync {
					require.NoError(b, l.Prepare())
				}
				for b.Loop() {
					if err := l.Append(batch); err != nil {
						b.Fatal(err)
					}
					for _, e := range batch.Entries {
						*e.Index += n
					}
					*batch.HardState.Commit = *batch.Entries[0].Index - 1
					if sync {
						if err := l.Sync(); err != nil {
							b.Fatal(err)
						}
					}
					if len(l.segments) > 1 {
						b.StopTimer()
						require.NoError(b, l.Sync())
						require.NoError(b, l.Release(*batch.HardState.Commit))
						b.StartTimer()
					}
				}
			})
		}
	}
}

// BenchmarkOpen recovers a log of 50,000 entries of 300 bytes, in a segment with 47 MB of zeros ahead.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	l, err := Create(o, Position{}, nil)
	require.NoError(b, err)
	require.NoError(b, l.fill(defaultSegmentBytes))
	for i := uint64(1); i <= 50_000; i += 10 {
		batch := entries(i, i+9, 1)
		for _, e := range batch {
			e.Data = make([]byte, 300)
		}
		require.NoError(b, l.Append(Batch{Entries: batch}))
	}
	require.NoError(b, l.Close())
	b.ReportAllocs()
	for b.Loop() {
		l, r, err := Open(o)
		require.NoError(b, err)
		require.Len(b, r.Entries, 50_000)
		l.release()
	}
}
