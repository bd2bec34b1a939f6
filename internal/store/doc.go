// Package store is the state of a member on disk: records in a Pebble database. It is the only room that knows the engine.
//
// # Nouns
//
// A record is an encoded KeyValue under its Revision; a tombstone is a record that says that its key is gone. Meta records and the
// records of the other spaces (auth, lease, member, alarm) sort below all records. A Batch is the unit of change. Applied says up to
// where the raft log is contained in the store; docs/format/store.md shows the keys.
//
// # Invariants
//
//   - The raft log is the only write-ahead log: Pebble's is off, and a Commit is not durable. It becomes so when a flush ends. Batches
//     become durable whole and in order, so after a crash the store is what some prefix of the batches made of it, and Applied, which
//     every batch of the state machine carries, says which.
//   - What DurableApplied returns survives any crash. Only that may be cut from the raft log.
//   - Close and Checkpoint flush first: with its log off Pebble forgets the memtables in both.
//   - Nothing sorts above the records. They are written in key order, so a flushed table lies behind all others, and compaction moves
//     it without a rewrite; tables end where the records begin, so that a busy lease does not drag records along.
//   - After an error of the engine that cannot be mended (see Options.OnFatal) every call fails with ErrDead.
//
// # Who calls it
//
// internal/machine writes, from the one goroutine that applies. The state rooms read, from any goroutine. internal/replica's owner
// polls DurableApplied when Options.OnFlush has told it to. There is no goroutine of ours in here.
package store
