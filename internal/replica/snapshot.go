package replica

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/raft"
	"etcd.alt/internal/wal"
)

// install is a snapshot that is to take the place of state and log. Until it has,
// what raft has for the disk waits.
type install struct {
	tasks   []*raft.Append // the first has the snapshot, the others come after it
	running bool           // it is handed over
}

// untilSnapshot returns the tasks before one that has a snapshot, and keeps that
// one and those after it.
func (r *Core) untilSnapshot(tasks []*raft.Append) []*raft.Append {
	i := slices.IndexFunc(tasks, func(a *raft.Append) bool { return a.Snapshot != nil })
	if i < 0 {
		return tasks
	}
	r.install.tasks = slices.Clone(tasks[i:])
	return tasks[:i]
}

// dropUnwanted takes away the states that came with snapshots of which raft has
// made nothing: it knew as much already.
func (r *Core) dropUnwanted() {
	for _, m := range r.offered {
		if !slices.ContainsFunc(r.install.tasks, func(a *raft.Append) bool { return a.Snapshot != nil && proto.Equal(a.Snapshot, m) }) {
			r.c.State.Drop(m)
		}
	}
	r.offered = r.offered[:0]
}

// whileInstalling has raft answer others while a snapshot is installed, and keeps
// what it hands out for the disk. It reports whether there was anything.
func (r *Core) whileInstalling() (bool, error) {
	out := r.c.Node.Ready()
	if len(out.Applies) > 0 {
		return false, errors.New("replica: raft hands out entries to apply before a snapshot is installed")
	}
	if len(out.Send) > 0 {
		r.c.Send(out.Send)
	}
	for _, a := range out.Reads {
		r.reads.answered(a)
	}
	r.install.tasks = append(r.install.tasks, out.Appends...)
	r.dropUnwanted()
	return len(out.Send)+len(out.Appends)+len(out.Reads) > 0, r.beginInstall()
}

// beginInstall hands the snapshot over when the stages are empty.
func (r *Core) beginInstall() error {
	if r.install.running || r.appending > 0 || r.applying > 0 {
		return nil
	}
	// A commit index that was parked is below the snapshot.
	r.parked, r.install.running = nil, true
	s := r.install.tasks[0].Snapshot
	r.c.Logger.Info("a snapshot is being installed", zap.Uint64("index", s.GetIndex()), zap.Uint64("term", s.GetTerm()))
	r.stages.Install(r.install.tasks[0])
	return nil
}

// InstallSnapshot is the stage of a snapshot: it replaces state and log, writes
// what comes with it, and reports to the inbox. After a crash at any point the
// member has the old state and the old log, or the new state and can finish.
func (r *Core) InstallSnapshot(a *raft.Append) { r.inbox.putInstalled(r.installSnapshot(a)) }

func (r *Core) installSnapshot(a *raft.Append) error {
	at := wal.Position{Index: a.Snapshot.GetIndex(), Term: a.Snapshot.GetTerm()}
	begun := wal.Batch{Installing: &wal.Installing{Position: at, ConfState: a.Snapshot.GetConfState()}}
	if err := r.c.Log.Append(begun); err != nil {
		return fmt.Errorf("replica: begin to install a snapshot: %w", err)
	}
	if err := r.c.Log.Sync(); err != nil {
		return fmt.Errorf("replica: begin to install a snapshot: %w", err)
	}
	if err := r.c.State.Install(a.Snapshot); err != nil {
		return fmt.Errorf("replica: install a snapshot: %w", err)
	}
	if err := r.c.Log.Reset(at); err != nil {
		return fmt.Errorf("replica: begin the log behind a snapshot: %w", err)
	}
	_, err := r.writeLog([]*raft.Append{a}, true)
	return err
}

// installed goes on behind a snapshot.
func (r *Core) installed() error {
	tasks := r.install.tasks
	r.install = install{}
	if err := r.c.Node.Appended(tasks[0]); err != nil {
		return err
	}
	r.c.Logger.Info("a snapshot was installed", zap.Uint64("index", tasks[0].Snapshot.GetIndex()))
	if rest, sync := r.gather(r.untilSnapshot(tasks[1:])); len(rest) > 0 {
		if err := r.appendInPlace(rest, sync); err != nil {
			return err
		}
	}
	if r.reads.release(r.c.Node.Status().Applied) {
		r.c.Settled()
	}
	if r.c.Reconfigured != nil {
		r.c.Reconfigured()
	}
	return nil
}

// checkpoint is the copy of the state that is there for a follower.
type checkpoint struct {
	making  bool
	index   uint64 // 0 for none
	offered int64  // tick at which it was
	pause   int64  // tick before which no other is made
	wait    int64  // ticks of the last pause; 0 when the last one has arrived
}

// failed has nothing be made for a while, for longer the more often it is called:
// from least to most ticks. Each copy costs a flush, and one whose receiver has no
// room for it would be made ten times a second.
func (c *checkpoint) failed(now, least, most int64) {
	c.wait = min(max(2*c.wait, least), most)
	c.pause = now + c.wait
}

// upkeepCopy has a copy made for a follower that needs one, and takes it away when
// nobody has asked for it in time.
func (r *Core) upkeepCopy(leads bool) {
	node := r.c.Node
	node.Unpin()
	if r.copy.index != 0 && (!leads || r.now > r.copy.offered+r.c.RequestTicks) && node.Withdraw() {
		r.discard()
	}
	if r.copy.making || r.copy.index != 0 || !leads || r.now < r.copy.pause || !node.SnapshotWanted() {
		return
	}
	r.copy.making = true
	node.Pin()
	r.stages.Checkpoint()
}

// MakeCheckpoint is the stage of a copy: it has one made and reports to the inbox.
func (r *Core) MakeCheckpoint() {
	meta, err := r.c.State.Checkpoint()
	r.inbox.putCopied(&copied{meta, err})
}

// copied takes a copy that was made.
func (r *Core) copied(c *copied) {
	r.copy.making = false
	if c.err != nil {
		r.c.Node.Withdraw()
		r.copy.failed(r.now, r.c.RequestTicks, r.c.RequestTicks)
		r.c.Logger.Error("no copy of the state could be made for a member that has fallen behind", zap.Error(c.err))
		return
	}
	r.copy.index, r.copy.offered = c.meta.GetIndex(), r.now
	r.c.Node.Offer(c.meta)
}

// snapshotSent takes the report on a MsgSnap.
func (r *Core) snapshotSent(s snapshotSent) {
	r.c.Node.ReportSnapshot(s.to, s.ok)
	r.discard()
	if s.ok {
		r.copy.wait = 0
	} else {
		r.copy.failed(r.now, r.c.RetryTicks, r.c.RequestTicks)
	}
}

// discard takes the copy away.
func (r *Core) discard() {
	if r.copy.index != 0 {
		r.c.State.Discard(r.copy.index)
		r.copy.index = 0
	}
}

// ReportSnapshot says what came of a MsgSnap to a member. It must be called once
// for each of them.
func (r *Core) ReportSnapshot(id uint64, ok bool) { r.inbox.putSent(snapshotSent{id, ok}) }
