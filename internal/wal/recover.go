package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// Recovered is what Open found. It belongs to the caller.
type Recovered struct {
	Prev       Position          // the entry before the first
	Entries    []*raftpb.Entry   // consecutive
	HardState  *raftpb.HardState // in force; never nil
	Installing *Installing       // an install that neither Reset nor another Installing ended; else nil
	Cut        *TornTail         // a torn tail that was erased; else nil
}

// TornTail says what a crash had left behind the last good batch: for one log line.
type TornTail struct {
	File   string
	Offset int64 // of the first byte erased
	Bytes  int64 // from there to the last byte that was not zero
}

// Open recovers the log in o.Dir. All that it returns is durable. A torn tail is erased; damage is refused with a *CorruptError, a log
// of another member with an *IdentityError, one of a later version with a *NewerFormatError, an empty directory with ErrNoLog. That
// the log fits the store (the durable applied index lies in it) is for the caller to check. Memory taken is in proportion to the
// entries that are returned.
func Open(o Options) (*Log, *Recovered, error) {
	o = o.withDefaults()
	ids, _, err := listSegments(o.FS, o.Dir)
	if err != nil && !isNotExist(err) {
		return nil, nil, fmt.Errorf("wal: open %s: %w", o.Dir, err)
	}
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("wal: open %s: %w", o.Dir, ErrNoLog)
	}
	l, err := newLog(o)
	if err != nil {
		return nil, nil, err
	}
	r := &recovery{log: l}
	if err := r.run(ids); err != nil {
		l.release()
		return nil, nil, err
	}
	return l, &Recovered{
		Prev: r.prev, Entries: r.entries, HardState: l.now.hard.message(), Installing: r.installing, Cut: r.cut,
	}, nil
}

// recovery rebuilds a Log's fields from its segments, in the order in which they were written.
type recovery struct {
	log        *Log
	prev       Position
	entries    []*raftpb.Entry
	installing *Installing
	cut        *TornTail
}

// scan is a segment being read.
type scan struct {
	path   string
	header segmentHeader
	seed   uint32
	window window
}

func (r *recovery) run(ids []uint64) error {
	scans, err := r.readHeaders(ids)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range scans {
			if s.window.file != nil {
				_ = s.window.file.Close()
			}
		}
	}()
	origin := 0
	for i, s := range scans {
		if s.header.origin {
			origin = i
		}
	}
	for i, s := range scans[origin:] {
		last := origin+i == len(scans)-1
		if err := r.segment(s, i == 0, last); err != nil {
			return err
		}
	}
	l := r.log
	if l.now.hard.commit > l.last.Index {
		return &CorruptError{File: scans[len(scans)-1].path, Offset: l.end,
			Reason: fmt.Sprintf("the log ends with entry %d, below Commit %d", l.last.Index, l.now.hard.commit)}
	}
	l.now.installing = r.installing != nil
	// What was read may so far be in the page cache only. From here on batches will vouch for it.
	if err := l.settle(); err != nil {
		return fmt.Errorf("wal: open segment %d: %w", l.header.id, err)
	}
	for range origin { // what a Reset had not yet deleted
		if err := l.deleteOldest(); err != nil {
			return err
		}
	}
	if err := l.removeTemporary(); err != nil {
		return fmt.Errorf("wal: remove temporary files: %w", err)
	}
	return nil
}

// readHeaders opens the segments and checks that each is ours and none is missing.
func (r *recovery) readHeaders(ids []uint64) (scans []*scan, err error) {
	l := r.log
	for i, id := range ids {
		s := &scan{path: l.path(id)}
		if err := s.open(l.opts, id); err != nil {
			closeAll(scans)
			return nil, err
		}
		scans = append(scans, s)
		if i > 0 && id != ids[i-1]+1 && !s.header.origin {
			closeAll(scans)
			return nil, &CorruptError{File: l.path(ids[i-1] + 1), Reason: "the segment is missing"}
		}
		l.segments = append(l.segments, segment{id: id, prev: s.header.prev})
	}
	return scans, nil
}

func closeAll(scans []*scan) {
	for _, s := range scans {
		_ = s.window.file.Close()
	}
}

func (s *scan) open(o Options, id uint64) error {
	file, err := o.FS.OpenReadWrite(s.path, writeCategory)
	if err != nil {
		return fmt.Errorf("wal: open segment %d: %w", id, err)
	}
	if err = s.readHeader(file, o, id); err != nil {
		_ = file.Close()
	}
	return err
}

