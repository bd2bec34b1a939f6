package machine

import (
	"bytes"
	"cmp"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
)

// TxnResult is what came of a transaction.
type TxnResult struct {
	Succeeded bool
	// Ops has one result for each operation of the branch that was taken.
	Ops []OpResult
}

// OpResult is what came of one operation: a Result whose Revision stands in the
// operation's own header. A nested transaction has Txn set.
type OpResult struct {
	Op *etcdserverpb.RequestOp
	Result
}

// path is the branch that a transaction takes, found before anything is
// changed; nested transactions have theirs, by place.
type path struct {
	succeeded bool
	ops       []*etcdserverpb.RequestOp
	nested    map[int]*path
}

// txn runs a transaction. The comparisons of the nested ones see the state
// before the transaction too, and whatever can fail is looked at before the
// first change.
func (m *Machine) txn(r *etcdserverpb.TxnRequest, mine bool, res *Result) error {
	now := m.keys.Now()
	p, err := choose(now, r)
	if err != nil {
		return err
	}
	if err := m.checkPath(now, p, &mvcc.Ranges{}); err != nil {
		return err
	}
	res.Txn = &TxnResult{}
	before := m.tally.operations()
	err = m.run(p, mine, res.Txn)
	if m.tally.operations() > before+1 {
		m.tally.Txns++
	}
	return err
}

// ReadTxn answers a transaction whose operations are all plain ranges, in a
// view.
func ReadTxn(v *mvcc.View, r *etcdserverpb.TxnRequest) (*TxnResult, error) {
	p, err := choose(v, r)
	if err != nil {
		return nil, err
	}
	res := &TxnResult{Succeeded: p.succeeded, Ops: make([]OpResult, len(p.ops))}
	for _, op := range p.ops {
		if err := v.CheckRange(op.GetRequestRange()); err != nil {
			return nil, err
		}
	}
	for i, op := range p.ops {
		o := &res.Ops[i]
		o.Op, o.Revision = op, v.Revision
		if o.Range, err = v.Range(op.GetRequestRange()); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// choose evaluates the comparisons of r, and of the transactions nested in the
// branch that it takes, in one view.
func choose(v *mvcc.View, r *etcdserverpb.TxnRequest) (*path, error) {
	p := &path{succeeded: true}
	for _, c := range r.Compare {
		ok, err := compare(v, c)
		if err != nil {
			return nil, err
		}
		if !ok {
			p.succeeded = false
			break
		}
	}
	p.ops = r.Success
	if !p.succeeded {
		p.ops = r.Failure
	}
	for i, op := range p.ops {
		if t := op.GetRequestTxn(); t != nil {
			n, err := choose(v, t)
			if err != nil {
				return nil, err
			}
			if p.nested == nil {
				p.nested = map[int]*path{}
			}
			p.nested[i] = n
		}
	}
	return p, nil
}

// checkPath finds what would fail on the way. gone are the keys deleted before
// on the path: a put that keeps a value or a lease needs a key that is still
// there. (Most such transactions are refused before they come here; a delete from
// a key on is not seen as touching any put.)
func (m *Machine) checkPath(now *mvcc.View, p *path, gone *mvcc.Ranges) error {
	for i, op := range p.ops {
		var err error
		switch {
		case op.GetRequestPut() != nil:
			put := op.GetRequestPut()
			err = m.checkPut(put)
			if err == nil && (put.IgnoreValue || put.IgnoreLease) && gone.Has(put.Key) {
				err = errs.KeyNotFound
			}
		case op.GetRequestDeleteRange() != nil:
			gone.Add(op.GetRequestDeleteRange().Key, op.GetRequestDeleteRange().RangeEnd)
		case op.GetRequestRange() != nil:
			err = now.CheckRange(op.GetRequestRange())
		case op.GetRequestTxn() != nil:
			err = m.checkPath(now, p.nested[i], gone)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run makes the changes and reads of a path. Reads are left out on members
// where nobody waits for them.
func (m *Machine) run(p *path, mine bool, res *TxnResult) error {
	res.Succeeded = p.succeeded
	res.Ops = make([]OpResult, len(p.ops))
	for i, op := range p.ops {
		o := &res.Ops[i]
		o.Op = op
		var err error
		switch {
		case op.GetRequestRange() != nil:
			if mine {
				err = m.readRange(op.GetRequestRange(), &o.Result)
			}
		case op.GetRequestPut() != nil:
			err = m.doPut(op.GetRequestPut(), mine, &o.Result)
		case op.GetRequestDeleteRange() != nil:
			err = m.deleteRange(op.GetRequestDeleteRange(), mine, &o.Result)
		case op.GetRequestTxn() != nil:
			o.Txn = &TxnResult{}
			err = m.run(p.nested[i], mine, o.Txn)
		}
		if err != nil {
			return onDisk(err)
		}
		o.Revision = m.keys.Revision()
	}
	return nil
}

// compare evaluates a comparison: over a range it holds if it holds for every
// key there; an empty range counts as one key that does not exist.
func compare(v *mvcc.View, c *etcdserverpb.Compare) (bool, error) {
	holds, none := true, true
	err := v.Each(c.Key, c.RangeEnd, func(s mvcc.State) (bool, error) {
		none = false
		var value []byte
		if c.Target == etcdserverpb.Compare_VALUE {
			record, err := s.Record()
			if err != nil {
				return false, err
			}
			value = mvcc.Value(record)
		}
		holds = compareState(c, s, value)
		return holds, nil
	})
	if err != nil {
		return false, onDisk(err)
	}
	if none {
		// A key that does not exist has no value that anything could be said of.
		return c.Target != etcdserverpb.Compare_VALUE && compareState(c, mvcc.State{}, nil), nil
	}
	return holds, nil
}

// compareState compares one key. An unknown target is equal to anything, and an
// unknown result holds: that is how such requests have always been answered.
func compareState(c *etcdserverpb.Compare, s mvcc.State, value []byte) bool {
	var order int
	switch c.Target {
	case etcdserverpb.Compare_VALUE:
		order = bytes.Compare(value, c.GetValue())
	case etcdserverpb.Compare_CREATE:
		order = cmp.Compare(s.Create, c.GetCreateRevision())
	case etcdserverpb.Compare_MOD:
		order = cmp.Compare(s.Mod, c.GetModRevision())
	case etcdserverpb.Compare_VERSION:
		order = cmp.Compare(s.Version, c.GetVersion())
	case etcdserverpb.Compare_LEASE:
		order = cmp.Compare(s.Lease, c.GetLease())
	}
	switch c.Result {
	case etcdserverpb.Compare_EQUAL:
		return order == 0
	case etcdserverpb.Compare_NOT_EQUAL:
		return order != 0
	case etcdserverpb.Compare_GREATER:
		return order > 0
	case etcdserverpb.Compare_LESS:
		return order < 0
	}
	return true
}
