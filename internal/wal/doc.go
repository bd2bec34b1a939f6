// Package wal is the raft log on disk: the only write-ahead log of a member.
//
// # Nouns
//
// A Log is a directory of segments, numbered without gaps; only the last one, the active segment, is written. A segment opens with a
// header that says whose it is (cluster, member), what came before it (a Position and the end of the segment before) and the
// HardState in force. After it stand batches, one for each Append: entries, then HardState, then an Installing record, written by one
// write and covered by checksums. docs/format/wal.md shows the bytes.
//
// # Invariants
//
//   - What Sync has covered is found again by Open, or Open refuses with file and offset. What was not synced may be lost from its end
//     backwards, never from its middle.
//   - Every batch says up to which offset the segment was durable when it was written. So a torn tail (cut by Open) can be told from
//     damage (refused): a later batch that vouches for the bad one proves that the bad one had been on disk.
//   - A segment is complete on disk before the next one exists under its name. An entry at index i discards all entries ≥ i.
//   - A segment is deleted only when a synced HardState with Commit ≥ its last index stands in a segment that stays.
//   - Commit never lies above the last entry. Entries at or below Commit are never overwritten.
//   - One error of a sync, or of the write of a batch, ends the Log: what the disk holds is unknown, and a second sync that succeeds
//     proves nothing, since the page cache may have dropped the data.
//
// # Who calls it
//
// internal/replica, from the goroutine that owns the append stage. All work is done on the caller's goroutine; there is no clock, no
// goroutine and no randomness in here, so that the simulator can run it. Only Prepare and NeedsPrepare may run beside another call.
package wal
