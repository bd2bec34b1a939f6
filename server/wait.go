package server

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// waitServing waits until the log is replayed and a leader is known.
func (m *Member) waitServing(ctx context.Context) error {
	patience := time.NewTicker(waitReport)
	defer patience.Stop()
	for {
		select {
		case <-m.replica.Serving():
			return nil
		case <-m.replica.Done():
			return m.ended()
		case err := <-m.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			m.sayWaiting()
		}
	}
}

// sayWaiting says what clients wait for. Where no leader is known, it says how far the
// log goes, too: by that the member to go on with is chosen if a majority is lost.
func (m *Member) sayWaiting() {
	s := m.replica.Status()
	fields := []zap.Field{
		zap.String("leader", fmt.Sprintf("%x", s.Leader)), zap.Uint64("term", s.Term),
		zap.Uint64("applied-index", s.Applied), zap.Uint64("commit-index", s.Commit),
	}
	if s.Leader == 0 {
		fields = append(fields, zap.Uint64("last-term", s.LastTerm), zap.Uint64("last-index", s.LastIndex))
	}
	m.logger.Warn("clients are not served yet: the members have no leader, or this one lags behind", fields...)
}

// waitReport is how often a member says that it still waits for the others.
const waitReport = 5 * time.Second
