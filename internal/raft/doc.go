// Package raft is one member's consensus as a value: ticks, messages,
// proposals and storage acknowledgements go in; entries to append, entries to
// apply and messages to send come out. It has no clock, no goroutine and does
// no I/O, so the same code runs in a member and under a simulator.
//
// The algorithm is go.etcd.io/raft/v3 with asynchronous storage writes. What
// this package adds is what that library leaves to its caller:
//
//   - the log in memory, from which the library reads (Log);
//   - the rule that nothing that carries a term leaves before that term is on
//     disk (gate.go): the library hands out votes and appends of a new term at
//     once, and a member that forgets its vote in a power cut could then win or
//     grant the same term twice;
//   - the commit index at start is never below what the store has applied;
//   - no read barrier is answered by a leader that has not yet applied an entry
//     of its own term, in a cluster of one too.
//
// A Node is owned by one goroutine, package replica's loop. The tasks it hands
// out may be worked on elsewhere, one append and one apply at a time each, and
// come back through Appended and Applied, in order.
package raft
