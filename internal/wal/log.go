package wal

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// Options say where a log lies and whose it is.
type Options struct {
	FS  vfs.FS // the disk; vfs.Default when nil
	Dir string // the directory of the segments; nothing else may live there

	// SegmentBytes is the size at which a new segment is begun; 64 MiB when 0. A batch that is larger than that has a segment of
	// its own.
	SegmentBytes int64

	// KeepFree is how many bytes of the file system Prepare leaves free: a segment made ahead is not worth filling a disk for. 0 does
	// not ask.
	KeepFree int64

	// ClusterID and MemberID are written into every segment and checked by Open.
	ClusterID, MemberID uint64

	// Salt is mixed into the checksums of segments made from now on, so that a client that puts the image of a batch into a value
	// cannot have it taken for one. Production passes a random number; any will do, and it need not be remembered.
	Salt uint64

	// NoSync skips every sync (--unsafe-no-fsync): a power cut may then lose anything, or leave a log that is refused.
	NoSync bool

	// AroundSync, if set, runs each sync: it calls sync once and returns its error. For whoever keeps the time.
	AroundSync func(sync func() error) error

	// AroundWrite, if set, runs each write of a batch, of so many bytes, as AroundSync does a sync.
	AroundWrite func(bytes int, write func() error) error
}

const (
	defaultSegmentBytes = 64 << 20

	// fillStep is how far a segment that was not prepared ahead is zero-filled at a time, so that only the sync after a step has to
	// write the file's size.
	fillStep = 1 << 20

	// keepBuffer is the largest encoding buffer that is kept between two Appends.
	keepBuffer = 8 << 20
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	return o
}

// Log is an open raft log. One goroutine at a time may call it; only Prepare and NeedsPrepare may run beside another call.
type Log struct {
	opts Options
	dir  vfs.File // for syncs of the directory

	segments []segment // oldest first, the active one last
	active   vfs.File
	header   segmentHeader // of the active segment
	seed     uint32        // checksum of that header
	sum      uint32        // header sum of the last batch, else seed: what the next batch chains to
	seq      uint64        // number of the last batch in the active segment
	end      int64         // of the last batch in the active segment
	synced   int64         // the active segment is durable up to here
	filled   int64         // the active segment holds zeros from end to here

	last    Position // the last entry
	floor   uint64   // entries at or below it lie before the origin: they were never in this log
	now     standing
	durable standing // at the last sync
	written uint64   // bytes of batches since the log was opened

	buf      []byte       // the batch being encoded, reused
	writeBuf func() error // writeHere, made once
	failed   error        // the first error that left the disk in an unknown state

	spare spare
}

// standing is what is in force.
type standing struct {
	hard       hardState
	installing bool // there is an Installing record
}

// segment is a file of the log.
type segment struct {
	id   uint64
	prev Position // of its header
	size int64    // of header and batches; of the active segment, end is
}

// Batch is what one Append writes, in the order of the fields.
type Batch struct {
	Entries    []*raftpb.Entry   // consecutive; one at index i discards all ≥ i that the log holds
	HardState  *raftpb.HardState // nil: unchanged
	Installing *Installing       // nil: unchanged
}

// Exists reports whether dir holds a log: at least one segment, in whatever state. A directory that does not exist holds none.
func Exists(fs vfs.FS, dir string) (bool, error) {
	ids, _, err := listSegments(fs, dir)
	if isNotExist(err) {
		return false, nil
	}
	return len(ids) > 0, err
}

// Clear deletes the log in dir, and nothing that is not the log's. It is for a log that nobody has relied on yet: one whose making was
// cut short.
func Clear(fs vfs.FS, dir string) error {
	ids, temps, err := listSegments(fs, dir)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wal: clear %s: %w", dir, err)
	}
	names := temps
	for _, id := range ids {
		names = append(names, segmentName(id))
	}
	for _, name := range names {
		if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("wal: clear %s: %w", dir, err)
		}
	}
	return nil
}

