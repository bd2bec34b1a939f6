package peer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The proofs use the library itself, a member with the ID 1 of three.

type quiet struct{ raft.Logger }

func (quiet) Debugf(string, ...any)   {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Panicf(f string, v ...any) {
	panic(f)
}
func (quiet) Panic(v ...any) { panic(v) }

// follower returns a member at term 3 that follows 2.
func follower(t *testing.T) *raft.RawNode {
	t.Helper()
	storage := raft.NewMemoryStorage()
	require.NoError(t, storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: proto.Uint64(10), Term: proto.Uint64(2), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}))
	require.NoError(t, storage.SetHardState(&raftpb.HardState{Term: proto.Uint64(2), Commit: proto.Uint64(10)}))
	n, err := raft.NewRawNode(&raft.Config{ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, Applied: 10,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 8, PreVote: true, CheckQuorum: true, Logger: quiet{}})
	require.NoError(t, err)
	require.NoError(t, n.Step(beat(2, 1, 10)))
	require.EqualValues(t, 2, n.BasicStatus().Lead)
	handle(n, storage)
	return n
}

func handle(n *raft.RawNode, storage *raft.MemoryStorage) {
	for n.HasReady() {
		rd := n.Ready()
		_ = storage.Append(rd.Entries)
		if rd.HardState != nil {
			_ = storage.SetHardState(rd.HardState)
		}
		n.Advance(rd)
	}
}

// leader returns a member that leads.
func leader(t *testing.T) *raft.RawNode {
	t.Helper()
	storage := raft.NewMemoryStorage()
	require.NoError(t, storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: proto.Uint64(10), Term: proto.Uint64(2), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}))
	n, err := raft.NewRawNode(&raft.Config{ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, Applied: 10,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 8, Logger: quiet{}})
	require.NoError(t, err)
	require.NoError(t, n.Campaign())
	handle(n, storage)
	term := n.BasicStatus().HardState.GetTerm()
	require.NoError(t, n.Step(&raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: &term}))
	require.Equal(t, raft.StateLeader, n.BasicStatus().RaftState)
	handle(n, storage)
	return n
}

