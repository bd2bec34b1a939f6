package service

import (
	"time"

	"etcd.alt/api/errs"
)

// steadyFor is how long a member must have been connected to count.
const steadyFor = 5 * time.Second

// mayAddVoter says why one more voter would endanger the quorum, nil if it would
// not.
func (s *Service) mayAddVoter() error {
	voters, started := s.voters(0)
	if !s.c.StrictReconfig || len(voters) == 1 && started == 1 {
		return nil
	}
	quorum := (len(voters)+1)/2 + 1
	if started < quorum {
		return errs.MemberNotEnoughStarted
	}
	if s.connected(voters) < quorum {
		return errs.Unhealthy
	}
	return nil
}

// mayRemove says why a member must not go, nil if it may.
func (s *Service) mayRemove(id uint64) error {
	one, ok := s.c.Machine.View().Members.Get(id)
	if rest, _ := s.voters(id); ok && len(rest) == 0 {
		return errs.MemberNotEnoughStarted // nobody would be left to agree
	}
	if !s.c.StrictReconfig || !ok || one.Learner {
		return nil // a learner has no vote, and one that is not there is refused later
	}
	rest, started := s.voters(id)
	quorum := len(rest)/2 + 1
	if started < quorum {
		return errs.MemberNotEnoughStarted
	}
	if id != s.c.MemberID && s.c.Peers.ActiveSince(id).IsZero() {
		return nil // it is down: the others are better off
	}
	if s.connected(rest) < quorum {
		return errs.Unhealthy
	}
	return nil
}

// voters are the voters but for one, and how many of them have started once.
func (s *Service) voters(but uint64) (ids []uint64, started int) {
	for _, m := range s.c.Machine.View().Members.Members {
		if m.Learner || m.ID == but {
			continue
		}
		ids = append(ids, m.ID)
		if m.Name != "" {
			started++
		}
	}
	return ids, started
}

// connected counts those to whom there has been a connection for a while, and
// this member.
func (s *Service) connected(ids []uint64) (n int) {
	for _, id := range ids {
		since := s.c.Peers.ActiveSince(id)
		if id == s.c.MemberID || !since.IsZero() && time.Since(since) >= steadyFor {
			n++
		}
	}
	return n
}
