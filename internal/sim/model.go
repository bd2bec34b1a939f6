package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/internal/sim/policy"
)

// Model is the keyspace told the plain way: every version of every key in a
// list. It is slow, obvious, and shares no code with what it checks.
type Model struct {
	// Index is the last entry that was applied, Revision the newest revision.
	Index               uint64
	Revision, Compacted int64
	// Before is the compacted revision before the last compaction.
	Before int64
	// Alarms are those that are raised, by member and type.
	Alarms map[[2]uint64]bool
	// Leases are those that are granted.
	Leases    map[int64]Lease
	grantedAt map[int64]uint64 // the entry, of those that are or were
	users     *policy.State    // as they are
	nobody    *policy.State    // as they were in the beginning
	due       error            // what the last request had to be answered with, see entry
	keys      map[string][]version
	changes   []change          // all there ever were
	entries   []entry           // what stood where, from index 1 on
	byID      map[uint64]uint64 // the index of each request
}

// Lease is the time that was granted, and what was left of it when that was
// written down, 0 for all.
type Lease struct{ TTL, Remaining int64 }

// shortestTTL is the least that is granted in a simulation.
const shortestTTL = 2

// entry is what stood at an index, and what became of it.
type entry struct {
	term uint64
	kind raftpb.EntryType
	data string
	// revision is the keyspace's after it.
	revision int64
	// compaction says that it was one that was carried out, leased that there were
	// other leases after it than before.
	compaction, leased bool
	// users are those after it. due is the verdict that it had to be given; of a change
	// of users that is permitted, what it had to be answered with.
	users *policy.State
	due   error
}

func (e *entry) is(o *raftpb.Entry) bool {
	return e.term == o.GetTerm() && e.kind == o.GetType() && e.data == string(o.GetData())
}

// version is a version of a key; its place among the changes of its revision
// is sub. A Version of 0 is a tombstone.
type version struct {
	*mvccpb.KeyValue
	sub int64
}

// change is what a revision has made of a key, and what was there before that
// revision, nil for nothing. A Version of 0 is a deletion.
type change struct {
	*mvccpb.KeyValue
	prev *mvccpb.KeyValue
}

// before is what a key was before a revision.
func (m *Model) before(key string, revision int64) *mvccpb.KeyValue {
	vs := m.keys[key]
	if i := newest(vs, revision-1); i >= 0 && vs[i].Version > 0 {
		return vs[i].KeyValue
	}
	return nil
}

// changesFrom is the place of the first change of a revision or a later one.
func (m *Model) changesFrom(revision int64) int {
	return sort.Search(len(m.changes), func(i int) bool { return m.changes[i].ModRevision >= revision })
}

// NewModel returns an empty keyspace.
func NewModel() *Model {
	nobody := policy.New(points()...)
	return &Model{Revision: 1, Compacted: -1, Before: -1, Alarms: map[[2]uint64]bool{}, Leases: map[int64]Lease{}, grantedAt: map[int64]uint64{}, users: nobody, nobody: nobody, keys: map[string][]version{}, byID: map[uint64]uint64{}}
}

// Apply takes entries in order. One that was taken before must be what it was.
func (m *Model) Apply(entries []*raftpb.Entry) error {
	for _, e := range entries {
		i := e.GetIndex()
		if i <= m.Index {
			if err := m.Holds(e); err != nil {
				return err
			}
			continue
		}
		if i != m.Index+1 {
			return fmt.Errorf("entry %d follows entry %d", i, m.Index)
		}
		m.Index = i
		before, leases := m.Compacted, len(m.Leases)
		m.due = nil
		if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
			if err := m.request(e.GetData()); err != nil {
				return err
			}
		}
		m.entries = append(m.entries, entry{e.GetTerm(), e.GetType(), string(e.GetData()), m.Revision, m.Compacted != before, len(m.Leases) != leases, m.users, m.due})
	}
	return nil
}

