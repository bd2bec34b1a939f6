package sim

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/raft"
)

// hostStages is a host as its core's Stages: what is handed over is done when
// the disk has had its time, and never if the member's life ends before.
type hostStages host

// InPlace is replica.Stages'. A slow disk would hold the loop up.
func (s *hostStages) InPlace() bool { return s.slow == 0 && s.c.rng.IntN(2) == 0 }

// Append is replica.Stages'.
func (s *hostStages) Append(tasks []*raft.Append) {
	h := (*host)(s)
	h.handed = append(h.handed, tasks...)
	if len(h.writing) == 0 {
		h.write()
	}
}

// write has the append stage take all that waits.
func (h *host) write() {
	h.writing, h.handed = h.handed, nil
	took := h.syncTime()
	h.after(took, func() {
		tasks := h.writing
		h.writing, h.lag = nil, took
		h.c.note(noteWrite, h.id, uint64(len(tasks)))
		h.core.WriteLog(tasks)
		h.lag = 0
		h.wake()
		if len(h.handed) > 0 {
			h.write()
		}
	})
}

// sync runs a sync of the log; after it the time that it took has passed.
func (h *host) sync(sync func() error) error {
	err := sync()
	h.lag = 0
	return err
}

// syncTime draws how long the disk takes.
func (h *host) syncTime() time.Duration {
	if h.slow > 0 {
		return h.c.between(10*time.Millisecond, 3*time.Second)
	}
	return h.c.between(50*time.Microsecond, 3*time.Millisecond)
}

// Apply is replica.Stages'.
func (s *hostStages) Apply(task *raft.Apply) {
	h := (*host)(s)
	h.entries = append(h.entries, task)
	if len(h.entries) == 1 {
		h.applyNext()
	}
}

// applyNext has the apply stage take the next task.
func (h *host) applyNext() {
	h.after(h.c.between(10*time.Microsecond, 2*time.Millisecond), func() {
		h.core.ApplyEntries(h.entries[0])
		h.entries = h.entries[1:]
		h.wake()
		if len(h.entries) > 0 {
			h.applyNext()
		}
	})
}

// Prepare is replica.Stages'.
func (s *hostStages) Prepare() { s.core.PrepareLog() }

// hostState is a host as its core's State: the machine, watched.
type hostState host

// Apply is replica.State's.
func (s *hostState) Apply(entries []*raftpb.Entry, wanted func(uint64) bool, done func(uint64, any, error)) ([]*raftpb.ConfChange, *raftpb.ConfState, error) {
	h := (*host)(s)
	for _, e := range entries {
		if e.GetIndex() > h.c.model.Index {
			h.c.checkDecision(h, e)
		}
	}
	if err := h.c.model.Apply(entries); err != nil {
		h.c.fail(fmt.Errorf("host %d: %w", h.id, err))
		return nil, nil, err
	}
	h.c.note(noteApply, h.id, entries[0].GetIndex(), uint64(len(entries)))
	changes, conf, err := s.state.Apply(entries, wanted, done)
	if err == nil {
		h.c.checkApplied(h)
		h.stir()
	}
	return changes, conf, err
}

// Durable is replica.State's.
func (s *hostState) Durable() uint64 { return s.machine.Durable() }

// Busy is replica.State's.
func (s *hostState) Busy() bool { return s.c.rng.IntN(8) == 0 }

// Flush is replica.State's. The engine's own flush would end at a moment of its
// own choosing.
func (s *hostState) Flush() error { return (*host)(s).writeDown() }

// Sweep is replica.State's.
func (s *hostState) Sweep() (bool, error) { return s.machine.Sweep() }

// Drop is replica.State's.
func (s *hostState) Drop(m *raftpb.SnapshotMetadata) { s.state.Drop(m) }
