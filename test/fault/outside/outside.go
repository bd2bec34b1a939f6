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
}