// Holds says whether an entry is what was applied at its index. One above all
// that was applied may be anything.
func (m *Model) Holds(e *raftpb.Entry) error {
	i := e.GetIndex()
	if i > m.Index {
		return nil
	}
	if was := &m.entries[i-1]; !was.is(e) {
		return fmt.Errorf("entry %d was %d %v %x and is %d %v %x", i, was.term, was.kind, was.data, e.GetTerm(), e.GetType(), e.GetData())
	}
	return nil
}

// RevisionAt is the keyspace's revision after the entry at an index that was
// applied.
func (m *Model) RevisionAt(index uint64) int64 {
	if index == 0 {
		return 1
	}
	return m.entries[index-1].revision
}

func (m *Model) request(data []byte) error {
	r := &etcdserverpb.InternalRaftRequest{}
	if err := r.UnmarshalVT(data); err != nil {
		return err
	}
	if id := r.Header.GetID(); m.byID[id] != 0 {
		return fmt.Errorf("request %d stands at entry %d and at %d", id, m.byID[id], m.Index)
	} else {
		m.byID[id] = m.Index
	}
	if m.due = m.users.Verdict(r, m.attached); m.due != nil {
		return nil
	}
	t := txn{m: m}
	switch {
	case r.Alarm != nil:
		a := [2]uint64{r.Alarm.MemberID, uint64(r.Alarm.Alarm)}
		switch {
		case r.Alarm.Action == etcdserverpb.AlarmRequest_ACTIVATE && a[1] != 0:
			m.Alarms[a] = true
		case r.Alarm.Action == etcdserverpb.AlarmRequest_DEACTIVATE:
			delete(m.Alarms, a)
		}
	case m.forbids(r):
	case isAdministration(r):
		m.users, m.due = m.users.Administer(r)
	case r.Put != nil:
		t.put(r.Put)
	case r.DeleteRange != nil:
		t.delete(r.DeleteRange)
	case r.Compaction != nil:
		if c := r.Compaction.Revision; c > m.Compacted && c <= m.Revision {
			m.Before, m.Compacted = m.Compacted, c
		}
	case r.LeaseGrant != nil:
		g := r.LeaseGrant
		if _, there := m.Leases[g.ID]; !there && g.ID != 0 && g.TTL <= 9e9 {
			m.Leases[g.ID], m.grantedAt[g.ID] = Lease{TTL: max(g.TTL, shortestTTL)}, m.Index
		}
	case r.LeaseRevoke != nil:
		if _, there := m.Leases[r.LeaseRevoke.ID]; there {
			for _, k := range m.On(r.LeaseRevoke.ID) {
				t.append(&mvccpb.KeyValue{Key: []byte(k), ModRevision: m.Revision + 1})
			}
			delete(m.Leases, r.LeaseRevoke.ID)
		}
	case r.LeaseCheckpoint != nil:
		for _, c := range r.LeaseCheckpoint.Checkpoints {
			l, there := m.Leases[c.ID]
			if l.Remaining = c.Remaining_TTL; l.Remaining < 0 || l.Remaining >= l.TTL {
				l.Remaining = 0
			}
			if there {
				m.Leases[c.ID] = l
			}
		}
	case r.Txn != nil:
		path := t.choose(r.Txn)
		if !t.fails(path, map[string]bool{}) {
			t.run(path)
		}
	}
	if t.sub > 0 {
		m.Revision++
	}
	return nil
}

// forbids says whether an alarm stands against a request.
func (m *Model) forbids(r *etcdserverpb.InternalRaftRequest) bool {
	if r.LeaseCheckpoint != nil {
		return false
	}
	for a := range m.Alarms {
		if etcdserverpb.AlarmType(a[1]) == etcdserverpb.AlarmType_CORRUPT || r.Put != nil || r.LeaseGrant != nil || r.Txn != nil && putsAnything(r.Txn) {
			return true
		}
	}
	return false
}

func putsAnything(t *etcdserverpb.TxnRequest) bool {
	for _, op := range append(append([]*etcdserverpb.RequestOp{}, t.Success...), t.Failure...) {
		if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && putsAnything(op.GetRequestTxn()) {
			return true
		}
	}
	return false
}

