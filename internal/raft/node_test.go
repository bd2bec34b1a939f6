package raft

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func hardState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: proto.Uint64(term), Vote: proto.Uint64(vote), Commit: proto.Uint64(commit)}
}

func entry(term, index uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Term: proto.Uint64(term), Index: proto.Uint64(index), Data: []byte(data)}
}

func newNode(t *testing.T, id uint64, hs *raftpb.HardState, applied uint64, voters []uint64, entries ...*raftpb.Entry) *Node {
	t.Helper()
	n, err := New(Config{
		ID: id, ElectionTicks: 10, HeartbeatTicks: 1,
		PrevIndex: 1, PrevTerm: 1, Entries: entries, HardState: hs,
		Applied: applied, ConfState: &raftpb.ConfState{Voters: voters},
	})
	require.NoError(t, err)
	return n
}

// settle does all the work a Node hands out, and returns what it would send
// and the entries it applied.
func settle(t *testing.T, n *Node) (sent []*raftpb.Message, applied []string, reads []Read) {
	t.Helper()
	for {
		out := n.Ready()
		sent = append(sent, out.Send...)
		reads = append(reads, out.Reads...)
		for _, a := range out.Appends {
			require.NoError(t, n.Appended(a))
		}
		for _, a := range out.Applies {
			for _, e := range a.Entries {
				if len(e.GetData()) > 0 {
					applied = append(applied, string(e.GetData()))
				}
			}
			_, err := n.Applied(a, nil)
			require.NoError(t, err)
		}
		if len(out.Send)+len(out.Appends)+len(out.Applies)+len(out.Reads) == 0 {
			return sent, applied, reads
		}
	}
}

func vote(from, to, term uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: proto.Uint64(from), To: proto.Uint64(to), Term: proto.Uint64(term)}
}

// A leader elected by two remote votes, whose own vote is not on disk, sends
// nothing of its new term.
func TestNothingOfATermLeavesBeforeTheTermIsSynced(t *testing.T) {
	n := newNode(t, 1, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	require.NoError(t, n.Campaign())
	out := n.Ready()
	require.Empty(t, out.Send, "vote requests wait for the vote to be durable")
	require.NoError(t, n.raw.Step(vote(2, 1, 2)))
	require.NoError(t, n.raw.Step(vote(3, 1, 2)))
	require.True(t, n.Status().IsLeader)
	second := n.Ready()
	require.Empty(t, second.Send, "appends wait too")
	require.NotEmpty(t, out.Appends)

	for _, a := range out.Appends { // the sync that everything waited for
		require.NoError(t, n.Appended(a))
	}
	sent := n.Ready().Send
	require.NotEmpty(t, sent)
	kinds := map[raftpb.MessageType]int{}
	for _, m := range sent {
		require.Equal(t, uint64(2), m.GetTerm())
		kinds[m.GetType()]++
	}
	require.Equal(t, 2, kinds[raftpb.MsgVote])
	require.Equal(t, 2, kinds[raftpb.MsgApp])
}

// A leader whose own removal is applied while an append of its is on its way takes
// that back as any other.
func TestALeaderIsRemovedWhileItWrites(t *testing.T) {
	n := newNode(t, 1, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	require.NoError(t, n.Campaign())
	for _, a := range n.Ready().Appends {
		require.NoError(t, n.Appended(a))
	}
	require.NoError(t, n.raw.Step(vote(2, 1, 2)))
	require.True(t, n.Status().IsLeader)
	pending := n.Ready().Appends
	require.NotEmpty(t, pending)
	n.raw.ApplyConfChange(&raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: proto.Uint64(1)})
	for _, a := range pending {
		require.NoError(t, n.Appended(a))
	}
	require.False(t, n.Status().IsLeader)
}

func TestPreVotePassesTheGate(t *testing.T) {
	n, err := New(Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true, PrevIndex: 1, PrevTerm: 1,
		HardState: hardState(1, 0, 1), Applied: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}})
	require.NoError(t, err)
	require.NoError(t, n.Campaign())
	sent := n.Ready().Send
	require.Len(t, sent, 2)
	require.Equal(t, raftpb.MsgPreVote, sent[0].GetType())
}

// The library answers a sole voter's read barrier from an old commit index
// before anything of the new term is applied: ReadIndex refuses until then.
func TestNoReadBarrierBeforeAnEntryOfTheOwnTerm(t *testing.T) {
	n := newNode(t, 1, hardState(1, 1, 2), 1, []uint64{1}, entry(1, 2, ""), entry(1, 3, "acknowledged"))
	require.True(t, n.SoleVoter())
	require.NoError(t, n.Campaign())
	out := n.Ready()
	for _, a := range out.Appends {
		require.NoError(t, n.Appended(a))
	}
	require.True(t, n.Status().IsLeader)
	require.False(t, n.Alone())
	require.False(t, n.ReadIndex(7), "entry 3 is acknowledged and not yet committed here")

	for _, a := range out.Applies {
		_, err := n.Applied(a, nil)
		require.NoError(t, err)
	}
	_, applied, _ := settle(t, n)
	require.Equal(t, []string{"acknowledged"}, applied)
	require.True(t, n.Alone())
	require.True(t, n.ReadIndex(8))
	_, _, reads := settle(t, n)
	require.Equal(t, []Read{{ID: 8, Index: n.Status().Commit}}, reads)
	require.GreaterOrEqual(t, reads[0].Index, uint64(3))
}

