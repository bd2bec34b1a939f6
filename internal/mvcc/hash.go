package mvcc

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"slices"
	"sync"

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
// not matter how far the sweep has come. At the revisions of the last
// compactions it is the hash under the compaction before, which each compaction
// leaves behind until the process ends. Errors: errs.Compacted, errs.FutureRev,
// errs.TooManyRequests, ErrStale, a failure of the store.
func (v *View) Hash(revision int64) (Hash, error) {
	if revision > 0 {
		switch kept, under := v.keyspace.hashes.find(revision); {
		case kept != nil:
			return *kept, nil
		case under != nil:
			v = under
		}
	}
	rev := revision
	switch {
	case rev == 0:
		rev = v.Revision
	case rev > v.Revision:
		return Hash{}, errs.FutureRev
	case rev > 0 && rev < v.Compacted:
		return Hash{}, errs.Compacted
	case rev < 0:
		// Nothing is at or below a negative revision, and no such request has ever
		// been refused.
		return Hash{Hash: crc32.Checksum([]byte("key"), castagnoli), Revision: rev, Compacted: v.Compacted}, nil
	}
	pin := v.keyspace.pins.add(v.Compacted, false)
	if pin == nil {
		return Hash{}, errs.TooManyRequests
	}
	defer v.keyspace.pins.remove(pin)
	// A sweep that began before the pin was set may have passed it.
	if v.keyspace.sweeping.Load() > v.Compacted {
		return Hash{}, ErrStale
	}
	h := v.newHashing(rev)
	for {
		if done, err := h.step(1 << 10); done || err != nil {
			return h.result(), err
		}
	}
}

// hashing is a hash in the making. What its view stands on must not be swept
// until it is done: then the records that count do not change, and it holds
// nothing of the store between its steps.
type hashing struct {
	view     *View
	revision int64
	// A record at or below the compaction counts if it lives at this revision.
	liveAt int64
	next   store.Revision // the record to go on with
	sum    hash.Hash32
	buf    []byte
}

// newHashing begins to hash the view at revision.
func (v *View) newHashing(revision int64) *hashing {
	h := &hashing{view: v, revision: revision, liveAt: revision, sum: crc32.New(castagnoli)}
	h.sum.Write([]byte("key"))
	if !v.anyLive(revision) {
		// Then all that the compaction leaves counts.
		h.liveAt = min(v.Compacted, revision)
	}
	return h
}

// anyLive says whether there is a key at revision. It is asked where a compaction
// is published, so it walks only where nothing else tells.
func (v *View) anyLive(revision int64) bool {
	if net, ok := v.epochs.since(span{ranged: true, open: true}, revision); ok {
		return v.tree.len() > net
	}
	found := false
	v.tree.ascend("", func(_ string, head *version) bool {
		found = head.liveAt(revision) != nil
		return !found
	})
	return found
}

// Bounds of a step: the bytes of its records, and the revisions it looks at, some
// of which may be gone from the store and still be in its way.
const (
	hashBytes  = 1 << 20
	hashWindow = 4096
)

// step hashes up to n more records and reports whether there are no more.
func (h *hashing) step(n int) (done bool, err error) {
	end := store.Revision{Main: min(h.next.Main+hashWindow, h.revision+1)}
	records := h.view.keyspace.store.Records(h.next, end)
	defer records.Close()
	for bytes := 0; records.Next(); n-- {
		r := records.Revision()
		if h.next = r; n == 0 || bytes > hashBytes {
			return false, nil
		}
		record, err := records.Value()
		bytes += len(record)
		if err == nil {
			err = h.add(r, records.Tombstone(), record)
		}
		if err != nil {
			return false, fmt.Errorf("mvcc: hash: revision %d.%d: %w", r.Main, r.Sub, err)
		}
	}
	if err := records.Close(); err != nil {
		return false, fmt.Errorf("mvcc: hash: %w", err)
	}
	h.next = end
	return end.Main > h.revision, nil
}

// add takes a record in, if it counts.
func (h *hashing) add(r store.Revision, tombstone bool, record []byte) error {
	if r.Main <= h.view.Compacted {
		if tombstone {
			return nil
		}
		kv, err := decodeKeyValue(record)
		if err != nil {
			return err
		}
		if v := h.view.tree.get(view(kv.key)).liveAt(h.liveAt); v == nil || v.revision() != r {
			return nil
		}
	}
	h.buf = hashRecord(h.sum, h.buf, r, tombstone, record)
	return nil
}

func (h *hashing) result() Hash {
	return Hash{Hash: h.sum.Sum32(), Revision: h.revision, Compacted: h.view.Compacted}
}

// keptHashes is how many compactions' hashes are kept.
const keptHashes = 10

// hashes are what the last compactions have left behind, for anybody to ask.
type hashes struct {
	mu struct {
		sync.Mutex
		kept []Hash // oldest first
		// coming are the views, under the compaction before, of compactions that
		// are not hashed yet, by their revisions.
		coming map[int64]*View
	}
}

// find returns the hash that the compaction at revision has left, or the view
// that it will be taken of; nil for neither.
func (h *hashes) find(revision int64) (*Hash, *View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.mu.kept) - 1; i >= 0; i-- {
		if one := h.mu.kept[i]; one.Revision == revision {
			return &one, nil
		}
	}
	return nil, h.mu.coming[revision]
}

func (h *hashes) expect(revision int64, v *View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.coming == nil {
		h.mu.coming = map[int64]*View{}
	}
	h.mu.coming[revision] = v
}

func (h *hashes) keep(one Hash) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mu.coming, one.Revision)
	h.mu.kept = append(h.mu.kept, one)
	if n := len(h.mu.kept) - keptHashes; n > 0 {
		h.mu.kept = slices.Delete(h.mu.kept, 0, n)
	}
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
