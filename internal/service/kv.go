package service

import (
	"bytes"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/store"
)

// header is the header of a reply at a revision of the keyspace.
func (s *Service) header(revision int64) header {
	return header{cluster: s.c.ClusterID, member: s.c.MemberID, revision: revision, term: s.c.Replica.Status().Term}
}

// rangeKeys serves KV.Range.
func (s *Service) rangeKeys(c *rpc.Call) {
	var r etcdserverpb.RangeRequest
	if !decode(c, &r) {
		return
	}
	if err := checkRange(&r); err != nil {
		fail(c, err)
		return
	}
	if !r.Serializable && s.c.Replica.Status().Learner {
		fail(c, errs.NotSupportedForLearner)
		return
	}
	if !r.Serializable && !s.c.Replica.Alone() {
		kept := keepRange(&r)
		c.Keep()
		s.linearizable(c, func() { s.readRange(c, kept, true) }, func(err error) {
			s.counts.requests.of(false).Observe(0, c.Now()-c.Turn())
		})
		return
	}
	s.readRange(c, &r, false)
}

// readRange answers a range right here if memory has all it takes, else on a
// worker. kept says that call and request may outlive this function.
func (s *Service) readRange(c *rpc.Call, r *etcdserverpb.RangeRequest, kept bool) {
	began := c.Turn()
	if kept {
		began = c.Now()
	}
	view := s.c.Machine.View()
	if err := s.mayRange(view, c, r); err != nil {
		s.counts.ranged(c, began, err)
		fail(c, err)
		return
	}
	res, ok, err := view.Keys.RangeCached(r)
	switch {
	case err != nil && !outdated(err):
		s.counts.ranged(c, began, err)
		fail(c, err)
	case ok && err == nil:
		reply := &rangeReply{s.header(view.Keys.Revision), res}
		if kept && !s.mayAnswer(c, r, reply.SizeVT()) {
			return
		}
		s.counts.ranged(c, began, nil)
		c.Reply(reply)
	default:
		if !kept {
			r = keepRange(r)
			c.Keep()
		}
		s.workers.do(c, func() { s.answerRange(c, r) })
	}
}

// smallReply is the size of a reply that is made without asking for room.
const smallReply = 4 << 10

// mayAnswer says whether a range of a call that was kept may be answered with so many
// bytes now. If not, a worker begins again when the peer has taken enough of what waits
// for it: else a few requests would have very much memory filled.
func (s *Service) mayAnswer(c *rpc.Call, r *etcdserverpb.RangeRequest, size int) bool {
	return size <= smallReply || c.Room(size, func() {
		s.workers.hand(c, func() { s.answerRange(c, r) })
	})
}

// mayRange says why the caller of a call may not have a range in a view; nil if it
// may.
func (s *Service) mayRange(v *machine.View, a asked, r *etcdserverpb.RangeRequest) error {
	if !v.Auth.Enabled {
		return nil
	}
	by, err := s.rightsIn(v, a)
	if err != nil {
		return err
	}
	return by.Range(r)
}

// keepRange copies a request that aliases its payload.
func keepRange(r *etcdserverpb.RangeRequest) *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{
		Key: bytes.Clone(r.Key), RangeEnd: bytes.Clone(r.RangeEnd), Limit: r.Limit, Revision: r.Revision,
		SortOrder: r.SortOrder, SortTarget: r.SortTarget, Serializable: r.Serializable, KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
	}
}

// inView has read look at the published state, and again at the next one
// where a compaction went through the first under its eyes, or a snapshot has
// taken its place.
func (s *Service) inView(read func(*machine.View) error) error {
	for {
		if err := read(s.c.Machine.View()); !outdated(err) {
			return err
		}
	}
}

func outdated(err error) bool {
	return errors.Is(err, mvcc.ErrStale) || errors.Is(err, store.ErrReplaced)
}