// On lists the live keys that were last put with a lease, in order.
func (m *Model) On(lease int64) (on []string) {
	for key, vs := range m.keys {
		if last := vs[len(vs)-1]; last.Version > 0 && last.Lease == lease {
			on = append(on, key)
		}
	}
	sort.Strings(on)
	return on
}

// txn is the changes of one entry.
type txn struct {
	m   *Model
	sub int64
}

func (t *txn) latest(key string) *mvccpb.KeyValue {
	vs := t.m.keys[key]
	if len(vs) == 0 || vs[len(vs)-1].Version == 0 {
		return nil
	}
	return vs[len(vs)-1].KeyValue
}

func (t *txn) put(r *etcdserverpb.PutRequest) {
	old := t.latest(string(r.Key))
	if t.putFails(r) {
		return
	}
	main := t.m.Revision + 1
	kv := &mvccpb.KeyValue{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), CreateRevision: main, ModRevision: main, Version: 1, Lease: r.Lease}
	if old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if r.IgnoreValue {
			kv.Value = old.Value
		}
		if r.IgnoreLease {
			kv.Lease = old.Lease
		}
	}
	t.append(kv)
}

func (t *txn) append(kv *mvccpb.KeyValue) {
	t.m.changes = append(t.m.changes, change{kv, t.m.before(string(kv.Key), kv.ModRevision)})
	t.m.keys[string(kv.Key)] = append(t.m.keys[string(kv.Key)], version{kv, t.sub})
	t.sub++
}

func (t *txn) putFails(r *etcdserverpb.PutRequest) bool {
	_, there := t.m.Leases[r.Lease]
	return r.Lease != 0 && !there || ((r.IgnoreValue || r.IgnoreLease) && t.latest(string(r.Key)) == nil)
}

