package machine

import (
	"errors"
	"fmt"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/member"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/store"
)

// View is the whole published state at one applied index. It is immutable;
// every read and every header takes one View and nothing else.
type View struct {
	// Applied is the last entry in the view.
	Applied uint64
	Keys    *mvcc.View
	Leases  *lease.View
	Members *member.View
	Auth    *auth.View
}

// Result is what came of a request, for whoever proposed it.
type Result struct {
	// Revision is the keyspace's after the request.
	Revision int64
	// PrevKV is the record that a put replaced, if it was asked for.
	PrevKV []byte
	// Deleted counts the keys of a delete, PrevKVs are their records if they
	// were asked for.
	Deleted int64
	PrevKVs [][]byte
	// Range answers a range that went through the log.
	Range mvcc.Result
	// Txn answers a transaction.
	Txn *TxnResult
	// Alarms are those that a request of alarms has changed, or has asked for.
	Alarms []member.Alarm
	// Granted is the lease that was; nil for other requests.
	Granted *lease.Lease
	// Login is the login that was; nil for other requests.
	Login *Login
	// Swept is closed when what a compaction has made garbage is gone from the
	// store.
	Swept <-chan struct{}
}

// Machine applies entries. Apply is called by one goroutine at a time; View by
// anybody.
type Machine struct {
	store   *store.Store
	keys    *mvcc.Update
	leases  *lease.State
	members *member.View
	auth    *auth.State
	options Options
	view    atomic.Pointer[View]

	durable uint64 // as of the store's flush number flushes
	flushes uint64

	request etcdserverpb.InternalRaftRequest // reused from entry to entry
	batch   *store.Batch                     // of the Apply that runs
	effects Effects                          // of the Apply that runs, or has run
	results []Result
	judged  judged

	sweeps []sweep // compactions whose sweep somebody may wait for
	tally  Tally
}

// Options are the settings of a member that a Machine knows.
type Options struct {
	// Quota: writes beyond it are answered with errs.NoSpace, and applied all the
	// same.
	Quota Quota
	// MaxLearners and MinTTL reach what is applied, as they do at upstream's
	// members: they must be the same everywhere. MinTTL is the shortest life of a
	// lease, in seconds; what is shorter is granted it.
	MaxLearners int
	MinTTL      int64
	// Authorised hears of each state of users and roles before it is published, so
	// that what stands on rights that are withdrawn can end before anything is read
	// that was written since. nil for nobody.
	Authorised func(*auth.View)
}

// New builds a Machine over the state in the store, which keys was loaded from.
func New(s *store.Store, keys *mvcc.Update, o Options) (*Machine, error) {
	l, err := Load(s, keys)
	if err != nil {
		return nil, err
	}
	m := &Machine{options: o}
	m.Replace(l)
	return m, nil
}

// Loaded is a state as it was read from a store.
type Loaded struct {
	store   *store.Store
	keys    *mvcc.Update
	leases  *lease.State
	members *member.View
	auth    *auth.State
	applied uint64
}

// Load reads the state in a store, which keys was loaded from.
func Load(s *store.Store, keys *mvcc.Update) (*Loaded, error) {
	members, err := loadMembers(s)
	if err != nil {
		return nil, err
	}
	leases, err := lease.Load(s)
	if err != nil {
		return nil, err
	}
	hang(leases, keys)
	users, err := auth.Load(s)
	if err != nil {
		return nil, err
	}
	applied, _, err := s.Applied()
	if err != nil {
		return nil, err
	}
	return &Loaded{s, keys, leases, members, users, applied.Index}, nil
}

// Replace puts a state in the place of the present one, and publishes it. It is
// called where Apply is not. Who waits for a sweep of the old state is told that
// there is nothing left of it.
func (m *Machine) Replace(l *Loaded) {
	m.store, m.keys, m.leases, m.members, m.auth, m.durable, m.flushes = l.store, l.keys, l.leases, l.members, l.auth, 0, 0
	for _, sweep := range m.sweeps {
		close(sweep.done)
	}
	m.sweeps = nil
	m.publish(l.applied)
}

