package sim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/member"
)

// A snapshot comes of which raft has no use: the entries have come in the meantime.
// What was received is taken away again some time, and not only by the next one or
// a restart: it is a whole store, open.
func TestASnapshotThatIsNotWantedAnyMoreGoes(t *testing.T) {
	c := newSites(t, 3, false)
	leader, third := c.elect(1), c.all[3]
	id := uint64(1000)
	c.put(leader, &id, 10, 1)
	meta, err := leader.m.Checkpoint()
	require.NoError(t, err)
	body, err := leader.m.Open(meta)
	require.NoError(t, err)
	require.NoError(t, third.m.Receive(meta, body))
	require.NoError(t, body.Close())
	require.NoError(t, third.core.Receive(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: ptr(uint64(1)), To: ptr(uint64(3)), Term: ptr(leader.core.Status().Term),
		Snapshot: &raftpb.Snapshot{Metadata: meta}}))
	for range 3000 { // five minutes
		c.tick()
	}
	names, err := third.fs.List("data")
	require.NoError(t, err)
	var stores []string
	for _, n := range names {
		if strings.HasPrefix(n, "store-") {
			stores = append(stores, n)
		}
	}
	require.Len(t, stores, 1, "%v", stores)
}

// The leader of two removes itself, and the one message that tells the other that
// the removal is committed is lost. The other goes on alone all the same.
func TestTheLeaderOfTwoRemovesItself(t *testing.T) {
	c := newSites(t, 2, false)
	leader, second := c.elect(1), c.all[2]
	for range 3 {
		c.tick()
	}
	last := leader.node.Status().Applied
	change := member.Remove(1)
	change.Id = proto.Uint64(50)
	data, err := proto.Marshal(change)
	require.NoError(t, err)
	var removed count
	c.lose = func(m *raftpb.Message) bool { return m.GetTo() == 2 && m.GetCommit() > last }
	require.NoError(t, leader.core.ProposeChange(50, data, nil, &removed))
	c.settle()
	require.EqualValues(t, 1, removed.n.Load())
	require.Zero(t, removed.failed.Load(), "the client was told that the member is removed")
	c.lose = nil
	for range 200 {
		if !c.down[1] {
			leader.core.Tick()
			if err := leader.core.Turn(); err != nil {
				require.ErrorContains(t, err, "removed")
				c.down[1] = true
			}
		}
		second.core.Tick()
		c.settleBut(1)
	}
	require.True(t, second.core.Status().IsLeader, "%+v", second.core.Status())
}

// settleBut is settle for all, where one has ended or is about to.
func (c *sites) settleBut(id uint64) {
	for range 5 {
		for _, s := range c.all {
			if c.down[s.id] {
				continue
			}
			if s.id != id {
				c.work(s)
			} else if err := s.core.Turn(); err != nil {
				c.down[s.id] = true
			} else if do := s.s.appends; len(do) > 0 {
				s.s.appends = nil
				s.core.WriteLog(do)
			}
			out := s.sent
			s.sent = nil
			for _, m := range out {
				if !c.down[m.GetTo()] {
					c.carry(s, m)
				}
			}
		}
	}
}
