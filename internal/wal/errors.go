package wal

import (
	"errors"
	"fmt"
)

// ErrNotEmpty is returned (wrapped) by Create for a directory that holds a log.
var ErrNotEmpty = errors.New("directory already holds a log")

// ErrNoLog is returned (wrapped) by Open for a directory that holds no segment.
var ErrNoLog = errors.New("directory holds no log")

// ErrLittleSpace is returned by Prepare where the disk has no room for a segment ahead beside Options.KeepFree.
var ErrLittleSpace = errors.New("wal: too little space to prepare a segment")

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("wal: log is closed")

// CorruptError says that a log is damaged: bytes that were durable are no longer what they were, or a segment is missing. It is
// never returned for a torn tail.
type CorruptError struct {
	File   string // path of the segment
	Offset int64  // where the first bad batch or header begins
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: %s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

// IdentityError says that a log belongs to another cluster or another member.
type IdentityError struct {
	File                            string
	ClusterID, MemberID             uint64 // what the segment says
	WantedClusterID, WantedMemberID uint64 // what Options said
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("wal: %s belongs to cluster %x member %x, not to cluster %x member %x",
		e.File, e.ClusterID, e.MemberID, e.WantedClusterID, e.WantedMemberID)
}

// NewerFormatError says that a log was written by a later version of this program.
type NewerFormatError struct {
	File           string
	Version, Known uint32
}

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("wal: %s has format version %d, this program knows up to %d", e.File, e.Version, e.Known)
}