// View returns the published state.
func (m *Machine) View() *View { return m.view.Load() }

// Durable is the last entry whose effects survive a power cut.
// It is called by one goroutine at a time.
func (m *Machine) Durable() uint64 {
	if n := m.store.Flushes(); n != m.flushes || m.durable == 0 {
		if a, ok, err := m.store.DurableApplied(); err == nil && ok {
			m.flushes, m.durable = n, a.Index
		}
	}
	return m.durable
}

// Busy says that the next Apply may wait for the disk.
func (m *Machine) Busy() bool { return m.store.MayStall() }

// Flush has the store write down what it holds in memory, and does not wait
// for that.
func (m *Machine) Flush() error { return m.store.StartFlush() }

// Effects is what a batch of entries came to. It holds until the next Apply.
type Effects struct {
	// View is what was published.
	View *View
	// Changes are the versions of keys that were made, in order; their records may be
	// kept for longer.
	Changes []mvcc.Change
	// Leases are what became of leases, in order. They may be kept.
	Leases []lease.Change
	// Logins are those after authentication was switched off last, in order. They may be
	// kept.
	Logins []Login
	// ConfChanges has for each configuration change what raft is to make of it,
	// and Conf the configuration after them.
	ConfChanges []*raftpb.ConfChange
	Conf        *raftpb.ConfState
	// Answers are for those who wanted one, in the order of the entries.
	Answers []Answer
}

// Answer is what came of the request ID: Result, or Err.
type Answer struct {
	ID     uint64
	Result *Result
	Err    error
}

// Apply applies committed entries, in order, as one batch, and publishes the
// state after them. wanted says of which requests somebody waits for the answer.
// The entries' data may be aliased. An error is fatal, and nothing was published.
func (m *Machine) Apply(entries []*raftpb.Entry, wanted func(id uint64) bool) (*Effects, error) {
	m.batch = m.store.NewBatch()
	defer m.batch.Discard()
	// Results are handed out by pointer, so the slab must not grow.
	m.results = make([]Result, 0, len(entries))
	e := &m.effects
	clear(e.Answers)
	*e = Effects{Answers: e.Answers[:0]}
	for _, entry := range entries {
		switch {
		case entry.GetType() == raftpb.EntryConfChange:
			c, err := m.applyChange(entry, wanted)
			if err != nil {
				return nil, err
			}
			e.ConfChanges = append(e.ConfChanges, c)
		case entry.GetType() != raftpb.EntryNormal:
			return nil, fmt.Errorf("machine: entry %d has the unknown type %v", entry.GetIndex(), entry.GetType())
		case len(entry.GetData()) == 0:
			// a leader's first entry
		default:
			if err := m.applyRequest(entry, wanted); err != nil {
				return nil, fmt.Errorf("machine: entry %d: %w", entry.GetIndex(), err)
			}
		}
	}
	last := entries[len(entries)-1]
	e.Conf = m.members.ConfState()
	if err := m.commit(last.GetIndex(), last.GetTerm(), e.Conf); err != nil {
		return nil, err
	}
	e.View, e.Changes = m.View(), m.keys.Changes()
	return e, nil
}

// commit writes the batch with the applied index, then publishes.
func (m *Machine) commit(index, term uint64, conf *raftpb.ConfState) error {
	m.keys.Save(m.batch)
	m.batch.SetApplied(store.Applied{Index: index, Term: term, ConfState: conf, Revision: m.keys.Revision()})
	if err := m.batch.Commit(); err != nil {
		return fmt.Errorf("machine: entry %d: %w", index, err)
	}
	m.effects.Leases = m.publish(index)
	return nil
}