// Create makes an empty log whose first entry will follow start, with hs in force (nil: the zero HardState). Directory, segment and
// HardState are durable when it returns. hs.Commit may not lie above start.Index. A directory that holds a log is refused with
// ErrNotEmpty.
func Create(o Options, start Position, hs *raftpb.HardState) (*Log, error) {
	o = o.withDefaults()
	hard := plainHardState(hs)
	if hard.commit > start.Index {
		return nil, fmt.Errorf("wal: create %s: Commit %d above the last index %d", o.Dir, hard.commit, start.Index)
	}
	if exists, err := Exists(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("wal: create %s: %w", o.Dir, err)
	} else if exists {
		return nil, fmt.Errorf("wal: create %s: %w", o.Dir, ErrNotEmpty)
	}
	if err := makeDir(o); err != nil {
		return nil, fmt.Errorf("wal: create %s: %w", o.Dir, err)
	}
	l, err := newLog(o)
	if err != nil {
		return nil, err
	}
	if err = l.removeTemporary(); err == nil {
		err = l.begin(segmentHeader{origin: true, id: 1, prev: start, hard: hard})
	}
	if err != nil {
		l.release()
		return nil, fmt.Errorf("wal: create %s: %w", o.Dir, err)
	}
	return l, nil
}

func newLog(o Options) (*Log, error) {
	dir, err := o.FS.OpenDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("wal: open directory %s: %w", o.Dir, err)
	}
	l := &Log{opts: o, dir: dir}
	l.writeBuf = l.writeHere
	return l, nil
}

// Append writes b as one batch with one write. It is durable after the next Sync. The log keeps nothing of b.
//
// When the active segment is full, the next one is begun first, which syncs. An error from making that segment (a full disk, say)
// leaves the log as it was, and the same Append may be tried again; an error of the write itself, or of a sync, is final. A batch that
// contradicts the log (a gap, an entry at or below Commit, a Commit above the last entry, a Term or Commit that goes back) is refused
// and changes nothing: it is a bug of the caller.
func (l *Log) Append(b Batch) error {
	if l.failed != nil {
		return l.failed
	}
	if len(b.Entries) == 0 && b.HardState == nil && b.Installing == nil {
		return nil
	}
	last, hard, err := l.check(&b)
	if err != nil {
		return fmt.Errorf("wal: append: %w", err)
	}
	length, err := l.encode(&b)
	if err != nil {
		return fmt.Errorf("wal: append: %w", err)
	}
	if l.end > segmentHeaderSize && l.end+int64(len(l.buf)) > l.opts.SegmentBytes {
		if err := l.roll(); err != nil {
			return fmt.Errorf("wal: begin segment %d: %w", l.header.id+1, err)
		}
	}
	if err := l.write(length); err != nil {
		return err
	}
	l.last, l.now.hard = last, hard
	if b.Installing != nil {
		l.now.installing = b.Installing.Index != 0
	}
	return nil
}

// check holds b against the log and returns the last entry and the HardState after it.
func (l *Log) check(b *Batch) (last Position, hard hardState, err error) {
	last, hard = l.last, l.now.hard
	for i, e := range b.Entries {
		index := e.GetIndex()
		switch {
		case i > 0 && index != last.Index+1:
			return last, hard, fmt.Errorf("entry %d follows entry %d", index, last.Index)
		case index > last.Index+1:
			return last, hard, fmt.Errorf("entry %d follows last entry %d", index, last.Index)
		case index <= l.now.hard.commit:
			return last, hard, fmt.Errorf("entry %d is not above Commit %d", index, l.now.hard.commit)
		case index <= l.floor:
			return last, hard, fmt.Errorf("entry %d is not above %d, where the log begins", index, l.floor)
		}
		last = Position{Index: index, Term: e.GetTerm()}
	}
	if b.HardState != nil {
		hard = plainHardState(b.HardState)
		if hard.term < l.now.hard.term || hard.commit < l.now.hard.commit {
			return last, hard, fmt.Errorf("HardState (term %d, commit %d) goes back from (%d, %d)",
				hard.term, hard.commit, l.now.hard.term, l.now.hard.commit)
		}
	}
	if hard.commit > last.Index {
		return last, hard, fmt.Errorf("commit %d above the last entry %d", hard.commit, last.Index)
	}
	return last, hard, nil
}

