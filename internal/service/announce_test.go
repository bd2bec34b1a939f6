package service

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/member"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/state"
)

// slowly is a state that applies nothing until it may.
type slowly struct {
	*state.State
	may chan struct{}
}

func (s slowly) Apply(entries []*raftpb.Entry, wanted func(uint64) bool, done func(uint64, any, error)) ([]*raftpb.ConfChange, *raftpb.ConfState, error) {
	if entries[0].GetIndex() > 2 {
		<-s.may
	}
	return s.State.Apply(entries, wanted, done)
}

// Busy has the work handed to the apply stage, as where the engine stalls.
func (s slowly) Busy() bool { return true }

// A member that comes back with another client URL, or has just joined, and hears
// of more than it can apply at once: that is no reason not to start.
func TestAMemberThatCatchesUpMakesItselfKnown(t *testing.T) {
	members := []member.Member{{ID: 1, Name: "a", PeerURLs: []string{"http://127.0.0.1:1"}}, {ID: 2, Name: "b", PeerURLs: []string{"http://127.0.0.1:2"}}}
	dir := t.TempDir()
	st, err := state.Open(state.Options{Data: datadir.Options{FS: vfs.Default, Path: dir, Log: dir + "/log", Begin: datadir.NewCluster(1, members)}})
	require.NoError(t, err)
	d := st.Data
	node, err := raft.New(raft.Config{ID: 1, ElectionTicks: 1000, HeartbeatTicks: 1, Entries: d.Recovered.Entries, HardState: d.Recovered.HardState})
	require.NoError(t, err)
	slow := slowly{st, make(chan struct{})}
	r := replica.New(replica.Config{Node: node, Log: d.Log, State: slow, Settled: func() {}, Send: func([]*raftpb.Message) {},
		Now: func() time.Duration { return 0 }, RequestTicks: 70, RetryTicks: 5, FirstRead: 1})
	s := New(Config{Machine: st, Replica: r, Answers: NewAnswers(), Users: NewUsers(), Leases: NewLeases(time.Second, func() time.Duration { return 0 }), MemberID: 1, FirstID: 1000})
	defer func() {
		require.NoError(t, r.Close())
		s.Close()
		require.NoError(t, st.Close())
	}()

	app := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(2), LogTerm: proto.Uint64(1), Index: proto.Uint64(2), Commit: proto.Uint64(6002)}
	for i := range 6000 {
		app.Entries = append(app.Entries, &raftpb.Entry{Term: proto.Uint64(2), Index: proto.Uint64(uint64(i) + 3)})
	}
	require.NoError(t, r.Deliver(app))
	require.Eventually(t, func() bool { return r.Status().Commit == 6002 && r.Status().Leader == 2 }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = s.Announce(ctx, "a", []string{"http://127.0.0.1:3"})
	close(slow.may)
	require.ErrorIs(t, err, context.DeadlineExceeded, "it goes on to ask")
}

// A member whose replica has ended, of a disk's failure, say, before it has heard
// of itself does not wait for that for ever: nobody would hear why.
func TestAMemberThatHasEndedDoesNotWaitToHearOfItself(t *testing.T) {
	dir := t.TempDir()
	st, err := state.Open(state.Options{Data: datadir.Options{FS: vfs.Default, Path: dir, Log: dir + "/log", Begin: func() (datadir.Beginning, error) { return datadir.Beginning{Self: 1, ClusterID: 9}, nil }}})
	require.NoError(t, err)
	node, err := raft.New(raft.Config{ID: 1, ElectionTicks: 1000, HeartbeatTicks: 1, HardState: st.Data.Recovered.HardState})
	require.NoError(t, err)
	r := replica.New(replica.Config{Node: node, Log: st.Data.Log, State: st, Settled: func() {}, Send: func([]*raftpb.Message) {},
		Now: func() time.Duration { return 0 }, RequestTicks: 70, RetryTicks: 5, FirstRead: 1})
	s := New(Config{Machine: st, Replica: r, Answers: NewAnswers(), Users: NewUsers(), Leases: NewLeases(time.Second, func() time.Duration { return 0 }), MemberID: 1, FirstID: 1000})
	require.NoError(t, r.Close()) // it ends, for whatever reason
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err = s.Announce(ctx, "a", nil)
	s.Close()
	require.NoError(t, st.Close())
	require.NotErrorIs(t, err, context.DeadlineExceeded, "it waits until it is told to stop")
}