// A HardState that only moves Commit is not synced, so a store can be ahead of
// the one on disk; the library alone would panic.
func TestStoreAheadOfTheHardState(t *testing.T) {
	n := newNode(t, 1, hardState(1, 1, 2), 3, []uint64{1}, entry(1, 2, ""), entry(1, 3, "x"))
	require.Equal(t, uint64(3), n.Status().Commit)
}

func TestALostLogIsRefused(t *testing.T) {
	_, err := New(Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, HardState: hardState(1, 1, 9), Entries: []*raftpb.Entry{entry(1, 1, "x")}})
	require.ErrorContains(t, err, "commit index 9 is above the last entry 1")
	_, err = New(Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, PrevIndex: 5, PrevTerm: 1, Applied: 3})
	require.ErrorContains(t, err, "applied index 3 is below the log")
}

// Bootstrap entries stand in the log, committed; the configuration comes from
// applying them.
func TestBootstrapEntriesMakeTheConfiguration(t *testing.T) {
	change := &raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: proto.Uint64(1)}
	data, err := proto.Marshal(change)
	require.NoError(t, err)
	e := entry(1, 1, string(data))
	e.Type = raftpb.EntryConfChange.Enum()
	n, err := New(Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, HardState: hardState(1, 0, 1), Entries: []*raftpb.Entry{e}})
	require.NoError(t, err)
	require.False(t, n.SoleVoter())
	out := n.Ready()
	require.Len(t, out.Applies, 1)
	conf, err := n.Applied(out.Applies[0], []*raftpb.ConfChange{change})
	require.NoError(t, err)
	require.Equal(t, []uint64{1}, conf.GetVoters())
	require.True(t, n.SoleVoter())
	require.NoError(t, n.Campaign())
	settle(t, n)
	require.True(t, n.Alone())
	require.Equal(t, uint64(2), n.Status().Term)
	require.Equal(t, uint64(2), n.Status().Commit)
}

func TestProposalsAreAppliedInOrder(t *testing.T) {
	n := newNode(t, 1, hardState(1, 1, 1), 1, []uint64{1})
	require.ErrorIs(t, n.Propose([]*raftpb.Entry{{Data: []byte("early")}}), ErrDropped)
	require.NoError(t, n.Campaign())
	settle(t, n)
	var want []string
	for i := range 10 {
		var batch []*raftpb.Entry
		for j := range 3 {
			s := fmt.Sprint(i, ".", j)
			want = append(want, s)
			batch = append(batch, &raftpb.Entry{Data: []byte(s)})
		}
		require.NoError(t, n.Propose(batch))
	}
	_, got, _ := settle(t, n)
	require.Equal(t, want, got)
}

func TestLogNeverOverwritesWhatItHandedOut(t *testing.T) {
	l := newLog(0, 0, nil)
	l.append([]*raftpb.Entry{entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c")})
	held, err := l.Entries(1, 4, 1<<20)
	require.NoError(t, err)
	l.append([]*raftpb.Entry{entry(2, 2, "B")})
	require.Equal(t, "b", string(held[1].GetData()))
	require.Equal(t, uint64(2), l.last())
	l.append([]*raftpb.Entry{entry(2, 3, "C"), entry(2, 4, "D")})
	require.Equal(t, "c", string(held[2].GetData()))

	l.compact(2)
	_, err = l.Entries(2, 3, 1)
	require.Error(t, err)
	term, err := l.Term(2)
	require.NoError(t, err)
	require.Equal(t, uint64(2), term, "the term before the first entry stays known")
	got, err := l.Entries(3, 5, 1)
	require.NoError(t, err)
	require.Len(t, got, 1, "at least one entry, however large")
	require.Equal(t, 2*int64(entryOverhead)+2, l.bytes)
}

// Without a leader a member says how far its log goes, which may be further than what it
// knows to be committed.
func TestTheEndOfTheLogIsToldWithoutALeader(t *testing.T) {
	n := newNode(t, 1, hardState(4, 0, 2), 1, []uint64{1, 2, 3}, entry(1, 2, "a"), entry(3, 3, "b"), entry(3, 4, "c"))
	s := n.Status()
	require.Equal(t, []uint64{4, 2, 3, 4}, []uint64{s.Term, s.Commit, s.LastTerm, s.LastIndex})
	require.NoError(t, n.Step(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(4), Commit: proto.Uint64(2)}))
	s = n.Status()
	require.Equal(t, []uint64{2, 0, 0}, []uint64{s.Leader, s.LastTerm, s.LastIndex})

	n = newNode(t, 1, hardState(1, 0, 1), 1, []uint64{1, 2, 3})
	s = n.Status()
	require.Equal(t, []uint64{1, 1}, []uint64{s.LastTerm, s.LastIndex}, "the log begins anew behind a snapshot")
}
