package metrics

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/machine"
)

func TestEntriesShareTheTimeOfTheirBatch(t *testing.T) {
	a := newApplied()
	var tally machine.Tally
	tally.Done[machine.Put], tally.Refused[machine.Put], tally.Done[machine.Txn] = 7, 1, 2
	a.add(tally, 100*time.Millisecond, 10)
	a.add(tally, 200*time.Millisecond, 10)
	puts := a.took[machine.Put][1].Counts()
	require.Equal(t, uint64(14), puts.Count)
	require.Equal(t, 7*(10+20)*time.Millisecond, puts.Sum)
	require.Equal(t, uint64(2), a.took[machine.Put][0].Counts().Count)
	require.Equal(t, uint64(4), a.took[machine.Txn][1].Counts().Count)
	require.Zero(t, a.took[machine.DeleteRange][1].Counts().Count)
}
