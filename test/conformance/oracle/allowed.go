package oracle

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// difference is one that is allowed: a row of the table.
type difference struct {
	name  string
	since string // the version of etcd that answers as we do
	where string // in versions.md, the list of differences between 3.4.23 and 3.7.1
	// occurs says whether a long run meets it, given what our member serves.
	occurs func(capabilities) bool
	// settle takes the difference out of both answers, which are its to change,
	// and says whether it found it. Anything else that differs it leaves alone.
	settle func(c *circumstances, ours, theirs *Answer) bool
	// due says, of what 3.4 answered, that we must not answer the same; nil if
	// we may.
	due func(c *circumstances, theirs Answer) bool
}

// circumstances are what a row may look at.
type circumstances struct {
	request proto.Message
	state   *state // before the operation
	// all returns every key of a range, with its value, without regard to
	// order, limit and keys_only. Only for requests that change nothing.
	all func(*pb.RangeRequest) (map[string]*mvccpb.KeyValue, error)
	err error // of all
}

const (
	textInvalidSort = "etcdserver: invalid sort option"
	textCompacted   = "etcdserver: mvcc: required revision has been compacted"
	textFutureRev   = "etcdserver: mvcc: required revision is a future revision"
	textNoLease     = "etcdserver: requested lease not found"
	textNoKey       = "etcdserver: key not found"
)

// allowed is the table of differences.
func allowed() []difference {
	return []difference{
		{
			name: "sort_order outside the enum", since: "after 3.4", where: "section 2, Range with sort_order 3",
			occurs: func(capabilities) bool { return true },
			settle: settleSortOrder,
			due:    func(c *circumstances, theirs Answer) bool { return !theirs.failed() && strangeOrder(c.request) },
		},
		{
			name: "which failure a transaction names", since: "to be confirmed on 3.7", where: "not there yet: 3.4 looks at all puts before it looks at any range; we take them in order",
			occurs: func(capabilities) bool { return true },
			settle: settleFirstFailure,
		},
		{
			name: "keys_only without lease", since: "3.7 at the latest", where: "section 2, keys_only Range of a key with a lease",
			occurs: func(c capabilities) bool { return c.lease },
			settle: settleKeysOnly,
		},
		{
			name: "order of keys that sort the same", since: "unspecified in every version", where: "not a change: the sort is unstable from 13 keys on",
			occurs: func(capabilities) bool { return true },
			settle: settleTies,
		},
		{
			name: "HashKV has hash_revision", since: "3.6", where: "section 3, HashKV, any",
			occurs: func(c capabilities) bool { return c.hashKV },
			settle: settleHashRevision,
			due: func(c *circumstances, theirs Answer) bool {
				_, hash := c.request.(*pb.HashKVRequest)
				return hash && !theirs.failed()
			},
		},
		{
			name: "HashKV at a compaction", since: "after 3.4", where: "section 3, HashKV at the compaction revision",
			occurs: func(c capabilities) bool { return c.hashKV && c.compact },
			settle: settleHashAtCompaction,
		},
	}
}

// settleTies brings keys that sort the same into the order of the keys, where a
// range is sorted by anything else. Where a limit cuts through such keys, either
// side may have kept any of them, as long as they are among the keys of the
// range.
func settleTies(c *circumstances, ours, theirs *Answer) bool {
	if ours.failed() || theirs.failed() {
		return false
	}
	found := false
	for _, a := range []*Answer{ours, theirs} {
		eachRanged(c.request, a.Message, func(r *pb.RangeRequest, res *pb.RangeResponse) {
			if r.SortTarget != pb.RangeRequest_KEY && len(res.Kvs) > 0 {
				found = true
				c.settleTie(r, res)
			}
		})
	}
	return found
}

