package lease

import (
	"encoding/binary"
	"fmt"

	"etcd.alt/api/leasepb"
	"etcd.alt/internal/store"
)

// Load reads the leases in a store. Which keys hang on them is for the caller to
// say, by Move.
func Load(from *store.Store) (*State, error) {
	s := newState()
	records := from.Space(store.SpaceLease, nil)
	defer records.Close()
	for records.Next() {
		key := records.Key()
		if len(key) != 8 {
			return nil, fmt.Errorf("lease: a lease with a key of %d bytes", len(key))
		}
		id := int64(binary.BigEndian.Uint64(key))
		value, err := records.Value()
		if err != nil {
			return nil, fmt.Errorf("lease %x: %w", uint64(id), err)
		}
		var stored leasepb.Lease
		if err := stored.UnmarshalVT(value); err != nil {
			return nil, fmt.Errorf("lease %x: %w", uint64(id), err)
		}
		if stored.ID != id || id == 0 {
			return nil, fmt.Errorf("lease %x is stored as %x", uint64(stored.ID), uint64(id))
		}
		s.leases.Set(id, Lease{ID: id, TTL: stored.TTL, Remaining: stored.RemainingTTL})
	}
	if err := records.Close(); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	return s, nil
}

// Grant makes a lease that must not be there yet, with a life that is allowed.
func (s *State) Grant(b *store.Batch, id, ttl int64) Lease {
	l := Lease{ID: id, TTL: ttl}
	s.write(b, l)
	s.note(l, Granted)
	return l
}

// Checkpoint writes down how much of a lease is left, which is 0 for all of it.
// A lease that does not exist is left out.
func (s *State) Checkpoint(b *store.Batch, id, remaining int64) {
	l, ok := s.leases.Get(id)
	if !ok {
		return
	}
	if remaining < 0 || remaining >= l.TTL {
		remaining = 0
	}
	if l.Remaining != remaining {
		l.Remaining = remaining
		s.write(b, l)
	}
	s.note(l, Checkpointed)
}

// Revoke ends a lease, on which no key hangs any more.
func (s *State) Revoke(b *store.Batch, id int64) {
	l, ok := s.leases.Delete(id)
	if !ok {
		return
	}
	b.Delete(store.SpaceLease, binary.BigEndian.AppendUint64(nil, uint64(id)))
	s.note(l, Revoked)
}

func (s *State) write(b *store.Batch, l Lease) {
	s.leases.Set(l.ID, l)
	stored := leasepb.Lease{ID: l.ID, TTL: l.TTL, RemainingTTL: l.Remaining}
	value, err := stored.MarshalVT()
	if err != nil {
		panic(err) // a message of three numbers has no reason to fail
	}
	b.Set(store.SpaceLease, binary.BigEndian.AppendUint64(nil, uint64(l.ID)), value)
}

func (s *State) note(l Lease, k Kind) {
	s.changes = append(s.changes, Change{l, k})
	s.moved = true
}
