package client

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"

	"etcd.alt/api/etcdserverpb"
)

// LeaseID names a lease; 0 is none.
type LeaseID int64

// kind is what an Op does.
type kind int

const (
	kindGet kind = iota
	kindPut
	kindDelete
	kindTxn
	kindMemberList
	kindWatch
)

var kindNames = [...]string{kindGet: "a get", kindPut: "a put", kindDelete: "a delete", kindTxn: "a transaction", kindMemberList: "a member list", kindWatch: "a watch"}

// option is a bit for each OpOption, so that one that does not go with an
// operation is refused by name instead of being dropped.
type option uint32

const (
	optPrefix option = 1 << iota
	optRange
	optFromKey
	optRev
	optLimit
	optSort
	optSerializable
	optKeysOnly
	optCountOnly
	optMinMod
	optMaxMod
	optMinCreate
	optMaxCreate
	optPrevKV
	optLease
	optIgnoreValue
	optIgnoreLease
	optProgress
	optCreated
	optNoPut
	optNoDelete
	optFragment
)

var optionNames = [...]string{
	"WithPrefix", "WithRange", "WithFromKey", "WithRev", "WithLimit", "WithSort", "WithSerializable", "WithKeysOnly",
	"WithCountOnly", "WithMinModRev", "WithMaxModRev", "WithMinCreateRev", "WithMaxCreateRev", "WithPrevKV", "WithLease",
	"WithIgnoreValue", "WithIgnoreLease", "WithProgressNotify", "WithCreatedNotify", "WithFilterPut", "WithFilterDelete", "WithFragment",
}

const optRanges = optPrefix | optRange | optFromKey

// goesWith says which options an operation takes.
var goesWith = [...]option{
	kindGet: optRanges | optRev | optLimit | optSort | optSerializable | optKeysOnly | optCountOnly |
		optMinMod | optMaxMod | optMinCreate | optMaxCreate,
	kindPut:        optPrevKV | optLease | optIgnoreValue | optIgnoreLease,
	kindDelete:     optRanges | optPrevKV,
	kindTxn:        0,
	kindMemberList: optSerializable,
	kindWatch:      optRanges | optRev | optPrevKV | optProgress | optCreated | optNoPut | optNoDelete | optFragment,
}

// Op is one operation: a get, a put, a delete, or a transaction of such. The
// zero Op is a get of the empty key, which servers refuse. What is wrong with
// an Op is said when it is used.
type Op struct {
	kind kind
	set  option
	err  error

	key, end, value  []byte
	rev, limit       int64
	target           SortTarget
	order            SortOrder
	minMod, maxMod   int64
	minCreate        int64
	maxCreate        int64
	lease            LeaseID
	compares         []Cmp
	success, failure []Op
}

// OpGet is a get of key, or of a range that an option spans from it.
func OpGet(key string, options ...OpOption) Op { return newOp(kindGet, key, options) }

// OpPut is a put of value at key.
func OpPut(key, value string, options ...OpOption) Op {
	op := newOp(kindPut, key, options)
	op.value = []byte(value)
	return op
}

// OpDelete is a delete of key, or of a range that an option spans from it.
func OpDelete(key string, options ...OpOption) Op { return newOp(kindDelete, key, options) }

// OpTxn is a transaction within a transaction: it runs success if all of
// compares hold, else failure.
func OpTxn(compares []Cmp, success, failure []Op) Op {
	return Op{kind: kindTxn, compares: compares, success: success, failure: failure}
}

func newOp(k kind, key string, options []OpOption) Op {
	op := Op{kind: k, key: []byte(key)}
	for _, o := range options {
		o(&op)
	}
	if wrong := op.set &^ goesWith[k]; wrong != 0 {
		op.err = fmt.Errorf("client: %s does not go with %s", optionNames[bits.TrailingZeros32(uint32(wrong))], kindNames[k])
	}
	op.span()
	return op
}

// span makes the range of the options.
func (op *Op) span() {
	ranges := op.set & optRanges
	switch {
	case bits.OnesCount32(uint32(ranges)) > 1:
		op.err = errors.New("client: only one of WithPrefix, WithRange and WithFromKey may be given")
	case ranges == optFromKey || ranges == optPrefix && len(op.key) == 0:
		if len(op.key) == 0 {
			op.key = []byte{0}
		}
		op.end = []byte{0}
	case ranges == optPrefix:
		op.end = prefixEnd(op.key)
	}
}

