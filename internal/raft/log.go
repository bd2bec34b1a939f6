package raft

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Log is the part of the raft log that is kept in memory: every entry above
// Prev. It implements the library's Storage and is only touched by the owner of
// the Node. Entries in it are shared with slices handed out before and are
// therefore never overwritten in place.
type Log struct {
	prevIndex, prevTerm uint64
	entries             []*raftpb.Entry // entries[i] has index prevIndex+1+i
	bytes               int64
	behind              int64 // of bytes, those of entries that are applied
	// lastChange is the newest configuration change that was ever appended.
	lastChange uint64
	// pin, unless 0, is an entry above which nothing is forgotten: a snapshot at it
	// is on its way to somebody.
	pin uint64
	// wanted says that the library has asked for a snapshot, and offer is one that
	// it has not taken yet.
	wanted bool
	offer  *raftpb.Snapshot

	// state at construction, which the library reads once
	hardState *raftpb.HardState
	confState *raftpb.ConfState
}

// entryOverhead is what an entry costs in memory beside its data.
const entryOverhead = 96

func cost(e *raftpb.Entry) int64 { return int64(len(e.GetData())) + entryOverhead }

func newLog(prevIndex, prevTerm uint64, entries []*raftpb.Entry) *Log {
	l := &Log{prevIndex: prevIndex, prevTerm: prevTerm, entries: entries}
	l.count(entries)
	return l
}

// applied takes note of entries that are applied.
func (l *Log) applied(entries []*raftpb.Entry) {
	for _, e := range entries {
		l.behind += cost(e)
	}
}

// last is the index of the last entry.
func (l *Log) last() uint64 { return l.prevIndex + uint64(len(l.entries)) }

// append takes entries as they have become durable. One at an index that is
// already held discards all from that index on.
func (l *Log) append(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	first := entries[0].GetIndex()
	if first > l.last()+1 || first <= l.prevIndex {
		panic(fmt.Sprintf("raft: append at %d to a log of (%d, %d]", first, l.prevIndex, l.last()))
	}
	keep := int(first - l.prevIndex - 1)
	for _, e := range l.entries[keep:] {
		l.bytes -= cost(e)
	}
	if keep < len(l.entries) {
		l.entries = l.entries[:keep:keep] // the tail may be in someone's hands
	}
	l.entries = append(l.entries, entries...)
	l.count(entries)
}

// count takes note of entries that were appended.
func (l *Log) count(entries []*raftpb.Entry) {
	for _, e := range entries {
		l.bytes += cost(e)
		if e.GetType() != raftpb.EntryNormal {
			l.lastChange = e.GetIndex()
		}
	}
}

// compact forgets the entries up to and including index; the term of index
// itself stays known. An index outside the log is ignored.
func (l *Log) compact(index uint64) {
	if index <= l.prevIndex || index > l.last() {
		return
	}
	n := int(index - l.prevIndex)
	l.prevTerm = l.entries[n-1].GetTerm()
	l.prevIndex = index
	for _, e := range l.entries[:n] {
		l.bytes -= cost(e)
		l.behind -= cost(e) // only what is applied is forgotten
	}
	rest := make([]*raftpb.Entry, len(l.entries)-n, len(l.entries)-n+len(l.entries)/4)
	copy(rest, l.entries[n:])
	l.entries = rest
}

// changeAbove says whether there may be a configuration change above index.
func (l *Log) changeAbove(index uint64) bool { return l.lastChange > index }

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.hardState, l.confState, nil
}

// Entries implements raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= l.prevIndex {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raft.ErrUnavailable
	}
	all := l.entries[lo-l.prevIndex-1 : hi-l.prevIndex-1]
	var size uint64
	for i, e := range all {
		size += uint64(cost(e))
		if size > maxSize && i > 0 {
			all = all[:i]
			break
		}
	}
	return all[:len(all):len(all)], nil
}

// Term implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	switch {
	case i == l.prevIndex:
		return l.prevTerm, nil
	case i < l.prevIndex:
		return 0, raft.ErrCompacted
	case i > l.last():
		return 0, raft.ErrUnavailable
	}
	return l.entries[i-l.prevIndex-1].GetTerm(), nil
}

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.last(), nil }

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) { return l.prevIndex + 1, nil }

// Snapshot implements raft.Storage. One that was offered is given out once, if the
// log still goes on where it ends; otherwise it is noted that one is wanted, and
// the library asks again.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	s := l.offer
	if s == nil || s.GetMetadata().GetIndex() < l.prevIndex {
		l.wanted = true
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	l.offer = nil
	return s, nil
}

// reset begins the log anew after an entry.
func (l *Log) reset(index, term uint64) {
	*l = Log{prevIndex: index, prevTerm: term, hardState: l.hardState, confState: l.confState}
}