func (s *scan) readHeader(file vfs.File, o Options, id uint64) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("wal: open segment %d: %w", id, err)
	}
	s.window = window{file: file, size: info.Size()}
	b, err := s.window.bytes(0, min(segmentHeaderSize, info.Size()))
	if err != nil {
		return fmt.Errorf("wal: read segment %d: %w", id, err)
	}
	if s.header, s.seed, err = decodeSegmentHeader(s.path, b); err != nil {
		return err
	}
	if s.header.id != id {
		return &CorruptError{File: s.path, Reason: fmt.Sprintf("the file holds segment %d", s.header.id)}
	}
	if s.header.clusterID != o.ClusterID || s.header.memberID != o.MemberID {
		return &IdentityError{File: s.path, ClusterID: s.header.clusterID, MemberID: s.header.memberID,
			WantedClusterID: o.ClusterID, WantedMemberID: o.MemberID}
	}
	s.window.drop() // the log may have many segments
	return nil
}

// segment reads one segment; first says that nothing before it counts, last that it is the one to go on with.
func (r *recovery) segment(s *scan, first, last bool) error {
	l := r.log
	switch {
	case first:
		r.prev, l.last, l.now.hard = s.header.prev, s.header.prev, s.header.hard
		if s.header.origin {
			l.floor = s.header.prev.Index
		}
	case s.header.beforeEnd != l.end || s.header.beforeSum != l.sum:
		return &CorruptError{File: l.path(s.header.id - 1), Offset: l.end,
			Reason: fmt.Sprintf("the segment should end at offset %d with checksum %08x, its batches end at %d with %08x",
				s.header.beforeEnd, s.header.beforeSum, l.end, l.sum)}
	case s.header.prev != l.last || s.header.hard != l.now.hard:
		return &CorruptError{File: s.path, Reason: fmt.Sprintf("begins after entry %v with HardState %v, but the segment before ends with %v and %v",
			s.header.prev, s.header.hard, l.last, l.now.hard)}
	}
	l.header, l.seed, l.sum, l.seq, l.end = s.header, s.seed, s.seed, 0, segmentHeaderSize
	for {
		ok, err := r.batch(s)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
	}
	l.segments[slices.IndexFunc(l.segments, func(g segment) bool { return g.id == s.header.id })].size = l.end
	if !last {
		s.window.drop()
		return nil // the next segment's header knows where this one ends
	}
	dirty, err := s.tail(l.end)
	if err != nil {
		return err
	}
	l.active, l.filled = s.window.file, max(s.window.size, l.end)
	s.window = window{} // the file belongs to the log now
	if dirty > 0 {
		r.cut = &TornTail{File: s.path, Offset: l.end, Bytes: dirty}
		if err := writeZeros(l.active, l.end, l.end+dirty); err != nil {
			return fmt.Errorf("wal: erase the torn tail of segment %d: %w", l.header.id, err)
		}
	}
	return nil
}

// batch reads the batch at l.end; ok is false if there is none that is whole.
func (r *recovery) batch(s *scan) (ok bool, err error) {
	l := r.log
	if s.window.size-l.end < batchHeaderSize {
		return false, nil
	}
	b, err := s.window.bytes(l.end, batchHeaderSize)
	if err != nil {
		return false, fmt.Errorf("wal: read segment %d: %w", l.header.id, err)
	}
	h, sum, ok := decodeBatchHeader(b, l.seed, l.header.id, l.end)
	if !ok || h.prev != l.sum || h.seq != l.seq+1 {
		return false, nil
	}
	size := padded(int64(h.length))
	if size > MaxBatchBytes || size > s.window.size-l.end-batchHeaderSize {
		return false, nil
	}
	b, err = s.window.bytes(l.end+batchHeaderSize, size)
	if err != nil {
		return false, fmt.Errorf("wal: read segment %d: %w", l.header.id, err)
	}
	if crc32.Checksum(b, castagnoli) != h.payloadSum {
		return false, nil
	}
	if err := r.records(b[:h.length]); err != nil {
		return false, &CorruptError{File: s.path, Offset: l.end, Reason: err.Error()}
	}
	l.sum, l.seq = sum, h.seq
	l.end += batchHeaderSize + size
	return true, nil
}