// encode puts the batch into l.buf: room for the header, payload, padding. It returns the length of the payload.
func (l *Log) encode(b *Batch) (length int64, err error) {
	size := int64(batchHeaderSize + 2*recordPrefix + hardStateBytes + align)
	for _, e := range b.Entries {
		size += recordPrefix + entryPrefix + int64(len(e.Data))
	}
	if b.Installing != nil {
		size += installingBytes(b.Installing)
	}
	if size > MaxBatchBytes {
		return 0, fmt.Errorf("a batch of %d bytes, more than %d", size, MaxBatchBytes)
	}
	if cap(l.buf) > keepBuffer {
		l.buf = nil
	}
	if int64(cap(l.buf)) < size {
		l.buf = make([]byte, 0, size+size/4)
	}
	var blank [batchHeaderSize]byte
	buf := append(l.buf[:0], blank[:]...)
	for _, e := range b.Entries {
		buf = appendEntry(buf, e)
	}
	if b.HardState != nil {
		buf = appendHardState(buf, plainHardState(b.HardState))
	}
	if b.Installing != nil {
		buf = appendInstalling(buf, b.Installing)
	}
	length = int64(len(buf)) - batchHeaderSize
	l.buf = append(buf, blank[:padded(length)-length]...)
	return length, nil
}

// write gives the batch in l.buf its header and writes it behind the last one.
func (l *Log) write(length int64) error {
	size := int64(len(l.buf))
	if l.end+size > l.filled {
		if err := l.fill(l.end + size); err != nil {
			return fmt.Errorf("wal: extend segment %d: %w", l.header.id, err)
		}
	}
	h := batchHeader{
		prev:       l.sum,
		length:     uint32(length),
		segment:    l.header.id,
		seq:        l.seq + 1,
		offset:     l.end,
		synced:     l.synced,
		payloadSum: crc32.Checksum(l.buf[batchHeaderSize:], castagnoli),
	}
	sum := h.encode(l.buf, l.seed)
	if err := l.writeActive(); err != nil {
		return l.fail(fmt.Errorf("wal: write segment %d at offset %d: %w", l.header.id, l.end, err))
	}
	l.sum, l.seq = sum, h.seq
	l.end += size
	l.written += uint64(size)
	if l.end > l.opts.SegmentBytes/2 {
		l.spare.want()
	}
	return nil
}

func (l *Log) writeActive() error {
	if l.opts.AroundWrite != nil {
		return l.opts.AroundWrite(len(l.buf), l.writeBuf)
	}
	return l.writeHere()
}

// writeHere writes the buffer where the last batch ends.
func (l *Log) writeHere() error {
	_, err := l.active.WriteAt(l.buf, l.end)
	return err
}

// fill extends the zeros of the active segment so that at least the bytes up to need are in the file. What the batch itself will
// cover is zeroed too: a write that fails half-way for want of space must not be the one that carries data.
func (l *Log) fill(need int64) error {
	upTo := max(need, min(l.opts.SegmentBytes, l.filled+fillStep))
	if err := writeZeros(l.active, l.filled, upTo); err != nil {
		return err
	}
	l.filled = upTo
	return nil
}

// Sync makes durable what Append wrote (fdatasync; nothing if nothing is unsynced). After one error every later call on the log
// returns that same error; it is never retried.
func (l *Log) Sync() error {
	if l.failed != nil {
		return l.failed
	}
	if l.synced == l.end && !l.opts.NoSync {
		return nil
	}
	if !l.opts.NoSync {
		if plantNoSync {
			// the bug
		} else if err := l.syncActive(); err != nil {
			return l.fail(fmt.Errorf("wal: sync segment %d: %w", l.header.id, err))
		}
		l.synced = l.end // with NoSync it stays where it is: a batch must not vouch for what may be lost
	}
	l.durable = l.now
	return nil
}

