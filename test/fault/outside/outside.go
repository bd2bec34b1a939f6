package outside

import (
	"time"

	"etcd.alt/test/fault/history"
)

// Request asks for one operation.
type Request struct {
	// ID is the reply's too.
	ID int64
	// To is the number of the list of endpoints, from 0 on.
	To int
	// Op says what is to be done. What a Put puts is Value here, not there.
	Op    history.Op
	Value string
	// Patience is how long the operation may take.
	Patience time.Duration

	// Watch, unless it is 0, is the revision from which all keys are to be watched,
	// and there is no operation. Its replies have Events, until a request with Stop
	// and the same ID.
	Watch int64
	Stop  bool

	// Lease, unless it is nil, is what is to be done with a lease, and there is no
	// operation.
	Lease *Lease
	// Contest, unless it is nil, is what is to be contended for, and there is no
	// operation. Its replies have Turns, until a request with Stop and the same ID.
	Contest *Contest
}

// LeaseCall is what is done with a lease.
type LeaseCall int

const (
	Grant  LeaseCall = iota // one of TTL seconds is granted; the reply has ID and TTL
	Attach                  // Key is put on ID
	Renew                   // ID is kept alive once; the reply has TTL
)

// Lease is a call about a lease, and its answer.
type Lease struct {
	Call    LeaseCall
	ID, TTL int64
	Key     string
}

// Contest has sessions be made, one after the other. Each stands in a queue, again and
// again, and whenever its turn has come writes the fencing token that it was given to
// Guarded a few times, if it has its turn still.
type Contest struct {
	// Election says that it is an election of this name, else a lock.
	Election      bool
	Name, Guarded string
	// Seed is of what is drawn: how long is waited, and for what.
	Seed uint64
}

// What contestants do.
const (
	SessionTTL     = 2 // seconds
	SessionWithin  = 5 * time.Second
	WaitsAtLeast   = 100 * time.Millisecond // for its turn
	WaitsAtMost    = 3 * time.Second
	WritesOfATurn  = 3
	WriteWithin    = time.Second
	PausesBelow    = 20 * time.Millisecond // between writes
	ProclaimsOneIn = 2                     // turns, of an election
	// StallsOneIn turns the session is kept no more, and its owner writes at some time
	// before StallsBelow, when it may be somebody else's turn.
	StallsOneIn = 10
	StallsBelow = 5 * time.Second
)

// Turn is what has become of one who has stood in a queue.
type Turn struct {
	// Lost says that a write was refused since it was not its turn any more, else that
	// its turn has come.
	Lost bool
}

// Event is what a watch has told.
type Event struct {
	Revision, Created int64
	Change            history.Change
	// Had says that the key was there before, with Before.
	Had    bool
	Before string
}

// Reply is what came of it.
type Reply struct {
	ID int64
	// Op has what an answer tells; its values are as they were found.
	Op history.Op
	// Code and Text are the status with which the operation failed; Code is 0 if it
	// was answered.
	Code int
	Text string
	// Events are a watch's.
	Events []Event
	// Lease has what an answer about one tells, Turn what a contest does.
	Lease *Lease
	Turn  *Turn
}
