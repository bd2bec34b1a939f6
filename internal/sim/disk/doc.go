// Package disk is a disk in memory that tells what a crash would leave of it: a vfs.FS for tests and for the simulator.
//
// # Nouns
//
// An FS is a tree of directories and files. It knows, byte for byte and name for name, what is durable: the bytes of a file up to its
// last Sync, the names of a directory up to the directory's last Sync. CrashImage makes the FS that a machine finds after a power cut;
// a Crash says what of the rest survived: writes may be lost, reordered and torn, the latest names of a directory may be lost.
//
// # Invariants
//
//   - The same calls and the same Crash give the same image. There is no clock, no randomness and no goroutine here; all times are zero.
//   - What was synced is in every image. An image shares no memory with the disk it was made from.
//   - Names of one directory become durable in the order in which they were changed, as on a journaling file system, and a rename within
//     a directory is one change. Bytes of a file become durable in any order, by sectors; only a Crash that says so tears a sector.
//
// # Who calls it
//
// Tests of the rooms that touch the disk, and internal/sim. Faults are put in by a hook (FS.Inject), a full disk by FS.SetCapacity,
// bit rot by FS.Flip. It may be used from several goroutines, since Pebble does.
package disk
