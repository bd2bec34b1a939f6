package server

import (
	"time"

	"go.uber.org/zap"
)

// slowApplyPause is the least time between two lines about entries that took long to be
// applied: where everything is slow, the log is not to make it slower.
const slowApplyPause = time.Second

// slowApplies writes a line where entries have taken longer to be applied than they
// should. It says how many and where they stand in the log, and nothing of what is in
// them. One goroutine at a time uses it.
type slowApplies struct {
	limit   time.Duration
	logger  *zap.Logger
	now     func() time.Time
	last    time.Time // of the last line
	unsaid  int       // batches without a line since
	longest time.Duration
}

// note hears of a batch of so many entries, up to index, that took longer than limit.
func (s *slowApplies) note(took time.Duration, entries int, index uint64) {
	now := s.now()
	if now.Sub(s.last) < slowApplyPause {
		s.unsaid++
		s.longest = max(s.longest, took)
		return
	}
	fields := []zap.Field{
		zap.Duration("took", took), zap.Duration("warning-apply-duration", s.limit),
		zap.Int("entries", entries), zap.Uint64("applied-index", index),
	}
	if s.unsaid > 0 {
		fields = append(fields, zap.Int("unsaid", s.unsaid), zap.Duration("longest-unsaid", s.longest))
	}
	s.logger.Warn("entries took long to be applied", fields...)
	s.last, s.unsaid, s.longest = now, 0, 0
}
