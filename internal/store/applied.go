package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Applied says what of the raft log the store contains.
type Applied struct {
	Index, Term uint64            // the last entry applied
	Revision    int64             // the key space's revision after it
	ConfState   *raftpb.ConfState // the configuration after it; nil counts as an empty one
}

// Identity says whose store it is.
type Identity struct{ ClusterID, MemberID uint64 }

// The names of the meta records of this room.
const (
	metaApplied  = "applied"
	metaFormat   = "format"
	metaIdentity = "identity"
)

// formatVersion is the version of the key layout.
const formatVersion = 2

func (a Applied) append(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Revision))
	if a.ConfState == nil {
		return b, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, a.ConfState)
}

func parseApplied(b []byte) (Applied, error) {
	if len(b) < 24 {
		return Applied{}, fmt.Errorf("store: a record of %d bytes says what is applied", len(b))
	}
	a := Applied{
		Index:     binary.BigEndian.Uint64(b),
		Term:      binary.BigEndian.Uint64(b[8:]),
		Revision:  int64(binary.BigEndian.Uint64(b[16:])),
		ConfState: &raftpb.ConfState{},
	}
	if err := proto.Unmarshal(b[24:], a.ConfState); err != nil {
		return Applied{}, fmt.Errorf("store: the applied configuration: %w", err)
	}
	return a, nil
}

// Applied returns the state of the newest Commit. ok is false in a store to which nothing was applied.
func (s *Store) Applied() (a Applied, ok bool, err error) { return s.appliedFrom(false) }

// DurableApplied returns what of Applied would survive a crash now. It may lie behind a flush that is just ending, never before what
// is on disk.
func (s *Store) DurableApplied() (a Applied, ok bool, err error) { return s.appliedFrom(true) }

func (s *Store) appliedFrom(durable bool) (Applied, bool, error) {
	c := s.reader.meta(metaApplied, durable)
	if !c.Next() {
		return Applied{}, false, c.Close()
	}
	value, err := c.Value()
	if err != nil {
		return Applied{}, false, errors.Join(err, c.Close())
	}
	a, err := parseApplied(value)
	return a, err == nil, errors.Join(err, c.Close())
}

// Identity returns what SetIdentity wrote. ok is false in a store that has none.
func (s *Store) Identity() (id Identity, ok bool, err error) {
	b, ok, err := s.Meta(metaIdentity)
	if err != nil || !ok {
		return Identity{}, false, err
	}
	if len(b) != 16 {
		return Identity{}, false, fmt.Errorf("store: an identity of %d bytes", len(b))
	}
	return Identity{ClusterID: binary.BigEndian.Uint64(b), MemberID: binary.BigEndian.Uint64(b[8:])}, true, nil
}

// SetIdentity records whose store it is.
func (b *Batch) SetIdentity(id Identity) {
	var value [16]byte
	binary.BigEndian.PutUint64(value[:], id.ClusterID)
	binary.BigEndian.PutUint64(value[8:], id.MemberID)
	b.SetMeta(metaIdentity, value[:])
}

// SetApplied records up to where the raft log is applied once the batch is.
func (b *Batch) SetApplied(a Applied) {
	var err error
	if b.scratch, err = a.append(b.scratch[:0]); err != nil {
		b.fail(err)
		return
	}
	b.SetMeta(metaApplied, b.scratch)
}
