package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/errs"
)

// wantsProposals says that there is room: while two batches are on their way to
// the disk, those that come gather into a third, and while much waits to be
// applied they stay in the inbox, which refuses what is too much.
func (r *Core) wantsProposals() bool {
	if r.appending >= 2 || len(r.held) > 0 {
		return false
	}
	return r.c.Node.UnappliedBytes() <= maxLogBytes
}

// propose takes the batch of proposals on, and offers it to raft.
func (r *Core) propose() {
	r.calls.add(r.in.proposals)
	r.offer(r.in.proposals)
}

// offer steps proposals, in order; a change of the configuration travels alone.
// What nobody takes was never logged: it is held with all that comes after it,
// and offered again until it has waited too long.
func (r *Core) offer(proposals []proposal) {
	proposals = r.dropOutdated(proposals)
	for len(proposals) > 0 {
		if r.refused(proposals[0]) {
			proposals = proposals[1:]
			continue
		}
		n := slices.IndexFunc(proposals, func(p proposal) bool { return p.change })
		var err error
		switch n {
		case 0:
			n = 1
			err = r.c.Node.ProposeChange(proposals[0].data)
		case -1:
			n = len(proposals)
			fallthrough
		default:
			err = r.c.Node.Propose(entries(proposals[:n]))
		}
		if err != nil {
			r.held = append([]proposal(nil), proposals...)
			return
		}
		proposals = proposals[n:]
	}
}

// refused says whether a proposal may not be as things are now, and answers it then.
func (r *Core) refused(p proposal) bool {
	if p.allowed == nil {
		return false
	}
	err := p.allowed()
	if err != nil {
		if c := r.calls.take(p.id); c != nil {
			c.Done(nil, err)
		}
	}
	return err != nil
}

// dropOutdated takes out, and answers, what this member has decided as the leader
// of a term that is over. What is left is offered at once, on the same goroutine,
// so a leader appends it to its own log in that term.
func (r *Core) dropOutdated(proposals []proposal) []proposal {
	if !slices.ContainsFunc(proposals, func(p proposal) bool { return p.term != 0 }) {
		return proposals
	}
	s := r.c.Node.Status()
	return slices.DeleteFunc(proposals, func(p proposal) bool {
		if p.term == 0 || s.IsLeader && s.Term == p.term || plantForward {
			return false
		}
		if c := r.calls.take(p.id); c != nil {
			c.Done(nil, errs.ProposalDropped)
		}
		return true
	})
}

// entries are the entries of proposals. Raft keeps them, so they are not reused.
func entries(proposals []proposal) []*raftpb.Entry {
	slab := make([]raftpb.Entry, len(proposals))
	out := make([]*raftpb.Entry, len(slab))
	for i, p := range proposals {
		slab[i].Data = p.data
		out[i] = &slab[i]
	}
	return out
}

// offerHeld offers again what is held and still waited for.
func (r *Core) offerHeld() {
	if !r.offerAt || len(r.held) == 0 || r.c.Node.Status().Leader == 0 {
		return
	}
	r.offerAt = false
	held := slices.DeleteFunc(r.held, func(p proposal) bool { return !r.calls.has(p.id) })
	r.held = nil
	r.offer(held)
}
