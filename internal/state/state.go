package state

import (
	"errors"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/store"
	"etcd.alt/internal/watch"
)

// Options are what a State is opened with.
type Options struct {
	// Data says where it lies, and what a new member begins with.
	Data datadir.Options
	// CacheBytes is the room for values in memory.
	CacheBytes int64
	// Machine are the machine's.
	Machine machine.Options
	// Leased hears what has become of leases, after it was published and before
	// anybody is answered. nil for nobody.
	Leased func([]lease.Change)
	// LoggedIn hears of logins, when they were published and before anybody is
	// answered. nil for nobody.
	LoggedIn func([]machine.Login)
	// Watch are the hub's; its View is the state's.
	Watch watch.Options
	// Failed hears of errors that hurt nobody yet: files that could not be deleted.
	// nil drops them.
	Failed func(error)
}

// State is a member's state, and the log beside it. What reads may be called by
// anybody; what the replica calls, as it promises.
type State struct {
	*machine.Machine
	// Data is the directory. Its log belongs to the replica.
	Data *datadir.Data
	// Watch hands out what has changed. Somebody must run it for those who watch.
	Watch *watch.Hub

	options Options
}

// Open opens the state, and makes it where there is none.
func Open(o Options) (*State, error) {
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	d, err := datadir.Open(o.Data)
	if err != nil {
		return nil, err
	}
	s := &State{Data: d, options: o}
	keys, err := mvcc.Load(d.Store(), d.Applied.Revision, o.CacheBytes)
	if err == nil {
		s.Machine, err = machine.New(d.Store(), keys, o.Machine)
	}
	if err != nil {
		return nil, errors.Join(err, d.Log.Close(), d.Close())
	}
	o.Watch.View = func() *mvcc.View { return s.View().Keys }
	s.Watch = watch.New(o.Watch)
	return s, nil
}

// Close closes all but the log. Nobody uses the state any more.
func (s *State) Close() error { return s.Data.Close() }

// DiskBytes is the size of the store on disk.
func (s *State) DiskBytes() (uint64, error) {
	for {
		if n, err := s.Data.Store().DiskBytes(); !errors.Is(err, store.ErrReplaced) {
			return n, err
		}
	}
}

// Apply is replica.State's. Whoever waits for an answer is told when the state
// with its entry is published.
func (s *State) Apply(entries []*raftpb.Entry, wanted func(id uint64) bool, done func(id uint64, result any, err error)) ([]*raftpb.ConfChange, *raftpb.ConfState, error) {
	e, err := s.Machine.Apply(entries, wanted)
	if err != nil {
		return nil, nil, err
	}
	s.Watch.Take(e.Changes)
	if len(e.Leases) > 0 && s.options.Leased != nil {
		s.options.Leased(e.Leases)
	}
	if len(e.Logins) > 0 && s.options.LoggedIn != nil {
		s.options.LoggedIn(e.Logins)
	}
	for i := range e.Answers {
		a := &e.Answers[i]
		if a.Err != nil {
			done(a.ID, nil, a.Err)
		} else {
			done(a.ID, a.Result, nil)
		}
	}
	return e.ConfChanges, e.Conf, nil
}

// Checkpoint is replica.State's.
func (s *State) Checkpoint() (*raftpb.SnapshotMetadata, error) {
	a, err := s.Data.Checkpoint()
	if err != nil {
		return nil, err
	}
	return &raftpb.SnapshotMetadata{Index: &a.Index, Term: &a.Term, ConfState: a.ConfState}, nil
}

// Open reads the copy that a snapshot speaks of. The caller closes it.
func (s *State) Open(m *raftpb.SnapshotMetadata) (io.ReadCloser, error) {
	return s.Data.Archive(m.GetIndex())
}

// Discard is replica.State's.
func (s *State) Discard(index uint64) {
	if err := s.Data.Discard(index); err != nil {
		s.options.Failed(err)
	}
}

// Receive makes what Open has read elsewhere a store on this disk, to be
// installed. It reads to the end. An error changes nothing.
func (s *State) Receive(m *raftpb.SnapshotMetadata, r io.Reader) error {
	return s.Data.Receive(m.GetIndex(), m.GetTerm(), r)
}

// Drop is replica.State's.
func (s *State) Drop(m *raftpb.SnapshotMetadata) {
	if err := s.Data.Drop(m.GetIndex(), m.GetTerm()); err != nil {
		s.options.Failed(err)
	}
}

// Install is replica.State's. Readers of the old state end, or are told to look
// again (store.ErrReplaced).
func (s *State) Install(m *raftpb.SnapshotMetadata) error {
	next, err := s.Data.Take(m.GetIndex(), m.GetTerm())
	if err != nil {
		return err
	}
	a, _, err := next.Store.Applied()
	if err != nil {
		return err
	}
	if plantSnapshot {
		a.Revision--
	}
	keys, err := mvcc.Load(next.Store, a.Revision, s.options.CacheBytes)
	if err != nil {
		return fmt.Errorf("the keys of the snapshot at entry %d: %w", a.Index, err)
	}
	loaded, err := machine.Load(next.Store, keys)
	if err != nil {
		return err
	}
	old, err := s.Data.Switch(next)
	if err != nil {
		return err
	}
	s.Machine.Replace(loaded)
	s.Watch.Replaced()
	s.Data.Retire(old, s.options.Failed)
	return nil
}
