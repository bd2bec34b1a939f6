package server

import (
	"net"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
)

// slowPause is the least time between two lines about what took long: where everything
// is slow, the log is not to make it slower.
const slowPause = time.Second

// slowLines writes a line where something has taken longer than it should. It tells how
// many it left out, and nothing of what is in entries and requests. One goroutine at a
// time uses it.
type slowLines struct {
	message string
	flag    string // that sets the limit
	limit   time.Duration
	logger  *zap.Logger
	now     func() time.Time
	last    time.Time // of the last line
	unsaid  int       // without a line since
	longest time.Duration
}

// note hears of something that took longer than the limit.
func (s *slowLines) note(took time.Duration, what ...zap.Field) {
	now := s.now()
	if now.Sub(s.last) < slowPause {
		s.unsaid++
		s.longest = max(s.longest, took)
		return
	}
	fields := append([]zap.Field{zap.Duration("took", took), zap.Duration(s.flag, s.limit)}, what...)
	if s.unsaid > 0 {
		fields = append(fields, zap.Int("unsaid", s.unsaid), zap.Duration("longest-unsaid", s.longest))
	}
	s.logger.Warn(s.message, fields...)
	s.last, s.unsaid, s.longest = now, 0, 0
}

// slowApplies writes lines about batches of so many entries, up to index.
func (m *Member) slowApplies() (note func(took time.Duration, entries int, index uint64)) {
	lines := &slowLines{message: "entries took long to be applied", flag: "warning-apply-duration", limit: m.config.WarningApplyDuration, logger: m.logger, now: time.Now}
	return func(took time.Duration, entries int, index uint64) {
		lines.note(took, zap.Int("entries", entries), zap.Uint64("applied-index", index))
	}
}

// slowCall is a call that took long to be answered.
type slowCall struct {
	path   string
	remote net.Addr
	took   time.Duration
	code   codes.Code
}

// slowCalls are those that wait for their line: more are not spoken of.
type slowCalls chan slowCall

// mostSlowCalls is how many wait.
const mostSlowCalls = 64

// note is rpc.Options.Slow: it does not wait.
func (c slowCalls) note(path string, remote net.Addr, took time.Duration, code codes.Code) {
	select {
	case c <- slowCall{path, remote, took, code}:
	default:
	}
}

// routineSlowCalls writes lines about calls until the member stops.
func (m *Member) routineSlowCalls(calls slowCalls) {
	lines := &slowLines{message: "a request took long to be answered", flag: "warning-unary-request-duration", limit: m.config.WarningUnaryDuration, logger: m.logger, now: time.Now}
	for {
		select {
		case c := <-calls:
			lines.note(c.took, zap.String("method", c.path), zap.Stringer("remote-address", c.remote), zap.Stringer("code", c.code))
		case <-m.stopTicks:
			return
		}
	}
}
