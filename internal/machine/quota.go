package machine

import (
	"fmt"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// Quota is how many bytes the records may take that are not compacted. 0 or less
// is no bound.
type Quota int64

// putOverhead is what a put counts beside its key and value.
const putOverhead = 256

// CostOfGrant is what a lease counts.
const CostOfGrant = 64

// CostOfPut is what a put may add.
func CostOfPut(r *etcdserverpb.PutRequest) int64 {
	return putOverhead + int64(len(r.Key)) + int64(len(r.Value))
}

// CostOfTxn is what the dearer branch of a transaction may add; 0 if neither
// puts anything.
func CostOfTxn(r *etcdserverpb.TxnRequest) int64 {
	return max(costOfOps(r.Success), costOfOps(r.Failure))
}

func costOfOps(ops []*etcdserverpb.RequestOp) (cost int64) {
	for _, op := range ops {
		switch {
		case op.GetRequestPut() != nil:
			cost += CostOfPut(op.GetRequestPut())
		case op.GetRequestTxn() != nil:
			cost += CostOfTxn(op.GetRequestTxn())
		}
	}
	return cost
}

// Exceeded says whether something of this cost has no room beside inUse bytes.
// What costs nothing always has.
func (q Quota) Exceeded(inUse, cost int64) bool {
	return q > 0 && cost > 0 && inUse+cost >= int64(q)
}

// over says whether there is no room for a request of this cost. It is applied
// all the same, since every member must apply it whatever its own quota is; but
// unlessOver then has it answered with errs.NoSpace, and whoever hears that raises
// the alarm.
func (m *Machine) over(cost int64) bool { return m.options.Quota.Exceeded(m.keys.InUse(), cost) }

// ErrOverQuota is errs.NoSpace to a client; it says that this member's own quota
// is exceeded, not that an alarm stands.
var ErrOverQuota = fmt.Errorf("%w", errs.NoSpace)

func unlessOver(over bool, err error) error {
	if err == nil && over {
		return ErrOverQuota
	}
	return err
}
