package store

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Logger takes what the engine has to say to an operator. It must not block.
type Logger interface {
	Infof(format string, args ...any)
	Errorf(format string, args ...any)
}

// Options say where a store lies and what it may use.
type Options struct {
	FS  vfs.FS // the disk; vfs.Default when nil
	Dir string // the directory of the store

	Logger Logger // nil: the engine is silent

	MemTableBytes uint64 // 16 MiB when 0
	CacheBytes    int64  // of blocks; 16 MiB when 0: values that are read often have a cache above this room

	// OnFatal hears, once, that the engine has failed and this member has to stop: a background write failed (a full disk; the
	// free-space watch should have refused writes long before), a table is corrupt, or the engine gave up. It is called on a
	// goroutine of the engine, which then parks for ever; it must not call the store and must return.
	OnFatal func(error)

	// OnFlush hears that a flush has ended, so that DurableApplied is worth reading. It is called on a goroutine of the engine, under
	// the engine's lock: it must not call the store, and must return at once. A send into a channel of capacity 1, dropped if full,
	// is what it is made for.
	OnFlush func()

	// AroundCommit, if set, runs the Commit of each batch that holds something: it calls commit once and returns its error. For whoever
	// keeps the time. It may be called from several goroutines.
	AroundCommit func(commit func() error) error

	// ReadOnly opens a store, a checkpoint say, that nobody writes. It must exist.
	ReadOnly bool

	// DisableAutomaticCompactions is for the simulator, which calls Compact: no background work starts but flushes.
	DisableAutomaticCompactions bool
}

const (
	defaultMemTableBytes = 16 << 20
	defaultCacheBytes    = 32 << 20

	// memTableStop is how many full memtables may add up before the engine stalls writes: one that is written, one that is flushed,
	// and two that a slow disk may owe.
	memTableStop = 4

	// l0Stop is at how many overlapping tables of level 0 the engine stalls writes. Records do not overlap; only the spaces do.
	l0Stop = 24

	// engineFormat pins the format of the engine's files, so that an upgrade of the library does not change them by itself.
	engineFormat = pebble.FormatValueSeparation
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	return o
}

// engineOptions are the engine's settings, and why.
func (s *Store) engineOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                          s.opts.FS,
		Logger:                      engineLogger{s},
		DisableWAL:                  true, // the raft log is the log
		FormatMajorVersion:          engineFormat,
		MemTableSize:                s.opts.MemTableBytes,
		MemTableStopWritesThreshold: memTableStop,
		CacheSize:                   s.opts.CacheBytes,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       l0Stop,
		ReadOnly:                    s.opts.ReadOnly,
		ErrorIfNotExists:            s.opts.ReadOnly,
		DisableAutomaticCompactions: s.opts.DisableAutomaticCompactions,
		DisableTableStats:           s.opts.DisableAutomaticCompactions, // they are loaded by a goroutine of their own
		EventListener: &pebble.EventListener{
			BackgroundError: s.backgroundError,
			CompactionEnd:   s.compactionEnded,
			DataCorruption:  func(info pebble.DataCorruptionInfo) { s.fatal(fmt.Errorf("corrupt table: %v", info)) },
			FlushEnd:        s.flushEnded,
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { s.stalled.Store(true) },
			WriteStallEnd:   func() { s.stalled.Store(false) },
		},
	}
	// A flush is a few tables, moved down as they are: larger ones keep their number small, for a store of 8 GB at about a thousand.
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = min(int64(8<<20)<<i, 64<<20)
	}
	o.FlushSplitBytes = 16 << 20
	// Tables end where the records and where their entries begin. Without this the first of each flush share a table with the applied
	// record and the leases, and are rewritten with them.
	o.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		switch {
		case len(start) == 0 || start[0] < entryPrefix:
			return pebble.SpanPolicy{}, []byte{entryPrefix}, nil
		case start[0] < recordPrefix:
			return pebble.SpanPolicy{}, []byte{recordPrefix}, nil
		}
		return pebble.SpanPolicy{}, nil, nil
	}
	// Values are looked up by key alone and never many times: a compaction for the sake of reads gains nothing.
	o.Experimental.ReadSamplingMultiplier = -1
	// Snappy halves what objects of the usual kind (protobuf, JSON, YAML) take, at a cost below that of writing them; the heavier
	// ones would be paid at every flush, on the cores that serve requests.
	// Blocks stay at the engine's 4 KiB: with 16 a read that misses the cache costs three times as much, and a scan gains nothing.
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	return o
}

func (s *Store) flushEnded(info pebble.FlushInfo) {
	s.flushErr.Store(&info.Err)
	s.flushes.Add(1)
	s.unsampled.Store(int64(s.opts.MemTableBytes / 16)) // the next commit asks anew
	if s.opts.OnFlush != nil {
		s.opts.OnFlush()
	}
}

// backgroundError hears of a failed flush after flushEnded has, which by itself cannot tell: a flush of nothing "fails" too. What else
// it hears of, a statfs that failed, is for the log.
func (s *Store) backgroundError(err error) {
	if flush := s.flushErr.Load(); flush != nil && *flush != nil && errors.Is(err, *flush) {
		s.fatal(fmt.Errorf("flush: %w", err))
	}
	engineLogger{s}.Errorf("background error: %v", err)
}

func (s *Store) compactionEnded(info pebble.CompactionInfo) {
	if info.Err != nil && !errors.Is(info.Err, pebble.ErrCancelledCompaction) {
		s.fatal(fmt.Errorf("compaction: %w", info.Err))
	}
}

// fatal ends the store and parks the goroutine of the engine that met the error: the engine must not go on, and must not exit the
// process in our name. Without this a flush that fails is tried again a hundred thousand times a second.
func (s *Store) fatal(err error) {
	s.die(err, true)
	select {}
}

// engineLogger gives the engine's words to ours. The engine's Fatalf never returns.
type engineLogger struct{ store *Store }

func (l engineLogger) Infof(format string, args ...any) {
	if l.store.opts.Logger != nil {
		l.store.opts.Logger.Infof(format, args...)
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	if l.store.opts.Logger != nil {
		l.store.opts.Logger.Errorf(format, args...)
	}
}

func (l engineLogger) Fatalf(format string, args ...any) { l.store.fatal(fmt.Errorf(format, args...)) }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
