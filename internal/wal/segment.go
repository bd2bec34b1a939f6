package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeCategory names our writes in Pebble's disk statistics.
const writeCategory vfs.DiskWriteCategory = "raft-log"

// zeros is what segments are filled from.
var zeros [256 << 10]byte

// roll ends the active segment and begins the next. The old one is complete on disk before the new one has its name: that is why a bad
// byte in any but the last segment is damage.
func (l *Log) roll() error {
	if err := l.Sync(); err != nil {
		return err
	}
	return l.begin(segmentHeader{
		id: l.header.id + 1, prev: l.last, hard: l.now.hard, beforeEnd: l.end, beforeSum: l.sum,
	})
}

// begin makes the segment that h describes and goes on in it. File, header and name are durable when it returns.
func (l *Log) begin(h segmentHeader) error {
	h.clusterID, h.memberID, h.salt = l.opts.ClusterID, l.opts.MemberID, l.opts.Salt
	s, err := l.spare.take(l.opts)
	if err != nil {
		return err
	}
	header := make([]byte, segmentHeaderSize)
	seed := h.encode(header)
	if _, err := s.file.WriteAt(header, 0); err != nil {
		s.discard(l.opts)
		return err
	}
	// From here on a failure leaves open what the disk holds.
	if err := l.sync(s.file); err != nil {
		return l.fail(err)
	}
	if err := l.opts.FS.Rename(s.path, l.path(h.id)); err != nil {
		return l.fail(err)
	}
	if err := l.sync(l.dir); err != nil {
		return l.fail(err)
	}
	if l.active != nil {
		l.segments[len(l.segments)-1].size = l.end
		_ = l.active.Close() // synced, or of no use any more
	}
	l.segments = append(l.segments, segment{id: h.id, prev: h.prev})
	l.active, l.header, l.seed, l.sum, l.seq = s.file, h, seed, seed, 0
	l.end, l.synced, l.filled = segmentHeaderSize, segmentHeaderSize, max(segmentHeaderSize, s.filled)
	l.last, l.now.hard = h.prev, h.hard
	if h.origin {
		l.floor, l.now.installing = h.prev.Index, false
	}
	l.durable = l.now
	return nil
}

// deleteOldest removes the first segment. The directory is synced after each, so that no crash can leave a gap.
func (l *Log) deleteOldest() error {
	id := l.segments[0].id
	if err := l.opts.FS.Remove(l.path(id)); err != nil && !isNotExist(err) {
		return fmt.Errorf("wal: delete segment %d: %w", id, err)
	}
	l.segments = slices.Delete(l.segments, 0, 1)
	if err := l.sync(l.dir); err != nil {
		return l.fail(fmt.Errorf("wal: sync directory: %w", err))
	}
	return nil
}

func (l *Log) sync(f vfs.File) error {
	if l.opts.NoSync {
		return nil
	}
	return f.Sync()
}

func (l *Log) path(id uint64) string { return l.opts.FS.PathJoin(l.opts.Dir, segmentName(id)) }

// Prepare makes the next segment ahead: a file of SegmentBytes zeros, synced, under a temporary name. It takes as long as writing that
// much does, and may run on another goroutine beside any other call. It does nothing if one is ready or being made. An error (a full
// disk) harms nothing: the log goes on without, and Prepare may be called again. ErrLittleSpace says that it was not tried.
func (l *Log) Prepare() error {
	if !l.opts.roomToPrepare() {
		return ErrLittleSpace
	}
	seq, ok := l.spare.start()
	if !ok {
		return nil
	}
	s, err := makeSpare(l.opts, seq)
	if err == nil {
		err = s.fill(l.opts)
	}
	if keep := l.spare.done(s, err == nil); !keep && s != nil {
		s.discard(l.opts)
	}
	if err != nil {
		return fmt.Errorf("wal: prepare a segment: %w", err)
	}
	return nil
}

// roomToPrepare says whether KeepFree bytes are left beside one more segment. A file system that does not tell is taken to have room.
func (o *Options) roomToPrepare() bool {
	if o.KeepFree == 0 {
		return true
	}
	usage, err := o.FS.GetDiskUsage(o.Dir)
	return err != nil || usage.TotalBytes == 0 || usage.AvailBytes >= uint64(o.KeepFree+o.SegmentBytes)
}