// live lists the keys of a range that exist, in order.
func (t *txn) live(key, end []byte) []string {
	var out []string
	for k := range t.m.keys {
		in := k == string(key)
		if len(end) > 0 {
			in = k >= string(key) && (string(end) == "\x00" || k < string(end))
		}
		if in && t.latest(k) != nil {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

func (t *txn) delete(r *etcdserverpb.DeleteRangeRequest) {
	for _, k := range t.live(r.Key, r.RangeEnd) {
		t.append(&mvccpb.KeyValue{Key: []byte(k), ModRevision: t.m.Revision + 1})
	}
}

// step is an operation on the path of a transaction, with the path of the
// transaction it may be.
type step struct {
	op     *etcdserverpb.RequestOp
	nested []step
}

func (t *txn) choose(r *etcdserverpb.TxnRequest) []step {
	ops := r.Success
	for _, c := range r.Compare {
		if !t.holds(c) {
			ops = r.Failure
		}
	}
	var path []step
	for _, op := range ops {
		s := step{op: op}
		if n := op.GetRequestTxn(); n != nil {
			s.nested = t.choose(n)
		}
		path = append(path, s)
	}
	return path
}

func (t *txn) holds(c *etcdserverpb.Compare) bool {
	keys := t.live(c.Key, c.RangeEnd)
	if len(keys) == 0 {
		return c.Target != etcdserverpb.Compare_VALUE && compare(c, &mvccpb.KeyValue{})
	}
	for _, k := range keys {
		if !compare(c, t.latest(k)) {
			return false
		}
	}
	return true
}

func compare(c *etcdserverpb.Compare, kv *mvccpb.KeyValue) bool {
	var d int64
	switch c.Target {
	case etcdserverpb.Compare_VERSION:
		d = kv.Version - c.GetVersion()
	case etcdserverpb.Compare_CREATE:
		d = kv.CreateRevision - c.GetCreateRevision()
	case etcdserverpb.Compare_MOD:
		d = kv.ModRevision - c.GetModRevision()
	case etcdserverpb.Compare_LEASE:
		d = kv.Lease - c.GetLease()
	case etcdserverpb.Compare_VALUE:
		d = int64(strings.Compare(string(kv.Value), string(c.GetValue())))
	}
	switch c.Result {
	case etcdserverpb.Compare_EQUAL:
		return d == 0
	case etcdserverpb.Compare_NOT_EQUAL:
		return d != 0
	case etcdserverpb.Compare_GREATER:
		return d > 0
	}
	return d < 0
}

// fails says whether an operation on the path fails where it stands: gone are
// the keys that were deleted before it.
func (t *txn) fails(path []step, gone map[string]bool) bool {
	for _, s := range path {
		if p := s.op.GetRequestPut(); p != nil && (t.putFails(p) || (p.IgnoreValue || p.IgnoreLease) && gone[string(p.Key)]) {
			return true
		}
		if d := s.op.GetRequestDeleteRange(); d != nil {
			for _, k := range t.live(d.Key, d.RangeEnd) {
				gone[k] = true
			}
		}
		if t.fails(s.nested, gone) {
			return true
		}
	}
	return false
}

func (t *txn) run(path []step) {
	for _, s := range path {
		if p := s.op.GetRequestPut(); p != nil {
			t.put(p)
		}
		if d := s.op.GetRequestDeleteRange(); d != nil {
			t.delete(d)
		}
		t.run(s.nested)
	}
}

// At lists the keys that exist at a revision, in order, as a member must return
// them.
func (m *Model) At(revision int64) []*mvccpb.KeyValue {
	var out []*mvccpb.KeyValue
	for _, vs := range m.keys {
		for i := len(vs) - 1; i >= 0; i-- {
			if vs[i].ModRevision <= revision {
				if vs[i].Version > 0 {
					out = append(out, vs[i].KeyValue)
				}
				break
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return bytes.Compare(out[i].Key, out[j].Key) < 0 })
	return out
}

// record is a version whose record a finished compaction has left. It is kept if
// it is what a reader sees.
type record struct {
	version
	kept bool
}

// left lists the records up to a revision that a finished compaction at compacted
// has left, in the order of their revisions, and says whether a reader at the
// revision sees any.
func (m *Model) left(compacted, revision int64) (left []record, anyKept bool) {
	for _, vs := range m.keys {
		atC, atR := newest(vs, compacted), newest(vs, revision)
		for i, v := range vs {
			gone := v.ModRevision <= compacted && i != atC
			if v.Version == 0 { // one exactly at the compaction stays, whatever follows it there
				gone = v.ModRevision < compacted
			}
			kept := i == atR && v.Version > 0
			anyKept = anyKept || kept
			if !gone && v.ModRevision <= revision {
				left = append(left, record{v, kept})
			}
		}
	}
	slices.SortFunc(left, func(a, b record) int {
		if a.ModRevision != b.ModRevision {
			return int(a.ModRevision - b.ModRevision)
		}
		return int(a.sub - b.sub)
	})
	return left, anyKept
}

// encode appends the record as it is stored, under its revision.
func (r record) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.ModRevision))
	b = append(b, '_')
	b = binary.BigEndian.AppendUint64(b, uint64(r.sub))
	kv := r.KeyValue
	if r.Version == 0 {
		b = append(b, 't')
		kv = &mvccpb.KeyValue{Key: r.Key}
	}
	value, err := kv.MarshalVT()
	if err != nil {
		panic(err) // a message of plain fields has no reason to fail
	}
	return append(b, value...)
}

// Hash is the hash of the keyspace at a revision, by the letter of its
// definition: over the records that a finished compaction at compacted has left,
// in the order of their revisions.
func (m *Model) Hash(compacted, revision int64) uint32 {
	left, anyKept := m.left(compacted, revision)
	data := []byte("key")
	for _, r := range left {
		if r.ModRevision <= compacted && anyKept && !r.kept || r.ModRevision == compacted && r.Version == 0 {
			continue
		}
		data = r.encode(data)
	}
	return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
}

// InUse is the bytes of all records that the compaction leaves.
func (m *Model) InUse() int64 {
	left, _ := m.left(m.Compacted, m.Revision)
	var data []byte
	for _, r := range left {
		data = r.encode(data)
	}
	return int64(len(data))
}

// newest is the place of the newest version at or below a revision, -1 if there
// is none.
func newest(vs []version, revision int64) int {
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].ModRevision <= revision {
			return i
		}
	}
	return -1
}
