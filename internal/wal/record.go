package wal

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// Position names an entry: the place in the log from which another begins.
type Position struct{ Index, Term uint64 }

// Installing records that a snapshot install is under way: the store at (Index, Term) with this ConfState is complete on disk and is
// about to replace the live one. It stays in force until Reset, or until another Installing is appended; one with Index 0 says that
// the install was given up.
type Installing struct {
	Position
	ConfState *raftpb.ConfState // nil counts as an empty one
}

// hardState is raftpb.HardState as plain numbers.
type hardState struct{ term, vote, commit uint64 }

func plainHardState(hs *raftpb.HardState) hardState {
	return hardState{term: hs.GetTerm(), vote: hs.GetVote(), commit: hs.GetCommit()}
}

func (h hardState) message() *raftpb.HardState {
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
}

// The kinds of a record: kind (1 byte), length of the body (4 bytes), body.
const (
	recordEntry      = 1
	recordHardState  = 2
	recordInstalling = 3

	recordPrefix   = 5
	entryPrefix    = 17 // type, term, index
	hardStateBytes = 24
	installingMin  = 16 + 4*4 + 1
)

func appendRecordPrefix(b []byte, kind byte, length int) []byte {
	return binary.LittleEndian.AppendUint32(append(b, kind), uint32(length))
}

func appendEntry(b []byte, e *raftpb.Entry) []byte {
	b = appendRecordPrefix(b, recordEntry, entryPrefix+len(e.Data))
	b = append(b, byte(e.GetType()))
	b = binary.LittleEndian.AppendUint64(b, e.GetTerm())
	b = binary.LittleEndian.AppendUint64(b, e.GetIndex())
	return append(b, e.Data...)
}

func appendHardState(b []byte, h hardState) []byte {
	b = appendRecordPrefix(b, recordHardState, hardStateBytes)
	b = binary.LittleEndian.AppendUint64(b, h.term)
	b = binary.LittleEndian.AppendUint64(b, h.vote)
	return binary.LittleEndian.AppendUint64(b, h.commit)
}

func appendInstalling(b []byte, in *Installing) []byte {
	lists := nodeLists(in.ConfState)
	b = appendRecordPrefix(b, recordInstalling, int(installingBytes(in)))
	b = binary.LittleEndian.AppendUint64(b, in.Index)
	b = binary.LittleEndian.AppendUint64(b, in.Term)
	for _, ids := range lists {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(ids)))
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	if in.ConfState.GetAutoLeave() {
		return append(b, 1)
	}
	return append(b, 0)
}

// installingBytes is the length of the body of an Installing record.
func installingBytes(in *Installing) int64 {
	n := int64(installingMin)
	for _, ids := range nodeLists(in.ConfState) {
		n += 8 * int64(len(ids))
	}
	return n
}

func nodeLists(cs *raftpb.ConfState) [4][]uint64 {
	return [4][]uint64{cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext()}
}

// record is one decoded record; which field is set depends on the kind. The entry's Data is a copy.
type record struct {
	entry      *raftpb.Entry
	hard       *hardState
	installing *Installing
}

// nextRecord splits the first record off a payload whose checksum has matched; an error is damage, or a bug of the writer.
func nextRecord(b []byte) (r record, rest []byte, err error) {
	if len(b) < recordPrefix {
		return r, nil, fmt.Errorf("%d stray bytes after the last record", len(b))
	}
	kind, length := b[0], int64(binary.LittleEndian.Uint32(b[1:]))
	b = b[recordPrefix:]
	if length > int64(len(b)) {
		return r, nil, fmt.Errorf("a record of %d bytes in a batch that has %d left", length, len(b))
	}
	body, rest := b[:length], b[length:]
	switch kind {
	case recordEntry:
		r.entry, err = decodeEntry(body)
	case recordHardState:
		if len(body) != hardStateBytes {
			return r, nil, fmt.Errorf("a HardState of %d bytes", len(body))
		}
		le := binary.LittleEndian
		r.hard = &hardState{term: le.Uint64(body), vote: le.Uint64(body[8:]), commit: le.Uint64(body[16:])}
	case recordInstalling:
		r.installing, err = decodeInstalling(body)
	default:
		err = fmt.Errorf("unknown record kind %d", kind)
	}
	return r, rest, err
}

// entrySlot keeps an entry and what its pointer fields point to in one allocation: recovery makes very many.
type entrySlot struct {
	entry       raftpb.Entry
	term, index uint64
	kind        raftpb.EntryType
}

func decodeEntry(body []byte) (*raftpb.Entry, error) {
	if len(body) < entryPrefix {
		return nil, fmt.Errorf("an entry of %d bytes", len(body))
	}
	s := &entrySlot{
		kind:  raftpb.EntryType(body[0]),
		term:  binary.LittleEndian.Uint64(body[1:]),
		index: binary.LittleEndian.Uint64(body[9:]),
	}
	s.entry.Type, s.entry.Term, s.entry.Index = &s.kind, &s.term, &s.index
	if len(body) > entryPrefix {
		s.entry.Data = slices.Clone(body[entryPrefix:])
	}
	return &s.entry, nil
}

func decodeInstalling(body []byte) (*Installing, error) {
	if len(body) < installingMin {
		return nil, fmt.Errorf("an Installing record of %d bytes", len(body))
	}
	le := binary.LittleEndian
	in := &Installing{Position: Position{Index: le.Uint64(body), Term: le.Uint64(body[8:])}, ConfState: &raftpb.ConfState{}}
	body = body[16:]
	for _, ids := range []*[]uint64{&in.ConfState.Voters, &in.ConfState.Learners, &in.ConfState.VotersOutgoing, &in.ConfState.LearnersNext} {
		if len(body) < 4 || int64(le.Uint32(body)) > int64(len(body)-4)/8 {
			return nil, fmt.Errorf("an Installing record that names more members than it holds")
		}
		n := int(le.Uint32(body))
		body = body[4:]
		for range n {
			*ids = append(*ids, le.Uint64(body))
			body = body[8:]
		}
	}
	if len(body) != 1 {
		return nil, fmt.Errorf("an Installing record with %d bytes at its end", len(body))
	}
	in.ConfState.AutoLeave = new(body[0] != 0)
	return in, nil
}
