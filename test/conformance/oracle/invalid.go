package oracle

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// invalid makes a request that is refused, alone or deep in a transaction.
func (g *Generator) invalid() Operation {
	switch g.rng.IntN(10) {
	case 0:
		return Operation{&pb.RangeRequest{RangeEnd: pick(g, nil, []byte{0}, []byte("b"))}}
	case 1:
		return Operation{g.invalidPut()}
	case 2:
		return Operation{&pb.DeleteRangeRequest{RangeEnd: pick(g, nil, []byte{0}, []byte("b"))}}
	case 3:
		c := g.compare()
		c.Key = nil
		return Operation{&pb.TxnRequest{Compare: []*pb.Compare{g.compare(), c}}}
	case 4:
		return Operation{g.duplicate()}
	}
	p := &txnPlan{nested: g.chance(50), written: map[string]bool{}}
	r := g.planned(p, 0)
	g.spoil(r)
	return Operation{r}
}

func (g *Generator) invalidPut() *pb.PutRequest {
	r := g.put()
	switch g.rng.IntN(4) {
	case 0:
		r.Key = nil
	case 1:
		r.IgnoreValue, r.Value = true, []byte("v")
	case 2:
		r.IgnoreLease, r.Lease = true, pick[int64](g, 1, 999)
	default:
		r.Key, r.IgnoreValue, r.Value = nil, true, []byte("v")
	}
	return r
}

// spoil adds an operation that is refused to r or to what is nested in it.
func (g *Generator) spoil(r *pb.TxnRequest) {
	branch := &r.Success
	if g.chance(50) {
		branch = &r.Failure
	}
	for _, op := range *branch {
		if t := op.GetRequestTxn(); t != nil && g.chance(60) {
			g.spoil(t)
			return
		}
	}
	var bad *pb.RequestOp
	switch g.rng.IntN(6) {
	case 0:
		bad = &pb.RequestOp{}
	case 1:
		bad = rangeOp(&pb.RangeRequest{RangeEnd: []byte("b")})
	case 2:
		bad = deleteOp(&pb.DeleteRangeRequest{})
	case 3:
		bad = rangeOp(&pb.RangeRequest{Key: g.key(), Revision: g.state.revision + 1 + g.rng.Int64N(2)})
	case 4:
		bad = putOp(&pb.PutRequest{Key: []byte("never put"), IgnoreValue: true})
	default:
		bad = putOp(g.invalidPut())
	}
	at := g.rng.IntN(len(*branch) + 1)
	*branch = append((*branch)[:at:at], append([]*pb.RequestOp{bad}, (*branch)[at:]...)...)
}

// duplicate makes a transaction that touches one key twice, in one of the
// places where that is, or is not, refused.
func (g *Generator) duplicate() *pb.TxnRequest {
	key := g.key()
	put := func() *pb.RequestOp { return putOp(&pb.PutRequest{Key: key, Value: g.value()}) }
	remove := func() *pb.RequestOp { return deleteOp(&pb.DeleteRangeRequest{Key: key, RangeEnd: g.end(key)}) }
	nest := func(success, failure []*pb.RequestOp) *pb.RequestOp {
		return txnOp(&pb.TxnRequest{Compare: []*pb.Compare{g.compare()}, Success: success, Failure: failure})
	}
	list := func(ops ...*pb.RequestOp) []*pb.RequestOp { return ops }
	var ops []*pb.RequestOp
	switch g.rng.IntN(8) {
	case 0:
		ops = list(put(), put())
	case 1:
		ops = list(remove(), put())
	case 2:
		ops = list(put(), remove())
	case 3:
		ops = list(put(), nest(list(put()), nil))
	case 4:
		ops = list(nest(list(put()), list(remove())))
	case 5:
		ops = list(nest(list(put()), nil), nest(nil, list(remove())))
	case 6:
		ops = list(nest(list(nest(list(put()), list(put()))), list(put())))
	default:
		ops = list(remove(), remove(), nest(list(remove()), list(remove())))
	}
	r := &pb.TxnRequest{Success: ops}
	if g.chance(30) {
		r.Success, r.Failure = nil, ops
	}
	return r
}

// large is above the limit of a request in the log, or of a message.
func (g *Generator) large() Operation {
	value := bytes.Repeat([]byte{'v'}, pick(g, 1_600_000, 2_200_000))
	put := &pb.PutRequest{Key: g.key(), Value: value}
	if g.chance(50) {
		return Operation{&pb.TxnRequest{Success: []*pb.RequestOp{putOp(put)}}}
	}
	return Operation{put}
}
