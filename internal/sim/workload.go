package sim

import (
	"fmt"
	"math/rand/v2"

	"etcd.alt/api/etcdserverpb"
)

// workload draws requests over few keys, so that they meet.
type workload struct{ rng *rand.Rand }

const keys = 12

func (w workload) key() []byte { return fmt.Appendf(nil, "k%02d", w.rng.IntN(keys)) }

// span draws a key, or a range.
func (w workload) span() (key, end []byte) {
	key = w.key()
	switch w.rng.IntN(6) {
	case 0:
		end = w.key() // at times inverted
	case 1:
		end = []byte{0}
	case 2:
		key, end = []byte("k"), []byte("l")
	}
	return key, end
}

func (w workload) put() *etcdserverpb.PutRequest {
	r := &etcdserverpb.PutRequest{Key: w.key(), PrevKv: w.rng.IntN(4) == 0}
	switch w.rng.IntN(6) {
	case 0:
		r.IgnoreLease = true
	case 1, 2:
		r.Lease = w.lease()
	}
	switch w.rng.IntN(12) {
	case 0:
		r.IgnoreValue = true
	case 1: // an empty value
	default:
		r.Value = make([]byte, w.rng.IntN(300))
		for i := range r.Value {
			r.Value[i] = byte(w.rng.Uint32())
		}
	}
	return r
}

// lease draws the id of a lease, which is there or not.
func (w workload) lease() int64 { return int64(w.rng.IntN(6)) - 1 }

// leases draws a request about leases.
func (w workload) leases(r *etcdserverpb.InternalRaftRequest) {
	switch n := w.rng.IntN(10); {
	case n < 5:
		r.LeaseGrant = &etcdserverpb.LeaseGrantRequest{ID: w.lease(), TTL: w.rng.Int64N(100) - 1}
		if w.rng.IntN(10) == 0 {
			r.LeaseGrant.TTL = 9e9 + w.rng.Int64N(2)
		}
	case n < 8:
		r.LeaseRevoke = &etcdserverpb.LeaseRevokeRequest{ID: w.lease()}
	default:
		r.LeaseCheckpoint = &etcdserverpb.LeaseCheckpointRequest{}
		for range w.rng.IntN(4) {
			r.LeaseCheckpoint.Checkpoints = append(r.LeaseCheckpoint.Checkpoints, &etcdserverpb.LeaseCheckpoint{ID: w.lease(), Remaining_TTL: w.rng.Int64N(120) - 10})
		}
	}
}

func (w workload) delete() *etcdserverpb.DeleteRangeRequest {
	r := &etcdserverpb.DeleteRangeRequest{PrevKv: w.rng.IntN(4) == 0}
	r.Key, r.RangeEnd = w.span()
	return r
}

func (w workload) compare() *etcdserverpb.Compare {
	c := &etcdserverpb.Compare{
		Result: etcdserverpb.Compare_CompareResult(w.rng.IntN(4)),
		Target: etcdserverpb.Compare_CompareTarget(w.rng.IntN(5)),
	}
	c.Key, c.RangeEnd = w.span()
	n := int64(w.rng.IntN(20))
	switch c.Target {
	case etcdserverpb.Compare_VERSION:
		c.TargetUnion = &etcdserverpb.Compare_Version{Version: n % 4}
	case etcdserverpb.Compare_CREATE:
		c.TargetUnion = &etcdserverpb.Compare_CreateRevision{CreateRevision: n * 3}
	case etcdserverpb.Compare_MOD:
		c.TargetUnion = &etcdserverpb.Compare_ModRevision{ModRevision: n * 3}
	case etcdserverpb.Compare_LEASE:
		c.TargetUnion = &etcdserverpb.Compare_Lease{Lease: n % 4}
	case etcdserverpb.Compare_VALUE:
		c.TargetUnion = &etcdserverpb.Compare_Value{Value: []byte{byte(w.rng.Uint32())}}
	}
	return c
}

func (w workload) txn(depth int) *etcdserverpb.TxnRequest {
	r := &etcdserverpb.TxnRequest{}
	for range w.rng.IntN(3) {
		r.Compare = append(r.Compare, w.compare())
	}
	for _, branch := range []*[]*etcdserverpb.RequestOp{&r.Success, &r.Failure} {
		for range w.rng.IntN(4) {
			*branch = append(*branch, w.op(depth))
		}
	}
	return r
}

func (w workload) op(depth int) *etcdserverpb.RequestOp {
	switch n := w.rng.IntN(8); {
	case n < 4:
		return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: w.put()}}
	case n < 6:
		return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: w.delete()}}
	case n < 7 || depth == 0:
		r := &etcdserverpb.RangeRequest{}
		r.Key, r.RangeEnd = w.span()
		return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: r}}
	}
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestTxn{RequestTxn: w.txn(depth - 1)}}
}

// request draws a request as it stands in the log, under id.
// revision is the present one.
func (w workload) request(id uint64, revision int64) ([]byte, error) {
	r := &etcdserverpb.InternalRaftRequest{Header: &etcdserverpb.RequestHeader{ID: id}}
	switch n := w.rng.IntN(100); {
	case n < 3:
		r.Compaction = &etcdserverpb.CompactionRequest{Revision: revision + 2 - w.rng.Int64N(12)}
	case n < 6: // raised more seldom than disarmed, so that most of a run is without one
		r.Alarm = &etcdserverpb.AlarmRequest{
			Action:   etcdserverpb.AlarmRequest_AlarmAction(min(w.rng.IntN(6), 2)),
			MemberID: uint64(w.rng.IntN(2)),
			Alarm:    etcdserverpb.AlarmType(w.rng.IntN(3)),
		}
	case n < 16:
		w.leases(r)
	case n < 60:
		r.Put = w.put()
	case n < 80:
		r.DeleteRange = w.delete()
	default:
		r.Txn = w.txn(1)
	}
	return r.MarshalVT()
}
