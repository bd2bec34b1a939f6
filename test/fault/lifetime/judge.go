package lifetime

import (
	"fmt"
	"time"
)

// Outcome is what a caller knows of a renewal.
type Outcome int

const (
	Unknown  Outcome = iota // it may have had an effect
	Answered                // the lease had all of its time again
	Refused                 // there is no such lease
)

// Renewal is a call that renews a lease, or the one that has granted it. Moments are
// nanoseconds since one that all share.
type Renewal struct {
	Call, Return int64 // Return also where the caller has given up
	Outcome      Outcome
}

// Look is a linearizable read of the key.
type Look struct {
	Call, Return int64
	There        bool
}

// Lease is one lease with a key on it.
type Lease struct {
	Key      string
	TTL      time.Duration
	Renewals []Renewal // the grant is the first
	Attached int64     // when it was known that the key is on it
	Looks    []Look
}

// Tally is what was judged of leases.
type Tally struct {
	Leases    int
	Renewals  int           // that were answered
	Longest   time.Duration // that a lease was kept
	Promised  int           // looks while a promise held
	Ended     int           // leases of which the end was seen
	LastAfter time.Duration // the longest time from when one may have ended until it was seen gone
}

func (t Tally) String() string {
	return fmt.Sprintf("%d leases, %d renewals, the longest was kept %v; %d looks while a promise held; %d leases were seen to end, at most %v after their time",
		t.Leases, t.Renewals, t.Longest.Round(time.Millisecond), t.Promised, t.Ended, t.LastAfter.Round(time.Millisecond))
}

// Judge looks at leases. From calm on nothing disturbs the cluster; late is how long
// after its time, and after then, a lease may be there.
func Judge(leases []*Lease, calm int64, late time.Duration) (Tally, error) {
	t := Tally{Leases: len(leases)}
	for _, l := range leases {
		if err := l.judge(calm, late, &t); err != nil {
			return t, fmt.Errorf("the lease of %s, of %v: %w", l.Key, l.TTL, err)
		}
	}
	return t, nil
}

func (l *Lease) judge(calm int64, late time.Duration, t *Tally) error {
	promised, possible := int64(0), calm // until when the key is there; when it may have been renewed last
	for _, r := range l.Renewals {
		if r.Outcome == Answered {
			promised = max(promised, r.Call+int64(l.TTL))
			t.Renewals++
			t.Longest = max(t.Longest, time.Duration(r.Call-l.Renewals[0].Call))
		}
		if r.Outcome != Refused {
			possible = max(possible, r.Return)
		}
	}
	for _, r := range l.Renewals {
		if r.Outcome == Refused && r.Return < promised {
			return fmt.Errorf("there is no such lease, it was said at %s, and it had been renewed until %s", moment(r.Return), moment(promised))
		}
	}
	end := possible + int64(l.TTL+late)
	gone := int64(-1) // when the key was seen to be gone
	for _, o := range l.Looks {
		if o.Call < l.Attached {
			continue
		}
		if o.Return < promised {
			t.Promised++
		}
		switch {
		case !o.There && o.Return < promised:
			return fmt.Errorf("its key was gone at %s, and it had been renewed until %s", moment(o.Return), moment(promised))
		case o.There && gone >= 0 && o.Call > gone:
			return fmt.Errorf("its key was gone at %s, and was there again at %s", moment(gone), moment(o.Return))
		case o.There && o.Call > end:
			return fmt.Errorf("its key is there still at %s, and nobody has renewed it since %s", moment(o.Call), moment(possible))
		case !o.There && gone < 0:
			gone = o.Return
			t.Ended++
			t.LastAfter = max(t.LastAfter, time.Duration(gone-possible)-l.TTL)
		}
	}
	return nil
}

func moment(t int64) string { return fmt.Sprintf("%.3f s", float64(t)/1e9) }
