package server

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/member"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// data is what a member starts from: a store and a log that fit each other.
type data struct {
	identity  store.Identity
	store     *store.Store
	log       *wal.Log
	recovered *wal.Recovered
	applied   store.Applied
}

// openData opens the data in the directory, and makes it first if there is
// none.
func (m *Member) openData() (*data, error) {
	path, err := m.directory.store()
	if err != nil {
		return nil, err
	}
	if path == "" {
		if err := m.bootstrap(); err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
		if path, err = m.directory.store(); err != nil {
			return nil, err
		}
	} else if err := m.directory.clearBootstrap(); err != nil {
		return nil, err
	}
	s, err := m.openStore(path)
	if err != nil {
		return nil, err
	}
	d, err := m.openLog(s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return d, nil
}

// openLog opens the log beside a store, and checks that the one continues the
// other.
func (m *Member) openLog(s *store.Store) (*data, error) {
	id, ok, err := s.Identity()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%s: the store has no identity", m.directory.path)
	}
	d := &data{identity: id, store: s}
	if d.applied, _, err = s.DurableApplied(); err != nil {
		return nil, err
	}
	if d.log, d.recovered, err = wal.Open(m.logOptions(id)); err != nil {
		if errors.Is(err, wal.ErrNoLog) {
			return nil, fmt.Errorf("%s: there is a store but no log: the member's votes are gone: %w", m.directory.log, err)
		}
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s and %s do not belong together: %w", m.directory.path, m.directory.log, err), d.log.Close())
	}
	if cut := d.recovered.Cut; cut != nil {
		m.logger.Info("cut the torn end of the log: it was being written when the member stopped",
			zap.String("file", cut.File), zap.Int64("offset", cut.Offset), zap.Int64("bytes", cut.Bytes))
	}
	return d, nil
}

// check holds the store's applied record against the log.
func (d *data) check() error {
	r, a := d.recovered, d.applied
	last := r.Prev.Index + uint64(len(r.Entries))
	switch {
	case r.Installing != nil:
		return fmt.Errorf("the log speaks of a snapshot at %d that was being installed, which this version does not do", r.Installing.Index)
	case a.Index < r.Prev.Index:
		return fmt.Errorf("the store ends at entry %d and the log begins after %d", a.Index, r.Prev.Index)
	case a.Index > last:
		return fmt.Errorf("the store ends at entry %d and the log at %d", a.Index, last)
	}
	term := r.Prev.Term
	if a.Index > r.Prev.Index {
		term = r.Entries[a.Index-r.Prev.Index-1].GetTerm()
	}
	if a.Index > 0 && term != a.Term {
		return fmt.Errorf("entry %d has term %d in the store and term %d in the log", a.Index, a.Term, term)
	}
	return nil
}

// bootstrap makes the data of a new cluster that has this member alone. Its log
// begins with the configuration change that adds the member, which counts as
// committed.
func (m *Member) bootstrap() error {
	c := m.config
	peers := urlStrings(c.InitialAdvertisePeerURLs)
	self := member.Member{ID: member.ID(peers, c.InitialClusterToken), PeerURLs: peers, Name: c.Name}
	id := store.Identity{ClusterID: member.ClusterID([]uint64{self.ID}), MemberID: self.ID}
	entries, err := member.Bootstrap([]member.Member{self})
	if err != nil {
		return err
	}
	if err := m.directory.beginBootstrap(); err != nil {
		return err
	}
	if err := m.makeStore(m.directory.file(firstStore), id); err != nil {
		return err
	}
	if err := m.makeLog(id, entries); err != nil {
		return err
	}
	return m.directory.endBootstrap()
}

func (m *Member) makeStore(path string, id store.Identity) error {
	s, err := m.openStore(path)
	if err != nil {
		return err
	}
	b := s.NewBatch()
	b.SetIdentity(id)
	err = b.Commit()
	return errors.Join(err, s.Close()) // Close flushes
}

func (m *Member) makeLog(id store.Identity, entries []*raftpb.Entry) error {
	l, err := wal.Create(m.logOptions(id), wal.Position{}, nil)
	if err != nil {
		return err
	}
	err = l.Append(wal.Batch{
		Entries:   entries,
		HardState: &raftpb.HardState{Term: proto.Uint64(1), Commit: proto.Uint64(uint64(len(entries)))},
	})
	if err == nil {
		err = l.Sync()
	}
	return errors.Join(err, l.Close())
}
