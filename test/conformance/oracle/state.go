package oracle

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// capabilities are what our member serves; nothing else is sent.
type capabilities struct{ compact, hashKV, lease bool }

// probe asks our member, once and harmlessly, for what it may not serve yet.
func probe(ours *side) (capabilities, error) {
	served := func(request proto.Message) (bool, error) {
		a, err := ours.call(request)
		return err == nil && a.Code != codes.Unimplemented, err
	}
	var c capabilities
	var err error
	if c.compact, err = served(&pb.CompactionRequest{Revision: -1}); err != nil {
		return c, err
	}
	if c.hashKV, err = served(&pb.HashKVRequest{Revision: -1}); err != nil {
		return c, err
	}
	c.lease, err = served(&pb.LeaseRevokeRequest{ID: 1})
	return c, err
}

// state is what the answers tell of the store; the generator aims by it.
type state struct {
	revision int64
	// compacted is the revision of the last compaction, -1 before the first.
	compacted int64
	// seen are the keys as they were last met.
	seen map[string]*mvccpb.KeyValue
	// hashes are the peer's answers of HashKV, by revision, as long as the
	// revision lies above the compaction.
	hashes map[int64]*pb.HashKVResponse
	// atCompaction are the hashes of the compacted revisions as they were before
	// their compactions, for those of which somebody asked since our member
	// started.
	atCompaction map[int64]*pb.HashKVResponse
}

func newState() *state {
	return &state{revision: 1, compacted: -1, seen: map[string]*mvccpb.KeyValue{}, hashes: map[int64]*pb.HashKVResponse{}, atCompaction: map[int64]*pb.HashKVResponse{}}
}

// observe takes in what an operation has changed and shown.
func (s *state) observe(op Operation, answer Answer) {
	if op.isRestart() {
		clear(s.atCompaction)
		return
	}
	if answer.failed() {
		return
	}
	if m, ok := answer.Message.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		s.revision = max(s.revision, m.GetHeader().GetRevision())
	}
	switch r := op.Request.(type) {
	case *pb.CompactionRequest:
		s.compacted = r.Revision
		if h := s.hashes[r.Revision]; h != nil {
			s.atCompaction[r.Revision] = h
		}
		clear(s.hashes)
	case *pb.HashKVRequest:
		at := r.Revision
		if at == 0 {
			at = s.revision
		}
		s.hashes[at] = answer.Message.(*pb.HashKVResponse)
	case *pb.RangeRequest, *pb.TxnRequest:
		eachRanged(r, answer.Message, func(_ *pb.RangeRequest, res *pb.RangeResponse) {
			for _, kv := range res.Kvs {
				s.seen[string(kv.Key)] = kv
			}
		})
	}
}
