package oracle

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd.alt/conformance/member"
)

// TestGeneratorKeepsItsPromises looks at what is made, without any member.
func TestGeneratorKeepsItsPromises(t *testing.T) {
	const operations = 100_000
	s := newState()
	g := newGenerator(1, capabilities{compact: true, hashKV: true, lease: true}, s, 0)
	txns, nested := 0, 0
	kinds := map[string]int{}
	targets := map[pb.Compare_CompareTarget]int{}
	orders := map[[2]int32]int{}
	for range operations {
		op := g.Next()
		require.False(t, lethal(op.Request), "%v", op)
		kinds[string(op.Request.ProtoReflect().Descriptor().Name())]++
		s.revision++
		eachRange(op.Request, func(r *pb.RangeRequest) { orders[[2]int32{int32(r.SortTarget), int32(r.SortOrder)}]++ })
		r, ok := op.Request.(*pb.TxnRequest)
		if !ok {
			continue
		}
		txns++
		if nests(r) {
			nested++
		}
		for _, c := range r.Compare {
			targets[c.Target]++
		}
	}
	require.Greater(t, txns, operations*30/100)
	require.Greater(t, nested, txns*30/100)
	require.Len(t, kinds, 8, "%v", kinds)
	for target := range pb.Compare_CompareTarget_name {
		require.Greater(t, targets[pb.Compare_CompareTarget(target)], 1000)
	}
	for target := range pb.RangeRequest_SortTarget_name {
		for order := range pb.RangeRequest_SortOrder_name {
			require.Greater(t, orders[[2]int32{target, order}], 1000)
		}
	}
	require.LessOrEqual(t, len(g.keys), 40, "operations must meet")
}

func nests(r *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if op.GetRequestTxn() != nil {
				return true
			}
		}
	}
	return false
}

// TestPeerIsEqualToItself walks with 3.4 on both sides: nothing may
// differ, without any table. It is also what sends operations that our member
// does not serve yet.
func TestPeerIsEqualToItself(t *testing.T) {
	peer, err := member.Peer()
	require.NoError(t, err, "the peer is Debian's package etcd-server")
	report, err := Walk(Config{Ours: peer, Theirs: peer, Operations: 3000, Seed: 1})
	require.NoError(t, err)
	require.NotZero(t, report.Kinds["LeaseGrantRequest"])
	require.NotZero(t, report.Kinds["CompactionRequest"])
}