// PrefixEnd is the end of the range of all keys that begin with prefix: the
// first key behind it, or "\x00", which stands for no end.
func PrefixEnd(prefix string) string { return string(prefixEnd([]byte(prefix))) }

func prefixEnd(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	if len(end) == 0 {
		return []byte{0}
	}
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

// Err is what is wrong with op itself; nil if nothing is.
func (op Op) Err() error {
	if op.err != nil || op.kind != kindTxn {
		return op.err
	}
	for _, c := range op.compares {
		if err := c.check(); err != nil {
			return err
		}
	}
	for _, list := range [][]Op{op.success, op.failure} {
		for _, inner := range list {
			if err := inner.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// reads says that op changes nothing, whatever it finds.
func (op Op) reads() bool {
	for _, list := range [][]Op{op.success, op.failure} {
		for _, inner := range list {
			if !inner.reads() {
				return false
			}
		}
	}
	return op.kind == kindGet || op.kind == kindTxn
}

func (op Op) has(o option) bool { return op.set&o != 0 }

func (op Op) toRange() *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{
		Key:               op.key,
		RangeEnd:          op.end,
		Limit:             op.limit,
		Revision:          op.rev,
		SortOrder:         op.order,
		SortTarget:        op.target,
		Serializable:      op.has(optSerializable),
		KeysOnly:          op.has(optKeysOnly),
		CountOnly:         op.has(optCountOnly),
		MinModRevision:    op.minMod,
		MaxModRevision:    op.maxMod,
		MinCreateRevision: op.minCreate,
		MaxCreateRevision: op.maxCreate,
	}
}

func (op Op) toPut() *etcdserverpb.PutRequest {
	return &etcdserverpb.PutRequest{
		Key:         op.key,
		Value:       op.value,
		Lease:       int64(op.lease),
		PrevKv:      op.has(optPrevKV),
		IgnoreValue: op.has(optIgnoreValue),
		IgnoreLease: op.has(optIgnoreLease),
	}
}

func (op Op) toDelete() *etcdserverpb.DeleteRangeRequest {
	return &etcdserverpb.DeleteRangeRequest{Key: op.key, RangeEnd: op.end, PrevKv: op.has(optPrevKV)}
}

func (op Op) toWatch() *etcdserverpb.WatchCreateRequest {
	r := &etcdserverpb.WatchCreateRequest{
		Key:            op.key,
		RangeEnd:       op.end,
		StartRevision:  op.rev,
		ProgressNotify: op.has(optProgress),
		PrevKv:         op.has(optPrevKV),
		Fragment:       op.has(optFragment),
	}
	if op.has(optNoPut) {
		r.Filters = append(r.Filters, etcdserverpb.WatchCreateRequest_NOPUT)
	}
	if op.has(optNoDelete) {
		r.Filters = append(r.Filters, etcdserverpb.WatchCreateRequest_NODELETE)
	}
	return r
}

func (op Op) toTxn() *etcdserverpb.TxnRequest {
	r := &etcdserverpb.TxnRequest{Success: toRequests(op.success), Failure: toRequests(op.failure)}
	for _, c := range op.compares {
		r.Compare = append(r.Compare, c.message)
	}
	return r
}

func toRequests(ops []Op) []*etcdserverpb.RequestOp {
	var all []*etcdserverpb.RequestOp
	for _, op := range ops {
		r := &etcdserverpb.RequestOp{}
		switch op.kind {
		case kindGet:
			r.Request = &etcdserverpb.RequestOp_RequestRange{RequestRange: op.toRange()}
		case kindPut:
			r.Request = &etcdserverpb.RequestOp_RequestPut{RequestPut: op.toPut()}
		case kindDelete:
			r.Request = &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: op.toDelete()}
		case kindTxn:
			r.Request = &etcdserverpb.RequestOp_RequestTxn{RequestTxn: op.toTxn()}
		}
		all = append(all, r)
	}
	return all
}
