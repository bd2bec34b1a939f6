package compactor

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Policy says what is to be compacted. It belongs to one goroutine.
type Policy interface {
	// Pace is how often Due is to be asked.
	Pace() time.Duration
	// Due takes the time, which never goes back, and the newest revision, and
	// returns the revision to compact at; false for nothing to do now.
	Due(now time.Duration, revision int64) (at int64, ok bool)
	// Done hears that the compaction at a revision has been made, or that history
	// was gone up to there before. Without it Due says the same again.
	Done(now time.Duration, at int64)
}

// The names of the modes.
const (
	ModePeriodic = "periodic"
	ModeRevision = "revision"
)

// Parse makes the policy of a mode that keeps retention: a duration, or a number
// of hours, in the periodic mode; a number of revisions in the other. It returns
// nil where nothing is to be compacted, which a retention of "0" or "" says.
func Parse(mode, retention string) (Policy, error) {
	if retention == "" {
		retention = "0"
	}
	n, err := strconv.ParseInt(retention, 10, 64)
	number := err == nil
	if number && n < 0 {
		return nil, errors.New("the retention must not be negative")
	}
	switch mode {
	case ModeRevision:
		if !number {
			return nil, fmt.Errorf("the retention %q is not a number of revisions", retention)
		}
		if n == 0 {
			return nil, nil
		}
		return &revisions{keep: n}, nil
	case ModePeriodic:
		d := time.Duration(n) * time.Hour
		if number && n > int64(maxPeriod/time.Hour) {
			return nil, fmt.Errorf("the retention of %d hours is longer than %v", n, maxPeriod)
		}
		if !number {
			if d, err = time.ParseDuration(retention); err != nil || d < 0 {
				return nil, fmt.Errorf("the retention %q is neither a duration nor a number of hours", retention)
			}
		}
		if d == 0 {
			return nil, nil
		}
		return newPeriodic(d), nil
	}
	return nil, fmt.Errorf("the mode %q is neither %s nor %s", mode, ModePeriodic, ModeRevision)
}

const (
	// maxPeriod bounds the samples that are kept: ten an hour.
	maxPeriod = 10 * 365 * 24 * time.Hour
	// longestInterval is the longest time between two periodic compactions.
	longestInterval = time.Hour
	samplesEach     = 10
	// revisionPace is how often the number of revisions is looked at.
	revisionPace = 5 * time.Minute
)

// periodic compacts, every interval, at the revision of a period ago.
type periodic struct {
	period, interval time.Duration
	samples          []sample // oldest first; the first is the newest that is old enough, if any is
	compacted        int64
	last             time.Duration // of the last compaction
	any              bool          // there was one
}

type sample struct {
	at       time.Duration
	revision int64
}

func newPeriodic(period time.Duration) *periodic {
	return &periodic{period: period, interval: min(period, longestInterval)}
}

func (p *periodic) Pace() time.Duration { return max(p.interval/samplesEach, time.Millisecond) }

func (p *periodic) Due(now time.Duration, revision int64) (at int64, ok bool) {
	p.samples = append(p.samples, sample{now, revision})
	for len(p.samples) > 1 && now-p.samples[1].at >= p.period {
		p.samples = p.samples[1:]
	}
	oldest := p.samples[0]
	if now-oldest.at < p.period || oldest.revision <= p.compacted || p.any && now-p.last < p.interval {
		return 0, false
	}
	return oldest.revision, true
}

func (p *periodic) Done(now time.Duration, at int64) { p.compacted, p.last, p.any = at, now, true }

// revisions keeps a number of them.
type revisions struct {
	keep      int64
	compacted int64
}

func (r *revisions) Pace() time.Duration { return revisionPace }

func (r *revisions) Due(_ time.Duration, revision int64) (at int64, ok bool) {
	at = revision - r.keep
	return at, at > max(r.compacted, 0)
}

func (r *revisions) Done(_ time.Duration, at int64) { r.compacted = at }
