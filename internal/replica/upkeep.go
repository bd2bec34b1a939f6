package replica

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"etcd.alt/internal/wal"
)

// Bounds of what is kept behind.
const (
	// keptEntries stay in memory below the applied index.
	keptEntries = 5000
	// keptBytes bound them.
	keptBytes = 16 << 20
	// followerBytes bound them while a follower is behind them.
	followerBytes = 64 << 20
	// unflushedEntries and unflushedBytes are how far the store may be behind
	// the log before it is told to flush: they bound the replay at start.
	unflushedEntries = 50_000
	unflushedBytes   = 16 << 20
	// pinnedBytes bound them while a snapshot is on its way: it is given up then.
	pinnedBytes = 512 << 20
	// maxLogBytes is what may wait in memory to be applied before no more is taken
	// in. It is below what raft would drop proposals at, by two batches.
	maxLogBytes = 48 << 20
	// prepareRetryTicks is the pause after a segment could not be prepared. A
	// disk that is full is not filled again ten times a second.
	prepareRetryTicks = 300
)

// upkeep lets go of the log's past and has the store keep up.
func (r *Core) upkeep() error {
	status := r.c.Node.Status()
	applied := status.Applied
	r.progress = r.c.Node.Progress()
	// The others are given the time to hear from this member that it is gone, and it
	// to hear what they have done with what it was asked.
	if words := r.c.Node.Farewell(); len(words) > 0 {
		r.c.Send(words)
	}
	if gone := status.Removed || r.in.gone; gone && r.removedAt == 0 {
		r.removedAt = r.now
	} else if gone && r.now >= r.removedAt+r.c.RetryTicks {
		return ErrRemoved
	}
	if r.slow() && status.IsLeader && r.now >= r.givenAway+r.c.RetryTicks && r.c.Node.GiveAway() {
		r.givenAway = r.now
		r.c.Logger.Warn("the disk is slow: leadership is handed over", zap.Duration("append-takes", r.c.Now()-r.since))
	}
	if r.install.running {
		return nil // the state is being replaced
	}
	r.trim()
	r.upkeepCopy(status.IsLeader)
	durable := r.c.State.Durable()
	// The store is told when it is nobody else's and has room: it never makes the
	// loop wait then. A store that is busy flushes of itself.
	behind := applied-durable > unflushedEntries || (applied > durable && r.written-r.flushedAt > unflushedBytes)
	if behind && r.applying == 0 && !r.c.State.Busy() {
		r.flushedAt = r.written
		if err := r.c.State.Flush(); err != nil {
			return fmt.Errorf("replica: flush: %w", err)
		}
	}
	r.releasable.Store(durable)
	if r.appending == 0 {
		r.release()
		if err := r.writeParked(); err != nil {
			return err
		}
	}
	if r.prepareFailed.Swap(false) {
		r.prepareAt = r.now + prepareRetryTicks
	}
	if r.now >= r.prepareAt && r.c.Log.NeedsPrepare() {
		r.stages.Prepare()
	}
	return nil
}

// writeParked writes a commit index that has waited for company in vain. Nobody
// waits for it, and it is not synced; but who starts again knows then what he knew.
func (r *Core) writeParked() error {
	hard := r.parked
	if hard == nil || hard.GetCommit() > r.c.Log.Last().Index {
		return nil
	}
	r.parked = nil
	if err := r.c.Log.Append(wal.Batch{HardState: hard}); err != nil {
		return fmt.Errorf("replica: write the log: %w", err)
	}
	return nil
}

// slow says that the disk takes longer for an append than a leader's may.
func (r *Core) slow() bool {
	return r.c.SlowAppend > 0 && r.appending > 0 && r.c.Now()-r.since > r.c.SlowAppend
}

// trim forgets entries in memory that nobody needs any more. A follower that is
// heard of, and is not too far behind, still needs some.
func (r *Core) trim() {
	node := r.c.Node
	if node.Pinned() != 0 && node.LogBytes() > pinnedBytes {
		r.c.Logger.Warn("the log is not kept any longer for a snapshot that is on its way", zap.Int64("bytes", node.LogBytes()))
		node.LetGo()
	}
	floor, keep := node.Droppable(), int64(keptBytes)
	for _, p := range r.progress {
		if p.Active && p.Match < floor {
			floor, keep = p.Match, followerBytes
		}
	}
	if floor > keptEntries {
		node.Compact(floor - keptEntries)
	}
	for upTo := node.Droppable(); node.LogBytes() > keep && node.First() <= upTo; {
		node.Compact(node.First() + (upTo-node.First())/2)
	}
}

// release deletes segments of the log that the store makes superfluous. It
// belongs to whoever has the append stage.
func (r *Core) release() {
	index := r.releasable.Swap(0)
	if index == 0 {
		return
	}
	if err := r.c.Log.Release(index); err != nil {
		r.c.Logger.Warn("cannot delete old log segments", zap.Error(err))
	}
}

// PrepareLog makes the log's next segment ahead. It may run beside everything
// else.
func (r *Core) PrepareLog() {
	if err := r.c.Log.Prepare(); err != nil {
		r.prepareFailed.Store(true)
		if errors.Is(err, wal.ErrLittleSpace) {
			return // for whoever watches the disk to say
		}
		r.c.Logger.Warn("cannot prepare the next log segment", zap.Error(err))
	}
}
