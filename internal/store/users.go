package store

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
)

// ErrReplaced is why a store that was retired answers nobody any more. Another
// one has its place; who reads it gets what he asked for.
var ErrReplaced = errors.New("store: replaced by another")

// users counts the calls and cursors that use the engine, so that it is closed
// under none of them.
type users struct {
	n    atomic.Int64  // far below zero once nobody may enter
	idle chan struct{} // closed when nobody may enter and all have left
	once sync.Once
}

// nobody is added to the count when nobody may enter any more.
const nobody = math.MinInt64 / 2

// enter says whether the engine may be used until leave.
func (u *users) enter() bool {
	if u.n.Add(1) > 0 {
		return true
	}
	u.leave()
	return false
}

func (u *users) leave() {
	if u.n.Add(-1) == nobody {
		u.once.Do(func() { close(u.idle) })
	}
}

// shut lets nobody in any more and returns when all have left.
func (u *users) shut() {
	if u.n.Add(nobody) == nobody {
		u.once.Do(func() { close(u.idle) })
	}
	<-u.idle
}

// Retire has every call from now on fail with ErrReplaced, waits for those that
// run and for the cursors that are open, and closes the store without a flush:
// nobody will open it again. A cursor that is open ends at its next step.
func (s *Store) Retire() error {
	s.die(ErrReplaced, false)
	s.users.shut()
	return s.db.Close()
}
