package member

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// The raft library panics on the removal of the last voter ("removed all voters") whenever
// it is applied, so that such an entry would stop every member that has it for good.
func TestTheRemovalOfTheLastVoterIsRefusedWhereItIsApplied(t *testing.T) {
	for name, members := range map[string][]Member{
		"alone":          {{ID: 1, PeerURLs: []string{"http://a:1"}, Name: "a"}},
		"with a learner": {{ID: 1, PeerURLs: []string{"http://a:1"}, Name: "a"}, {ID: 2, PeerURLs: []string{"http://b:1"}, Name: "b", Learner: true}},
	} {
		t.Run(name, func(t *testing.T) {
			v := &View{Members: members}
			data, err := proto.Marshal(Remove(1))
			require.NoError(t, err)
			next, c, err := v.Change(data, 1)
			require.Error(t, err)
			require.Same(t, v, next)
			require.Zero(t, c.GetNodeId(), "raft must not be told to remove it")
		})
	}
}
