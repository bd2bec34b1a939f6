package oracle

import (
	"fmt"
	"regexp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Operation is one thing that is done to both sides: a call, or, without a
// request, kill -9 and a new start of our member.
type Operation struct {
	Request proto.Message
}

// restart kills our member and starts it again.
func restart() Operation { return Operation{} }

func (o Operation) isRestart() bool { return o.Request == nil }

// String is the operation as protobuf text.
func (o Operation) String() string {
	if o.isRestart() {
		return "restart"
	}
	return fmt.Sprintf("%s {%s}", o.Request.ProtoReflect().Descriptor().Name(), text(o.Request))
}

// mostText is how much of a message is printed.
const mostText = 8000

// text is a message as protobuf text, in which the long values, each of one
// letter, are told by their length.
func text(m proto.Message) string {
	s := longValue.ReplaceAllStringFunc(prototext.MarshalOptions{}.Format(m), func(run string) string {
		return fmt.Sprintf("%c…(%d)", run[0], len(run))
	})
	if len(s) > mostText {
		s = fmt.Sprintf("%s… (%d bytes)", s[:mostText], proto.Size(m))
	}
	return s
}

var longValue = regexp.MustCompile("x{100,}|v{100,}")

// route is where a request goes and what answers it.
func route(request proto.Message) (path string, response proto.Message) {
	switch request.(type) {
	case *pb.RangeRequest:
		return "/etcdserverpb.KV/Range", &pb.RangeResponse{}
	case *pb.PutRequest:
		return "/etcdserverpb.KV/Put", &pb.PutResponse{}
	case *pb.DeleteRangeRequest:
		return "/etcdserverpb.KV/DeleteRange", &pb.DeleteRangeResponse{}
	case *pb.TxnRequest:
		return "/etcdserverpb.KV/Txn", &pb.TxnResponse{}
	case *pb.CompactionRequest:
		return "/etcdserverpb.KV/Compact", &pb.CompactionResponse{}
	case *pb.HashKVRequest:
		return "/etcdserverpb.Maintenance/HashKV", &pb.HashKVResponse{}
	case *pb.LeaseGrantRequest:
		return "/etcdserverpb.Lease/LeaseGrant", &pb.LeaseGrantResponse{}
	case *pb.LeaseRevokeRequest:
		return "/etcdserverpb.Lease/LeaseRevoke", &pb.LeaseRevokeResponse{}
	}
	panic(fmt.Sprintf("oracle: no method takes %T", request))
}

// readsOnly says whether an operation leaves the state as it was.
func (o Operation) readsOnly() bool {
	switch o.Request.(type) {
	case *pb.RangeRequest, *pb.HashKVRequest:
		return true
	}
	return false
}

// eachRange calls f with every range request in a request, at whatever depth.
func eachRange(request proto.Message, f func(*pb.RangeRequest)) {
	switch r := request.(type) {
	case *pb.RangeRequest:
		f(r)
	case *pb.TxnRequest:
		for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
			for _, op := range branch {
				if g := op.GetRequestRange(); g != nil {
					f(g)
				}
				if t := op.GetRequestTxn(); t != nil {
					eachRange(t, f)
				}
			}
		}
	}
}

// eachRanged calls f with every range that was executed and its answer.
func eachRanged(request, response proto.Message, f func(*pb.RangeRequest, *pb.RangeResponse)) {
	switch r := request.(type) {
	case *pb.RangeRequest:
		f(r, response.(*pb.RangeResponse))
	case *pb.TxnRequest:
		t := response.(*pb.TxnResponse)
		ops := r.Success
		if !t.Succeeded {
			ops = r.Failure
		}
		for i, op := range ops {
			if i >= len(t.Responses) {
				return
			}
			a := t.Responses[i]
			if op.GetRequestRange() != nil && a.GetResponseRange() != nil {
				f(op.GetRequestRange(), a.GetResponseRange())
			}
			if op.GetRequestTxn() != nil && a.GetResponseTxn() != nil {
				eachRanged(op.GetRequestTxn(), a.GetResponseTxn(), f)
			}
		}
	}
}