// put serves KV.Put.
func (s *Service) put(c *rpc.Call) {
	var r etcdserverpb.PutRequest
	if !decode(c, &r) {
		return
	}
	if err := checkPut(&r); err != nil {
		fail(c, err)
		return
	}
	s.beginPut(c, &r, false)
}

// beginPut sends a put through the log, if its caller may make it. caughtUp says that
// this member is as late as the call is.
func (s *Service) beginPut(c *rpc.Call, r *etcdserverpb.PutRequest, caughtUp bool) {
	by, err := s.rightsOf(c)
	if err == nil {
		err = by.Put(r)
	}
	if s.early(err, caughtUp) {
		s.afterBarrier(c, func() {
			var kept etcdserverpb.PutRequest
			if decoded(c, kept.UnmarshalVTUnsafe(c.Payload())) {
				s.beginPut(c, &kept, true)
			}
		})
		return
	}
	if err == nil && !s.hasRoom(machine.CostOfPut(r)) {
		err = errs.NoSpace
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.propose(c, fieldPut, by.Subject, answerPut)
}

func answerPut(s *Service, c *rpc.Call, r *machine.Result) {
	c.Reply(&putReply{s.header(r.Revision), r.PrevKV})
}

// deleteRange serves KV.DeleteRange.
func (s *Service) deleteRange(c *rpc.Call) {
	var r etcdserverpb.DeleteRangeRequest
	if !decode(c, &r) {
		return
	}
	if len(r.Key) == 0 {
		fail(c, errs.EmptyKey)
		return
	}
	s.beginDelete(c, &r, false)
}

// beginDelete is beginPut for a delete.
func (s *Service) beginDelete(c *rpc.Call, r *etcdserverpb.DeleteRangeRequest, caughtUp bool) {
	by, err := s.rightsOf(c)
	if err == nil {
		err = by.DeleteRange(r)
	}
	if s.early(err, caughtUp) {
		s.afterBarrier(c, func() {
			var kept etcdserverpb.DeleteRangeRequest
			if decoded(c, kept.UnmarshalVTUnsafe(c.Payload())) {
				s.beginDelete(c, &kept, true)
			}
		})
		return
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.propose(c, fieldDeleteRange, by.Subject, answerDelete)
}

func answerDelete(s *Service, c *rpc.Call, r *machine.Result) {
	h := s.header(r.Revision)
	c.Reply(encoded(appendDelete(h.appendTo(nil), r.Deleted, r.PrevKVs)))
}

// largeTxn is the size of a transaction above which it is checked on a worker:
// that takes longer than others of its connection should wait.
const largeTxn = 64 << 10

// txn serves KV.Txn.
func (s *Service) txn(c *rpc.Call) {
	if !nestingWithin(c.Payload(), s.c.MaxTxnOps) {
		fail(c, errs.TooManyOps)
		return
	}
	if len(c.Payload()) <= largeTxn {
		s.beginTxn(c, c.Payload())
		return
	}
	c.KeepPayload()
	s.workers.do(c, func() {
		s.beginTxn(c, c.Payload())
		s.Kick()
	})
}

// beginTxn checks a transaction and sends it where it is answered.
func (s *Service) beginTxn(c *rpc.Call, payload []byte) {
	r := &etcdserverpb.TxnRequest{}
	if !decoded(c, r.UnmarshalVTUnsafe(payload)) {
		return
	}
	audited(c, r)
	if err := checkTxn(r, s.c.MaxTxnOps); err != nil {
		fail(c, err)
		return
	}
	readOnly, serializable := plainReads(r)
	if !readOnly {
		s.beginWrites(c, r, payload, false)
		return
	}
	kept := &etcdserverpb.TxnRequest{}
	if !decoded(c, kept.UnmarshalVT(payload)) {
		return
	}
	c.Keep()
	read := func() { s.workers.do(c, func() { s.answerTxn(c, kept) }) }
	if serializable {
		read()
		return
	}
	s.linearizable(c, read, func(err error) { s.counts.readTxn(c, 0, err) })
}

// beginWrites is beginPut for a transaction, which lies in payload.
func (s *Service) beginWrites(c *rpc.Call, r *etcdserverpb.TxnRequest, payload []byte, caughtUp bool) {
	by, err := s.rightsOf(c)
	if err == nil {
		err = by.Txn(r)
	}
	if s.early(err, caughtUp) {
		s.afterBarrier(c, func() {
			kept := &etcdserverpb.TxnRequest{}
			if decoded(c, kept.UnmarshalVTUnsafe(c.Payload())) {
				s.beginWrites(c, kept, c.Payload(), true)
			}
		})
		return
	}
	if err == nil && !s.hasRoom(machine.CostOfTxn(r)) {
		err = errs.NoSpace
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.proposePayload(c, fieldTxn, payload, by.Subject, answerTxnWrite)
}

// answerTxn answers a transaction that only reads.
func (s *Service) answerTxn(c *rpc.Call, r *etcdserverpb.TxnRequest) {
	ranges, waits := 0, false
	err := s.inView(func(view *machine.View) error {
		if view.Auth.Enabled {
			by, err := s.rightsIn(view, c)
			if err == nil {
				err = by.Txn(r)
			}
			if err != nil {
				return err
			}
		}
		res, err := machine.ReadTxn(view.Keys, r)
		if err == nil {
			h := s.header(view.Keys.Revision)
			ranges = len(res.Ops)
			reply := encoded(appendTxn(h.appendTo(nil), res))
			waits = len(reply) > smallReply && !c.Room(len(reply), func() { s.workers.hand(c, func() { s.answerTxn(c, r) }) })
			if !waits {
				c.Reply(reply)
			}
		}
		return err
	})
	if waits {
		return
	}
	s.counts.readTxn(c, ranges, err)
	if err != nil {
		fail(c, err)
	}
}

func answerTxnWrite(s *Service, c *rpc.Call, r *machine.Result) {
	h := s.header(r.Revision)
	c.Reply(encoded(appendTxn(h.appendTo(nil), r.Txn)))
}

// appendTxn appends what follows the header of a TxnResponse. The replies of
// its operations have a header with the revision alone, nested transactions an
// empty one.
func appendTxn(b []byte, r *machine.TxnResult) []byte {
	if r.Succeeded {
		b = appendUint(b, 2, 1)
	}
	for i := range r.Ops {
		op := appendOp(nil, &r.Ops[i])
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, op)
	}
	return b
}

// appendOp appends a ResponseOp.
func appendOp(b []byte, o *machine.OpResult) []byte {
	h := header{revision: o.Revision}
	var field protowire.Number
	var body []byte
	switch {
	case o.Op.GetRequestRange() != nil:
		field, body = 1, appendRange(h.appendTo(nil), &o.Range)
	case o.Op.GetRequestPut() != nil:
		field, body = 2, appendPut(h.appendTo(nil), o.PrevKV)
	case o.Op.GetRequestDeleteRange() != nil:
		field, body = 3, appendDelete(h.appendTo(nil), o.Deleted, o.PrevKVs)
	default:
		field, body = 4, appendTxn((&header{}).appendTo(nil), o.Txn)
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

// compact serves KV.Compact.
func (s *Service) compact(c *rpc.Call) {
	var r etcdserverpb.CompactionRequest
	if !decode(c, &r) {
		return
	}
	answer := answerCompact
	if r.Physical {
		answer = answerPhysical
	}
	s.proposeFor(c, fieldCompaction, answer)
}

func answerCompact(s *Service, c *rpc.Call, r *machine.Result) {
	h := s.header(r.Revision)
	c.Reply(encoded(h.appendTo(nil)))
}

// answerPhysical answers when the space has been given back. Such calls are
// few, so each has a goroutine to wait on.
func answerPhysical(s *Service, c *rpc.Call, r *machine.Result) {
	s.waits.Go(func() {
		select {
		case <-r.Swept:
			answerCompact(s, c, r)
		case <-s.stop:
			fail(c, errs.Stopped)
		}
		c.Flush()
	})
}
