package service

import (
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/rpc"
)

// status serves Maintenance.Status. The size of the data is read from the disk,
// so a worker does it.
func (s *Service) status(c *rpc.Call) {
	var r etcdserverpb.StatusRequest
	if !decode(c, &r) {
		return
	}
	c.Keep()
	s.workers.do(c, func() { s.answerStatus(c) })
}

func (s *Service) answerStatus(c *rpc.Call) {
	size, err := s.c.Machine.DiskBytes()
	if err != nil {
		fail(c, err)
		return
	}
	view, raft := s.c.Machine.View(), s.c.Replica.Status()
	res := &etcdserverpb.StatusResponse{
		Header:           s.protoHeader(view.Keys.Revision),
		Version:          s.c.Version,
		DbSize:           int64(size),
		DbSizeInUse:      view.Keys.InUse,
		DbSizeQuota:      max(int64(s.c.Quota), 0),
		Leader:           raft.Leader,
		RaftIndex:        raft.Commit,
		RaftTerm:         raft.Term,
		RaftAppliedIndex: view.Applied,
		StorageVersion:   s.c.StorageVersion,
		DowngradeInfo:    &etcdserverpb.DowngradeInfo{Enabled: view.Members.Downgrade != "", TargetVersion: view.Members.Downgrade},
		IsLearner:        raft.Learner,
	}
	for _, a := range view.Members.Alarms {
		res.Errors = append(res.Errors, a.String())
	}
	if raft.Leader == 0 {
		res.Errors = append(res.Errors, errs.NoLeader.Error())
	}
	if trouble := s.c.Space.Trouble(); trouble != "" {
		res.Errors = append(res.Errors, trouble)
	}
	c.Reply(res)
}

// hashKV serves Maintenance.HashKV, which reads the whole keyspace.
func (s *Service) hashKV(c *rpc.Call) {
	var r etcdserverpb.HashKVRequest
	if !decode(c, &r) {
		return
	}
	c.Keep()
	s.workers.do(c, func() { s.answerHash(c, r.Revision) })
}

func (s *Service) answerHash(c *rpc.Call, revision int64) {
	err := s.inView(func(view *machine.View) error {
		began := c.Now()
		h, err := view.Keys.Hash(revision)
		if err == nil {
			s.counts.hashKV.Observe(0, c.Now()-began)
			c.Reply(&etcdserverpb.HashKVResponse{
				Header: s.protoHeader(view.Keys.Revision), Hash: h.Hash, CompactRevision: h.Compacted, HashRevision: h.Revision,
			})
		}
		return err
	})
	if err != nil {
		fail(c, err)
	}
}

// HashKV hashes the keys up to a revision, 0 for the present one, which it returns
// too. It reads the whole keyspace. Errors: errs.Compacted, errs.FutureRev.
func (s *Service) HashKV(revision int64) (h mvcc.Hash, current int64, err error) {
	err = s.inView(func(view *machine.View) (err error) {
		h, err = view.Keys.Hash(revision)
		current = view.Keys.Revision
		return err
	})
	return h, current, err
}

// hash serves Maintenance.Hash, the hash of all that is replicated.
func (s *Service) hash(c *rpc.Call) {
	var r etcdserverpb.HashRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	c.Keep()
	s.workers.do(c, func() { s.answerWholeHash(c) })
}

func (s *Service) answerWholeHash(c *rpc.Call) {
	for {
		view := s.c.Machine.View()
		began := c.Now()
		sum, err := view.Hash()
		switch {
		case outdated(err):
		case err != nil:
			fail(c, err)
			return
		default:
			s.counts.hash.Observe(0, c.Now()-began)
			c.Reply(&etcdserverpb.HashResponse{Header: s.protoHeader(view.Keys.Revision), Hash: sum})
			return
		}
	}
}

// defragment serves Maintenance.Defragment. The store gives space back by itself
// and has nothing to do.
func (s *Service) defragment(c *rpc.Call) {
	var r etcdserverpb.DefragmentRequest
	if decoded(c, r.UnmarshalVT(c.Payload())) {
		c.Reply(&etcdserverpb.DefragmentResponse{})
	}
}
