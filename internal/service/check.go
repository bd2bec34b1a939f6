package service

import (
	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
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
	deletes mvcc.Ranges
}

// delete takes a delete in. One from its key on (range_end "\0") is not seen as
// touching any put: that is how it has always been judged, and such a delete and
// a put may share a revision.
func (w *writes) delete(r *etcdserverpb.DeleteRangeRequest) {
	if len(r.RangeEnd) == 1 && r.RangeEnd[0] == 0 {
		return
	}
	w.deletes.Add(r.Key, r.RangeEnd)
}

// put takes a put in, and refuses one of a key that is put or deleted already.
func (w *writes) put(key string) error {
	if w.puts[key] || w.deletes.Has([]byte(key)) {
		return errs.DuplicateKey
	}
	w.puts[key] = true
	return nil
}

// writesOf collects what a branch may change and refuses one that puts a key
// twice, or puts a key that it deletes. Both branches of a nested transaction
// count as executed, but not against each other.
func writesOf(ops []*etcdserverpb.RequestOp) (*writes, error) {
	w := &writes{puts: map[string]bool{}}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.delete(d)
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := w.nest(t); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := w.put(string(p.Key)); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// nest takes in what a nested transaction may change.
func (w *writes) nest(t *etcdserverpb.TxnRequest) error {
	then, err := writesOf(t.Success)
	if err != nil {
		return err
	}
	otherwise, err := writesOf(t.Failure)
	if err != nil {
		return err
	}
	for _, branch := range []*writes{then, otherwise} {
		for key := range branch.puts {
			if w.puts[key] || w.deletes.Has([]byte(key)) {
				return errs.DuplicateKey
			}
		}
	}
	for _, branch := range []*writes{then, otherwise} {
		for key := range branch.puts {
			w.puts[key] = true
		}
		w.deletes.AddAll(&branch.deletes)
	}
	return nil
}

// nestingWithin says whether the transactions in an encoded TxnRequest are
// nested no deeper than most. The decoder goes as deep as a message does, so it
// is asked before. Whatever else is wrong with the message is the decoder's to
// say.
func nestingWithin(b []byte, most int) bool {
	return eachField(b, func(field protowire.Number, op []byte) bool {
		if field != 2 && field != 3 { // success, failure
			return true
		}
		return eachField(op, func(field protowire.Number, txn []byte) bool {
			return field != 4 || (most > 0 && nestingWithin(txn, most-1))
		})
	})
}

// eachField calls fn for the length-delimited fields of a message until it
// returns false, and says whether it never did.
func eachField(b []byte, fn func(field protowire.Number, value []byte) bool) bool {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return true
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, typ, b); n < 0 {
				return true
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return true
		}
		b = b[n:]
		if !fn(field, value) {
			return false
		}
	}
	return true
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
