package machine

import (
	"errors"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
)

// onDisk marks an error that is none of the client's table as this member's
// own: a value could not be read.
func onDisk(err error) error {
	var e *errs.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &fatalError{err}
}

// checkPut finds what is wrong with a put before anything is changed.
func (m *Machine) checkPut(r *etcdserverpb.PutRequest) error {
	if r.Lease != 0 {
		if _, ok := m.leases.Get(r.Lease); !ok {
			return errs.LeaseNotFound
		}
	}
	if r.IgnoreValue || r.IgnoreLease {
		if _, ok := m.keys.Exists(r.Key); !ok {
			return errs.KeyNotFound
		}
	}
	return nil
}

func (m *Machine) put(r *etcdserverpb.PutRequest, mine bool, res *Result) error {
	if err := m.checkPut(r); err != nil {
		return err
	}
	return m.doPut(r, mine, res)
}

// doPut writes a put that was checked.
func (m *Machine) doPut(r *etcdserverpb.PutRequest, mine bool, res *Result) error {
	value, lease := r.Value, r.Lease
	if (r.PrevKv && mine) || r.IgnoreValue {
		old, err := m.keys.Get(r.Key)
		if err != nil {
			return onDisk(err)
		}
		if r.PrevKv {
			res.PrevKV = old
		}
		if r.IgnoreValue {
			value = mvcc.Value(old)
		}
	}
	if r.IgnoreLease {
		lease, _ = m.keys.Exists(r.Key)
	}
	m.keys.Put(r.Key, value, lease)
	m.tally.Puts++
	m.tally.PutBytes += uint64(len(r.Key) + len(value))
	return nil
}

func (m *Machine) deleteRange(r *etcdserverpb.DeleteRangeRequest, mine bool, res *Result) error {
	var err error
	m.tally.Deletes++
	res.Deleted, res.PrevKVs, err = m.keys.DeleteRange(r.Key, r.RangeEnd, r.PrevKv && mine)
	return onDisk(err)
}

func (m *Machine) readRange(r *etcdserverpb.RangeRequest, res *Result) error {
	var err error
	m.tally.Ranges++
	res.Range, err = m.keys.Now().Range(r)
	return onDisk(err)
}
