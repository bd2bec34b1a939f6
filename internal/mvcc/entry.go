package mvcc

import (
	"encoding/binary"
	"errors"

	"etcd.alt/internal/store"
)

// appendEntry appends the entry of a version: what the index keeps of it beside
// its revision, as varints, then the key to the end.
//
//	lease, create_revision, version, size of the record, key
//
// A tombstone's entry is its key.
func appendEntry(b []byte, key string, v *version) []byte {
	if v.live() {
		b = binary.AppendUvarint(b, uint64(v.lease()))
		b = binary.AppendUvarint(b, uint64(v.create))
		b = binary.AppendUvarint(b, uint64(v.count))
		b = binary.AppendUvarint(b, uint64(v.size))
	}
	return append(b, key...)
}

var errEntry = errors.New("mvcc: malformed entry")

// decodeEntry makes the version of an entry. The key aliases b.
func decodeEntry(b []byte, rev store.Revision, tombstone bool) (key []byte, v *version, err error) {
	if tombstone {
		return b, newVersion(rev, 0, 0, 0), nil
	}
	var fields [4]uint64
	for i := range fields {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, nil, errEntry
		}
		fields[i], b = x, b[n:]
	}
	if int64(fields[1]) <= 0 || int64(fields[2]) <= 0 || fields[3] == 0 || fields[3] > 1<<32-1 {
		return nil, nil, errEntry
	}
	v = newVersion(rev, int64(fields[1]), int64(fields[2]), int64(fields[0]))
	v.size = uint32(fields[3])
	return b, v, nil
}
