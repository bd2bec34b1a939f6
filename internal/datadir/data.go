package datadir

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/member"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// Options say where a member's data lies and what it begins with.
type Options struct {
	FS vfs.FS
	// Path is the data directory, Log the directory of the raft log.
	Path, Log string
	// Store and WAL are the options of the two, without their places and
	// identities.
	Store store.Options
	WAL   wal.Options
	// Begin says what a member begins with. It is called only where there is no data
	// yet.
	Begin func() (Beginning, error)
	// Locked, if set, is called when the directory is locked and nothing in it
	// has been opened or made: the moment to make room.
	Locked func()
	// Background, if set, runs what may take its time; otherwise it has a goroutine
	// of its own, which Close waits for.
	Background func(func())
	// Room, if set, says whether there is room for so many bytes more, a snapshot.
	Room func(bytes int64) error
}

// Beginning is what a member begins with.
type Beginning struct {
	// Self is this member's id.
	Self uint64
	// Members are those of a new cluster, this one among them.
	Members []member.Member
	// ClusterID, unless 0, is the cluster that this member joins, in place of
	// Members. It has been added to it, and hears from the others what there is.
	ClusterID uint64
}

// NewCluster is the beginning of a member of a new cluster.
func NewCluster(self uint64, members []member.Member) func() (Beginning, error) {
	return func() (Beginning, error) { return Beginning{Self: self, Members: members}, nil }
}

// Data is what a member starts from: a store and a log that fit each other. The
// log belongs to the caller, who closes it before Close.
type Data struct {
	Identity  store.Identity
	Log       *wal.Log
	Recovered *wal.Recovered
	// Applied is the last entry that the store has at start, durably.
	Applied store.Applied

	options   *Options
	directory *directory
	store     atomic.Pointer[store.Store] // in force
	snapshots snapshots
}

// Open locks the directory and opens what is in it, and makes it first if there
// is nothing. It refuses data that does not belong together, with both numbers.
func Open(o Options) (*Data, error) {
	dir, err := openDirectory(o.FS, o.Path, o.Log)
	if err != nil {
		return nil, err
	}
	if o.Locked != nil {
		o.Locked()
	}
	o.Store.FS, o.WAL.FS, o.WAL.Dir = o.FS, o.FS, o.Log
	d := &Data{options: &o, directory: dir}
	d.snapshots.mu.copies = map[uint64]string{}
	if err := d.open(&o); err != nil {
		return nil, errors.Join(err, dir.lock.Close())
	}
	return d, nil
}

// Store is the store in force.
func (d *Data) Store() *store.Store { return d.store.Load() }

// Close closes the store, and those that still wait for a reader, and lets go of
// the directory. Nobody reads any more, nor sends or receives a snapshot.
func (d *Data) Close() error {
	d.snapshots.retiring.Wait()
	return errors.Join(d.dropReceived(), d.Store().Close(), d.directory.lock.Close())
}

func (d *Data) open(o *Options) error {
	path, err := d.directory.store()
	if err != nil {
		return err
	}
	if path == "" {
		if err := d.bootstrap(o); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		path = d.directory.file(firstStore)
	} else if err := errors.Join(d.directory.clearBootstrap(), d.directory.clearStores(path)); err != nil {
		return err
	}
	o.Store.Dir = path
	s, err := store.Open(o.Store)
	if err != nil {
		return err
	}
	d.store.Store(s)
	if err := d.openLog(o); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// openLog opens the log beside the store, and checks that the one continues the
// other.
func (d *Data) openLog(o *Options) error {
	var ok bool
	var err error
	if d.Identity, ok, err = d.Store().Identity(); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("datadir: the store in %s has no identity", o.Store.Dir)
	}
	if d.Applied, _, err = d.Store().DurableApplied(); err != nil {
		return err
	}
	w := o.WAL
	w.ClusterID, w.MemberID = d.Identity.ClusterID, d.Identity.MemberID
	if d.Log, d.Recovered, err = wal.Open(w); err != nil {
		if errors.Is(err, wal.ErrNoLog) {
			return fmt.Errorf("%s: there is a store but no log: the member's votes are gone: %w", o.Log, err)
		}
		return err
	}
	if err = d.finishInstall(); err == nil {
		err = d.check()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s and %s do not belong together: %w", o.Store.Dir, o.Log, err), d.Log.Close())
	}
	if plantTwice && d.Applied.Index > d.Recovered.Prev.Index+5 {
		d.Applied.Index--
	}
	return nil
}

// finishInstall ends an install that was cut short. Where its store is in force,
// the log begins anew behind it; where it is not, nothing has happened yet, and the
// leader will send it again.
func (d *Data) finishInstall() error {
	in := d.Recovered.Installing
	if in == nil {
		return nil
	}
	d.Recovered.Installing = nil
	if d.Applied.Index != in.Index || d.Applied.Term != in.Term {
		if err := d.Log.Append(wal.Batch{Installing: &wal.Installing{}}); err != nil {
			return err
		}
		return d.Log.Sync()
	}
	if err := d.Log.Reset(in.Position); err != nil {
		return err
	}
	d.Recovered.Prev, d.Recovered.Entries = in.Position, nil
	d.Recovered.HardState.Commit = proto.Uint64(in.Index)
	return nil
}

// check holds the store's applied record against the log.
func (d *Data) check() error {
	r, a := d.Recovered, d.Applied
	last := r.Prev.Index + uint64(len(r.Entries))
	switch {
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

// bootstrap makes the data of a member. The log of one of a new cluster begins
// with the configuration changes that add the members, which count as committed;
// the log of one that joins is empty.
func (d *Data) bootstrap(o *Options) error {
	begin, err := o.Begin()
	if err != nil {
		return err
	}
	id := store.Identity{ClusterID: begin.ClusterID, MemberID: begin.Self}
	var entries []*raftpb.Entry
	if begin.ClusterID == 0 {
		var ids []uint64
		for _, m := range begin.Members {
			ids = append(ids, m.ID)
		}
		id.ClusterID = member.ClusterID(ids)
		if entries, err = member.Bootstrap(begin.Members); err != nil {
			return err
		}
	}
	if err := d.directory.beginBootstrap(); err != nil {
		return err
	}
	s := o.Store
	s.Dir = d.directory.file(firstStore)
	if err := makeStore(s, id); err != nil {
		return err
	}
	w := o.WAL
	w.ClusterID, w.MemberID = id.ClusterID, id.MemberID
	if err := makeLog(w, entries); err != nil {
		return err
	}
	return d.directory.endBootstrap()
}

func makeStore(o store.Options, id store.Identity) error {
	s, err := store.Open(o)
	if err != nil {
		return err
	}
	b := s.NewBatch()
	b.SetIdentity(id)
	err = b.Commit()
	return errors.Join(err, s.Close()) // Close flushes
}

func makeLog(o wal.Options, entries []*raftpb.Entry) error {
	l, err := wal.Create(o, wal.Position{}, nil)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		err = l.Append(wal.Batch{
			Entries:   entries,
			HardState: &raftpb.HardState{Term: proto.Uint64(1), Commit: proto.Uint64(uint64(len(entries)))},
		})
	}
	if err == nil {
		err = l.Sync()
	}
	return errors.Join(err, l.Close())
}