// records takes over what a batch says.
func (r *recovery) records(payload []byte) error {
	l := r.log
	for len(payload) > 0 {
		rec, rest, err := nextRecord(payload)
		if err != nil {
			return err
		}
		payload = rest
		switch {
		case rec.entry != nil:
			if err := r.entry(rec.entry); err != nil {
				return err
			}
		case rec.hard != nil:
			l.now.hard = *rec.hard
		case rec.installing != nil:
			r.installing = rec.installing
			if rec.installing.Index == 0 {
				r.installing = nil
			}
		}
	}
	return nil
}

// entry adds an entry and discards those at its index and above.
func (r *recovery) entry(e *raftpb.Entry) error {
	l, pos := r.log, Position{Index: e.GetIndex(), Term: e.GetTerm()}
	switch {
	case pos.Index > l.last.Index+1:
		return fmt.Errorf("entry %d follows entry %d", pos.Index, l.last.Index)
	case pos.Index <= l.now.hard.commit:
		return fmt.Errorf("entry %d lies at or below Commit %d", pos.Index, l.now.hard.commit)
	case pos.Index <= l.floor:
		return fmt.Errorf("entry %d lies at or below %d, where the log begins", pos.Index, l.floor)
	case pos.Index <= r.prev.Index:
		// The first segment that is left overwrites entries of one that was released. All up to r.prev were released with it, this
		// one too: it serves as the entry before the first, whose term is known.
		r.prev, r.entries = pos, nil
	default:
		r.entries = append(r.entries[:pos.Index-r.prev.Index-1], e)
	}
	l.last = pos
	return nil
}

// tail looks at what follows the last good batch, which ends at x. It returns how many bytes from x on have to be erased, or the proof
// that something durable is missing: the header of a later batch that says that the segment was durable beyond x. Such a header counts
// by its own checksum, whatever became of the batches before it and of its payload.
func (s *scan) tail(x int64) (dirty int64, err error) {
	for at := x; at < s.window.size; {
		b, err := s.window.bytes(at, min(windowBytes, s.window.size-at))
		if err != nil {
			return 0, fmt.Errorf("wal: read segment %d: %w", s.header.id, err)
		}
		n := len(b)
		if at+int64(n) < s.window.size {
			n -= batchHeaderSize // a header that begins there may not be whole in b: the next round has it
		}
		for i := 0; i < n; i += align {
			if isZero(b[i:min(i+align, len(b))]) {
				continue
			}
			dirty = min(at+int64(i)+align, s.window.size) - x
			if len(b)-i < batchHeaderSize {
				continue
			}
			if h, _, ok := decodeBatchHeader(b[i:][:batchHeaderSize], s.seed, s.header.id, at+int64(i)); ok && h.synced > x {
				return 0, &CorruptError{File: s.path, Offset: x, Reason: fmt.Sprintf(
					"no whole batch here, but the batch at offset %d was written when all up to %d was durable", h.offset, h.synced)}
			}
		}
		at += int64(n)
	}
	return dirty, nil
}

// isZero looks at the eight bytes, or the few at the end of a file, where a batch might begin.
func isZero(b []byte) bool {
	if len(b) == align {
		return binary.LittleEndian.Uint64(b) == 0
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// settle makes the recovered log durable: content and name of the active segment, after a torn tail was erased.
func (l *Log) settle() error {
	if err := l.sync(l.active); err != nil {
		return err
	}
	if err := l.sync(l.dir); err != nil {
		return err
	}
	l.synced, l.durable = l.end, l.now
	if l.opts.NoSync {
		l.synced = segmentHeaderSize
	}
	return nil
}

// window reads a file through a buffer that moves forward.
type window struct {
	file vfs.File
	size int64
	at   int64 // offset of buf
	buf  []byte
}

const windowBytes = 1 << 20

// bytes returns n bytes from off, which must lie inside the file. They are valid until the next call.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < w.at || off+n > w.at+int64(len(w.buf)) {
		if err := w.read(off, n); err != nil {
			return nil, err
		}
	}
	return w.buf[off-w.at:][:n], nil
}

func (w *window) read(off, n int64) error {
	n = min(max(n, windowBytes), w.size-off)
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.at, w.buf = off, w.buf[:n]
	got, err := w.file.ReadAt(w.buf, off)
	if int64(got) == n || errors.Is(err, io.EOF) && int64(got) == n {
		return nil
	}
	w.buf = w.buf[:0]
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// drop gives the buffer back.
func (w *window) drop() { w.at, w.buf = 0, nil }
