package replica

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/raft"
)

// noting is a State that notes what is applied.
type noting struct {
	State
	did  []string
	fail uint64 // the entry that cannot be applied
}

func (n *noting) Apply(entries []*raftpb.Entry, _ func(uint64) bool, _ func(uint64, any, error)) ([]*raftpb.ConfChange, *raftpb.ConfState, error) {
	var changes []*raftpb.ConfChange
	for _, e := range entries {
		if e.GetIndex() == n.fail {
			return nil, nil, errors.New("it cannot be applied")
		}
		n.did = append(n.did, fmt.Sprintf("%d of %d", e.GetIndex(), e.GetTerm()))
		changes = append(changes, &raftpb.ConfChange{})
	}
	return changes, &raftpb.ConfState{}, nil
}

// A member that leads hears of it between what others have decided and the first entry
// of its own term.
func TestTakingOverComesBeforeTheOwnEntries(t *testing.T) {
	for _, test := range []struct {
		name    string
		terms   []uint64 // of the entries
		leads   uint64   // the term in which it leads; 0 for none
		earlier uint64   // the term in which it took over before
		fail    uint64
		want    []string
	}{
		{"a follower", []uint64{1, 2}, 0, 0, 0, []string{"1 of 1", "2 of 2"}},
		{"in the midst", []uint64{1, 1, 3, 3}, 3, 0, 0, []string{"1 of 1", "2 of 1", "takes over 3", "3 of 3", "4 of 3"}},
		{"at the beginning", []uint64{3, 3}, 3, 2, 0, []string{"takes over 3", "1 of 3", "2 of 3"}},
		{"long since", []uint64{3, 3}, 3, 3, 0, []string{"1 of 3", "2 of 3"}},
		{"not yet", []uint64{1, 2}, 3, 0, 0, []string{"1 of 1", "2 of 2"}},
		{"what was before fails", []uint64{1, 3}, 3, 0, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := &noting{fail: test.fail}
			r := &Core{calls: newCalls(), tookOver: test.earlier}
			r.c = Config{State: state, Settled: func() {}, TakesOver: func(term uint64) {
				state.did = append(state.did, fmt.Sprintf("takes over %d", term))
			}}
			s := &Status{}
			s.IsLeader, s.Term = test.leads != 0, max(test.leads, 3)
			r.status.Store(s)
			a := &raft.Apply{}
			for i, term := range test.terms {
				index := uint64(i + 1)
				a.Entries = append(a.Entries, &raftpb.Entry{Index: &index, Term: &term})
			}
			o := r.apply(a)
			require.Equal(t, test.want, state.did)
			if test.fail != 0 {
				require.Error(t, o.err)
				return
			}
			require.NoError(t, o.err)
			require.Len(t, o.changes, len(test.terms))
			require.NotNil(t, o.conf)
		})
	}
}
