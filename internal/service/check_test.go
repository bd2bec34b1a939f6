package service

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
)

func putOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func deleteOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func rangeOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func nested(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func many(n int, op *pb.RequestOp) []*pb.RequestOp {
	list := make([]*pb.RequestOp, n)
	for i := range list {
		list[i] = op
	}
	return list
}

func TestCheckTxn(t *testing.T) {
	for name, tc := range map[string]struct {
		txn  *pb.TxnRequest
		want error
	}{
		"empty":                      {&pb.TxnRequest{}, nil},
		"most operations":            {&pb.TxnRequest{Success: many(128, rangeOp("a"))}, nil},
		"one too many":               {&pb.TxnRequest{Failure: many(129, rangeOp("a"))}, errs.TooManyOps},
		"too many comparisons":       {&pb.TxnRequest{Compare: make([]*pb.Compare, 129)}, errs.TooManyOps},
		"nested share the rest":      {&pb.TxnRequest{Success: append(many(99, rangeOp("a")), nested(&pb.TxnRequest{Success: many(28, rangeOp("a"))}))}, nil},
		"nested beyond the rest":     {&pb.TxnRequest{Success: append(many(99, rangeOp("a")), nested(&pb.TxnRequest{Success: many(29, rangeOp("a"))}))}, errs.TooManyOps},
		"comparison without a key":   {&pb.TxnRequest{Compare: []*pb.Compare{{}}}, errs.EmptyKey},
		"put without a key":          {&pb.TxnRequest{Success: ops(putOp(""))}, errs.EmptyKey},
		"delete without a key":       {&pb.TxnRequest{Success: ops(deleteOp("", ""))}, errs.EmptyKey},
		"nested range without a key": {&pb.TxnRequest{Success: ops(nested(&pb.TxnRequest{Failure: ops(rangeOp(""))}))}, errs.EmptyKey},
		"an operation unset":         {&pb.TxnRequest{Failure: ops(&pb.RequestOp{})}, errs.KeyNotFound},
		"put twice":                  {&pb.TxnRequest{Success: ops(putOp("a"), putOp("a"))}, errs.DuplicateKey},
		"put in both branches":       {&pb.TxnRequest{Success: ops(putOp("a")), Failure: ops(putOp("a"))}, nil},
		"put, then deleted":          {&pb.TxnRequest{Success: ops(putOp("a"), deleteOp("a", ""))}, errs.DuplicateKey},
		"deleted by range, then put": {&pb.TxnRequest{Success: ops(deleteOp("a", "c"), putOp("b"))}, errs.DuplicateKey},
		"beside the deleted range":   {&pb.TxnRequest{Success: ops(deleteOp("a", "c"), putOp("c"))}, nil},
		"deleted from a key on":      {&pb.TxnRequest{Success: ops(deleteOp("a", "\x00"), putOp("b"))}, nil},
		"deletes may overlap":        {&pb.TxnRequest{Success: ops(deleteOp("a", "c"), deleteOp("b", "d"))}, nil},
		"put here and below":         {&pb.TxnRequest{Success: ops(putOp("a"), nested(&pb.TxnRequest{Success: ops(putOp("a"))}))}, errs.DuplicateKey},
		"deleted here, put below":    {&pb.TxnRequest{Success: ops(nested(&pb.TxnRequest{Failure: ops(putOp("b"))}), deleteOp("a", "c"))}, errs.DuplicateKey},
		"deleted below, put here":    {&pb.TxnRequest{Success: ops(putOp("b"), nested(&pb.TxnRequest{Failure: ops(deleteOp("a", "c"))}))}, errs.DuplicateKey},
		"both branches below":        {&pb.TxnRequest{Success: ops(nested(&pb.TxnRequest{Success: ops(putOp("a")), Failure: ops(putOp("a"))}))}, nil},
		"put in two nested ones":     {&pb.TxnRequest{Success: ops(nested(&pb.TxnRequest{Success: ops(putOp("a"))}), nested(&pb.TxnRequest{Success: ops(putOp("a"))}))}, errs.DuplicateKey},
	} {
		require.ErrorIs(t, checkTxn(tc.txn, 128), tc.want, name)
		if tc.want == nil {
			require.NoError(t, checkTxn(tc.txn, 128), name)
		}
	}
}

func TestNestingIsBoundedBeforeDecoding(t *testing.T) {
	deep := func(levels int) []byte {
		txn := &pb.TxnRequest{}
		for range levels {
			txn = &pb.TxnRequest{Failure: ops(nested(txn))}
		}
		b, err := txn.MarshalVT()
		require.NoError(t, err)
		return b
	}
	require.True(t, nestingWithin(deep(0), 0))
	require.False(t, nestingWithin(deep(1), 0))
	require.True(t, nestingWithin(deep(5), 5))
	require.False(t, nestingWithin(deep(6), 5))
	require.False(t, nestingWithin(deep(5000), 128))
	require.True(t, nestingWithin([]byte{0x12, 0xff, 0xff}, 0), "what is no message is the decoder's to refuse")
}

func TestReplicatedRequestCarriesThePayloadAsItCame(t *testing.T) {
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), PrevKv: true}
	payload, err := put.MarshalVT()
	require.NoError(t, err)
	for _, by := range []auth.Subject{{}, {User: "alice", Revision: 300}} {
		data, message := appendReplicated(nil, fieldPut, payload, 1<<63+5, by)
		require.Equal(t, payload, message)
		r := &pb.InternalRaftRequest{}
		require.NoError(t, r.UnmarshalVT(data))
		require.Equal(t, uint64(1<<63+5), r.Header.ID)
		require.Equal(t, put.Key, r.Put.Key)
		require.True(t, r.Put.PrevKv)
		want, err := (&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1<<63 + 5, Username: by.User, AuthRevision: by.Revision}, Put: put}).MarshalVT()
		require.NoError(t, err)
		require.Equal(t, want, data, "the bytes are those of the encoder")
	}
}