// NeedsPrepare reports whether the active segment is at least half full and no next one is ready or being made.
func (l *Log) NeedsPrepare() bool { return l.spare.needed() }

// spare hands the next segment's file from Prepare to the log: the one thing that two goroutines touch.
type spare struct {
	mu struct {
		sync.Mutex
		made   uint64 // files made so far: each has a name of its own
		wanted bool
		making bool
		closed bool
		ready  *spareFile
	}
}

func (p *spare) want() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.wanted = true
}

func (p *spare) needed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.wanted && !p.mu.making && !p.mu.closed && p.mu.ready == nil
}

// start reserves the making of a spare; ok is false if there is nothing to do.
func (p *spare) start() (seq uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.making || p.mu.closed || p.mu.ready != nil {
		return 0, false
	}
	p.mu.making = true
	p.mu.made++
	return p.mu.made, true
}

// done ends what start began and reports whether s was kept.
func (p *spare) done(s *spareFile, ok bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.making = false
	if !ok || p.mu.closed {
		return false
	}
	p.mu.ready = s
	return true
}

// take returns the prepared file, or an empty one made now: filling 64 MiB here would stop the log for longer than its growing later.
func (p *spare) take(o Options) (*spareFile, error) {
	p.mu.Lock()
	p.mu.wanted = false
	s := p.mu.ready
	p.mu.ready = nil
	p.mu.made++
	seq := p.mu.made
	p.mu.Unlock()
	if s != nil {
		return s, nil
	}
	return makeSpare(o, seq)
}

// close refuses further spares and returns the one that is ready, if any.
func (p *spare) close() *spareFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.closed = true
	s := p.mu.ready
	p.mu.ready = nil
	return s
}

// spareFile is a file that will become a segment.
type spareFile struct {
	path   string
	file   vfs.File
	filled int64 // it holds zeros up to here
}

func makeSpare(o Options, seq uint64) (*spareFile, error) {
	path := o.FS.PathJoin(o.Dir, fmt.Sprintf("spare-%d%s", seq, tempSuffix))
	file, err := o.FS.OpenReadWrite(path, writeCategory)
	if err != nil {
		return nil, err
	}
	return &spareFile{path: path, file: file}, nil
}

// fill writes the zeros and syncs them, so that later syncs of data move no metadata.
func (s *spareFile) fill(o Options) error {
	if err := writeZeros(s.file, 0, o.SegmentBytes); err != nil {
		return err
	}
	if !o.NoSync {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	s.filled = o.SegmentBytes
	return nil
}

// discard closes and removes the file. What cannot be removed goes at the next Open.
func (s *spareFile) discard(o Options) {
	_ = s.file.Close()
	_ = o.FS.Remove(s.path)
}

func writeZeros(f vfs.File, from, to int64) error {
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// listSegments returns the numbers of the segments in dir in ascending order, and the names of temporary files.
func listSegments(fs vfs.FS, dir string) (ids []uint64, temporary []string, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if id, ok := segmentID(name); ok {
			ids = append(ids, id)
		} else if strings.HasSuffix(name, tempSuffix) {
			temporary = append(temporary, name)
		}
	}
	slices.Sort(ids)
	slices.Sort(temporary)
	return ids, temporary, nil
}

// removeTemporary removes what a Prepare left behind.
func (l *Log) removeTemporary() error {
	_, names, err := listSegments(l.opts.FS, l.opts.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := l.opts.FS.Remove(l.opts.FS.PathJoin(l.opts.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes the log's directory and those above it, each durable in its parent.
func makeDir(o Options) error {
	var parents []string // of directories that do not exist yet, innermost first
	for dir := o.Dir; ; dir = o.FS.PathDir(dir) {
		if _, err := o.FS.Stat(dir); err == nil {
			break
		} else if !isNotExist(err) {
			return err
		}
		parents = append(parents, o.FS.PathDir(dir))
	}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if o.NoSync {
			break
		}
		dir, err := o.FS.OpenDir(parent)
		if err != nil {
			return err
		}
		err = dir.Sync()
		if err := errors.Join(err, dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
