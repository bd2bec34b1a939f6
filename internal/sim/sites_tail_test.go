package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A follower has a long tail that was never committed: entries of a leader whose
// disk hung, and that is gone now. The next leader's log is another. That nothing of
// the tail is applied is not for want of applying.
func TestALongUncommittedTailIsReplaced(t *testing.T) {
	c := newSites(t, 3, false)
	c.settle()
	third := c.all[3]
	app := func(from, term, prev, prevTerm, commit uint64, entries ...*raftpb.Entry) {
		require.NoError(t, third.core.Receive(&raftpb.Message{Type: raftpb.MsgApp.Enum(), From: &from, To: proto.Uint64(3), Term: &term,
			Index: &prev, LogTerm: &prevTerm, Commit: &commit, Entries: entries}))
		c.work(third)
		third.sent = nil
	}
	// 500,000 puts of a dozen bytes: 6 MB of what a leader may have uncommitted,
	// 64 MiB.
	data := make([]byte, 12)
	index := uint64(3)
	for range 500 {
		batch := make([]*raftpb.Entry, 2200)
		for i := range batch {
			batch[i] = &raftpb.Entry{Term: proto.Uint64(2), Index: proto.Uint64(index + 1 + uint64(i)), Data: data}
		}
		prevTerm := uint64(2)
		if index == 3 {
			prevTerm = 1
		}
		app(1, 2, index, prevTerm, 3, batch...)
		index += uint64(len(batch))
	}
	t.Logf("%d bytes unapplied, of which payload %d", third.node.UnappliedBytes(), 12*(index-3))
	for range 50 { // member 2 leads now; it sends, and sends again
		app(2, 3, 3, 1, 4, &raftpb.Entry{Term: proto.Uint64(3), Index: proto.Uint64(4)})
		third.core.Tick()
		c.work(third)
	}
	require.EqualValues(t, 4, third.node.Status().Applied, "the tail was replaced, and the new entry applied")
}
