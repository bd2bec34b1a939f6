package store

import (
	"encoding/binary"
	"fmt"
)

// Space is a part of the store with keys of its own.
type Space byte

// The spaces. Their bytes are the first of each key; all lie below entryPrefix, where nothing moves with the records.
const (
	SpaceAlarm  Space = 'A'
	SpaceAuth   Space = 'a'
	SpaceLease  Space = 'l'
	SpaceMember Space = 'm'

	spaceMeta Space = '!'
)

const (
	entryPrefix  = 'q' // the records' entries, right below them
	recordPrefix = 'r' // the last byte that begins a key: nothing may sort above the records
	recordEnd    = recordPrefix + 1

	recordKeyBytes  = 1 + 8 + 8
	tombstoneSuffix = 't'
)

// Revision names a record: the transaction and the number of the change in it. Both are written in eight bytes, as clients know them:
// the four that a shorter Sub would save are shared prefix in a block, and the short one would need a bound.
type Revision struct{ Main, Sub int64 }

// Compare orders revisions: negative if r comes before o.
func (r Revision) Compare(o Revision) int {
	switch {
	case r == o:
		return 0
	case r.Main < o.Main || r.Main == o.Main && r.Sub < o.Sub:
		return -1
	}
	return 1
}

func (r Revision) String() string { return fmt.Sprintf("%d/%d", r.Main, r.Sub) }

// appendRecordKey appends the key of a record. A tombstone's key has a suffix, so that a scan of the keys tells them apart; it sorts
// right behind the key without.
func appendRecordKey(b []byte, r Revision, tombstone bool) []byte {
	return appendRevision(append(b, recordPrefix), r, tombstone)
}

// appendEntryKey appends the key of a record's entry: the record's, but for the first byte.
func appendEntryKey(b []byte, r Revision, tombstone bool) []byte {
	return appendRevision(append(b, entryPrefix), r, tombstone)
}

func appendRevision(b []byte, r Revision, tombstone bool) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Main))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Sub))
	if tombstone {
		b = append(b, tombstoneSuffix)
	}
	return b
}

// parseRecordKey reads what appendRecordKey or appendEntryKey wrote.
func parseRecordKey(key []byte) (r Revision, tombstone bool, err error) {
	tombstone = len(key) == recordKeyBytes+1 && key[recordKeyBytes] == tombstoneSuffix
	if len(key) == 0 || key[0] != recordPrefix && key[0] != entryPrefix || len(key) != recordKeyBytes && !tombstone {
		return r, false, fmt.Errorf("store: %q is not the key of a record", key)
	}
	r.Main = int64(binary.BigEndian.Uint64(key[1:]))
	r.Sub = int64(binary.BigEndian.Uint64(key[9:]))
	return r, tombstone, nil
}

func appendSpaceKey(b []byte, s Space, key []byte) []byte {
	if s >= entryPrefix {
		panic(fmt.Sprintf("store: space %q does not lie below the records", byte(s)))
	}
	return append(append(b, byte(s)), key...)
}
