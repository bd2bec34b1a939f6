package lifetime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	second = int64(time.Second)
	calm   = 30 * second
	late   = 3 * time.Second
)

// kept is a lease of two seconds that is granted at 10, renewed at 11, 12 and 13, of
// which the second is never heard of again, and gone at 16.
func kept() *Lease {
	return &Lease{
		Key: "k", TTL: 2 * time.Second, Attached: 10*second + 2,
		Renewals: []Renewal{
			{10 * second, 10*second + 1, Answered},
			{11 * second, 11*second + 1, Answered},
			{12 * second, 14 * second, Unknown},
			{13 * second, 13*second + 1, Answered},
			{16 * second, 16*second + 1, Refused},
		},
		Looks: []Look{
			{10 * second, 10*second + 1, false}, // the key is not put yet
			{12 * second, 12*second + 1, true}, {14 * second, 14*second + 1, true}, {15*second - 1, 15*second + 1, false}, {17 * second, 17*second + 1, false},
		},
	}
}

func TestALawfulLease(t *testing.T) {
	tally, err := Judge([]*Lease{kept()}, calm, late)
	require.NoError(t, err)
	require.Equal(t, Tally{Leases: 1, Renewals: 3, Longest: 3 * time.Second, Promised: 2, Ended: 1}, tally)
	long := kept()
	long.Looks = []Look{{35*second - 1, 40 * second, true}, {41 * second, 41 * second, false}}
	tally, err = Judge([]*Lease{long}, calm, late)
	require.NoError(t, err, "it may be there for its time and the bound after all is calm")
	require.Equal(t, 9*time.Second, tally.LastAfter)
}

func TestSpoiltLeases(t *testing.T) {
	for name, spoil := range map[string]func(l *Lease){
		"its key was gone at 14.000 s": func(l *Lease) { l.Looks[2].There = false },
		"its key was gone at 12.000 s": func(l *Lease) { l.Looks[1].There = false },
		"was there again at 17.000 s":  func(l *Lease) { l.Looks[4].There = true },
		"there is no such lease": func(l *Lease) {
			l.Renewals[3].Outcome, l.Renewals[2] = Refused, Renewal{12*second + 1, 12*second + 2, Answered}
		},
		"it had been renewed until 18.000 s": func(l *Lease) { // it was renewed when it was gone
			l.Renewals[4].Outcome = Answered
			l.Looks = append(l.Looks, Look{17 * second, 17*second + 1, false})
		},
		"its key is there still": func(l *Lease) { l.Looks = []Look{{35*second + 1, 36 * second, true}} },
	} {
		t.Run(name, func(t *testing.T) {
			l := kept()
			spoil(l)
			_, err := Judge([]*Lease{kept(), l}, calm, late)
			require.ErrorContains(t, err, name)
		})
	}
}
