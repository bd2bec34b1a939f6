package datadir

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"etcd.alt/internal/store"
)

// snapshots are the copies of the store that are made for other members, and the
// store that has come from one. Its methods may be called by anybody.
type snapshots struct {
	mu struct {
		sync.Mutex
		made     int
		copies   map[uint64]string // directories of copies, by the entry they go up to
		received []*received       // complete, and not in force
	}
	receiving sync.Mutex
	retiring  sync.WaitGroup // stores that wait for their last reader
}

// received is a store that came from another member.
type received struct {
	index, term uint64
	name        string
	store       *store.Store
}

const copyPrefix = "copy-"

// Checkpoint makes a copy of the store as it is, durable, to be sent to another
// member. It returns what is in it. Discard takes it away.
func (d *Data) Checkpoint() (store.Applied, error) {
	s := &d.snapshots
	s.mu.Lock()
	s.mu.made++
	dir := d.directory.file(fmt.Sprintf("%s%d", copyPrefix, s.mu.made))
	s.mu.Unlock()
	a, err := d.checkpoint(dir)
	if err != nil {
		return store.Applied{}, errors.Join(err, wrap(d.directory.fs.RemoveAll(dir)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.mu.copies[a.Index]; ok {
		err = wrap(d.directory.fs.RemoveAll(old))
	}
	s.mu.copies[a.Index] = dir
	return a, err
}

// checkpoint makes the copy, and reads from it what is in it: the store goes on
// meanwhile.
func (d *Data) checkpoint(dir string) (a store.Applied, err error) {
	if err := d.Store().Checkpoint(dir); err != nil {
		return a, err
	}
	o := d.options.Store
	o.Dir, o.ReadOnly, o.OnFatal, o.OnFlush, o.AroundCommit = dir, true, nil, nil, nil
	copied, err := store.Open(o)
	if err != nil {
		return a, err
	}
	a, ok, err := copied.Applied()
	if err == nil && !ok {
		err = fmt.Errorf("datadir: the copy in %s does not say what is applied", dir)
	}
	return a, errors.Join(err, copied.Close())
}

// Archive reads the copy that goes up to an entry. The caller closes it.
func (d *Data) Archive(index uint64) (io.ReadCloser, error) {
	s := &d.snapshots
	s.mu.Lock()
	dir, ok := s.mu.copies[index]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("datadir: there is no copy that goes up to entry %d", index)
	}
	return newArchive(d.directory.fs, dir)
}

// Discard takes away the copy that goes up to an entry. Whoever reads it meets an
// error.
func (d *Data) Discard(index uint64) error {
	s := &d.snapshots
	s.mu.Lock()
	dir, ok := s.mu.copies[index]
	delete(s.mu.copies, index)
	s.mu.Unlock()
	if !ok {
		return nil
	}
	return wrap(d.directory.fs.RemoveAll(dir))
}

// mostReceived is how many stores may lie beside the one in force: one that is
// being installed, and one that came after it.
const mostReceived = 2

// Receive makes a store of an archive that another member of the cluster has made
// at (index, term), durably, beside the one in force. It lies there until Take or
// Drop. One is received at a time, and few wait; others are refused. One that is in
// force already is read, and nothing else.
func (d *Data) Receive(index, term uint64, r io.Reader) error {
	s := &d.snapshots
	if !s.receiving.TryLock() {
		return errors.New("datadir: another snapshot is being received")
	}
	defer s.receiving.Unlock()
	in := &received{index: index, term: term}
	state := fmt.Sprintf("%s%d-%d-", storePrefix, term, index)
	current, err := d.directory.store()
	if err != nil {
		return err
	}
	if strings.HasPrefix(current, d.directory.file(state)) {
		// It was installed, and the sender has not heard of that: a crash came in
		// between. Raft tells it, when it gets the message that goes with this.
		_, err := io.Copy(io.Discard, r)
		return err
	}
	s.mu.Lock()
	s.mu.made++
	in.name = fmt.Sprintf("%s%d", state, s.mu.made) // nobody else's, whatever lies there
	waiting := len(s.mu.received)
	there := slices.ContainsFunc(s.mu.received, in.same)
	s.mu.Unlock()
	if there || waiting >= mostReceived {
		return fmt.Errorf("datadir: %d snapshots that were received wait to be installed", waiting)
	}
	if err := d.receive(in, r); err != nil {
		return errors.Join(err, wrap(d.directory.fs.RemoveAll(d.directory.file(in.name))))
	}
	s.mu.Lock()
	s.mu.received = append(s.mu.received, in)
	s.mu.Unlock()
	return nil
}

func (in *received) same(o *received) bool { return in.index == o.index && in.term == o.term }

// take takes out what was received at (index, term); nil if nothing was.
func (s *snapshots) take(index, term uint64) *received {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.mu.received, (&received{index: index, term: term}).same)
	if i < 0 {
		return nil
	}
	in := s.mu.received[i]
	s.mu.received = slices.Delete(s.mu.received, i, i+1)
	return in
}

// Drop takes away a store that was received at (index, term) and will not be used.
func (d *Data) Drop(index, term uint64) error {
	in := d.snapshots.take(index, term)
	if in == nil {
		return nil
	}
	return d.drop(in)
}

func (d *Data) drop(in *received) error {
	return errors.Join(in.store.Close(), wrap(d.directory.fs.RemoveAll(d.directory.file(in.name))))
}

// dropReceived takes away all that was received and not used.
func (d *Data) dropReceived() error {
	s := &d.snapshots
	s.mu.Lock()
	all := s.mu.received
	s.mu.received = nil
	s.mu.Unlock()
	var errs []error
	for _, in := range all {
		errs = append(errs, d.drop(in))
	}
	return errors.Join(errs...)
}

func (d *Data) receive(in *received, r io.Reader) error {
	dir, fs := d.directory.file(in.name), d.directory.fs
	if err := fs.RemoveAll(dir); err != nil {
		return wrap(err)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return wrap(err)
	}
	if err := unpack(fs, dir, r, d.options.Room); err != nil {
		return err
	}
	o := d.options.Store
	o.Dir = dir
	var err error
	if in.store, err = store.Open(o); err != nil {
		return err
	}
	if err := d.adopt(in); err != nil {
		return errors.Join(err, in.store.Close())
	}
	return d.directory.syncDir(d.directory.path)
}

// adopt looks whether a store is what it was announced as, and makes it this
// member's.
func (d *Data) adopt(in *received) error {
	a, _, err := in.store.Applied()
	if err != nil {
		return err
	}
	id, ok, err := in.store.Identity()
	switch {
	case err != nil:
		return err
	case !ok || id.ClusterID != d.Identity.ClusterID:
		return fmt.Errorf("datadir: the snapshot is of cluster %x, this member is of cluster %x", id.ClusterID, d.Identity.ClusterID)
	case a.Index != in.index || a.Term != in.term:
		return fmt.Errorf("datadir: the snapshot was announced as entry %d of term %d and is entry %d of term %d", in.index, in.term, a.Index, a.Term)
	}
	b := in.store.NewBatch()
	b.SetIdentity(d.Identity)
	if err := b.Commit(); err != nil {
		return err
	}
	return in.store.Flush()
}

// Received is a store that was taken out to be put in force.
type Received struct {
	// Store is open.
	Store *store.Store

	in *received
}

// Take takes out the store that was received at (index, term). It is nobody else's
// from then on; Switch puts it in force.
func (d *Data) Take(index, term uint64) (*Received, error) {
	in := d.snapshots.take(index, term)
	if in == nil {
		return nil, fmt.Errorf("datadir: there is no snapshot of entry %d of term %d to install", index, term)
	}
	return &Received{in.store, in}, nil
}

// Switch puts a store that was received in force, durably. The old one is still
// open: Retire takes it away when the new one is in everybody's hands.
func (d *Data) Switch(to *Received) (old *store.Store, err error) {
	if err := d.directory.write(currentFile, to.in.name+"\n"); err != nil {
		return nil, err
	}
	return d.store.Swap(to.Store), nil
}

// Retire closes a store that is not in force any more, when its last reader has
// ended, and deletes it. It does not wait for that; Close does.
func (d *Data) Retire(old *store.Store, failed func(error)) {
	background := d.options.Background
	if background == nil {
		background = d.snapshots.retiring.Go
	}
	background(func() {
		if err := errors.Join(old.Retire(), wrap(d.directory.fs.RemoveAll(old.Dir()))); err != nil {
			failed(err)
		}
	})
}

// clearStores deletes what an earlier life has left: copies, and stores that are
// not in force.
func (d *directory) clearStores(current string) error {
	names, err := d.list(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, copyPrefix) || strings.HasPrefix(name, storePrefix) && d.file(name) != current {
			if err := d.fs.RemoveAll(d.file(name)); err != nil {
				return wrap(err)
			}
		}
	}
	return nil
}
