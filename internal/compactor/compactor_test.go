package compactor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// drive asks a policy at its pace, with ten new revisions each time, and returns
// when it compacted and where. fails says which attempts come to nothing.
func drive(p Policy, until time.Duration, fails func(attempt int) bool) (at []time.Duration, revs []int64) {
	attempt := 0
	revision := int64(1)
	for now := time.Duration(0); now <= until; now += p.Pace() {
		if rev, ok := p.Due(now, revision); ok {
			if attempt++; !fails(attempt) {
				p.Done(now, rev)
				at, revs = append(at, now), append(revs, rev)
			}
		}
		revision += 10
	}
	return at, revs
}

func never(int) bool { return false }

func TestPeriodicCompactsAtTheRevisionOfAPeriodAgo(t *testing.T) {
	p, err := Parse(ModePeriodic, "10m")
	require.NoError(t, err)
	require.Equal(t, time.Minute, p.Pace())
	at, revs := drive(p, 35*time.Minute, never)
	require.Equal(t, []time.Duration{10 * time.Minute, 20 * time.Minute, 30 * time.Minute}, at)
	require.Equal(t, []int64{1, 101, 201}, revs)
}

func TestALongPeriodIsCompactedEveryHour(t *testing.T) {
	p, err := Parse(ModePeriodic, "3") // hours
	require.NoError(t, err)
	require.Equal(t, 6*time.Minute, p.Pace())
	at, revs := drive(p, 5*time.Hour, never)
	require.Equal(t, []time.Duration{3 * time.Hour, 4 * time.Hour, 5 * time.Hour}, at)
	require.Equal(t, []int64{1, 101, 201}, revs)
}

func TestAFailedCompactionIsTriedAgainAtTheNextSample(t *testing.T) {
	p, err := Parse(ModePeriodic, "10m")
	require.NoError(t, err)
	at, revs := drive(p, 25*time.Minute, func(attempt int) bool { return attempt < 3 })
	require.Equal(t, []time.Duration{12 * time.Minute, 22 * time.Minute}, at)
	require.Equal(t, []int64{21, 121}, revs)
}

func TestNothingNewIsNotCompacted(t *testing.T) {
	p, err := Parse(ModePeriodic, "10m")
	require.NoError(t, err)
	for now := time.Duration(0); now < time.Hour; now += p.Pace() {
		if at, ok := p.Due(now, 7); ok {
			require.Equal(t, 10*time.Minute, now)
			p.Done(now, at)
		}
	}
}

func TestRevisionsKeepsTheirNumber(t *testing.T) {
	p, err := Parse(ModeRevision, "15")
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, p.Pace())
	at, revs := drive(p, 20*time.Minute, never)
	require.Equal(t, []time.Duration{10 * time.Minute, 15 * time.Minute, 20 * time.Minute}, at)
	require.Equal(t, []int64{6, 16, 26}, revs)
	_, ok := p.Due(time.Hour, 41)
	require.False(t, ok, "nothing new")
}

func TestParseRefusesByName(t *testing.T) {
	for _, retention := range []string{"", "0", "0s"} {
		p, err := Parse(ModePeriodic, retention)
		require.NoError(t, err)
		require.Nil(t, p)
	}
	p, err := Parse(ModeRevision, "0")
	require.NoError(t, err)
	require.Nil(t, p)
	for _, bad := range [][2]string{{"daily", "1"}, {ModePeriodic, "soon"}, {ModePeriodic, "-1"}, {ModePeriodic, "-1h"}, {ModePeriodic, "9999999999999"}, {ModeRevision, "1h"}, {ModeRevision, "-5"}} {
		_, err := Parse(bad[0], bad[1])
		require.Error(t, err, "%v", bad)
	}
}
