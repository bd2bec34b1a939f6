package service

import (
	"sync"
	"sync/atomic"
	"time"

	"etcd.alt/internal/histogram"
	"etcd.alt/internal/lease"
)

// Leases is the leader's clock over the leases, shared by those who renew, by what
// is applied, and by the routine that ends what has run out. The state tells it
// what has become of leases, so it is there before the service is.
type Leases struct {
	now func() time.Duration
	mu  struct {
		sync.Mutex
		keeper *lease.Keeper
		// ended has, for each lease that has ended and that somebody wants to renew,
		// what is closed when it is gone, or this member does not lead any more.
		ended map[int64]chan struct{}
	}
	patience time.Duration // without a leader, of a stream that needs one
	again    chan struct{} // of capacity 1: there may be room for more to be revoked

	granted, revoked, renewed, expired atomic.Uint64
	ttls                               *histogram.Histogram // a second counts as a microsecond
}

// ttlUnit is a second of a lease as the histogram has it, since the longest lives
// do not fit into a sum of durations.
const ttlUnit = time.Microsecond

// NewLeases returns a clock that goes by now, the time since some fixed moment.
// electionTimeout is what all leases are given when this member takes over.
func NewLeases(electionTimeout time.Duration, now func() time.Duration) *Leases {
	l := &Leases{now: now, patience: leaderlessElections * electionTimeout, again: make(chan struct{}, 1), ttls: histogram.New(1, histogram.Doubling(ttlUnit, 24))}
	l.mu.keeper = lease.NewKeeper(lease.Pace{Extension: electionTimeout})
	l.mu.ended = map[int64]chan struct{}{}
	return l
}

// leaderlessElections is how many elections a stream that needs a leader goes on
// without one.
const leaderlessElections = 3

// Applied hears what has become of leases, after it was published and before
// anybody is told of it.
func (l *Leases) Applied(changes []lease.Change) {
	for _, c := range changes {
		switch c.Kind {
		case lease.Granted:
			l.granted.Add(1)
			l.ttls.Observe(0, time.Duration(c.TTL)*ttlUnit)
		case lease.Revoked:
			l.revoked.Add(1)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.keeper.Apply(changes, l.now())
	for _, c := range changes {
		if gone := l.mu.ended[c.ID]; gone != nil && c.Kind == lease.Revoked {
			close(gone)
			delete(l.mu.ended, c.ID)
		}
	}
}

// TakesOver hears that this member leads in a term, and is about to apply the first
// entry of it. What is granted from now on lives as long as was said.
func (l *Leases) TakesOver(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.keeper.Term() != term { // somebody may have been faster
		l.mu.keeper.Expect(term)
	}
}

// keeperLocked is the clock, wound up for the term in which this member leads; nil
// if it does not lead, or does not know yet all that it has taken over. What a
// leader was told by its view it may be told once more by Applied.
func (s *Service) keeperLocked() *lease.Keeper {
	l := s.c.Leases
	k, raft := l.mu.keeper, s.c.Replica.Status()
	if raft.Established && raft.Term == k.Term() {
		return k
	}
	l.wakeLocked()
	if !raft.IsLeader || raft.Term != k.Expected() {
		k.Demote()
	}
	if !raft.Established {
		return nil
	}
	k.Promote(raft.Term, s.c.Machine.View().Leases, l.now())
	return k
}

// wakeLocked wakes those who wait for leases to be gone, to look again.
func (l *Leases) wakeLocked() {
	for id, gone := range l.mu.ended {
		close(gone)
		delete(l.mu.ended, id)
	}
}

// goneLocked is closed when a lease that has ended is gone, or is not to go for now, or
// this member does not lead any more.
func (l *Leases) goneLocked(id int64) <-chan struct{} {
	if l.mu.ended[id] == nil {
		l.mu.ended[id] = make(chan struct{})
	}
	return l.mu.ended[id]
}

// LeaseCounts are what was done with leases since the start: granted and revoked
// here as everywhere, renewed and revoked since their time was over by this member
// as the leader.
type LeaseCounts struct {
	Granted, Revoked, Renewed, Expired uint64
	// TTLs are those granted, in TTLUnit for a second.
	TTLs    histogram.Counts
	TTLUnit time.Duration
}

// LeaseCounts reads them.
func (s *Service) LeaseCounts() LeaseCounts {
	l := s.c.Leases
	return LeaseCounts{l.granted.Load(), l.revoked.Load(), l.renewed.Load(), l.expired.Load(), l.ttls.Counts(), ttlUnit}
}
