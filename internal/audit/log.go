package audit

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// waiting is how many records may wait for the disk.
	waiting = 8192
	// flushEvery is how long a record may wait in memory, and how often is looked
	// whether the file is still the one that the path names.
	flushEvery = time.Second
)

// Log is a file of records. Note may be called by anybody.
type Log struct {
	path    string
	logger  *zap.Logger
	records chan Record
	dropped atomic.Uint64
	stop    chan struct{}
	once    sync.Once
	done    sync.WaitGroup

	// The writer's.
	file    *os.File
	out     *bufio.Writer
	line    []byte
	lines   uint64 // in out, about: no fewer than are
	failing bool
	told    uint64 // of dropped
}

// Open appends to the file at path, which is made where it is not there, for its owner
// alone to read. Close must be called.
func Open(path string, logger *zap.Logger) (*Log, error) {
	if logger == nil {
		logger = zap.NewNop()
	}
	l := &Log{path: path, logger: logger, records: make(chan Record, waiting), stop: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, err
	}
	l.done.Go(l.routineWrite)
	return l, nil
}

func (l *Log) open() error {
	// A pipe that nobody reads is an error, not something to wait for.
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ENXIO) {
		if info, statErr := os.Stat(l.path); statErr == nil && info.Mode()&os.ModeNamedPipe != 0 {
			return fmt.Errorf("%s: nobody reads this pipe", l.path)
		}
	}
	if err != nil {
		return err
	}
	l.file, l.out = f, bufio.NewWriterSize(timely{f}, 64<<10)
	// What was written when the disk was full may have no end.
	last := []byte{'\n'}
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() && l.failing {
		last[0] = 0 // nor what a pipe took
	} else if err == nil && info.Size() > 0 {
		if r, err := os.Open(l.path); err == nil {
			_, _ = r.ReadAt(last, info.Size()-1)
			r.Close()
		}
	}
	if last[0] != '\n' {
		_ = l.out.WriteByte('\n') // into memory
	}
	return nil
}

// timely is a file that is given up where it does not take what is written: a pipe that
// is open and that nobody reads would hold up whoever closes the log.
type timely struct{ *os.File }

func (f timely) Write(b []byte) (int, error) {
	_ = f.SetWriteDeadline(time.Now().Add(flushEvery)) // a file on a disk has none
	return f.File.Write(b)
}

// Note has a record written, soon. It never waits: where too many do, the record is
// dropped. The record's slices are the log's from here on.
func (l *Log) Note(r Record) {
	select {
	case l.records <- r:
	default:
		l.dropped.Add(1)
	}
}

// Dropped is how many records came to nothing.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes what waits. Nobody calls Note any more.
func (l *Log) Close() error {
	l.once.Do(func() { close(l.stop) })
	l.done.Wait()
	if l.file == nil {
		return nil
	}
	if err := l.out.Flush(); err != nil {
		l.failed(err)
		return err
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *Log) routineWrite() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-l.records:
			l.write(&r)
		case <-tick.C:
			l.tend()
		case <-l.stop:
			for {
				select {
				case r := <-l.records:
					l.write(&r)
				default:
					return
				}
			}
		}
	}
}

func (l *Log) write(r *Record) {
	if l.file == nil {
		l.dropped.Add(1)
		return
	}
	l.line = r.appendTo(l.line[:0])
	if len(l.line) > l.out.Available() {
		l.flush()
		if l.file == nil {
			l.dropped.Add(1)
			return
		}
	}
	l.lines++
	if _, err := l.out.Write(l.line); err != nil {
		l.failed(err)
	}
}

// flush brings the lines to the file.
func (l *Log) flush() {
	if err := l.out.Flush(); err != nil {
		l.failed(err)
		return
	}
	l.lines = 0
}

// tend brings the lines to the file, and follows the path where the file was moved
// away, as those do who rotate logs.
func (l *Log) tend() {
	if l.file != nil {
		l.flush()
	}
	if l.file == nil || !l.current() {
		if l.file != nil {
			l.file.Close() // it is flushed
		}
		l.file = nil
		if err := l.open(); err != nil {
			l.failed(err)
			return
		}
	}
	if n := l.dropped.Load(); n != l.told {
		l.logger.Warn("records of the audit log were dropped", zap.Uint64("dropped", n-l.told), zap.Uint64("dropped-in-all", n))
		l.told = n
	}
	l.failing = false
}

// current says whether the path still names the file.
func (l *Log) current() bool {
	there, err := os.Stat(l.path)
	if err != nil {
		return false
	}
	own, err := l.file.Stat()
	return err == nil && os.SameFile(there, own)
}

// failed gives the file up, to be opened anew; what was in its buffer is lost.
func (l *Log) failed(err error) {
	if !l.failing {
		l.failing = true
		l.logger.Error("the audit log cannot be written", zap.Error(fmt.Errorf("--audit-log: %w", err)))
	}
	l.dropped.Add(l.lines)
	l.lines = 0
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
