package wal

import (
	"bytes"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
)

var golden = flag.Bool("golden", false, "write the golden segment anew")

const goldenFile = "testdata/golden.wal"

// goldenBatches is what the golden segment holds; each batch was synced.
func goldenBatches() []Batch {
	change := entry(3, 1, "\x08\x01")
	change.Type = new(raftpb.EntryConfChange)
	return []Batch{
		{Entries: entries(1, 2, 1), HardState: hard(1, 0xa1, 0)},
		{Entries: []*raftpb.Entry{change, entry(4, 1, "")}, HardState: hard(1, 0xa1, 3)},
		{Entries: entries(4, 4, 2), HardState: hard(2, 0xa2, 3),
			Installing: &Installing{Position{9, 2}, &raftpb.ConfState{
				Voters: []uint64{0xa1, 0xa2}, VotersOutgoing: []uint64{0xa1}, Learners: []uint64{0xa3}, LearnersNext: []uint64{0xa4},
				AutoLeave: new(true),
			}}},
	}
}

// The bytes of a segment do not change: the file is read as it was meant, and written equal.
func TestGolden(t *testing.T) {
	fs := disk.New()
	o := testOptions(fs)
	o.SegmentBytes = 1024
	l, err := Create(o, Position{}, nil)
	require.NoError(t, err)
	for _, b := range goldenBatches() {
		appendSynced(t, l, b)
	}
	path := l.path(1)
	require.NoError(t, l.Close())
	written, err := fs.ReadFile(path)
	require.NoError(t, err)
	if *golden {
		require.NoError(t, os.WriteFile(goldenFile, written, 0o644))
	}
	want, err := os.ReadFile(goldenFile)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, written), "the bytes of a segment have changed")

	_, r, err := Open(o)
	require.NoError(t, err)
	require.Equal(t, []string{
		`1/1 EntryNormal "entry 1 of term 1"`, `2/1 EntryNormal "entry 2 of term 1"`,
		`3/1 EntryConfChange "\b\x01"`, `4/2 EntryNormal "entry 4 of term 2"`,
	}, describeAll(r.Entries))
	require.Equal(t, hardState{2, 0xa2, 3}, plainHardState(r.HardState))
	require.Equal(t, Position{9, 2}, r.Installing.Position)
	require.Equal(t, goldenBatches()[2].Installing.ConfState.String(), r.Installing.ConfState.String())
}

// A later version is refused by name, whatever the rest of its header looks like.
func TestNewerFormat(t *testing.T) {
	fs := disk.New()
	data, err := os.ReadFile(goldenFile)
	require.NoError(t, err)
	binary.LittleEndian.PutUint32(data[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(data[12:], crc32.Checksum(data[:12], castagnoli))
	require.NoError(t, fs.MkdirAll("/member/log", 0o700))
	require.NoError(t, fs.WriteFile("/member/log/"+segmentName(1), data))
	_, _, err = Open(testOptions(fs))
	var newer *NewerFormatError
	require.ErrorAs(t, err, &newer)
	require.EqualValues(t, 2, newer.Version)
}

// FuzzOpen gives Open any bytes as a segment: it may refuse, it may not panic, and it takes no memory for what is not there. What it
// accepts it must accept again, unchanged.
func FuzzOpen(f *testing.F) {
	data, err := os.ReadFile(goldenFile)
	require.NoError(f, err)
	f.Add(data)
	f.Add(data[:400])
	f.Add(data[:segmentHeaderSize])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		resum(data)
		fs := disk.New()
		require.NoError(t, fs.MkdirAll("/member/log", 0o700))
		require.NoError(t, fs.WriteFile("/member/log/"+segmentName(1), data))
		fs = fs.CrashImage(disk.KeepAll{}) // all of it is durable now
		l, r, err := Open(testOptions(fs))
		if err != nil {
			return
		}
		_, again, err := Open(testOptions(fs.CrashImage(disk.LoseAll{})))
		require.NoError(t, err)
		require.Nil(t, again.Cut)
		require.Equal(t, r.Prev, again.Prev)
		require.Equal(t, describeAll(r.Entries), describeAll(again.Entries))
		next := l.Last().Index + 1
		if next == 0 {
			return
		}
		require.NoError(t, l.Append(Batch{Entries: entries(next, next, 1)}))
		require.NoError(t, l.Close())
	})
}

// resum puts the right checksums where a batch seems to begin, so that the fuzzer gets past them.
func resum(data []byte) {
	if len(data) < segmentHeaderSize {
		return
	}
	le := binary.LittleEndian
	le.PutUint32(data[12:], crc32.Checksum(data[:12], castagnoli))
	seed := crc32.Checksum(data[:segmentHeaderSize-4], castagnoli)
	le.PutUint32(data[segmentHeaderSize-4:], seed)
	sum := seed
	for at := int64(segmentHeaderSize); at+batchHeaderSize <= int64(len(data)); {
		b := data[at:]
		length := padded(int64(le.Uint32(b[12:])))
		if le.Uint32(b) != batchMagic || length > int64(len(b)-batchHeaderSize) {
			return
		}
		le.PutUint32(b[8:], sum)
		le.PutUint32(b[48:], crc32.Checksum(b[batchHeaderSize:][:length], castagnoli))
		sum = crc32.Update(seed, castagnoli, b[8:batchHeaderSize])
		le.PutUint32(b[4:], sum)
		at += batchHeaderSize + length
	}
}
