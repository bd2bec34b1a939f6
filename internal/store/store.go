package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrDead is returned (wrapped, with the reason) by every call after the engine has failed for good.
var ErrDead = errors.New("store: the engine has failed")

// ErrNewerFormat is returned (wrapped) by Open for a store that a later version of this program has written.
var ErrNewerFormat = errors.New("store: written by a later version")

// Store is an open store. Reads may be called from any goroutine; batches, Flush, StartFlush and Checkpoint too, but that
// one goroutine applies is what gives Applied its meaning.
type Store struct {
	reader
	opts  Options
	db    *pebble.DB
	users users

	dirty     atomic.Bool  // something was committed since the last flush was started
	unsampled atomic.Int64 // bytes committed since the engine was last asked how full it is
	tight     atomic.Bool  // what it said
	stalled   atomic.Bool
	flushes   atomic.Uint64         // that have ended
	flushErr  atomic.Pointer[error] // of the last flush

	death struct {
		sync.Once
		signal chan struct{} // closed once err is set
		err    error
	}
}

// Open opens the store in o.Dir, or makes one if there is none. The format version is checked; whose store it is, is for the caller to
// check with Identity. The engine locks the directory against other processes.
func Open(o Options) (*Store, error) {
	s := &Store{opts: o.withDefaults()}
	s.death.signal = make(chan struct{})
	db, err := pebble.Open(s.opts.Dir, s.engineOptions())
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", s.opts.Dir, err)
	}
	s.db = db
	s.users.idle = make(chan struct{})
	s.reader = reader{source: db, enter: s.enter, leave: s.users.leave, alive: s.alive}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", s.opts.Dir, err), db.Close())
	}
	s.sample()
	return s, nil
}

// Exists reports whether dir holds a store.
func Exists(fs vfs.FS, dir string) (bool, error) {
	if _, err := fs.Stat(dir); err != nil {
		if isNotExist(err) {
			return false, nil
		}
		return false, fmt.Errorf("store: look for %s: %w", dir, err)
	}
	desc, err := pebble.Peek(dir, fs)
	if err != nil {
		return false, fmt.Errorf("store: look for %s: %w", dir, err)
	}
	return desc.Exists, nil
}

// checkFormat refuses a later format, and writes ours, durably, into a store that is new.
func (s *Store) checkFormat() error {
	value, ok, err := s.Meta(metaFormat)
	switch {
	case err != nil:
		return err
	case ok && len(value) != 4:
		return fmt.Errorf("a format version of %d bytes", len(value))
	case ok:
		switch v := binary.BigEndian.Uint32(value); {
		case v > formatVersion:
			return fmt.Errorf("%w: format %d, this program knows up to %d", ErrNewerFormat, v, formatVersion)
		case v < formatVersion:
			return fmt.Errorf("written in format %d, before the first release; this program knows format %d", v, formatVersion)
		}
		return nil
	case s.opts.ReadOnly:
		return errors.New("no format version")
	}
	if c := s.cursor(nil, nil, false); c.Next() {
		return errors.Join(errors.New("records but no format version: not a store of ours"), c.Close())
	} else if err := c.Close(); err != nil {
		return err
	}
	b := s.NewBatch()
	b.SetMeta(metaFormat, binary.BigEndian.AppendUint32(nil, formatVersion))
	if err := b.Commit(); err != nil {
		return err
	}
	return s.Flush()
}

// committed keeps count of what Commit has given to the engine.
func (s *Store) committed(bytes int) {
	s.dirty.Store(true)
	// Asking costs some ten microseconds: once for so many bytes is nothing, and a sixteenth of a memtable is near enough.
	if s.unsampled.Add(int64(bytes)) >= int64(s.opts.MemTableBytes/16) {
		s.sample()
	}
}

// sample asks the engine how near it is to stalling writes.
func (s *Store) sample() {
	if s.enter() != nil {
		return
	}
	defer s.users.leave()
	s.unsampled.Store(0)
	m := s.db.Metrics()
	// The engine stalls when, at a rotation, the memtables add up to the bound. Until we ask again it may rotate once, and in a
	// fresh store, with small memtables, more often: the growth is bounded by two full ones.
	room := int64(memTableStop*s.opts.MemTableBytes) - int64(m.MemTable.Size)
	s.tight.Store(room < 2*int64(s.opts.MemTableBytes) || m.Levels[0].Sublevels >= l0Stop-1)
}

