package machine

import (
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/mvcc"
)

// hang has the leases follow what has become of keys.
func hang(leases *lease.State, keys *mvcc.Update) {
	for _, m := range keys.Moves() {
		leases.Move(m.Key, m.From, m.To)
	}
}

// grant makes a lease. Whoever has proposed it has chosen its id.
func (m *Machine) grant(r *etcdserverpb.LeaseGrantRequest, res *Result) error {
	if r.ID == 0 {
		return errs.LeaseNotFound
	}
	if r.TTL > lease.MaxTTL {
		return errs.LeaseTTLTooLarge
	}
	if _, ok := m.leases.Get(r.ID); ok {
		return errs.LeaseExist
	}
	granted := m.leases.Grant(m.batch, r.ID, max(r.TTL, m.options.MinTTL))
	res.Granted = &granted
	return nil
}

// revoke ends a lease and deletes its keys.
func (m *Machine) revoke(r *etcdserverpb.LeaseRevokeRequest) error {
	if _, ok := m.leases.Get(r.ID); !ok {
		return errs.LeaseNotFound
	}
	m.leases.EachKey(r.ID, func(key string) bool {
		m.keys.Delete(key)
		return true
	})
	hang(m.leases, m.keys)
	m.leases.Revoke(m.batch, r.ID)
	return nil
}

// checkpoint writes down how much of leases is left.
func (m *Machine) checkpoint(r *etcdserverpb.LeaseCheckpointRequest) {
	for _, c := range r.Checkpoints {
		m.leases.Checkpoint(m.batch, c.ID, c.Remaining_TTL)
	}
}
