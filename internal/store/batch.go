package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that are made together. It belongs to one goroutine, copies what it is given, and is of no use after Commit
// or Discard, one of which must be called. An error of any call is returned by Commit.
type Batch struct {
	store   *Store
	batch   *pebble.Batch
	scratch []byte // for values
	err     error
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{store: s, batch: s.db.NewBatch()} }

// SetRecord writes a record; value is an encoded KeyValue. A revision is written once, as a tombstone or not.
func (b *Batch) SetRecord(r Revision, tombstone bool, value []byte) {
	var key [recordKeyBytes + 1]byte
	b.fail(b.batch.Set(appendRecordKey(key[:0], r, tombstone), value, nil))
}

// SetEntry writes the entry of a record: what is read of it at start, without its value.
func (b *Batch) SetEntry(r Revision, tombstone bool, entry []byte) {
	var key [recordKeyBytes + 1]byte
	b.fail(b.batch.Set(appendEntryKey(key[:0], r, tombstone), entry, nil))
}

// DeleteRecord deletes a record and its entry; tombstone must be what it was written with.
func (b *Batch) DeleteRecord(r Revision, tombstone bool) {
	var key [recordKeyBytes + 1]byte
	b.fail(b.batch.Delete(appendRecordKey(key[:0], r, tombstone), nil))
	b.fail(b.batch.Delete(appendEntryKey(key[:0], r, tombstone), nil))
}

// Set writes a record of a space.
func (b *Batch) Set(s Space, key, value []byte) {
	var buf [64]byte
	b.fail(b.batch.Set(appendSpaceKey(buf[:0], s, key), value, nil))
}

// Delete deletes a record of a space.
func (b *Batch) Delete(s Space, key []byte) {
	var buf [64]byte
	b.fail(b.batch.Delete(appendSpaceKey(buf[:0], s, key), nil))
}

// DeleteSpace deletes all records of a space.
func (b *Batch) DeleteSpace(s Space) {
	b.fail(b.batch.DeleteRange(appendSpaceKey(nil, s, nil), []byte{byte(s) + 1}, nil))
}

// SetMeta writes a meta record.
func (b *Batch) SetMeta(name string, value []byte) {
	var buf [64]byte
	b.fail(b.batch.Set(append(append(buf[:0], byte(spaceMeta)), name...), value, nil))
}

// DeleteMeta deletes a meta record.
func (b *Batch) DeleteMeta(name string) { b.Delete(spaceMeta, []byte(name)) }

// Len returns the number of changes.
func (b *Batch) Len() int { return int(b.batch.Count()) }

// Bytes returns the size of the batch.
func (b *Batch) Bytes() int { return b.batch.Len() }

// Commit applies the batch: reads see it at once, a crash forgets it until a flush has ended. It blocks while the engine stalls
// writes; see MayStall.
func (b *Batch) Commit() error {
	defer b.Discard()
	if b.err != nil {
		return fmt.Errorf("store: batch: %w", b.err)
	}
	if err := b.store.alive(); err != nil {
		return err
	}
	if b.batch.Empty() {
		return nil
	}
	size := b.batch.Len()
	if err := b.apply(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	b.store.committed(size)
	return nil
}

func (b *Batch) apply() error {
	if around := b.store.opts.AroundCommit; around != nil {
		return around(b.applyNow)
	}
	return b.applyNow()
}

func (b *Batch) applyNow() error { return b.store.db.Apply(b.batch, pebble.NoSync) }

// Discard gives the batch up. It may follow Commit.
func (b *Batch) Discard() {
	if b.batch != nil {
		_ = b.batch.Close()
		b.batch = nil
	}
}

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}
