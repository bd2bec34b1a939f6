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
}
