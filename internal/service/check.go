package service

import (
	"bytes"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// What is wrong with a request is said before it costs anything.

func checkRange(r *etcdserverpb.RangeRequest) error {
	if len(r.Key) == 0 {
		return errs.EmptyKey
	}
	if r.SortOrder < etcdserverpb.RangeRequest_NONE || r.SortOrder > etcdserverpb.RangeRequest_DESCEND ||
		r.SortTarget < etcdserverpb.RangeRequest_KEY || r.SortTarget > etcdserverpb.RangeRequest_VALUE {
		return errs.InvalidSortOption
	}
	return nil
}

func checkPut(r *etcdserverpb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return errs.EmptyKey
	case r.IgnoreValue && len(r.Value) > 0:
		return errs.ValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return errs.LeaseProvided
	}
	return nil
}

// checkTxn checks a transaction and what is nested in it. Each list may have
// most entries; nested ones share what their parent's longest list leaves.
func checkTxn(r *etcdserverpb.TxnRequest, most int) error {
	if err := checkOps(r, most); err != nil {
		return err
	}
	for _, branch := range [][]*etcdserverpb.RequestOp{r.Success, r.Failure} {
		if _, err := writesOf(branch); err != nil {
			return err
		}
	}
	return nil
}

func checkOps(r *etcdserverpb.TxnRequest, most int) error {
	n := max(len(r.Compare), len(r.Success), len(r.Failure))
	if n > most {
		return errs.TooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return errs.EmptyKey
		}
	}
	for _, branch := range [][]*etcdserverpb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := checkOp(op, most-n); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *etcdserverpb.RequestOp, most int) error {
	switch op := op.GetRequest().(type) {
	case *etcdserverpb.RequestOp_RequestRange:
		return checkRange(op.RequestRange)
	case *etcdserverpb.RequestOp_RequestPut:
		return checkPut(op.RequestPut)
	case *etcdserverpb.RequestOp_RequestDeleteRange:
		if len(op.RequestDeleteRange.Key) == 0 {
			return errs.EmptyKey
		}
		return nil
	case *etcdserverpb.RequestOp_RequestTxn:
		return checkOps(op.RequestTxn, most)
	}
	return errs.KeyNotFound // an operation that says nothing
}

// writes are what a list of operations may change.
type writes struct {
	puts    map[string]bool
	deletes []*etcdserverpb.DeleteRangeRequest
}

func (w *writes) deleted(key []byte) bool {
	for _, d := range w.deletes {
		if covers(d, key) {
			return true
		}
	}
	return false
}

// covers says whether a delete is seen to take key. One from its key on
// (range_end "\0") never is: that is how it has always been judged, and such a
// delete and a put may share a revision.
func covers(d *etcdserverpb.DeleteRangeRequest, key []byte) bool {
	if len(d.RangeEnd) == 0 {
		return bytes.Equal(d.Key, key)
	}
	return bytes.Compare(d.Key, key) <= 0 && bytes.Compare(key, d.RangeEnd) < 0
}

// writesOf collects what a branch may change and refuses one that puts a key
// twice, or puts a key that it deletes. Both branches of a nested transaction
// count as executed, but not against each other.
func writesOf(ops []*etcdserverpb.RequestOp) (writes, error) {
	w := writes{puts: map[string]bool{}}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.deletes = append(w.deletes, d)
		}
	}
	for _, op := range ops {
		t := op.GetRequestTxn()
		if t == nil {
			continue
		}
		then, err := writesOf(t.Success)
		if err != nil {
			return w, err
		}
		otherwise, err := writesOf(t.Failure)
		if err != nil {
			return w, err
		}
		for _, branch := range []writes{then, otherwise} {
			for key := range branch.puts {
				if w.puts[key] || w.deleted([]byte(key)) {
					return w, errs.DuplicateKey
				}
			}
		}
		for _, branch := range []writes{then, otherwise} {
			for key := range branch.puts {
				w.puts[key] = true
			}
			w.deletes = append(w.deletes, branch.deletes...)
		}
	}
	for _, op := range ops {
		p := op.GetRequestPut()
		if p == nil {
			continue
		}
		if w.puts[string(p.Key)] || w.deleted(p.Key) {
			return w, errs.DuplicateKey
		}
		w.puts[string(p.Key)] = true
	}
	return w, nil
}

// plainReads says whether every operation of both branches is a range, so that
// the transaction need not go through the log, and whether all of them may be
// answered without a barrier.
func plainReads(r *etcdserverpb.TxnRequest) (readOnly, serializable bool) {
	serializable = true
	for _, branch := range [][]*etcdserverpb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			g := op.GetRequestRange()
			if g == nil {
				return false, false
			}
			serializable = serializable && g.Serializable
		}
	}
	return true, serializable
}
