package peer

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// admit refuses messages that nobody who keeps to the protocol sends, and most
// of which would make the raft library panic, here or on another member. from
// is who sent it: the member at the stream's other end, or whom a post names.
func (t *Transport) admit(l *link, from uint64, m *raftpb.Message) error {
	err := admissible(m, from, t.cfg.ID)
	t.refused(l, from, m, err)
	return err
}

// admitSnapshot does the same for what arrives in front of a snapshot.
func (t *Transport) admitSnapshot(l *link, from uint64, m *raftpb.Message) error {
	err := between(m, from, t.cfg.ID)
	if err == nil {
		err = checkSnapshot(m)
	}
	t.refused(l, from, m, err)
	return err
}

func (t *Transport) refused(l *link, from uint64, m *raftpb.Message, err error) {
	if err == nil {
		return
	}
	if l != nil {
		l.counts.refused.Add(1)
		l.counts.receivedFailures.Add(1)
	} else {
		t.unidentified.Add(1)
	}
	if t.refusals.now() {
		t.log.Warn("refused a message", zap.String("peer", formatID(from)), zap.Stringer("type", m.GetType()), zap.Error(err))
	}
}

// admissible is what admit asks of a message that is no MsgSnap.
func admissible(m *raftpb.Message, from, to uint64) error {
	if err := between(m, from, to); err != nil {
		return err
	}
	if err := checkTerm(m); err != nil {
		return err
	}
	switch m.GetType() {
	case raftpb.MsgProp:
		if len(m.Entries) == 0 {
			return errors.New("proposes nothing")
		}
		return checkEntries(m.Entries)
	case raftpb.MsgApp:
		if err := checkPlaces(m); err != nil {
			return err
		}
		return checkEntries(m.Entries)
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		return checkContext(m.Context)
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		if len(m.Entries) != 1 {
			return fmt.Errorf("has %d entries instead of one, the request's id", len(m.Entries))
		}
		if n := len(m.Entries[0].Data); n < 8 {
			return fmt.Errorf("names its request with %d bytes, fewer than 8", n)
		}
		return checkContext(m.Context)
	case raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgTimeoutNow:
		// The context of a vote is a word, and compared as one.
		return nil
	case raftpb.MsgSnap:
		return errors.New("a snapshot comes with a post of its own")
	case raftpb.MsgTransferLeader:
		// A member that has just lost the lead passes its own request on, with its
		// term. One follower too far, raft would panic on that; a transfer that is
		// not begun is just not done in time.
		return errors.New("a transfer is asked for where its leader is")
	}
	return fmt.Errorf("%v does not leave a member", m.GetType())
}

// between looks at whom the message is from and for.
func between(m *raftpb.Message, from, to uint64) error {
	if m.GetTo() != to {
		return fmt.Errorf("is for %s", formatID(m.GetTo()))
	}
	if m.GetFrom() == 0 || m.GetFrom() != from && !relayed(m.GetType()) {
		return fmt.Errorf("is from %s", formatID(m.GetFrom()))
	}
	if len(m.Responses) > 0 {
		return errors.New("has responses, which are for a member's own storage")
	}
	return nil
}

// relayed tells whether a follower passes on messages of this type to whom it
// believes to lead, and lets them keep their sender.
func relayed(t raftpb.MessageType) bool {
	return t == raftpb.MsgProp || t == raftpb.MsgReadIndex
}

// checkTerm: raft takes a message without a term for one of its own, and cannot
// pass on one with a term.
func checkTerm(m *raftpb.Message) error {
	if has, may := m.GetTerm() != 0, !relayed(m.GetType()); has != may {
		return fmt.Errorf("has the term %d", m.GetTerm())
	}
	return nil
}

// checkContext: the leader reads eight bytes of a context that comes back.
func checkContext(context []byte) error {
	if n := len(context); n != 0 && n < 8 {
		return fmt.Errorf("has a context of %d bytes, neither none nor 8", n)
	}
	return nil
}

// checkPlaces: the entries follow one another, and their terms do not fall.
func checkPlaces(m *raftpb.Message) error {
	term := m.GetLogTerm()
	for i, e := range m.Entries {
		if want := m.GetIndex() + 1 + uint64(i); e.GetIndex() != want {
			return fmt.Errorf("has an entry with index %d where %d belongs", e.GetIndex(), want)
		}
		if e.GetTerm() < term {
			return fmt.Errorf("has an entry of term %d behind one of term %d", e.GetTerm(), term)
		}
		term = e.GetTerm()
	}
	if term > m.GetTerm() {
		return fmt.Errorf("has an entry of term %d, above its own term %d", term, m.GetTerm())
	}
	return nil
}

// checkEntries: changes of the configuration can be read and applied.
func checkEntries(entries []*raftpb.Entry) error {
	for _, e := range entries {
		var err error
		switch e.GetType() {
		case raftpb.EntryNormal:
		case raftpb.EntryConfChange:
			err = checkChange(e.Data)
		case raftpb.EntryConfChangeV2:
			err = checkChangeV2(e.Data)
		default:
			err = fmt.Errorf("type %d", e.GetType())
		}
		if err != nil {
			return fmt.Errorf("has an entry that cannot be applied: %w", err)
		}
	}
	return nil
}

func checkChange(data []byte) error {
	c := &raftpb.ConfChange{}
	if err := proto.Unmarshal(data, c); err != nil {
		return err
	}
	return checkChangeType(c.GetType())
}

func checkChangeV2(data []byte) error {
	c := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(data, c); err != nil {
		return err
	}
	if _, ok := raftpb.ConfChangeTransition_name[int32(c.GetTransition())]; !ok {
		return fmt.Errorf("transition %d", c.GetTransition())
	}
	for _, one := range c.Changes {
		if err := checkChangeType(one.GetType()); err != nil {
			return err
		}
	}
	return nil
}

func checkChangeType(t raftpb.ConfChangeType) error {
	if _, ok := raftpb.ConfChangeType_name[int32(t)]; !ok {
		return fmt.Errorf("change of type %d", t)
	}
	return nil
}

// checkSnapshot: raft can go on from there. No member is ever between two
// configurations, and none is in one twice.
func checkSnapshot(m *raftpb.Message) error {
	if m.GetTerm() == 0 {
		return errors.New("has no term")
	}
	meta := m.GetSnapshot().GetMetadata()
	if meta.GetIndex() == 0 || meta.GetTerm() == 0 || meta.GetTerm() > m.GetTerm() {
		return fmt.Errorf("has a snapshot at index %d of term %d, and the term %d", meta.GetIndex(), meta.GetTerm(), m.GetTerm())
	}
	conf := meta.GetConfState()
	if len(conf.GetVoters()) == 0 {
		return errors.New("has a snapshot of a cluster without voters")
	}
	if len(conf.GetVotersOutgoing()) > 0 || len(conf.GetLearnersNext()) > 0 || conf.GetAutoLeave() {
		return errors.New("has a snapshot of a cluster between two configurations")
	}
	seen := map[uint64]bool{0: true}
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetLearners()} {
		for _, id := range ids {
			if seen[id] {
				return fmt.Errorf("has a snapshot with the member %s where it cannot be", formatID(id))
			}
			seen[id] = true
		}
	}
	return nil
}
