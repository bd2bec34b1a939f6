package mvcc

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/errs"
	"etcd.alt/internal/store"
)

// Changes reads the history out of the store: it calls fn for each change from
// revision from on, in order, and no further than the view goes. A walk ends
// between two revisions: after so many of them, once it has read so many bytes of
// records, or when fn has returned false. next is the revision to go on with.
//
// A Change that fn is given, its record and key included, holds during the call.
// Errors: errs.Compacted where history from there on is not whole any more, a
// failure of the store, store.ErrReplaced among them.
func (v *View) Changes(from int64, revisions, bytes int, fn func(*Change) bool) (next int64, err error) {
	if from > v.Revision {
		return from, nil
	}
	last := min(v.Revision, from+int64(revisions)-1)
	records := v.keyspace.store.Records(store.Revision{Main: from}, store.Revision{Main: last + 1})
	defer records.Close()
	// The cursor sees one moment of the store. What was swept by then is not in it.
	if from < v.Compacted || from < v.keyspace.sweeping.Load() {
		return 0, errs.Compacted
	}
	var c Change
	for more := true; records.Next(); {
		r := records.Revision()
		if r.Main > c.Revision.Main && (!more || bytes <= 0) {
			return r.Main, nil
		}
		record, err := records.Value()
		var key []byte
		if err == nil {
			key, err = keyOf(record)
		}
		if err != nil {
			return 0, fmt.Errorf("mvcc: change %v: %w", r, err)
		}
		c = Change{Revision: r, Tombstone: records.Tombstone(), Record: record, key: view(key)}
		bytes -= len(record)
		more = fn(&c) && more
	}
	if err := records.Close(); err != nil {
		return 0, fmt.Errorf("mvcc: changes from revision %d: %w", from, err)
	}
	return last + 1, nil
}

// keyOf is the key in a record. It aliases the record.
func keyOf(record []byte) ([]byte, error) {
	if f, typ, n := protowire.ConsumeTag(record); f == fieldKey && typ == protowire.BytesType {
		if key, m := protowire.ConsumeBytes(record[n:]); m >= 0 {
			return key, nil
		}
	}
	return nil, errRecord
}

// Creates says whether the change made a key that was not there.
func (c *Change) Creates() bool {
	if c.Tombstone {
		return false
	}
	if c.version != nil {
		return c.version.create == c.version.main
	}
	kv, err := decodeKeyValue(c.Record)
	return err == nil && kv.create == kv.mod
}

// Previous is the record that a change's key had at the revision before the
// change's. It is nil where the key was not there, where the change creates it,
// and where a compaction has given that up. It may read the disk. Its error is a
// failure of the store.
func (v *View) Previous(c *Change) ([]byte, error) {
	before := c.Revision.Main - 1
	if before < v.Compacted || c.Creates() {
		return nil, nil
	}
	head := c.version // what the update made knows its own past
	if head == nil {
		head = v.tree.get(c.key)
	}
	old := head.liveAt(before)
	if old == nil {
		return nil, nil
	}
	record, err := v.keyspace.load(old)
	switch {
	case errors.Is(err, store.ErrNotFound) && before < v.keyspace.sweeping.Load():
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("mvcc: what %v has replaced: %w", c.Revision, err)
	}
	return record, nil
}
