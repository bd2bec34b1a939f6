package lease

import (
	"cmp"
	"container/heap"
	"math"
	"time"
)

// Pace is what bounds a Keeper. The zero value of each field has a default.
type Pace struct {
	// Extension is what every lease is given when a leader takes over: the time
	// that this took, in which nobody could renew. An election timeout; none by
	// default.
	Extension time.Duration
	// Revokes are how many leases, each with its keys counted like leases, may be on
	// their way to be revoked at a time; one that has more goes alone. 250.
	Revokes int
	// Checkpoints are how many leases may have what is left of them written down in
	// a second: 5,000. Where that is too few, all wait longer.
	Checkpoints int
	// Looks are how many leases one look may touch: 2,000.
	Looks int
}

func (p Pace) withDefaults() Pace {
	p.Revokes = cmp.Or(p.Revokes, 250)
	p.Checkpoints = cmp.Or(p.Checkpoints, 5000)
	p.Looks = cmp.Or(p.Looks, 2000)
	return p
}

const (
	// A lease that nobody renews has what is left of it written down when the log
	// has a tenth of its TTL too much, less the lag with which it is looked at and
	// applied: who leads next is wrong by no more. But not sooner than
	// leastInterval, so that many short leases do not fill the log, and not later
	// than mostInterval, as upstream has it for all.
	intervalShare = 10
	intervalLag   = 500 * time.Millisecond
	leastInterval = 1500 * time.Millisecond
	mostInterval  = 5 * time.Minute
	// MostCheckpoints is how many leases one request may have written down.
	MostCheckpoints = 1000
	// burst is how far checkpoints may come before their time, so that they go
	// together.
	burst = 200 * time.Millisecond

	// When a leader takes over, and there are piledUp leases or more, no more than
	// spread of them end within a second.
	piledUp = 1000
	spread  = 750

	// leastDoubt is the shortest time without a look after which a renewal is
	// doubtful.
	leastDoubt = 500 * time.Millisecond

	// retryRevoke is when a revoke that came to nothing is tried again.
	retryRevoke = 500 * time.Millisecond

	never = time.Duration(math.MaxInt64)
)

// Keeper is the leader's clock over the leases. Times are since some moment that
// is the same for all calls. A Keeper that is not promoted knows no lease.
type Keeper struct {
	pace  Pace
	term  uint64
	held  map[int64]*tenure
	queue queue

	expected uint64                  // the term in which it is to be promoted; 0 for none
	young    map[int64]time.Duration // what was granted since that is known, and when

	revoking int           // the weight of what was given out to be revoked
	slot     time.Duration // when the next checkpoint may be made
	sure     time.Duration // when this member was awake last, or known to lead
}

// tenure is a lease as its keeper has it.
type tenure struct {
	id       int64
	ttl      time.Duration
	deadline time.Duration // when it ends; it only moves on
	logged   time.Duration // what the log says is left of it, as far as is known
	weight   int           // of what was given out to be revoked; 0 for what was not
	// short says that the log has, or may come to have, less than all of its time:
	// too little, once it is renewed. writes counts what may have made it so.
	short   bool
	writes  uint32
	slotted bool // at is when it may be written down

	at    time.Duration // when it is to be looked at, or sooner
	place int           // in the queue
}

// interval is how much too much the log may say is left of the lease.
func (t *tenure) interval() time.Duration {
	return min(max(t.ttl/intervalShare-intervalLag, leastInterval), mostInterval)
}

// stale is when the log says so much too much: the time at which what it says was
// right, and the interval.
func (t *tenure) stale() time.Duration { return after(t.deadline-t.logged, t.interval()) }

// next is when there is something to be done about it.
func (t *tenure) next() time.Duration { return min(t.deadline, t.stale()) }

// seconds is a time of up to MaxTTL, which a Duration can just say.
func seconds(s int64) time.Duration {
	return time.Duration(min(s, int64(never/time.Second))) * time.Second
}

// after is the time d after t, or never where a Duration cannot say it.
func after(t, d time.Duration) time.Duration {
	if d > never-t {
		return never
	}
	return t + d
}

// NewKeeper returns a Keeper that is not promoted.
func NewKeeper(p Pace) *Keeper { return &Keeper{pace: p.withDefaults()} }

// Term is the one in which the Keeper was promoted; 0 if it is not.
func (k *Keeper) Term() uint64 { return k.term }

// Len is how many leases it knows.
func (k *Keeper) Len() int { return len(k.held) }

