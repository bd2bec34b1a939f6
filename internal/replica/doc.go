// Package replica is the loop that owns a member's consensus: the raft value,
// and its log on disk. Proposals, read barriers and the messages of other members
// go in; committed entries go to the state machine and answers come
// back.
//
// A request's way:
//
//	Propose, Read   any goroutine: into the inbox, no goroutine per call
//	Core.Turn       takes all that waits as one batch, steps raft
//	append stage    one write and one sync per batch
//	apply stage     State.Apply, then the callers are answered
//
// Each stage is a plain function and has one owner at a time. The loop runs it
// in place when that stage is idle and there is nothing to overlap it with, and
// hands it to the stage's goroutine otherwise: a hop between goroutines costs a
// wake-up when the machine is idle and buys overlap when it is busy.
//
// A sync that fails ends the member: nothing is acknowledged after it and it is
// not tried again, because the page cache may have dropped the data. A panic in a
// turn ends the process, whoever's goroutine it happens on.
//
// The package knows neither what an entry holds nor what an answer is. It reads
// no clock: ticks and the monotonic time come in from outside.
package replica
