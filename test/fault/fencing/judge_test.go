package fencing

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/test/fault/history"
	"etcd.alt/test/fault/outside"
)

// lawful is a history in which three have the lock in turn. The second waits for the
// first, whose session ends; the third comes when nobody is there.
func lawful() []outside.Event {
	return []outside.Event{
		came(3, 3, "a"), written(4, 3), came(5, 5, "b"), written(6, 3), left(7, "a"),
		written(8, 5), came(9, 5, "b"), written(10, 5), left(11, "b"), came(12, 12, "c"), written(13, 12),
		{Revision: 14, Created: 14, Change: history.Change{Key: "other", Value: "x"}},
	}
}

func came(revision, created int64, who string) outside.Event {
	return outside.Event{Revision: revision, Created: created, Change: history.Change{Key: "lock/" + who}}
}

func left(revision int64, who string) outside.Event {
	return outside.Event{Revision: revision, Change: history.Change{Key: "lock/" + who, Deleted: true}}
}

func written(revision, token int64) outside.Event {
	return outside.Event{Revision: revision, Created: 2, Change: history.Change{Key: "guarded", Value: fmt.Sprint(token)}}
}

func TestALawfulHistory(t *testing.T) {
	tally, err := Judge(lawful(), "lock/", "guarded")
	require.NoError(t, err)
	require.Equal(t, Tally{Writes: 5, Owners: 3, Moved: 2}, tally)
}

func TestSpoiltHistories(t *testing.T) {
	for name, spoil := range map[string]func(all []outside.Event) []outside.Event{
		"after one whose token is 5": func(all []outside.Event) []outside.Event { return append(all[:8], written(11, 3)) },
		"the owner's is 3":           func(all []outside.Event) []outside.Event { all[3] = written(6, 5); return all },
		"the owner's is 0":           func(all []outside.Event) []outside.Event { return append(all[:9], written(12, 5)) },
		"is no guarded write":        func(all []outside.Event) []outside.Event { all[3].Change.Deleted = true; return all },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Judge(spoil(lawful()), "lock/", "guarded")
			require.ErrorContains(t, err, name)
		})
	}
}