// Expect hears that this member leads in a term, and has applied all that is before
// its first entry: a Promote is to follow. Whoever is granted a lease from now on is
// granted it in this term, so that the lease is owed no extension. A Keeper that
// was promoted is no more.
func (k *Keeper) Expect(term uint64) {
	k.Demote()
	k.expected, k.young = term, map[int64]time.Duration{}
}

// Expected is the term of the last Expect that neither Promote nor Demote has
// followed; 0 for none.
func (k *Keeper) Expected() uint64 { return k.expected }

// Promote begins to keep the leases of v, as the leader of a term that has
// applied an entry of its own. Each has what is left of it by the log, and the
// extension; one that was granted since Expect has its TTL from then on. Where many
// are piled up they end by and by.
func (k *Keeper) Promote(term uint64, v *View, now time.Duration) {
	var young map[int64]time.Duration
	if k.expected == term {
		young = k.young
	}
	k.Demote()
	k.term, k.sure = term, now
	k.held = make(map[int64]*tenure, v.Len())
	k.queue = make(queue, 0, v.Len())
	v.Each(func(l Lease) bool {
		from := after(now, k.pace.Extension)
		if granted, own := young[l.ID]; own {
			from = granted
		}
		t := newTenure(l, after(from, seconds(l.Left())))
		k.held[l.ID] = t
		k.queue = append(k.queue, t)
		return true
	})
	if len(k.queue) >= piledUp {
		k.queue.unpile()
	}
	for i, t := range k.queue {
		t.place, t.at = i, t.next()
	}
	heap.Init(&k.queue)
}

// Demote forgets everything: somebody else leads.
func (k *Keeper) Demote() { *k = Keeper{pace: k.pace} }

func newTenure(l Lease, deadline time.Duration) *tenure {
	return &tenure{id: l.ID, ttl: seconds(l.TTL), deadline: deadline, logged: seconds(l.Left()), short: l.Remaining > 0}
}

// Apply takes in what has become of leases. What it knows already it may be told
// again.
func (k *Keeper) Apply(changes []Change, now time.Duration) {
	if k.term == 0 {
		k.applyYoung(changes, now)
		return
	}
	for _, c := range changes {
		t, known := k.held[c.ID]
		switch {
		case c.Kind == Granted && !known:
			t := newTenure(c.Lease, after(now, seconds(c.TTL)))
			k.held[c.ID], t.at = t, t.next()
			heap.Push(&k.queue, t)
		case c.Kind == Revoked && known:
			k.revoking -= t.weight
			delete(k.held, c.ID)
			heap.Remove(&k.queue, t.place)
		case c.Kind == Checkpointed && known:
			if c.Remaining > 0 {
				t.short = true
				t.writes++
			}
			k.heard(t, seconds(c.Left()))
		}
	}
}

// applyYoung notes what is granted while the Keeper is about to be promoted.
func (k *Keeper) applyYoung(changes []Change, now time.Duration) {
	if k.expected == 0 {
		return
	}
	for _, c := range changes {
		switch _, known := k.young[c.ID]; {
		case c.Kind == Granted && !known:
			k.young[c.ID] = now
		case c.Kind == Revoked:
			delete(k.young, c.ID)
		}
	}
}

// heard takes note of what the log says is left of a lease. Where that is more than was
// known, there may be something to be done sooner.
func (k *Keeper) heard(t *tenure, left time.Duration) {
	t.logged = left
	if at := t.next(); at < t.at && t.weight == 0 && !t.slotted {
		t.at = at
		heap.Fix(&k.queue, t.place)
	}
}

// Renewal is what came of a renewal.
type Renewal int

const (
	// Unknown: there is no such lease here, or not any more.
	Unknown Renewal = iota
	// Ended: the lease has ended, and is about to be revoked. Whoever wants to
	// renew it waits for that.
	Ended
	// Doubtful: nobody has looked for so long that this member may have stood still,
	// and another may lead. Whoever asks makes sure of that, tells Sure, and renews
	// again.
	Doubtful
	// Renewed: all of its time lies before it again.
	Renewed
	// Short: the same, but the log says less, and whoever led next would end it too
	// early. It is to be checkpointed with all of its time left (0) before anybody is
	// told; Cleared hears of that.
	Short
)

// Renew gives a lease all of its time again, which it returns in seconds. mark is
// for Cleared.
func (k *Keeper) Renew(id int64, now time.Duration) (ttl int64, r Renewal, mark uint32) {
	t, known := k.held[id]
	switch {
	case !known:
		return 0, Unknown, 0
	case t.weight > 0 || now >= t.deadline:
		return 0, Ended, 0
	case k.doubtful(now):
		return 0, Doubtful, 0
	}
	// Its place in the queue stays: who finds it there too early puts it back.
	t.deadline = max(t.deadline, after(now, t.ttl))
	if ttl = int64(t.ttl / time.Second); t.short && !plantShort {
		return ttl, Short, t.writes
	}
	return ttl, Renewed, 0
}