func message(kind raftpb.MessageType, change ...func(m *raftpb.Message)) *raftpb.Message {
	m := &raftpb.Message{Type: &kind, From: proto.Uint64(2), To: proto.Uint64(1)}
	if !relayed(kind) {
		m.Term = proto.Uint64(3)
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func withEntry(kind raftpb.EntryType, data []byte) func(m *raftpb.Message) {
	return func(m *raftpb.Message) {
		m.Entries = []*raftpb.Entry{{Type: &kind, Data: data, Term: m.Term, Index: proto.Uint64(m.GetIndex() + 1)}}
	}
}

func withContext(s string) func(m *raftpb.Message) {
	return func(m *raftpb.Message) { m.Context = []byte(s) }
}

func withTerm(n uint64) func(m *raftpb.Message) {
	return func(m *raftpb.Message) { m.Term = &n }
}

func marshal(t *testing.T, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	require.NoError(t, err)
	return b
}

// What is refused, and what the library would have done with it: with panics,
// stepping it panics.
func TestRefused(t *testing.T) {
	remove := raftpb.ConfChangeRemoveNode
	unknown := raftpb.ConfChangeType(9)
	for name, c := range map[string]struct {
		m      *raftpb.Message
		why    string
		panics func(t *testing.T) *raft.RawNode
	}{
		"heartbeat with a short context": {message(raftpb.MsgHeartbeat, withContext("1234567")), "context of 7 bytes", nil}, // and comes back as:
		"its echo":                       {message(raftpb.MsgHeartbeatResp, withContext("1234567"), withTerm(1)), "context of 7 bytes", leader},

		"empty proposal":                     {message(raftpb.MsgProp), "proposes nothing", leader},
		"proposal of an unreadable change":   {message(raftpb.MsgProp, withEntry(raftpb.EntryConfChange, []byte{0xff})), "cannot be applied", leader},
		"proposal of an unreadable change 2": {message(raftpb.MsgProp, withEntry(raftpb.EntryConfChangeV2, []byte{0xff})), "cannot be applied", leader},
		"proposal with a term":               {message(raftpb.MsgProp, withEntry(raftpb.EntryNormal, nil), withTerm(3)), "has the term 3", follower},
		"proposal of a change nobody knows":  {message(raftpb.MsgProp, withEntry(raftpb.EntryConfChange, marshal(t, &raftpb.ConfChange{Type: &unknown, NodeId: proto.Uint64(4)}))), "type 9", nil},
		"proposal of an unknown transition": {message(raftpb.MsgProp, withEntry(raftpb.EntryConfChangeV2, marshal(t, &raftpb.ConfChangeV2{
			Transition: raftpb.ConfChangeTransition(7).Enum(), Changes: []*raftpb.ConfChangeSingle{{Type: &remove, NodeId: proto.Uint64(3)}}}))), "transition 7", nil},
		"proposal of an unknown kind": {message(raftpb.MsgProp, withEntry(7, nil)), "type 7", nil},

		"read index with a term":          {message(raftpb.MsgReadIndex, withEntry(0, make([]byte, 8)), withTerm(3)), "has the term 3", follower},
		"read index without an entry":     {message(raftpb.MsgReadIndex), "0 entries instead of one", nil},
		"read index with a short id":      {message(raftpb.MsgReadIndex, withEntry(0, []byte("1234"))), "4 bytes", nil},
		"read index answer without entry": {message(raftpb.MsgReadIndexResp), "0 entries instead of one", nil},
		"read index answer, short id":     {message(raftpb.MsgReadIndexResp, withEntry(0, []byte("1234"))), "4 bytes", nil},

		"pre-vote without a term": {message(raftpb.MsgPreVote, withTerm(0), func(m *raftpb.Message) {
			m.Index, m.LogTerm = proto.Uint64(99), proto.Uint64(9)
			m.From = proto.Uint64(2)
		}), "has the term 0", noLeader},
		"vote without a term":   {message(raftpb.MsgVote, withTerm(0)), "has the term 0", nil},
		"append without a term": {message(raftpb.MsgApp, withTerm(0)), "has the term 0", nil},

		"append of an unreadable change": {message(raftpb.MsgApp, withEntry(raftpb.EntryConfChange, []byte{0xff})), "cannot be applied", nil},
		"append with a gap": {message(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Index, m.LogTerm = proto.Uint64(10), proto.Uint64(2)
			m.Entries = []*raftpb.Entry{{Index: proto.Uint64(50), Term: proto.Uint64(3)}}
		}), "index 50 where 11 belongs", follower},
		"append of falling terms": {message(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Entries = []*raftpb.Entry{{Index: proto.Uint64(1), Term: proto.Uint64(3)}, {Index: proto.Uint64(2), Term: proto.Uint64(2)}}
		}), "behind one of term 3", nil},
		"append from the future": {message(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Entries = []*raftpb.Entry{{Index: proto.Uint64(1), Term: proto.Uint64(4)}}
		}), "above its own term", nil},

		"snapshot on a stream":  {message(raftpb.MsgSnap), "a post of its own", nil},
		"transfer, one too far": {message(raftpb.MsgTransferLeader, withTerm(3)), "transfer", follower},

		"for another":      {message(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.To = proto.Uint64(3) }), "is for 3", nil},
		"for nobody":       {message(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.To = nil }), "is for 0", nil},
		"from another":     {message(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.From = proto.Uint64(3) }), "is from 3", nil},
		"from nobody":      {message(raftpb.MsgProp, withEntry(0, nil), func(m *raftpb.Message) { m.From = nil }), "is from 0", nil},
		"append from self": {message(raftpb.MsgApp, func(m *raftpb.Message) { m.From = proto.Uint64(1) }), "is from 1", nil},
		"storage thread":   {message(raftpb.MsgAppResp, func(m *raftpb.Message) { m.From = proto.Uint64(raft.LocalAppendThread) }), "is from", nil},
		"with responses":   {message(raftpb.MsgAppResp, func(m *raftpb.Message) { m.Responses = []*raftpb.Message{{}} }), "responses", nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, admissible(proto.Clone(c.m).(*raftpb.Message), 2, 1), c.why)
			if c.panics != nil {
				n := c.panics(t)
				if c.m.GetTerm() == 1 {
					c.m.Term = n.BasicStatus().HardState.Term
				}
				require.Panics(t, func() { _ = n.Step(c.m) })
			}
		})
	}
	local := []raftpb.MessageType{raftpb.MsgHup, raftpb.MsgBeat, raftpb.MsgUnreachable, raftpb.MsgSnapStatus, raftpb.MsgCheckQuorum,
		raftpb.MsgStorageAppend, raftpb.MsgStorageAppendResp, raftpb.MsgStorageApply, raftpb.MsgStorageApplyResp, raftpb.MsgForgetLeader, 24, 99, -1}
	for _, kind := range local {
		require.ErrorContains(t, admissible(message(kind), 2, 1), "does not leave a member", kind)
	}
	for kind := range raftpb.MessageType(len(raftpb.MessageType_name)) {
		if raft.IsLocalMsg(kind) {
			require.Contains(t, local, kind)
		}
	}
}