// MayStall reports whether the engine stalls writes now, or a Commit of up to a quarter of a memtable could be made to wait: then it
// should not run where others wait for it. It costs nothing.
func (s *Store) MayStall() bool {
	if s.tight.Load() && s.unsampled.Load() >= int64(s.opts.MemTableBytes/16) && s.alive() == nil {
		s.sample() // a flush has ended since
	}
	return s.stalled.Load() || s.tight.Load()
}

// StartFlush begins to make durable all that was committed, and returns before it is. Options.OnFlush hears of the end. It does nothing
// if nothing was committed since the last flush was begun. Where MayStall says so it blocks like a Commit.
func (s *Store) StartFlush() error {
	if err := s.alive(); err != nil || !s.dirty.Load() {
		return err
	}
	_, err := s.startFlush()
	return err
}

func (s *Store) startFlush() (done <-chan struct{}, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.users.leave()
	s.dirty.Store(false)
	done, err = s.db.AsyncFlush()
	if err != nil {
		s.dirty.Store(true)
		return nil, fmt.Errorf("store: flush: %w", err)
	}
	return done, nil
}

// Flush makes durable all that was committed before, and returns when it is.
func (s *Store) Flush() error {
	done, err := s.startFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-s.death.signal:
		return s.death.err
	}
}

// Dir is where the store lies.
func (s *Store) Dir() string { return s.opts.Dir }

// Flushes returns how many flushes have ended. When it has changed, DurableApplied may have.
func (s *Store) Flushes() uint64 { return s.flushes.Load() }

// Checkpoint makes a store in dir, which must not exist, that contains all that was committed before: hard links where the file system
// has them, durable when it returns. Which entry it contains, its own Applied says (open it ReadOnly).
func (s *Store) Checkpoint(dir string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.leave()
	if err := s.Flush(); err != nil {
		return err
	}
	if err := s.db.Checkpoint(dir); err != nil {
		return fmt.Errorf("store: checkpoint %s: %w", dir, err)
	}
	return nil
}

// Compact rewrites the whole store so that deleted records give their space back. The simulator and tests call it, where automatic
// compactions are off.
func (s *Store) Compact() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.leave()
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{recordEnd}, false); err != nil {
		return fmt.Errorf("store: compact: %w", err)
	}
	return nil
}

// DiskBytes returns the bytes of the store's files.
func (s *Store) DiskBytes() (uint64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.users.leave()
	return s.db.Metrics().DiskSpaceUsage(), nil
}

// Work says how much the engine has written since Open, in bytes of tables.
type Work struct{ Flushed, Compacted, Moved uint64 }

// Work returns what the engine has written.
func (s *Store) Work() (w Work) {
	if s.enter() != nil {
		return w
	}
	defer s.users.leave()
	for _, level := range s.db.Metrics().Levels {
		w.Flushed += level.TableBytesFlushed
		w.Compacted += level.TableBytesCompacted
		w.Moved += level.TableBytesMoved
	}
	return w
}

// Close flushes and closes. All cursors and snapshots must be closed. After the engine has failed it closes nothing: the engine may
// hold its own locks for ever.
func (s *Store) Close() error {
	if err := s.alive(); err != nil {
		return err
	}
	var err error
	if !s.opts.ReadOnly {
		err = s.Flush()
	}
	if s.alive() != nil {
		return err
	}
	err = errors.Join(err, s.db.Close())
	s.die(errors.New("closed"), false)
	return err
}

// enter lets a caller use the engine until s.users.leave, or says why not.
func (s *Store) enter() error {
	if err := s.alive(); err != nil {
		return err
	}
	if !s.users.enter() {
		return s.alive()
	}
	return nil
}

// alive returns why the store cannot be used, or nil.
func (s *Store) alive() error {
	select {
	case <-s.death.signal:
		return s.death.err
	default:
		return nil
	}
}

// die makes every later call fail; the first reason stays. tell says that the owner must hear of it.
func (s *Store) die(reason error, tell bool) {
	s.death.Do(func() {
		s.death.err = fmt.Errorf("%w: %w", ErrDead, reason)
		if tell && s.opts.OnFatal != nil {
			s.opts.OnFatal(s.death.err) // before any caller can see it
		}
		close(s.death.signal)
	})
}
