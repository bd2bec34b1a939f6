package watch

import (
	"sync"

	"etcd.alt/internal/mvcc"
)

// inbox is what the state machine has changed and the hub has not handed out.
type inbox struct {
	limit  int           // bytes of records
	signal chan struct{} // of capacity 1: there is something

	mu struct {
		sync.Mutex
		changes, spare []mvcc.Change
		bytes          int
		// lost is the revision up to which changes were dropped, 0 if none were: what
		// changes holds comes behind it.
		lost int64
	}
}

// changeOverhead is what a change takes beside its record.
const changeOverhead = 96

func (in *inbox) put(changes []mvcc.Change) {
	in.mu.Lock()
	for i := range changes {
		in.mu.bytes += len(changes[i].Record) + changeOverhead
	}
	if in.mu.bytes > in.limit {
		in.dropLocked(changes[len(changes)-1].Revision.Main)
	} else {
		in.mu.changes = append(in.mu.changes, changes...)
	}
	in.mu.Unlock()
	in.wake()
}

// lose drops what there is; all up to revision is to be read from the store.
func (in *inbox) lose(revision int64) {
	in.mu.Lock()
	in.dropLocked(revision)
	in.mu.Unlock()
	in.wake()
}

func (in *inbox) dropLocked(revision int64) {
	clear(in.mu.changes)
	in.mu.changes, in.mu.bytes, in.mu.lost = in.mu.changes[:0], 0, revision
}

func (in *inbox) wake() {
	select {
	case in.signal <- struct{}{}:
	default:
	}
}

// take empties the inbox. The changes are to be given back.
func (in *inbox) take() (changes []mvcc.Change, lost int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	changes, lost = in.mu.changes, in.mu.lost
	in.mu.changes, in.mu.spare, in.mu.bytes, in.mu.lost = in.mu.spare[:0], nil, 0, 0
	return changes, lost
}

// keepChanges is the largest list of changes that is kept for the next ones.
const keepChanges = 1 << 12

func (in *inbox) giveBack(changes []mvcc.Change) {
	if cap(changes) > keepChanges {
		return
	}
	clear(changes)
	in.mu.Lock()
	in.mu.spare = changes[:0]
	in.mu.Unlock()
}

// waiting is how many changes there are.
func (in *inbox) waiting() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mu.changes)
}
