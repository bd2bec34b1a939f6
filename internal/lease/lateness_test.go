package lease

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// election is the election timeout of the stories below, and look how often a leader
// looks.
const (
	election = time.Second
	look     = 100 * time.Millisecond
)

// life is that of a lease under a leader that ends and another that comes after it: the
// log, what is on its way there, and what the client was told.
type life struct {
	rng    *rand.Rand
	lease  Lease
	there  bool     // in the log
	coming []coming // in the order in which it was offered

	k        *Keeper
	now      time.Duration
	promised time.Duration // until when the client knows that the lease lives
	owed     time.Duration // when it is to end, by the last renewal that was carried out
	gone     time.Duration // when it was applied that it has ended; 0: it lives
}

// coming is an entry that is to be applied.
type coming struct {
	at     time.Duration
	change Change
	told   func() // when it is
}

// offer has something applied after a while.
func (l *life) offer(c Change, told func()) {
	at := l.now + time.Duration(l.rng.IntN(20))*time.Millisecond
	if n := len(l.coming); n > 0 {
		at = max(at, l.coming[n-1].at)
	}
	l.coming = append(l.coming, coming{at, c, told})
}

// apply applies what has come by now.
func (l *life) apply() {
	for len(l.coming) > 0 && l.coming[0].at <= l.now {
		c := l.coming[0]
		l.coming = l.coming[1:]
		l.write(&c.change)
		l.k.Apply([]Change{c.change}, l.now)
		if c.told != nil {
			c.told()
		}
	}
}

// write is what becomes of the log.
func (l *life) write(c *Change) {
	switch {
	case c.Kind == Granted:
		l.there, l.lease = true, c.Lease
		l.owed = l.now + seconds(c.TTL)
	case c.Kind == Revoked && l.there:
		l.there, l.gone = false, l.now
	case c.Kind == Checkpointed && l.there:
		l.lease.Remaining = c.Remaining
		c.Lease = l.lease
	}
}

// look is a leader's look.
func (l *life) look() {
	due := l.k.Look(l.now, noKeys)
	for _, one := range due.Checkpoint {
		l.offer(Change{one, Checkpointed}, nil)
	}
	for _, id := range due.Revoke {
		l.offer(Change{Lease{ID: id}, Revoked}, nil)
	}
}

// renew renews the lease as a client has it done, who is told when the log has all of
// its time.
func (l *life) renew() {
	now, k := l.now, l.k
	k.Sure(now)
	ttl, came, mark := k.Renew(1, now)
	well := func() { l.promised = max(l.promised, now+seconds(ttl)) }
	switch came {
	case Renewed:
		l.owed = now + seconds(ttl)
		well()
	case Short:
		l.owed = now + seconds(ttl)
		l.offer(Change{Lease{1, l.lease.TTL, 0}, Checkpointed}, func() {
			if k == l.k && k.Cleared(1, mark) {
				well()
			}
		})
	}
}

// deed is something that is done at a time.
type deed struct {
	at time.Duration
	do func()
}

// until lives until a time, looking all the while from the first look on.
func (l *life) until(end, firstLook time.Duration, deeds ...deed) {
	for at := firstLook; at < end; at += look {
		deeds = append(deeds, deed{at, l.look})
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return cmp.Compare(a.at, b.at) })
	step := func(to time.Duration) {
		for len(l.coming) > 0 && l.coming[0].at <= to {
			l.now = l.coming[0].at
			l.apply()
		}
		l.now = to
	}
	for _, d := range deeds {
		if d.at >= end || l.gone > 0 {
			break
		}
		step(d.at)
		d.do()
	}
	step(end)
}

// takeOver makes a keeper of the log as the leader's of a term, which is promoted within
// a look, and returns when it looks first.
func (l *life) takeOver(term uint64) (promote deed) {
	l.k = NewKeeper(Pace{Extension: election})
	l.k.Expect(term)
	return deed{l.now + time.Duration(l.rng.Int64N(int64(look))), func() {
		var all []Lease
		if l.there {
			all = append(all, l.lease)
		}
		l.k.Promote(term, viewOf(all...), l.now)
		l.look()
	}}
}

// Whoever renews a lease or does not, and whenever its leader ends: the key is there
// for all that was promised, and goes soon after it.
func TestHowLateALeaseIs(t *testing.T) {
	const seeds = 1500
	latest := map[int64]time.Duration{}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 0x1a7e))
		ttl := []int64{2, 3, 5, 10, 17, 20, 60, 90, 600, 1 + rng.Int64N(200)}[rng.IntN(10)]
		l := &life{rng: rng}
		promote := l.takeOver(1)

		granted := time.Duration(rng.Int64N(int64(2 * look)))
		if rng.IntN(2) == 0 {
			granted = time.Duration(rng.Int64N(int64(5 * time.Second)))
		}
		deeds := []deed{promote, {granted, func() {
			asked := l.now
			l.offer(Change{Lease{1, ttl, 0}, Granted}, func() { l.promised = asked + seconds(ttl) })
		}}}
		last := granted
		for range rng.IntN(4) {
			last += time.Duration(rng.Int64N(int64(seconds(ttl))))
			deeds = append(deeds, deed{last, l.renew})
		}
		end := last + time.Duration(rng.Int64N(int64(seconds(ttl))))
		l.until(end, promote.at, deeds...)

		// The leader ends. Of what is on its way a part has reached the others; who has
		// offered it is told nothing.
		l.coming = l.coming[:rng.IntN(len(l.coming)+1)]
		for i := range l.coming {
			l.write(&l.coming[i].change)
		}
		l.coming = nil
		if !l.there {
			if l.gone > 0 {
				require.GreaterOrEqual(t, l.gone, l.promised, "seed %d: it is gone before its time", seed)
				require.LessOrEqual(t, l.gone-l.owed, 500*time.Millisecond, "seed %d: it has stayed under its leader", seed)
			}
			continue // it has ended, or was never granted
		}
		if rng.IntN(2) == 0 {
			l.now += 2*election - 1 // the longest that an election takes where nobody disturbs it
		} else {
			l.now += election + time.Duration(rng.Int64N(int64(election)))
		}
		promote = l.takeOver(2)
		l.until(l.now+2*seconds(ttl)+time.Minute, promote.at, promote)

		what := fmt.Sprintf("seed %d: a lease of %d s, granted after %v, whose leader ended after %v", seed, ttl, granted, end)
		require.NotZero(t, l.gone, "%s: it is there still", what)
		require.GreaterOrEqual(t, l.gone, l.promised, "%s: it is gone before its time", what)
		late := l.gone - l.owed
		latest[ttl] = max(latest[ttl], late)
		require.LessOrEqual(t, late, max(2*time.Second, seconds(ttl)/10)+2*election+time.Second, "%s: it has stayed", what)
	}
	for _, ttl := range []int64{2, 5, 10, 17, 60, 90, 600} {
		t.Logf("a lease of %d s was late by %v at most", ttl, latest[ttl])
	}
}
