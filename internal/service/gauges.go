package service

import (
	"etcd.alt/internal/member"
	"etcd.alt/internal/replica"
)

// Gauges is what a member can say of itself at a moment.
type Gauges struct {
	MemberID       uint64
	MemberIDs      []uint64 // of the cluster, this one among them
	ClusterVersion string   // "" until it is decided
	Learner        bool
	Raft           replica.Status
	Applied        uint64 // index of the newest entry that can be read

	// ProposalsPending are on their way through the log, ProposalsFailed have
	// come to nothing since the start: refused, dropped or timed out.
	ProposalsPending int64
	ProposalsFailed  uint64

	// Promoted counts learners that this member has promoted as the leader, and
	// PromotionsRefused those that it has not, by the reason.
	Promoted          uint64
	PromotionsRefused map[string]uint64

	Revision, Compacted int64
	AuthRevision        uint64
	AuditDropped        uint64 // records that came to nothing
	Keys                int    // alive
	InUse, Quota        int64  // bytes of what no compaction has given up, and how many may be; a quota of 0 is none
	Alarms              []member.Alarm
	// DiskBytes is the size of the store; DiskErr why it is not known.
	DiskBytes uint64
	DiskErr   error
}

// Gauges reads them. It looks at the disk, so it is not for the hot path.
func (s *Service) Gauges() Gauges {
	view := s.c.Machine.View()
	g := Gauges{
		MemberID:         s.c.MemberID,
		ClusterVersion:   view.Members.Version,
		Raft:             s.c.Replica.Status(),
		Applied:          view.Applied,
		ProposalsPending: s.pending.Load(),
		ProposalsFailed:  s.failed.Load(),
		Revision:         view.Keys.Revision,
		Compacted:        view.Keys.Compacted,
		AuthRevision:     view.Auth.Revision,
		Keys:             view.Keys.Keys(),
		InUse:            view.Keys.InUse,
		Quota:            int64(s.c.Quota),
		Alarms:           view.Members.Alarms,
	}
	if s.c.Audit != nil {
		g.AuditDropped = s.c.Audit.Dropped()
	}
	for _, m := range view.Members.Members {
		g.MemberIDs = append(g.MemberIDs, m.ID)
		g.Learner = g.Learner || m.ID == s.c.MemberID && m.Learner
	}
	g.Promoted, g.PromotionsRefused = s.promotions.read()
	g.DiskBytes, g.DiskErr = s.c.Machine.DiskBytes()
	return g
}
