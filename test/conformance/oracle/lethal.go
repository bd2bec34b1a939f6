package oracle

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// lethal says whether 3.4 would not survive a request: a sort target outside
// the enum, or a transaction that keeps the value or lease of a key which it
// may itself have deleted. The generator makes no such request; this is what
// holds it to that.
func lethal(request proto.Message) bool {
	bad := false
	eachRange(request, func(r *pb.RangeRequest) { bad = bad || r.SortTarget < 0 || r.SortTarget > 4 })
	t, ok := request.(*pb.TxnRequest)
	if !ok {
		return bad
	}
	keeps, deletesFromKey := looksAt(t)
	return bad || keeps && deletesFromKey
}

// looksAt says whether any put of a transaction keeps something, and whether
// any delete reaches from a key on.
func looksAt(t *pb.TxnRequest) (keeps, deletesFromKey bool) {
	for _, branch := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if p := op.GetRequestPut(); p != nil {
				keeps = keeps || p.IgnoreValue || p.IgnoreLease
			}
			if d := op.GetRequestDeleteRange(); d != nil {
				deletesFromKey = deletesFromKey || len(d.RangeEnd) == 1 && d.RangeEnd[0] == 0
			}
			if n := op.GetRequestTxn(); n != nil {
				k, d := looksAt(n)
				keeps, deletesFromKey = keeps || k, deletesFromKey || d
			}
		}
	}
	return keeps, deletesFromKey
}
