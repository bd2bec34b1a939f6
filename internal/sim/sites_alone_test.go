package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/member"
)

// A leader alone, with a learner that is promoted. The learner applies its
// promotion before the leader does, whose apply stage is behind, is a voter in its
// own eyes, and takes a put, which the leader commits alone. Its client is told,
// and then reads at the leader.
func TestAReadAtALeaderAloneSeesWhatAPromotedLearnerAcknowledged(t *testing.T) {
	c := newSites(t, 2, true)
	leader, second := c.elect(1), c.all[2]
	for range 3 {
		c.tick()
	}
	require.True(t, second.core.Status().Learner)
	require.True(t, leader.core.Alone())

	// From here on the leader's apply stage is behind: it is handed over, and not
	// done yet. Its log is written at once.
	leader.s.inPlace = false
	pass := func() {
		for range 10 {
			require.NoError(t, leader.core.Turn())
			if do := leader.s.appends; len(do) > 0 {
				leader.s.appends = nil
				leader.core.WriteLog(do)
				require.NoError(t, leader.core.Turn())
			}
			c.work(second)
			for _, s := range []*site{leader, second} {
				out := s.sent
				s.sent = nil
				for _, m := range out {
					c.carry(s, m)
				}
			}
		}
	}
	change, err := member.Promote(2)
	require.NoError(t, err)
	change.Id = proto.Uint64(50)
	data, err := proto.Marshal(change)
	require.NoError(t, err)
	var promoted, put count
	require.NoError(t, leader.core.ProposeChange(50, data, nil, &promoted))
	pass()
	leader.core.Tick() // a heartbeat brings the commit index
	pass()
	require.False(t, second.core.Status().Learner, "it is a voter, and serves clients")
	require.NoError(t, second.core.Propose(2000, putData(2000, "acknowledged", 1), &put))
	pass()
	leader.core.Tick()
	pass()
	require.EqualValues(t, 1, put.n.Load())
	require.Zero(t, put.failed.Load(), "the put is acknowledged")
	require.EqualValues(t, 2, second.m.View().Keys.Revision)

	require.NotEmpty(t, leader.s.applies)
	if leader.core.Alone() { // as service.linearizable has it
		require.EqualValues(t, 2, leader.m.View().Keys.Revision, "a linearizable read at the leader, without a barrier")
	}
}
