package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The bytes of a segment; docs/format/wal.md is the reference, all integers are little-endian.
const (
	formatVersion = 1
	segmentMagic  = "etcdalt\n" // the line feed catches transfers that translate text
	batchMagic    = 0x7ab10c5e

	segmentHeaderSize = 128
	batchHeaderSize   = 56

	// align is the alignment of a batch. It lets recovery look for later batches at one offset in eight, and costs 4 bytes on average.
	align = 8

	// MaxBatchBytes bounds the payload of a batch. Raft hands out at most what MaxInflightBytes and MaxUncommittedEntriesSize let
	// through, far below; the bound is for recovery, which must not believe a length field before it takes memory for it.
	MaxBatchBytes = 256 << 20
)

// flagOrigin marks a segment with which a log begins: made by Create or Reset. What stands in segments before it does not count.
const flagOrigin = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentHeader is the first record of a segment.
type segmentHeader struct {
	origin              bool
	id                  uint64
	clusterID, memberID uint64
	prev                Position  // the last entry before this segment
	hard                hardState // in force when the segment was made
	beforeEnd           int64     // where the segment before ends; 0 for an origin
	beforeSum           uint32    // header sum of its last batch, or its own sum if it has none; 0 for an origin
	salt                uint64    // keeps bytes chosen by a client from looking like a batch
}

// encode fills b (segmentHeaderSize bytes) and returns the checksum at its end, which seeds those of the batches.
func (h *segmentHeader) encode(b []byte) uint32 {
	clear(b[:segmentHeaderSize])
	le := binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], crc32.Checksum(b[:12], castagnoli))
	if h.origin {
		le.PutUint32(b[16:], flagOrigin)
	}
	for i, v := range [...]uint64{h.id, h.clusterID, h.memberID, h.prev.Index, h.prev.Term,
		h.hard.term, h.hard.vote, h.hard.commit, uint64(h.beforeEnd)} {
		le.PutUint64(b[24+8*i:], v)
	}
	le.PutUint32(b[96:], h.beforeSum)
	le.PutUint64(b[104:], h.salt)
	sum := crc32.Checksum(b[:segmentHeaderSize-4], castagnoli)
	le.PutUint32(b[segmentHeaderSize-4:], sum)
	return sum
}

// decodeSegmentHeader reads what encode wrote. Magic, version and their checksum (the first 16 bytes) keep their place in every
// later version, so that a newer log can be refused by name.
func decodeSegmentHeader(file string, b []byte) (h segmentHeader, sum uint32, err error) {
	corrupt := func(reason string) error { return &CorruptError{File: file, Reason: reason} }
	le := binary.LittleEndian
	switch {
	case len(b) < 16:
		return h, 0, corrupt("shorter than a segment header")
	case string(b[:8]) != segmentMagic:
		return h, 0, corrupt("not a segment: wrong magic")
	case le.Uint32(b[12:]) != crc32.Checksum(b[:12], castagnoli):
		return h, 0, corrupt("checksum of the format version does not match")
	case le.Uint32(b[8:]) > formatVersion:
		return h, 0, &NewerFormatError{File: file, Version: le.Uint32(b[8:]), Known: formatVersion}
	case le.Uint32(b[8:]) != formatVersion:
		return h, 0, corrupt(fmt.Sprintf("format version %d never existed", le.Uint32(b[8:])))
	case len(b) < segmentHeaderSize:
		return h, 0, corrupt("shorter than a segment header")
	}
	sum = crc32.Checksum(b[:segmentHeaderSize-4], castagnoli)
	if sum != le.Uint32(b[segmentHeaderSize-4:]) {
		return h, 0, corrupt("checksum of the segment header does not match")
	}
	word := func(i int) uint64 { return le.Uint64(b[24+8*i:]) }
	h = segmentHeader{
		origin: le.Uint32(b[16:])&flagOrigin != 0,
		id:     word(0), clusterID: word(1), memberID: word(2),
		prev:      Position{Index: word(3), Term: word(4)},
		hard:      hardState{term: word(5), vote: word(6), commit: word(7)},
		beforeEnd: int64(word(8)),
		beforeSum: le.Uint32(b[96:]),
		salt:      le.Uint64(b[104:]),
	}
	return h, sum, nil
}

// batchHeader precedes the payload of every batch. It has a checksum of its own, so that what it says of the batches before it
// counts even where those, or its own payload, are torn; prev chains it to its predecessor.
type batchHeader struct {
	prev       uint32 // header sum of the batch before, or the sum of the segment header
	length     uint32 // of the payload, without padding
	segment    uint64
	seq        uint64 // number in the segment, from 1
	offset     int64  // of this header in the file
	synced     int64  // the file was durable up to here when the batch was written
	payloadSum uint32 // over payload and padding
}

// encode fills b (batchHeaderSize bytes) and returns the header's checksum.
func (h *batchHeader) encode(b []byte, seed uint32) uint32 {
	le := binary.LittleEndian
	le.PutUint32(b[0:], batchMagic)
	le.PutUint32(b[8:], h.prev)
	le.PutUint32(b[12:], h.length)
	le.PutUint64(b[16:], h.segment)
	le.PutUint64(b[24:], h.seq)
	le.PutUint64(b[32:], uint64(h.offset))
	le.PutUint64(b[40:], uint64(h.synced))
	le.PutUint32(b[48:], h.payloadSum)
	le.PutUint32(b[52:], 0)
	sum := crc32.Update(seed, castagnoli, b[8:batchHeaderSize])
	le.PutUint32(b[4:], sum)
	return sum
}

// decodeBatchHeader reads what encode wrote; ok says that it is a batch header of this segment, made for this offset.
func decodeBatchHeader(b []byte, seed uint32, segment uint64, offset int64) (h batchHeader, sum uint32, ok bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != batchMagic {
		return h, 0, false
	}
	sum = le.Uint32(b[4:])
	if sum != crc32.Update(seed, castagnoli, b[8:batchHeaderSize]) {
		return h, 0, false
	}
	h = batchHeader{
		prev:       le.Uint32(b[8:]),
		length:     le.Uint32(b[12:]),
		segment:    le.Uint64(b[16:]),
		seq:        le.Uint64(b[24:]),
		offset:     int64(le.Uint64(b[32:])),
		synced:     int64(le.Uint64(b[40:])),
		payloadSum: le.Uint32(b[48:]),
	}
	return h, sum, h.segment == segment && h.offset == offset
}

// padded is the length of a payload with its padding.
func padded(n int64) int64 { return (n + align - 1) &^ (align - 1) }

const (
	segmentSuffix = ".wal"
	tempSuffix    = ".tmp"
)

func segmentName(id uint64) string { return fmt.Sprintf("%016x%s", id, segmentSuffix) }

// segmentID parses the name of a segment file.
func segmentID(name string) (uint64, bool) {
	hex, found := strings.CutSuffix(name, segmentSuffix)
	id, err := strconv.ParseUint(hex, 16, 64)
	return id, found && err == nil && id > 0 && segmentName(id) == name
}
