package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// ErrNotFound is returned by Record for a revision that has no record.
var ErrNotFound = errors.New("store: no record at this revision")

// reader has the methods of a Store that read. They may be called from any goroutine.
type reader struct {
	source pebble.Reader
	enter  func() error // to be left again if it is nil
	leave  func()
	alive  func() error
}

// Record reads one record into buf, which may be nil, and returns the value there or, if buf is too small, in a new slice.
func (r *reader) Record(rev Revision, buf []byte) (value []byte, tombstone bool, err error) {
	var key [recordKeyBytes + 1]byte
	// The index leads to live records; a tombstone is asked for by few, and costs a second look.
	for _, tombstone := range [...]bool{false, true} {
		value, ok, err := r.get(appendRecordKey(key[:0], rev, tombstone), buf)
		if err != nil {
			return nil, false, fmt.Errorf("store: read record %v: %w", rev, err)
		}
		if ok {
			return value, tombstone, nil
		}
	}
	return nil, false, ErrNotFound
}

// Get reads a record of a space. The value belongs to the caller.
func (r *reader) Get(s Space, key []byte) (value []byte, ok bool, err error) {
	var buf [64]byte
	value, ok, err = r.get(appendSpaceKey(buf[:0], s, key), nil)
	if err != nil {
		return nil, false, fmt.Errorf("store: read %q of space %q: %w", key, byte(s), err)
	}
	return value, ok, nil
}

// Meta reads a meta record. The value belongs to the caller.
func (r *reader) Meta(name string) (value []byte, ok bool, err error) {
	return r.Get(spaceMeta, []byte(name))
}

func (r *reader) get(key, buf []byte) (value []byte, ok bool, err error) {
	if err := r.enter(); err != nil {
		return nil, false, err
	}
	defer r.leave()
	v, closer, err := r.source.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append(buf[:0], v...)
	if value == nil {
		value = []byte{}
	}
	return value, true, closer.Close()
}

// Cursor walks over keys in ascending order: for c.Next() { ... }; c.Close(). It sees the state of the moment in which it was made,
// holds on to it on disk and in memory until Close, and belongs to one goroutine.
type Cursor struct {
	iter    *pebble.Iterator
	reader  *reader
	started bool
	err     error
}

// cursor makes a cursor over the keys from ≤ key < to.
func (r *reader) cursor(from, to []byte, durable bool) Cursor {
	if err := r.enter(); err != nil {
		return Cursor{err: err}
	}
	iter, err := r.source.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to, OnlyReadGuaranteedDurable: durable})
	if err != nil {
		r.leave()
	}
	return Cursor{iter: iter, reader: r, err: err}
}

// Next moves to the next key, the first one at first. It returns false at the end and after an error, which Close returns.
func (c *Cursor) Next() bool {
	if c.err == nil {
		c.err = c.reader.alive()
	}
	switch {
	case c.err != nil:
		return false
	case c.started:
		return c.iter.Next()
	}
	c.started = true
	return c.iter.First()
}

// Value returns the value here, valid until the next call of a method. It is read from disk only when asked for.
func (c *Cursor) Value() ([]byte, error) {
	value, err := c.iter.ValueAndErr()
	if err != nil {
		return nil, fmt.Errorf("store: read value: %w", err)
	}
	return value, nil
}

// Close ends the cursor and returns the error that ended the walk, if one did. Further calls do nothing.
func (c *Cursor) Close() error {
	if c.iter != nil {
		if err := c.iter.Close(); err != nil && c.err == nil {
			c.err = fmt.Errorf("store: scan: %w", err)
		}
		c.iter = nil
		c.reader.leave()
	}
	return c.err
}

// Records is a Cursor over records or their entries.
type Records struct {
	Cursor
	revision  Revision
	tombstone bool
}

// Records returns a cursor over the records from ≤ revision < to in the order of their revisions. A to of zero is the end.
func (r *reader) Records(from, to Revision) *Records {
	end := []byte{recordEnd}
	if to != (Revision{}) {
		end = appendRecordKey(nil, to, false)
	}
	return &Records{Cursor: r.cursor(appendRecordKey(nil, from, false), end, false)}
}

// Entries returns a cursor over the entries of the records from ≤ revision < to, likewise.
func (r *reader) Entries(from, to Revision) *Records {
	end := []byte{entryPrefix + 1}
	if to != (Revision{}) {
		end = appendEntryKey(nil, to, false)
	}
	return &Records{Cursor: r.cursor(appendEntryKey(nil, from, false), end, false)}
}

// Next moves to the next record.
func (c *Records) Next() bool {
	if !c.Cursor.Next() {
		return false
	}
	c.revision, c.tombstone, c.err = parseRecordKey(c.iter.Key())
	return c.err == nil
}

// Revision returns the revision of the record here.
func (c *Records) Revision() Revision { return c.revision }

// Tombstone reports whether the record here is one.
func (c *Records) Tombstone() bool { return c.tombstone }

// LastRecord returns the newest revision that has a record; ok is false if there is none.
func (r *reader) LastRecord() (rev Revision, ok bool, err error) {
	c := r.cursor([]byte{recordPrefix}, []byte{recordEnd}, false)
	if c.err == nil && c.iter.Last() {
		rev, _, err = parseRecordKey(c.iter.Key())
		ok = err == nil
	}
	return rev, ok, errors.Join(err, c.Close())
}

// SpaceCursor is a Cursor over the records of a space.
type SpaceCursor struct{ Cursor }

// Space returns a cursor over the records of a space in the order of their keys, beginning with the first that is ≥ from.
func (r *reader) Space(s Space, from []byte) *SpaceCursor {
	return &SpaceCursor{r.cursor(appendSpaceKey(nil, s, from), []byte{byte(s) + 1}, false)}
}

// Key returns the key here, without its space, valid until Next.
func (c *SpaceCursor) Key() []byte { return c.iter.Key()[1:] }

// meta returns a cursor over one meta record, of the durable state or of the newest.
func (r *reader) meta(name string, durable bool) *SpaceCursor {
	key := appendSpaceKey(nil, spaceMeta, []byte(name))
	return &SpaceCursor{r.cursor(key, append(key[:len(key):len(key)], 0), durable)}
}

// ReadRecords reads the records of live versions, whose revisions ascend, and
// calls fn for each with its place in revs; the value is valid during the call.
// It costs less than asking for each by itself.
func (r *reader) ReadRecords(revs []Revision, fn func(i int, value []byte)) error {
	c := r.cursor([]byte{recordPrefix}, []byte{recordEnd}, false)
	var key [recordKeyBytes + 1]byte
	for i, rev := range revs {
		if c.err != nil {
			break
		}
		want := appendRecordKey(key[:0], rev, false)
		if !c.iter.SeekGE(want) || !bytes.Equal(c.iter.Key(), want) {
			if c.err = c.iter.Error(); c.err == nil {
				c.err = ErrNotFound
			}
			break
		}
		value, err := c.iter.ValueAndErr()
		if c.err = err; err == nil {
			fn(i, value)
		}
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("store: read %d records: %w", len(revs), err)
	}
	return nil
}
