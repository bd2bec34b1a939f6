package cert

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// follower keeps what the files held when they were last good.
type follower struct {
	files  Files
	made   *SelfSigned // what the pair is made by; nil: it was given
	logger *zap.Logger

	mu struct {
		sync.Mutex
		good       *material
		generation int   // counts the goods
		seen       stamp // the state of the files that was read last
		settled    bool  // seen cannot stand for anything else any more
		complaint  string
	}
}

// follow reads the files, which must be good to begin with. made, if it is not
// nil, makes the pair.
func follow(files Files, made *SelfSigned, logger *zap.Logger) (*follower, error) {
	if logger == nil {
		logger = zap.NewNop()
	}
	f := &follower{files: files.withDefaults(), made: made, logger: logger}
	if made != nil {
		f.files.Cert, f.files.Key = made.paths()
		if err := made.ensure(time.Now()); err != nil {
			return nil, err
		}
	}
	if err := f.files.paired(); err != nil {
		return nil, err
	}
	now, seen := time.Now(), f.files.look()
	good, err := f.files.load()
	if err != nil {
		return nil, err
	}
	f.mu.good, f.mu.seen, f.mu.settled = good, seen, !seen.fresh(now)
	f.warnStale(good, now)
	return f, nil
}

// warnStale says that a CRL should have been replaced by now. It stays in force.
func (f *follower) warnStale(m *material, now time.Time) {
	if due := m.crl.due(); !due.IsZero() && due.Before(now) {
		f.logger.Warn("the CRL is older than it says it may become; it stays in force", zap.String("setting", f.files.CRLName),
			zap.String("file", f.files.CRL), zap.Time("next-update", due))
	}
}

// now returns what is in force, having looked whether the files have changed.
// generation changes with it. It reads the disk under its lock: handshakes wait
// for one another for the time of a few stats.
func (f *follower) now() (m *material, generation int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.made != nil && f.mu.good.pair.Leaf.NotAfter.Before(now) {
		if err := f.made.ensure(now); err != nil {
			f.complain(err)
		}
	}
	seen := f.files.look()
	if f.mu.settled && seen.same(&f.mu.seen) {
		return f.mu.good, f.mu.generation
	}
	m, err := f.files.load()
	changed := !seen.same(&f.mu.seen)
	// What could not be read is tried again: rights to a file may change without a trace.
	f.mu.seen, f.mu.settled = seen, err == nil && !seen.fresh(now)
	switch {
	case err != nil:
		f.complain(err)
	case !m.same(f.mu.good):
		f.mu.good, f.mu.complaint = m, ""
		f.mu.generation++
		f.logger.Info("the TLS files have changed and are in force", zap.Strings("files", f.files.paths()))
		f.warnStale(m, now)
	case changed:
		f.mu.complaint = ""
	}
	return f.mu.good, f.mu.generation
}

// complain says what is wrong, once. The caller holds the lock.
func (f *follower) complain(err error) {
	if err.Error() != f.mu.complaint {
		f.mu.complaint = err.Error()
		f.logger.Error("the TLS files have changed and cannot be used; the last good ones stay in force", zap.Error(err))
	}
}

// same says whether two readings mean the same. A key that differs comes with
// another certificate: the pair was checked against each other.
func (m *material) same(o *material) bool {
	if (m.pair == nil) != (o.pair == nil) || (m.pool == nil) != (o.pool == nil) || !m.crl.same(o.crl) {
		return false
	}
	if m.pair != nil {
		if len(m.pair.Certificate) != len(o.pair.Certificate) {
			return false
		}
		for i := range m.pair.Certificate {
			if string(m.pair.Certificate[i]) != string(o.pair.Certificate[i]) {
				return false
			}
		}
	}
	return m.pool == nil || m.pool.Equal(o.pool)
}

func (f *Files) paths() []string {
	var paths []string
	for _, p := range [...]string{f.Cert, f.Key, f.CA, f.CRL} {
		if p != "" {
			paths = append(paths, p)
		}
	}
	return paths
}