func (l *Log) syncActive() error {
	if l.opts.AroundSync != nil {
		return l.opts.AroundSync(l.active.SyncData)
	}
	return l.active.SyncData()
}

// Unsynced returns how many bytes Append wrote since the last Sync. With NoSync it counts from the begin of the segment.
func (l *Log) Unsynced() int64 { return l.end - l.synced }

// Written returns how many bytes Append wrote since the log was opened: a counter, from which a caller computes how much it has
// written since some moment.
func (l *Log) Written() uint64 { return l.written }

// Size returns the bytes of all segments that hold headers and batches, without the zeros ahead.
func (l *Log) Size() int64 {
	size := l.end
	for _, s := range l.segments[:len(l.segments)-1] {
		size += s.size
	}
	return size
}

// Last returns the position of the last entry, or of the entry before the first if there is none.
func (l *Log) Last() Position { return l.last }

// Release says that entries ≤ index may be lost, and deletes the segments that hold nothing else. It is a permission, not an order:
// nothing goes that lies above the Commit of the last synced HardState, the active segment stays, and from an Installing record until the
// sync of what ends it nothing is deleted at all. The HardState always stands in a segment that stays: the active one begins with it.
func (l *Log) Release(index uint64) error {
	if l.failed != nil {
		return l.failed
	}
	if l.now.installing || l.durable.installing {
		return nil // the record, or the one that ends it, would be lost
	}
	index = min(index, l.durable.hard.commit)
	for len(l.segments) > 1 && l.segments[1].prev.Index <= index {
		if err := l.deleteOldest(); err != nil {
			return err
		}
	}
	return nil
}

// Reset discards every entry and begins the log anew after start, as the last step of a snapshot install. Term and Vote stay, Commit
// becomes start.Index, a record Installing is done with. All of that is durable, and the old segments are gone, when it returns. start
// may not lie below Commit. An error is final, except one that says that no new segment could be made.
func (l *Log) Reset(start Position) error {
	if l.failed != nil {
		return l.failed
	}
	if start.Index < l.now.hard.commit {
		return fmt.Errorf("wal: reset to %d below Commit %d", start.Index, l.now.hard.commit)
	}
	old := len(l.segments)
	hard := l.now.hard
	hard.commit = start.Index
	if err := l.begin(segmentHeader{origin: true, id: l.header.id + 1, prev: start, hard: hard}); err != nil {
		return fmt.Errorf("wal: reset: begin segment %d: %w", l.header.id+1, err)
	}
	for range old {
		if err := l.deleteOldest(); err != nil {
			return err
		}
	}
	return nil
}

// Close syncs and seals the log with an empty batch, which vouches for all before it: so that damage done to a stopped member's log is
// told from a torn tail. A Prepare that is running is waited for by nobody: its file is removed when it ends or at the next Open.
func (l *Log) Close() error {
	if errors.Is(l.failed, ErrClosed) {
		return nil
	}
	err := l.Sync()
	if err == nil && l.seq > 0 {
		if _, err = l.encode(&Batch{}); err == nil {
			err = l.write(0)
		}
		if err == nil {
			err = l.Sync()
		}
	}
	l.release()
	l.failed = ErrClosed
	return err
}

// release closes what the log holds open.
func (l *Log) release() {
	if s := l.spare.close(); s != nil {
		s.discard(l.opts)
	}
	if l.active != nil {
		_ = l.active.Close() // everything that matters was synced
		l.active = nil
	}
	_ = l.dir.Close()
}

// fail makes err the answer to every later call.
func (l *Log) fail(err error) error {
	l.failed = err
	return err
}
