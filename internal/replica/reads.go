package replica

import (
	"slices"

	"etcd.alt/api/errs"
	"etcd.alt/internal/raft"
)

// reads are the read barriers on their way. One round of ReadIndex serves all
// that wait when it is begun; a round that gets no answer is begun again under
// a fresh id, so that a late answer to the old one can serve nobody who asked
// after it was given.
//
// It belongs to the loop.
type reads struct {
	waiting []reader  // no round yet
	round   []reader  // waiting for the answer to roundID
	roundID uint64    // of the last round; unique among all members and their lives
	retryAt int64     // tick at which the round is given up
	barred  []barrier // waiting for an index to be applied, ascending
	slow    uint64    // rounds that were not answered in time
	failed  uint64    // readers that have waited too long
}

type reader struct {
	caller   Caller
	deadline int64
}

type barrier struct {
	index   uint64
	readers []reader
}

func (r *reads) add(callers []Caller, deadline int64) {
	for _, c := range callers {
		r.waiting = append(r.waiting, reader{c, deadline})
	}
}

// begin starts a round if one is wanted and none is on its way. ask is
// Node.ReadIndex.
func (r *reads) begin(ask func(id uint64) bool, now, retry int64) {
	if len(r.waiting) == 0 || len(r.round) > 0 {
		return
	}
	if r.roundID++; plantReadID {
		r.roundID = r.roundID>>32<<32 + 1
	}
	if ask(r.roundID) {
		r.round, r.waiting = r.waiting, nil
		r.retryAt = now + retry
	}
}

// answered takes the answer to a round.
func (r *reads) answered(a raft.Read) {
	if a.ID != r.roundID || len(r.round) == 0 {
		return
	}
	r.barred = append(r.barred, barrier{a.Index, r.round})
	r.round = nil
}

// release answers those whose index has been applied, and says whether there
// were any.
func (r *reads) release(applied uint64) bool {
	n := 0
	for ; n < len(r.barred) && r.barred[n].index <= applied; n++ {
		for _, rd := range r.barred[n].readers {
			rd.caller.Done(nil, nil)
		}
	}
	if n > 0 {
		r.barred = append(r.barred[:0], r.barred[n:]...)
	}
	return n > 0
}

// retry gives up the round on its way, whose answer will not come, and says
// whether there was one.
func (r *reads) retry() bool {
	if len(r.round) == 0 {
		return false
	}
	r.waiting = append(r.round, r.waiting...)
	r.round = nil
	return true
}

// tick gives up a round that was not answered in time, and readers that have
// waited too long.
func (r *reads) tick(now int64) {
	if now >= r.retryAt && r.retry() {
		r.slow++
	}
	r.waiting = r.expire(r.waiting, now)
	// Their index may never come: this member was removed, or is cut off.
	for i := range r.barred {
		r.barred[i].readers = r.expire(r.barred[i].readers, now)
	}
	r.barred = slices.DeleteFunc(r.barred, func(b barrier) bool { return len(b.readers) == 0 })
}

// expire tells those that have waited too long, who are the first, and returns the
// others.
func (r *reads) expire(readers []reader, now int64) []reader {
	n := 0
	for ; n < len(readers) && readers[n].deadline <= now; n++ {
		readers[n].caller.Done(nil, errs.Timeout)
	}
	r.failed += uint64(n)
	return readers[n:]
}

// fail answers all with err.
func (r *reads) fail(err error) {
	all := append(r.waiting, r.round...)
	for _, b := range r.barred {
		all = append(all, b.readers...)
	}
	*r = reads{roundID: r.roundID}
	for _, rd := range all {
		rd.caller.Done(nil, err)
	}
}