// noLeader returns a member at term 0 that knows no leader.
func noLeader(t *testing.T) *raft.RawNode {
	storage := raft.NewMemoryStorage()
	require.NoError(t, storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: proto.Uint64(10), Term: proto.Uint64(2), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}))
	n, err := raft.NewRawNode(&raft.Config{ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, Applied: 10,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 8, Logger: quiet{}})
	require.NoError(t, err)
	return n
}

// Changes that nobody knows get through the library's proposal, and panic on
// every member that applies them.
func TestUnknownChangesPanicWhenApplied(t *testing.T) {
	unknown, remove := raftpb.ConfChangeType(9), raftpb.ConfChangeRemoveNode
	require.Panics(t, func() { follower(t).ApplyConfChange(&raftpb.ConfChange{Type: &unknown, NodeId: proto.Uint64(4)}) })
	require.Panics(t, func() {
		follower(t).ApplyConfChange(&raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransition(7).Enum(), Changes: []*raftpb.ConfChangeSingle{
			{Type: &remove, NodeId: proto.Uint64(3)}, {Type: &remove, NodeId: proto.Uint64(2)}}})
	})
}

func TestAdmitted(t *testing.T) {
	change := marshal(t, &raftpb.ConfChange{Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: proto.Uint64(4), Context: []byte("{}")})
	for _, m := range []*raftpb.Message{
		message(raftpb.MsgHeartbeat), message(raftpb.MsgHeartbeat, withContext("12345678")), message(raftpb.MsgHeartbeatResp, withContext("123456789")),
		message(raftpb.MsgVote, withContext("CampaignTransfer")), message(raftpb.MsgVote, withContext("x")), message(raftpb.MsgPreVote), message(raftpb.MsgVoteResp), message(raftpb.MsgPreVoteResp),
		message(raftpb.MsgProp, withEntry(0, nil)), message(raftpb.MsgProp, withEntry(raftpb.EntryConfChange, change)),
		message(raftpb.MsgProp, withEntry(0, nil), func(m *raftpb.Message) { m.From = proto.Uint64(3) }), // passed on
		message(raftpb.MsgReadIndex, withEntry(0, make([]byte, 8)), func(m *raftpb.Message) { m.From = proto.Uint64(3) }),
		message(raftpb.MsgReadIndexResp, withEntry(0, make([]byte, 8))),
		message(raftpb.MsgApp), message(raftpb.MsgApp, withEntry(raftpb.EntryConfChange, change)), message(raftpb.MsgAppResp), message(raftpb.MsgTimeoutNow),
		message(raftpb.MsgAppResp, func(m *raftpb.Message) { m.Snapshot = &raftpb.Snapshot{} }), // of older members
	} {
		require.NoError(t, admissible(m, 2, 1), "%v", m)
	}
}

func TestSnapshotsThatRaftCannotGoOnFrom(t *testing.T) {
	conf := func(change ...func(c *raftpb.ConfState)) *raftpb.Message {
		c := &raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}}
		for _, f := range change {
			f(c)
		}
		return message(raftpb.MsgSnap, func(m *raftpb.Message) {
			m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: proto.Uint64(20), Term: proto.Uint64(3), ConfState: c}}
		})
	}
	require.NoError(t, checkSnapshot(conf()))
	for name, c := range map[string]struct {
		m      *raftpb.Message
		panics bool
	}{
		"nothing":           {message(raftpb.MsgSnap), false},
		"no voters":         {conf(func(c *raftpb.ConfState) { c.Voters = nil; c.Learners = []uint64{1} }), true},
		"a member twice":    {conf(func(c *raftpb.ConfState) { c.Voters = []uint64{1, 2, 2} }), true},
		"voter and learner": {conf(func(c *raftpb.ConfState) { c.Learners = []uint64{2} }), true},
		"member 0":          {conf(func(c *raftpb.ConfState) { c.Voters = append(c.Voters, 0) }), true},
		"joint":             {conf(func(c *raftpb.ConfState) { c.LearnersNext = []uint64{3} }), true},
		"no term":           {func() *raftpb.Message { m := conf(); m.Term = nil; return m }(), false},
		"of the future":     {func() *raftpb.Message { m := conf(); m.Snapshot.Metadata.Term = proto.Uint64(4); return m }(), false},
		"no index":          {func() *raftpb.Message { m := conf(); m.Snapshot.Metadata.Index = nil; return m }(), false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, checkSnapshot(c.m))
			if c.panics {
				require.Panics(t, func() { _ = follower(t).Step(c.m) })
			}
		})
	}
}
