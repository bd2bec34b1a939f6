package server

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/internal/compactor"
	"etcd.alt/internal/store"
)

// routineTick moves the replica's clock, and hears when it ends by itself.
func (m *Member) routineTick() {
	t := time.NewTicker(m.config.HeartbeatInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.replica.Tick()
		case <-m.replica.Done():
			if err := m.ended(); err != nil {
				m.fail(err)
			}
			return
		case <-m.stopTicks:
			return
		}
	}
}

// lookInterval is how often free space is looked at: a system call or two. What
// is let in between two looks is counted.
const lookInterval = 250 * time.Millisecond

// flushLooks is every how many looks the store is flushed while space is low.
const flushLooks = 4

// routineLook watches the free space of the disk. While it is low, the store is
// flushed whenever it has something to: only what is in files takes away what a
// compaction has made garbage, and lets go of the log.
func (m *Member) routineLook() {
	t := time.NewTicker(lookInterval)
	defer t.Stop()
	var rewritten uint64
	for looks := 0; ; looks++ {
		select {
		case <-t.C:
			m.look()
			m.space.KeepReserve()
			if s := m.state.Data.Store(); m.space.Low() && looks%flushLooks == 0 && !s.MayStall() {
				if err := s.StartFlush(); err != nil && !errors.Is(err, store.ErrReplaced) {
					m.fail(err)
				}
				m.rewrite(&rewritten)
			}
		case <-m.replica.Done():
			return
		case <-m.stopTicks:
			return
		}
	}
}

// rewrite has a small store rewritten if something was flushed since the flush
// number done: the engine leaves a few deletions lie until more come, and while
// space is low none may come. No look is made meanwhile, and no put admitted.
func (m *Member) rewrite(done *uint64) {
	s := m.state.Data.Store()
	stored, err := s.DiskBytes()
	if n := s.Flushes(); err == nil && n != *done && m.space.RoomToRewrite(int64(stored)) {
		*done = n
		if err := s.Compact(); err != nil && !errors.Is(err, store.ErrReplaced) {
			m.logger.Warn("the store could not be compacted", zap.Error(err))
		}
	}
}

// look has the watch look at the disk.
func (m *Member) look() {
	stored, err := m.state.DiskBytes()
	if err != nil {
		return // the store has failed, and says so itself
	}
	m.space.Look(int64(stored))
}

// routineCompact gives up history as the policy says, while this member leads.
func (m *Member) routineCompact(policy compactor.Policy) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began := time.Now()
	t := time.NewTicker(policy.Pace())
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-m.stopTicks:
			return
		}
		now := time.Since(began)
		at, ok := policy.Due(now, m.state.View().Keys.Revision)
		if !ok || !m.service.Leads() {
			continue
		}
		switch err := m.service.Compact(ctx, at); {
		case err == nil:
			m.logger.Info("compacted", zap.Int64("revision", at))
			policy.Done(now, at)
		case errors.Is(err, errs.Compacted):
			policy.Done(now, at)
		default:
			m.logger.Warn("the history could not be compacted", zap.Int64("revision", at), zap.Error(err))
		}
	}
}