// doubtful says that nobody has looked for an election timeout. That ends with
// Sure alone: a look after it proves nothing.
func (k *Keeper) doubtful(now time.Duration) bool {
	return now-k.sure > max(k.pace.Extension, leastDoubt)
}

// Sure hears that this member is known to lead in Term now.
func (k *Keeper) Sure(now time.Duration) { k.sure = max(k.sure, now) }

// Cleared hears that a checkpoint with all of its time left, asked for with the
// mark, was applied. It says whether the log has no less of the lease than that:
// where it has, the lease was written down again meanwhile.
func (k *Keeper) Cleared(id int64, mark uint32) bool {
	t, known := k.held[id]
	if !known || t.writes != mark {
		return false
	}
	t.short = false
	k.heard(t, t.ttl)
	return true
}

// Left is how much time a lease has; none if it has ended. ok is false if there is
// no such lease here.
func (k *Keeper) Left(id int64, now time.Duration) (left time.Duration, ok bool) {
	t, known := k.held[id]
	if !known {
		return 0, false
	}
	return max(t.deadline-now, 0), true
}

// Due is what a look has found.
type Due struct {
	// Revoke are leases that have ended, the first to end first. Each is given out
	// once, until Retry.
	Revoke []int64
	// Checkpoint are what is left of leases, to be written down: MostCheckpoints at
	// most.
	Checkpoint []Lease
	// More says that the look has ended before it was done.
	More bool
}

// Look finds what is due, and does a bounded amount of work. keys says how many
// keys are on a lease; it need not count further than Pace.Revokes. What is given
// out must be offered to the log before the Keeper is called again, and must not
// be offered to anybody else if this member does not lead in Term by then.
func (k *Keeper) Look(now time.Duration, keys func(id int64) int) (due Due) {
	if !k.doubtful(now) {
		k.Sure(now)
	}
	for range k.pace.Looks {
		if len(k.queue) == 0 || k.queue[0].at > now {
			return due
		}
		switch t := k.queue[0]; {
		case now >= t.deadline:
			weight := 1 + keys(t.id)
			if k.revoking > 0 && k.revoking+weight > k.pace.Revokes {
				return due // those that are on their way come first
			}
			k.revoking += weight
			t.weight, t.at = weight, never
			due.Revoke = append(due.Revoke, t.id)
		case t.slotted || now >= t.stale():
			if len(due.Checkpoint) == MostCheckpoints {
				due.More = true
				return due
			}
			if k.mayWrite(t, now) {
				due.Checkpoint = t.write(due.Checkpoint, now)
			}
		default: // it was renewed
			t.at = t.next()
		}
		heap.Fix(&k.queue, 0)
	}
	due.More = true
	return due
}

// mayWrite says whether a lease may be written down now. If not, it has a time for
// that, or is left alone, since it was renewed while it waited.
func (k *Keeper) mayWrite(t *tenure, now time.Duration) bool {
	if t.slotted {
		t.slotted = false
		if now < t.stale() {
			t.at = t.next()
			return false
		}
		return true
	}
	slot := max(k.slot, now)
	if slot >= t.deadline { // it ends first
		t.at = t.deadline
		return false
	}
	k.slot = slot + time.Second/time.Duration(k.pace.Checkpoints)
	if slot <= now+burst {
		return true
	}
	t.slotted, t.at = true, slot
	return false
}

// write appends what is left of a lease. Parts of a second count whole: nobody is
// to end it too early. By as much the log says too much already, and the next time
// comes sooner.
func (t *tenure) write(to []Lease, now time.Duration) []Lease {
	left := int64(after(t.deadline-now, time.Second-1) / time.Second)
	t.logged = seconds(left)
	t.at = t.next()
	t.short = true
	t.writes++
	return append(to, Lease{ID: t.id, TTL: int64(t.ttl / time.Second), Remaining: left})
}

// Retry takes back leases whose revokes came to nothing.
func (k *Keeper) Retry(id int64, now time.Duration) {
	t, known := k.held[id]
	if !known || t.weight == 0 {
		return
	}
	k.revoking -= t.weight
	t.weight, t.at = 0, now+retryRevoke
	heap.Fix(&k.queue, t.place)
}
