package sim

import (
	"errors"
	"fmt"
	"math"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/replica"
)

// decision is what a leader has offered to the log for its term alone.
type decision struct {
	term  uint64
	lease int64 // that is to end; 0 for a checkpoint
}

// promise is until when a lease that was renewed must not end, made by a member
// that had applied so many entries.
type promise struct {
	until   time.Duration
	applied uint64
}

// promiseSlack is by how much a lease may end before a promise: a leader that is
// cut off may renew for two election timeouts and a little, while another takes
// over after one, and gives leases another.
const promiseSlack = 1500 * time.Millisecond

// takesOver is replica.Config's.
func (h *host) takesOver(term uint64) {
	if h.keeper.Term() != term {
		h.keeper.Expect(term)
	}
}

// keeping is a leader's clock over the leases; nil on others.
func (h *host) keeping() *lease.Keeper {
	s := h.core.Status()
	switch {
	case s.Established && s.Term == h.keeper.Term():
		return h.keeper
	case !s.IsLeader || s.Term != h.keeper.Expected():
		h.keeper.Demote()
	}
	if !s.Established {
		return nil
	}
	h.keeper.Promote(s.Term, h.machine.View().Leases, h.c.clock.now)
	return h.keeper
}

// lookAtLeases is what a leader does all the time.
func (h *host) lookAtLeases() {
	k := h.keeping()
	if k == nil {
		return
	}
	view := h.machine.View().Leases
	due := k.Look(h.c.clock.now, func(id int64) int { return view.CountKeys(id, 100) })
	for _, id := range due.Revoke {
		h.endLease(id)
	}
	if len(due.Checkpoint) > 0 {
		h.decide(0, checkpointOf(due.Checkpoint...), heard(func(any, error) {}))
	}
}

// endLease has a lease end whose time is over. That is an operation of its own in
// the history: keys go, and no client has asked for it.
func (h *host) endLease(id int64) {
	op := &operation{ask: question{kind: revoke, lease: id}, called: h.c.stamp(), returned: math.MaxInt64}
	h.c.history = append(h.c.history, op)
	op.id = h.decide(id, &etcdserverpb.InternalRaftRequest{LeaseRevoke: &etcdserverpb.LeaseRevokeRequest{ID: id}}, heard(func(result any, err error) {
		switch {
		case err == nil:
			op.answer, op.outcome = answerOf(result.(*machine.Result), op.ask)
		case errors.Is(err, errs.LeaseNotFound):
			op.answer, op.outcome = answer{err: errs.LeaseNotFound.Name()}, answered
		case errors.Is(err, errs.ProposalDropped), errors.Is(err, errs.TooManyRequests):
			op.outcome = refused
		}
		if op.outcome == answered {
			op.returned = h.c.stamp()
		}
		if err != nil {
			h.keeper.Retry(id, h.c.clock.now)
		}
	}))
}

func checkpointOf(leases ...lease.Lease) *etcdserverpb.InternalRaftRequest {
	r := &etcdserverpb.LeaseCheckpointRequest{}
	for _, l := range leases {
		r.Checkpoints = append(r.Checkpoints, &etcdserverpb.LeaseCheckpoint{ID: l.ID, Remaining_TTL: l.Remaining})
	}
	return &etcdserverpb.InternalRaftRequest{LeaseCheckpoint: r}
}

// decide offers a leader's decision to the log, and returns the request's id.
func (h *host) decide(id int64, r *etcdserverpb.InternalRaftRequest, c replica.Caller) uint64 {
	h.c.nextID++
	r.Header = &etcdserverpb.RequestHeader{ID: h.c.nextID}
	if v := h.machine.View().Auth; v.Enabled && r.LeaseRevoke != nil {
		r.Header.Username, r.Header.AuthRevision = auth.Root, v.Revision
	}
	data, err := r.MarshalVT()
	if err != nil {
		panic(err) // a message of plain fields has no reason to fail
	}
	term := h.keeper.Term()
	h.c.decided[r.Header.ID] = decision{term, id}
	h.c.say("host %d decides in term %d: %d: %v%v", h.id, term, r.Header.ID, r.LeaseRevoke.GetID(), r.LeaseCheckpoint.GetCheckpoints())
	if err := h.core.ProposeInTerm(term, r.Header.ID, data, c); err != nil {
		c.Done(nil, err)
	}
	h.wake()
	return r.Header.ID
}

// heard is a replica.Caller that only wants to know whether it went well.
type heard func(result any, err error)

// Done is replica.Caller's.
func (f heard) Done(result any, err error) { f(result, err) }

// renew renews a lease, as a leader's service does, and promises that it lives.
func (h *host) renew(id int64, c replica.Caller) {
	k := h.keeping()
	if k == nil {
		c.Done(nil, errs.ProposalDropped)
		return
	}
	now, term := h.c.clock.now, k.Term()
	ttl, came, mark := k.Renew(id, now)
	well := func() {
		h.c.promised[id] = promise{now + time.Duration(ttl)*time.Second, h.machine.View().Applied}
		h.c.out.Renewals++
		c.Done(nil, nil)
	}
	switch came {
	case lease.Renewed:
		well()
	case lease.Doubtful:
		err := h.core.Read(heard(func(_ any, err error) {
			if err == nil && h.keeper.Term() == term {
				h.keeper.Sure(now)
			}
			c.Done(nil, errs.ProposalDropped) // the client asks again
		}))
		if err != nil {
			c.Done(nil, err)
		}
		h.wake()
	case lease.Short:
		h.decide(0, checkpointOf(lease.Lease{ID: id}), heard(func(_ any, err error) {
			if err != nil || h.keeper.Term() != term || !h.keeper.Cleared(id, mark) {
				c.Done(nil, errs.ProposalDropped)
				return
			}
			well()
		}))
	default:
		c.Done(nil, errs.LeaseNotFound)
	}
}

// checkDecision holds an entry that is applied for the first time against what was
// decided: in the term of the decision, and no lease ends before a promise.
func (c *Cluster) checkDecision(h *host, e *raftpb.Entry) {
	r := &etcdserverpb.InternalRaftRequest{}
	if e.GetType() != raftpb.EntryNormal || r.UnmarshalVT(e.GetData()) != nil {
		return
	}
	d, ok := c.decided[r.Header.GetID()]
	if !ok {
		return
	}
	if d.term != e.GetTerm() {
		c.fail(fmt.Errorf("host %d applies entry %d of term %d, and the leader of term %d had decided it (%v)", h.id, e.GetIndex(), e.GetTerm(), d.term, d))
	}
	if d.lease == 0 {
		return
	}
	c.out.Ended++
	p := c.promised[d.lease]
	if p.applied >= c.model.grantedAt[d.lease] && c.clock.now < p.until-promiseSlack {
		c.fail(fmt.Errorf("lease %d ends at entry %d, and was promised to live until %v", d.lease, e.GetIndex(), p.until))
	}
}
