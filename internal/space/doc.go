// Package space watches the free bytes of the file systems that a member writes
// to, so that writes are refused before a disk is full: an engine or a log that
// meets the end of a disk cannot go on.
//
// A Plan says what a file system of a size has to keep free, and how large what
// is written ahead to it may be. A Watch compares it with what is free at each
// Look, and holds a reserve: a file that is given up when space is shorter still,
// so that an orderly stop and a compaction have room.
//
// Between two looks the Watch counts what is let in, so that no burst, however
// fast, is through before the next look. There is no clock and no goroutine in
// here: the owner calls Look and KeepReserve, again and again, on one goroutine;
// Admit, Low and Trouble may be called by anybody.
package space
