package sim

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
)

// verify holds a member's whole content, old versions included, against the
// model, which has applied what the member has.
func verify(view *machine.View, m *Model) error {
	if view.Applied != m.Index || view.Keys.Revision != m.Revision {
		return fmt.Errorf("the member is at entry %d and revision %d, the model at %d and %d", view.Applied, view.Keys.Revision, m.Index, m.Revision)
	}
	if view.Keys.Compacted != m.Compacted {
		return fmt.Errorf("the member is compacted at %d, the model at %d", view.Keys.Compacted, m.Compacted)
	}
	if got, want := view.Keys.InUse, m.InUse(); got != want {
		return fmt.Errorf("%d bytes are in use, and must be %d", got, want)
	}
	raised := map[[2]uint64]bool{}
	for _, a := range view.Members.Alarms {
		raised[[2]uint64{a.MemberID, uint64(a.Type)}] = true
	}
	if !maps.Equal(raised, m.Alarms) {
		return fmt.Errorf("the alarms are %v, and must be %v", raised, m.Alarms)
	}
	if err := verifyLeases(view.Leases, m); err != nil {
		return err
	}
	if err := m.users.Differs(view.Auth); err != nil {
		return err
	}
	if c := m.Compacted; c > 1 {
		if _, err := view.Keys.Range(&etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: c - 1}); !errors.Is(err, errs.Compacted) {
			return fmt.Errorf("a read below the compaction at %d: %v", c, err)
		}
	}
	for rev := max(1, m.Compacted); rev <= m.Revision; rev += 1 + m.Revision/20 {
		if err := verifyAt(view.Keys, m, rev); err != nil {
			return err
		}
		if err := verifyHash(view.Keys, m, rev); err != nil {
			return err
		}
	}
	return verifyAt(view.Keys, m, m.Revision)
}

// verifyLeases holds the member's leases, and the keys on them, against the
// model's.
func verifyLeases(view *lease.View, m *Model) (err error) {
	if view.Len() != len(m.Leases) {
		return fmt.Errorf("the member has %d leases, the model %d", view.Len(), len(m.Leases))
	}
	view.Each(func(l lease.Lease) bool {
		if want, there := m.Leases[l.ID]; !there || want != (Lease{l.TTL, l.Remaining}) {
			err = fmt.Errorf("the member has the lease %+v, the model %+v", l, want)
		} else if got, want := view.Keys(l.ID), m.On(l.ID); !slices.Equal(got, want) {
			err = fmt.Errorf("the keys %q are on the lease %x, and %q must be", got, l.ID, want)
		}
		return err == nil
	})
	return err
}

// verifyHash holds the member's hash at a revision against the model's.
func verifyHash(view *mvcc.View, m *Model, rev int64) error {
	h, err := view.Hash(rev)
	if err != nil {
		return fmt.Errorf("hash at revision %d: %w", rev, err)
	}
	under := m.Compacted
	if rev == under && h.Compacted != under {
		under = m.Before // the hash that the compaction has left behind
	}
	if want := m.Hash(under, rev); h.Hash != want || h.Compacted != under {
		return fmt.Errorf("the hash at revision %d, compacted at %d, is %d and must be %d, compacted at %d", rev, h.Compacted, h.Hash, want, under)
	}
	return nil
}

// verifyAt holds all keys that the member has at a revision against the model's.
func verifyAt(view *mvcc.View, m *Model, rev int64) error {
	got, err := view.Range(&etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
	if err != nil {
		return err
	}
	want := m.At(rev)
	if len(got.KVs) != len(want) || got.Count != int64(len(want)) {
		return fmt.Errorf("at revision %d the member has %d keys and counts %d, the model has %d", rev, len(got.KVs), got.Count, len(want))
	}
	for i, kv := range want {
		b, err := kv.MarshalVT()
		if err != nil {
			return err
		}
		if !bytes.Equal(b, got.KVs[i]) {
			return fmt.Errorf("at revision %d the member has %x, the model %x (%v)", rev, got.KVs[i], b, kv)
		}
	}
	return nil
}
