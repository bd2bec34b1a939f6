package oracle

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// mostNested is how deep transactions are nested.
const mostNested = 3

// txnPlan is what is decided once for a transaction with all that is nested in
// it.
type txnPlan struct {
	// readOnly: nothing but ranges.
	readOnly bool
	// fromKey: a delete may be from a key on, which may share a revision with a
	// put. Then no put may keep its value or lease: if its own transaction has
	// deleted the key, 3.4 does not survive that.
	fromKey bool
	// careless: keys are not looked at; duplicates are likely.
	careless bool
	// nested: there is at least one nested transaction.
	nested bool
	// written are the keys that are put or deleted, unless careless.
	written map[string]bool
}

func (g *Generator) txn() *pb.TxnRequest {
	if g.chance(3) {
		return g.wideTxn()
	}
	p := &txnPlan{readOnly: g.chance(20), fromKey: g.chance(10), careless: g.chance(8), nested: g.chance(34), written: map[string]bool{}}
	return g.planned(p, 0)
}

func (g *Generator) planned(p *txnPlan, depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range pick(g, 0, 1, 1, 1, 2, 3) {
		r.Compare = append(r.Compare, g.compare())
	}
	r.Success = g.branch(p, depth)
	r.Failure = g.branch(p, depth)
	return r
}

func (g *Generator) branch(p *txnPlan, depth int) []*pb.RequestOp {
	var ops []*pb.RequestOp
	for range pick(g, 0, 1, 1, 2, 2, 3, 5) {
		ops = append(ops, g.op(p))
	}
	if p.nested && depth < mostNested && (depth == 0 || g.chance(30)) {
		nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.planned(p, depth+1)}}
		at := g.rng.IntN(len(ops) + 1)
		ops = append(ops[:at], append([]*pb.RequestOp{nested}, ops[at:]...)...)
	}
	return ops
}

func (g *Generator) op(p *txnPlan) *pb.RequestOp {
	n := g.rng.IntN(100)
	if p.readOnly {
		return rangeOp(g.rangeKeys(anyRange))
	}
	switch {
	case n < 35:
		return rangeOp(g.rangeKeys(amongWrite))
	case n < 80:
		r := g.put()
		if p.fromKey {
			r.IgnoreValue, r.IgnoreLease = false, false
		}
		if !p.careless {
			r.Key = g.unwritten(p, r.Key)
		}
		return putOp(r)
	}
	r := g.deleteRange()
	if !p.careless && len(r.RangeEnd) != 1 {
		r.Key, r.RangeEnd = g.unwritten(p, r.Key), nil
	}
	if len(r.RangeEnd) == 1 && r.RangeEnd[0] == 0 && !p.fromKey {
		r.RangeEnd = nil
	}
	return deleteOp(r)
}

// unwritten is key, or another one that this transaction does not touch yet.
func (g *Generator) unwritten(p *txnPlan, key []byte) []byte {
	for range 20 {
		if !p.written[string(key)] {
			break
		}
		key = g.key()
	}
	p.written[string(key)] = true
	return key
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

// compare makes a comparison: every target and result, of a key or a range,
// with what was last seen there, or something else, or nothing.
func (g *Generator) compare() *pb.Compare {
	c := &pb.Compare{Key: g.key(), Result: pb.Compare_CompareResult(g.rng.IntN(4)), Target: pb.Compare_CompareTarget(g.rng.IntN(5))}
	if g.chance(30) {
		c.RangeEnd = g.end(c.Key)
	}
	union := c.Target
	switch n := g.rng.IntN(100); {
	case n < 12:
		union = -1 // missing
	case n < 18:
		union = pb.Compare_CompareTarget(g.rng.IntN(5)) // of another target
	case n < 19:
		c.Result = pick[pb.Compare_CompareResult](g, 4, -1)
	case n < 20:
		c.Target = pick[pb.Compare_CompareTarget](g, 5, -1)
	}
	g.setUnion(c, union)
	return c
}

func (g *Generator) setUnion(c *pb.Compare, union pb.Compare_CompareTarget) {
	seen := g.state.seen[string(c.Key)]
	now := g.state.revision
	switch union {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: g.number(seen.GetVersion(), 0, 1, 2)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.number(seen.GetCreateRevision(), 0, now, now-50)}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.number(seen.GetModRevision(), 0, now, now-50)}
	case pb.Compare_VALUE:
		value := g.value()
		if seen != nil && g.chance(50) {
			value = seen.Value
		}
		c.TargetUnion = &pb.Compare_Value{Value: value}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.number(seen.GetLease(), 0, 1, 2)}
	}
}

// number is what was seen, or near it, or one of others, or absurd.
func (g *Generator) number(seen int64, others ...int64) int64 {
	switch n := g.rng.IntN(100); {
	case n < 50:
		return seen
	case n < 60:
		return seen + pick[int64](g, -1, 1)
	case n < 65:
		return pick[int64](g, -1, math.MinInt64, math.MaxInt64)
	}
	return pick(g, others...)
}

// wideTxn is at the limit of 128 operations or one above it, in one list or
// shared with a nested transaction.
func (g *Generator) wideTxn() *pb.TxnRequest {
	r := &pb.TxnRequest{}
	n := 127 + g.rng.IntN(3)
	if g.chance(40) {
		g.fill(r, n)
		return r
	}
	parent := 1 + g.rng.IntN(100)
	nested := &pb.TxnRequest{}
	g.fill(nested, n-parent)
	g.fill(r, parent-1)
	if len(r.Success) >= len(r.Failure) {
		r.Success = append(r.Success, txnOp(nested))
	} else {
		r.Failure = append(r.Failure, txnOp(nested))
	}
	return r
}

// fill gives one list of r n entries.
func (g *Generator) fill(r *pb.TxnRequest, n int) {
	list := g.rng.IntN(3)
	for range n {
		read := &pb.RangeRequest{Key: g.key(), CountOnly: true}
		switch list {
		case 0:
			c := g.compare()
			c.Result, c.Target = pb.Compare_NOT_EQUAL, pb.Compare_MOD
			r.Compare = append(r.Compare, c)
		case 1:
			r.Success = append(r.Success, rangeOp(read))
		default:
			r.Failure = append(r.Failure, rangeOp(read))
		}
	}
	if n > 0 && g.chance(50) {
		put := putOp(&pb.PutRequest{Key: g.key(), Value: g.value()})
		switch list {
		case 1:
			r.Success[g.rng.IntN(n)] = put
		case 2:
			r.Failure[g.rng.IntN(n)] = put
		}
	}
}
