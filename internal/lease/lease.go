package lease

import (
	"cmp"
	"strings"

	"github.com/tidwall/btree"
)

// MaxTTL is the longest life that can be granted, in seconds.
const MaxTTL = 9_000_000_000

// Lease is a lease as all members know it. Times are in seconds.
type Lease struct {
	ID  int64
	TTL int64
	// Remaining is what was left when it was written down last, 0 for all.
	Remaining int64
}

// Left is what a leader who knows no more than the log gives the lease.
func (l Lease) Left() int64 {
	if l.Remaining > 0 {
		return l.Remaining
	}
	return l.TTL
}

// hanging is a key on a lease.
type hanging struct {
	lease int64
	key   string
}

func (h hanging) less(o hanging) bool {
	if h.lease != o.lease {
		return h.lease < o.lease
	}
	return cmp.Less(h.key, o.key)
}

// View is the leases at one moment, and the keys on them. It is immutable.
type View struct {
	leases *btree.Map[int64, Lease]
	keys   *btree.BTreeG[hanging]
}

// Get returns the lease of an id.
func (v *View) Get(id int64) (Lease, bool) { return v.leases.Get(id) }

// Len is how many leases there are.
func (v *View) Len() int { return v.leases.Len() }

// Each calls fn for each lease, ascending by id, until it returns false.
func (v *View) Each(fn func(Lease) bool) {
	v.leases.Scan(func(_ int64, l Lease) bool { return fn(l) })
}

// EachKey calls fn for each key on a lease, in their order, until it returns
// false.
func (v *View) EachKey(id int64, fn func(key string) bool) { eachKey(v.keys, id, fn) }

// Keys are the keys on a lease, in their order.
func (v *View) Keys(id int64) (keys []string) {
	v.EachKey(id, func(key string) bool {
		keys = append(keys, key)
		return true
	})
	return keys
}

// CountKeys counts the keys on a lease, up to most.
func (v *View) CountKeys(id int64, most int) (n int) {
	v.EachKey(id, func(string) bool {
		n++
		return n < most
	})
	return n
}

func eachKey(keys *btree.BTreeG[hanging], id int64, fn func(key string) bool) {
	keys.Ascend(hanging{lease: id}, func(h hanging) bool { return h.lease == id && fn(h.key) })
}

// Change is what became of a lease.
type Change struct {
	Lease
	Kind Kind
}

// Kind is a kind of change.
type Kind int

// The kinds of change.
const (
	Granted Kind = iota
	Revoked
	Checkpointed // Remaining is another now
)

// State is the leases in the making. It belongs to the state machine.
type State struct {
	leases *btree.Map[int64, Lease]
	keys   *btree.BTreeG[hanging]

	changes []Change // since the last Publish
	moved   bool     // something has changed since
	view    *View
}

// newState returns a State without leases.
func newState() *State {
	s := &State{
		leases: &btree.Map[int64, Lease]{},
		keys:   btree.NewBTreeGOptions(hanging.less, btree.Options{NoLocks: true, Degree: degree}),
		moved:  true,
	}
	return s
}

// degree bounds the nodes of the keys' tree to twice as many: one path of it is
// copied for each batch that changes it.
const degree = 16

// Get returns the lease of an id.
func (s *State) Get(id int64) (Lease, bool) { return s.leases.Get(id) }

// EachKey is View.EachKey. fn must not change the State.
func (s *State) EachKey(id int64, fn func(key string) bool) { eachKey(s.keys, id, fn) }

// Move takes a key from one lease to another; 0 is none. A lease that does not
// exist takes none. The key is copied.
func (s *State) Move(key string, from, to int64) {
	if from == to {
		return
	}
	if from != 0 {
		if _, was := s.keys.Delete(hanging{from, key}); was {
			s.moved = true
		}
	}
	if _, ok := s.leases.Get(to); ok && to != 0 {
		s.keys.Set(hanging{to, strings.Clone(key)})
		s.moved = true
	}
}

// Publish returns the leases as they are, and what has become of them since the
// last call; the slice is the caller's.
func (s *State) Publish() (*View, []Change) {
	if s.moved {
		s.view = &View{leases: s.leases.Copy(), keys: s.keys.Copy()}
		s.moved = false
	}
	changes := s.changes
	s.changes = nil
	return s.view, changes
}
