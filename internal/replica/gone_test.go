package replica

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/errs"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/wal"
)

// answered is a Caller.
type answered chan error

func (c answered) Done(_ any, err error) { c <- err }

// A member that hears of its removal from others answers those who wait, and ends, long
// before they have waited as long as they would.
func TestAMemberThatIsToldItIsGoneAnswersAndEnds(t *testing.T) {
	log, err := wal.Create(wal.Options{FS: vfs.NewMem(), Dir: "log", ClusterID: 1, MemberID: 1}, wal.Position{}, nil)
	require.NoError(t, err)
	node, err := raft.New(raft.Config{ID: 1, ElectionTicks: 1000, HeartbeatTicks: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}})
	require.NoError(t, err)
	began := time.Now()
	r := New(Config{
		Node: node, Log: log, State: broken{}, Settled: func() {}, Now: func() time.Duration { return time.Since(began) },
		Send: func([]*raftpb.Message) {}, RequestTicks: 1 << 40, RetryTicks: 5,
	})
	defer r.Close()
	write, read := make(answered, 1), make(answered, 1)
	require.NoError(t, r.Propose(7, []byte("nobody takes it"), write))
	require.NoError(t, r.Read(read))
	r.Gone()
	for ended := false; !ended; {
		select {
		case <-r.Done():
			ended = true
		case <-time.After(time.Millisecond):
			r.Tick()
		case <-t.Context().Done():
			t.Fatal("it does not end")
		}
	}
	require.ErrorIs(t, r.Err(), ErrRemoved)
	require.ErrorIs(t, <-write, errs.Stopped)
	require.ErrorIs(t, <-read, errs.Stopped)
}