// publish swaps the view, and returns what has become of leases since the last.
func (m *Machine) publish(applied uint64) []lease.Change {
	leases, changes := m.leases.Publish()
	users := m.auth.View()
	if before := m.view.Load(); m.options.Authorised != nil && (before == nil || before.Auth != users) {
		m.options.Authorised(users)
	}
	m.view.Store(&View{Applied: applied, Keys: m.keys.Publish(), Leases: leases, Members: m.members, Auth: users})
	return changes
}

// applyRequest applies the request in a normal entry. Its error is fatal; what
// the request itself did wrong is in its answer.
func (m *Machine) applyRequest(e *raftpb.Entry, wanted func(uint64) bool) error {
	r := &m.request
	r.Reset()
	// The request aliases the entry's data, which nobody changes.
	if err := r.UnmarshalVTUnsafe(e.GetData()); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	id := r.ID
	if id == 0 {
		id = r.Header.GetID()
	}
	mine := wanted(id)
	m.results = append(m.results, Result{})
	res := &m.results[len(m.results)-1]
	err := m.apply(r, e.GetIndex(), mine, res)
	if err != nil {
		var fatal *fatalError
		if errors.As(err, &fatal) {
			return fatal.err
		}
	}
	hang(m.leases, m.keys)
	m.tally.note(kindOf(r), err)
	res.Revision = m.keys.End()
	if mine {
		m.answer(id, res, err)
	}
	return nil
}

// answer notes what came of a request. An error stands alone.
func (m *Machine) answer(id uint64, res *Result, err error) {
	if err != nil {
		res = nil
	}
	m.effects.Answers = append(m.effects.Answers, Answer{id, res, err})
}

// fatalError is a failure of this member, not of the request: the disk cannot
// be read, or the request is of a kind this version does not know, which other
// members may have applied.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

func (e *fatalError) Unwrap() error { return e.err }

// errUnknownRequest stops a member that meets a request of a later version.
var errUnknownRequest = &fatalError{errors.New("a request of a kind that this version does not know")}

// apply dispatches a request. Rights, alarms and quota are judged before any
// change, in this order. mine says that the answer is wanted.
func (m *Machine) apply(r *etcdserverpb.InternalRaftRequest, index uint64, mine bool, res *Result) error {
	if err := m.forbidden(r); err != nil {
		return err
	}
	if err := m.refusal(r); err != nil {
		return err
	}
	switch {
	case r.ClusterVersionSet != nil:
		return m.setClusterVersion(r.ClusterVersionSet)
	case r.ClusterMemberAttrSet != nil:
		return m.setMemberAttributes(r.ClusterMemberAttrSet)
	case r.DowngradeInfoSet != nil:
		return m.setDowngrade(r.DowngradeInfoSet)
	case r.DowngradeVersionTest != nil:
		return nil // upstream's own test of its versions
	case r.Range != nil:
		if !mine {
			return nil // changes nothing
		}
		return m.readRange(r.Range, res)
	case r.Put != nil:
		over := m.over(CostOfPut(r.Put))
		return unlessOver(over, m.put(r.Put, mine, res))
	case r.DeleteRange != nil:
		return m.deleteRange(r.DeleteRange, mine, res)
	case r.Txn != nil:
		over := m.over(CostOfTxn(r.Txn))
		return unlessOver(over, m.txn(r.Txn, mine, res))
	case r.Compaction != nil:
		return m.compact(r.Compaction, mine, res)
	case r.LeaseGrant != nil:
		over := m.over(CostOfGrant)
		return unlessOver(over, m.grant(r.LeaseGrant, res))
	case r.LeaseRevoke != nil:
		return m.revoke(r.LeaseRevoke)
	case r.LeaseCheckpoint != nil:
		m.checkpoint(r.LeaseCheckpoint)
		return nil
	case r.Alarm != nil:
		m.alarm(r.Alarm, res)
		return nil
	case r.Authenticate != nil:
		return m.logIn(r.Authenticate, index, res)
	}
	return m.applyAuth(r)
}
