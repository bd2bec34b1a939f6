package mvcc

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"slices"

	"etcd.alt/api/errs"
	"etcd.alt/internal/store"
)

// Hash is the hash of the keyspace at a revision.
type Hash struct {
	Hash uint32
	// Revision is the revision that was hashed, Compacted the compacted revision
	// it was hashed under; -1 for none.
	Revision, Compacted int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash hashes the keyspace at a revision, 0 for the newest, as every member
// does: CRC-32C over the word "key" and then, in the order of revisions, the key
// and the value of each record that a compaction at Compacted has left. It does
// not matter how far the sweep has come. Errors: errs.Compacted, errs.FutureRev,
// ErrStale, a failure of the store.
func (v *View) Hash(revision int64) (Hash, error) {
	rev := revision
	switch {
	case rev == 0:
		rev = v.Revision
	case rev > v.Revision:
		return Hash{}, errs.FutureRev
	case rev > 0 && rev < v.Compacted:
		return Hash{}, errs.Compacted
	}
	h := Hash{Revision: rev, Compacted: v.Compacted}
	if rev < 0 {
		// Nothing is at or below a negative revision, and no such request has ever
		// been refused.
		h.Hash = crc32.Checksum([]byte("key"), castagnoli)
		return h, nil
	}
	snapshot := v.keyspace.store.Snapshot()
	defer snapshot.Close()
	keep := v.kept(rev)
	if err := v.fresh(revision); err != nil {
		return Hash{}, err
	}
	sum := crc32.New(castagnoli)
	sum.Write([]byte("key"))
	records := snapshot.Records(store.Revision{}, store.Revision{Main: rev + 1})
	defer records.Close()
	var buf []byte
	for records.Next() {
		r := records.Revision()
		if r.Main <= v.Compacted && (records.Tombstone() || !keep.has(r)) {
			continue
		}
		value, err := records.Value()
		if err != nil {
			return Hash{}, fmt.Errorf("mvcc: hash: revision %d.%d: %w", r.Main, r.Sub, err)
		}
		buf = hashRecord(sum, buf, r, records.Tombstone(), value)
	}
	if err := records.Close(); err != nil {
		return Hash{}, fmt.Errorf("mvcc: hash: %w", err)
	}
	h.Hash = sum.Sum32()
	return h, nil
}

// hashRecord hashes a record under the key it has in upstream's files.
func hashRecord(sum hash.Hash32, buf []byte, r store.Revision, tombstone bool, value []byte) []byte {
	buf = binary.BigEndian.AppendUint64(buf[:0], uint64(r.Main))
	buf = append(buf, '_')
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.Sub))
	if tombstone {
		buf = append(buf, 't')
	}
	sum.Write(buf)
	sum.Write(value)
	return buf
}

// revisions is a sorted list that is asked in ascending order.
type revisions []store.Revision

func (k *revisions) has(r store.Revision) bool {
	for len(*k) > 0 && (*k)[0].Compare(r) < 0 {
		*k = (*k)[1:]
	}
	return len(*k) > 0 && (*k)[0] == r
}

// kept lists the records at or below the compacted revision that count in the
// hash at rev: those of the versions that live at rev. Where no key lives at
// rev, all that the compaction leaves count.
func (v *View) kept(rev int64) revisions {
	at := rev
	if v.count(span{ranged: true, open: true}, rev) == 0 {
		at = min(v.Compacted, rev)
	}
	var keep revisions
	v.tree.ascend("", func(_ string, head *version) bool {
		if ver := head.liveAt(at); ver != nil && ver.main <= v.Compacted {
			keep = append(keep, ver.revision())
		}
		return true
	})
	slices.SortFunc(keep, store.Revision.Compare)
	return keep
}