func (c *circumstances) settleTie(r *pb.RangeRequest, res *pb.RangeResponse) {
	full := func(kv *mvccpb.KeyValue) *mvccpb.KeyValue { return kv }
	if res.More || r.KeysOnly && r.SortTarget == pb.RangeRequest_VALUE {
		all, err := c.all(r)
		if err != nil {
			c.err = err
			return
		}
		for _, kv := range res.Kvs {
			if !isOneOf(all, kv, r) {
				return // left as it is; it will be seen
			}
		}
		full = func(kv *mvccpb.KeyValue) *mvccpb.KeyValue { return all[string(kv.Key)] }
	}
	for from := 0; from < len(res.Kvs); {
		rank := ranked(r, full(res.Kvs[from]))
		to := from + 1
		for to < len(res.Kvs) && proto.Equal(rank, ranked(r, full(res.Kvs[to]))) {
			to++
		}
		tie := res.Kvs[from:to]
		if res.More && to == len(res.Kvs) {
			for i := range tie {
				tie[i] = rank
			}
		}
		slices.SortFunc(tie, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
		from = to
	}
}

// ranked is what of a key its place depends on.
func ranked(r *pb.RangeRequest, kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	switch r.SortTarget {
	case pb.RangeRequest_VERSION:
		return &mvccpb.KeyValue{Version: kv.Version}
	case pb.RangeRequest_CREATE:
		return &mvccpb.KeyValue{CreateRevision: kv.CreateRevision}
	case pb.RangeRequest_MOD:
		return &mvccpb.KeyValue{ModRevision: kv.ModRevision}
	}
	return &mvccpb.KeyValue{Value: kv.Value}
}

// isOneOf says whether kv, from an answer to r, is among all keys of its range.
func isOneOf(all map[string]*mvccpb.KeyValue, kv *mvccpb.KeyValue, r *pb.RangeRequest) bool {
	full, ok := all[string(kv.Key)]
	if !ok {
		return false
	}
	if r.KeysOnly {
		full = proto.CloneOf(full)
		full.Value = nil
		if r.SortTarget != pb.RangeRequest_VALUE {
			full.Lease = 0 // see settleKeysOnly
		}
	}
	return proto.Equal(full, kv)
}

// settleSortOrder lets us refuse a sort order that is none.
func settleSortOrder(c *circumstances, ours, theirs *Answer) bool {
	if ours.Code != codes.InvalidArgument || ours.Text != textInvalidSort || ours.Details != 0 {
		return false
	}
	if !strangeOrder(c.request) {
		return false
	}
	*theirs = *ours
	return true
}

func strangeOrder(request proto.Message) bool {
	strange := false
	eachRange(request, func(r *pb.RangeRequest) { strange = strange || r.SortOrder < 0 || r.SortOrder > 2 })
	return strange
}

// settleFirstFailure lets us name the failure of a range where the transaction
// also has a put that fails, which 3.4 names.
func settleFirstFailure(c *circumstances, ours, theirs *Answer) bool {
	if _, ok := c.request.(*pb.TxnRequest); !ok {
		return false
	}
	rangeFails := ours.Code == codes.OutOfRange && (ours.Text == textCompacted || ours.Text == textFutureRev)
	putFails := theirs.Code == codes.NotFound && theirs.Text == textNoLease || theirs.Code == codes.InvalidArgument && theirs.Text == textNoKey
	if rangeFails && putFails {
		*theirs = *ours
	}
	return rangeFails && putFails
}

// settleKeysOnly takes the leases out of their keys.
func settleKeysOnly(c *circumstances, ours, theirs *Answer) bool {
	if ours.failed() || theirs.failed() {
		return false
	}
	found := false
	eachRanged(c.request, theirs.Message, func(r *pb.RangeRequest, res *pb.RangeResponse) {
		if !r.KeysOnly || r.SortTarget == pb.RangeRequest_VALUE {
			return
		}
		for _, kv := range res.Kvs {
			found = found || kv.Lease != 0
			kv.Lease = 0
		}
	})
	return found
}

// settleHashRevision checks and removes the field that 3.4 does not have.
func settleHashRevision(c *circumstances, ours, _ *Answer) bool {
	r, ok := c.request.(*pb.HashKVRequest)
	if !ok || ours.failed() {
		return false
	}
	res := ours.Message.(*pb.HashKVResponse)
	want := r.Revision
	if want == 0 {
		want = c.state.revision
	}
	if res.HashRevision != want {
		return false
	}
	res.HashRevision = 0
	return true
}

// settleHashAtCompaction lets us answer at one of the last compactions with what
// 3.4 said of that revision just before it was compacted.
func settleHashAtCompaction(c *circumstances, ours, theirs *Answer) bool {
	r, ok := c.request.(*pb.HashKVRequest)
	if !ok || ours.failed() || theirs.Code != codes.OutOfRange || theirs.Text != textCompacted {
		return false
	}
	was := c.state.atCompaction[r.Revision]
	if was == nil || ours.Message.(*pb.HashKVResponse).CompactRevision == r.Revision {
		return false
	}
	before := proto.CloneOf(was)
	before.Header = proto.CloneOf(ours.Message.(*pb.HashKVResponse).Header)
	before.Header.Revision = c.state.revision
	*theirs = Answer{Message: before}
	return true
}

// settle takes every allowed difference out of copies of two answers, and
// returns the rows it took and whether the answers are what they must be.
func (c *circumstances) settle(rows []difference, ours, theirs Answer) (took []string, equal bool) {
	if ours.equal(theirs) {
		due := slices.ContainsFunc(rows, func(d difference) bool { return d.due != nil && d.due(c, theirs) })
		return nil, !due
	}
	ours, theirs = ours.clone(), theirs.clone()
	for _, row := range rows {
		if row.settle(c, &ours, &theirs) {
			took = append(took, row.name)
			if ours.equal(theirs) {
				return took, true
			}
		}
	}
	return nil, false
}
