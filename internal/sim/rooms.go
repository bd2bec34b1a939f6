package sim

import (
	"errors"
	"fmt"

	"etcd.alt/internal/auth"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
	"etcd.alt/internal/watch"
)

// Where a member's files lie on its disk.
const (
	dataDir = "data"
	logDir  = "data/log"
)

// rooms are the production rooms of one life of a member, opened over a disk in
// memory as server opens them over a real one.
type rooms struct {
	state   *state.State
	data    *datadir.Data    // of state
	machine *machine.Machine // of state
	node    *raft.Node
}

// opening says what rooms are opened over.
type opening struct {
	fs *disk.FS
	// begin is what a member begins with that has no data yet.
	begin func() (datadir.Beginning, error)
	// segment is the size of the log's segments: small, so that they end and are
	// given back within a seed.
	segment int64
	// fatal hears that the storage engine has failed.
	fatal func(error)
	// sync runs each sync of the log.
	sync func(sync func() error) error
	// leased hears what has become of leases; nil for nobody.
	leased func([]lease.Change)
	// users hears of users and roles before they are published; nil for nobody.
	users func(*auth.View)
	// inbox is the room for what was not handed out to watchers yet, in bytes; 0 for
	// the usual.
	inbox int
}

// open opens the rooms; of a start that fails nothing stays open.
func (o opening) open() (*rooms, error) {
	st, err := state.Open(state.Options{
		Data: datadir.Options{
			FS: o.fs, Path: dataDir, Log: logDir,
			Store:      store.Options{DisableAutomaticCompactions: true, OnFatal: o.fatal},
			WAL:        wal.Options{SegmentBytes: o.segment, Salt: 1, AroundSync: o.sync},
			Begin:      o.begin,
			Background: func(do func()) { do() },
		},
		CacheBytes: 1 << 10, Machine: machine.Options{MaxLearners: 1, MinTTL: 2, Authorised: o.users},
		Leased: o.leased, Watch: watch.Options{InboxBytes: o.inbox},
	})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	r := &rooms{state: st, data: st.Data, machine: st.Machine}
	if err := r.agree(); err != nil {
		return nil, errors.Join(fmt.Errorf("start: %w", err), st.Data.Log.Close(), r.close())
	}
	return r, nil
}

// agree builds the consensus from what is on disk.
func (r *rooms) agree() (err error) {
	d := r.data
	r.node, err = raft.New(raft.Config{
		ID: d.Identity.MemberID, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
		PrevIndex: d.Recovered.Prev.Index, PrevTerm: d.Recovered.Prev.Term,
		Entries: d.Recovered.Entries, HardState: d.Recovered.HardState,
		Applied: d.Applied.Index, ConfState: d.Applied.ConfState,
	})
	return err
}

// last is the last entry that the log was found with.
func (r *rooms) last() uint64 {
	return r.data.Recovered.Prev.Index + uint64(len(r.data.Recovered.Entries))
}

// close closes the store and unlocks the directory; the log is the core's.
func (r *rooms) close() error { return r.state.Close() }
