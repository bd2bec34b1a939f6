package auth

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"etcd.alt/api/authpb"
)

// Right is what may be done with keys.
type Right int

// The rights.
const (
	Read Right = iota
	Write
	rights
)

// Rights are what those may do who have a set of roles: all that these allow, taken
// together. They are immutable, and shared by all who have the set.
type Rights struct {
	root  bool
	roles []*Role

	once sync.Once
	all  [rights][]span // of all roles; see united
}

// span is the keys from begin to end, which is not in it.
type span struct {
	begin, end []byte // of the permission, where that has them
	open       bool   // there is no end
}

// spanOf is the range from key to end as requests have it.
func spanOf(key, end []byte) span {
	switch {
	case len(end) == 0:
		return span{begin: key, end: append(key[:len(key):len(key)], 0)}
	case len(end) == 1 && end[0] == 0:
		return span{begin: key, open: true}
	}
	return span{begin: key, end: end}
}

// spans are the keys of a role, by right: sorted, disjoint, and not adjoining. They are
// worked out when somebody asks first.
func (r *Role) spans(right Right) []span {
	r.once.Do(func() {
		for _, p := range r.Permissions {
			s := spanOf(p.Key, p.RangeEnd)
			// A type of a later version gives nothing.
			if p.PermType == authpb.Permission_READ || p.PermType == authpb.Permission_READWRITE {
				r.may[Read] = append(r.may[Read], s)
			}
			if p.PermType == authpb.Permission_WRITE || p.PermType == authpb.Permission_READWRITE {
				r.may[Write] = append(r.may[Write], s)
			}
		}
		for right, all := range r.may {
			r.may[right] = unite(all)
		}
	})
	return r.may[right]
}

// unite sorts spans, and makes one of those that touch each other.
func unite(all []span) []span {
	slices.SortFunc(all, func(a, b span) int { return bytes.Compare(a.begin, b.begin) })
	united := all[:0]
	for _, s := range all {
		n := len(united)
		if n == 0 || !united[n-1].open && bytes.Compare(united[n-1].end, s.begin) < 0 {
			united = append(united, s)
			continue
		}
		if last := &united[n-1]; s.open {
			last.open = true
		} else if bytes.Compare(last.end, s.end) < 0 {
			last.end = s.end
		}
	}
	return slices.Clip(united)
}

// Equal says that both are the same roles as they are. nil is nobody's.
func (r *Rights) Equal(o *Rights) bool {
	if r == o || r == nil || o == nil {
		return r == o
	}
	return r.root == o.root && slices.Equal(r.roles, o.roles)
}

// Few roles are asked one by one, and for few steps: what they allow together is worked
// out for those who need that.
const (
	fewRoles = 64
	fewSteps = 16
)

// May says whether all keys from key to end may be read, or written. end is as in
// View.Check. A range that ends before it begins has no keys, and is allowed where the
// key that it begins with is.
func (r *Rights) May(right Right, key, end []byte) bool {
	if r.root {
		return true
	}
	if len(r.roles) > fewRoles {
		return reach(find(r.united(right), key), end)
	}
	at := key
	for range fewSteps {
		// How far the roles reach from here on: each next span is another role's.
		s := r.farthest(right, at)
		if s == nil || reach(s, end) {
			return s != nil
		}
		at = s.end
	}
	return reach(find(r.united(right), key), end)
}

// reach says whether a span, if it is one, reaches to the end of a range.
func reach(s *span, end []byte) bool {
	switch {
	case s == nil:
		return false
	case s.open || len(end) == 0:
		return true
	case len(end) == 1 && end[0] == 0:
		return false
	}
	return bytes.Compare(s.end, end) >= 0
}

// find is the span that has a key; nil if none has.
func find(all []span, key []byte) *span {
	// The only one that can have it is the last that begins at it or before.
	i, exact := slices.BinarySearchFunc(all, key, func(s span, key []byte) int { return bytes.Compare(s.begin, key) })
	if !exact {
		i--
	}
	if i < 0 || !all[i].open && bytes.Compare(all[i].end, key) <= 0 {
		return nil
	}
	return &all[i]
}

// united are the spans of all roles: sorted, disjoint, and not adjoining.
func (r *Rights) united(right Right) []span {
	r.once.Do(func() {
		for right := range r.all {
			var all []span
			for _, role := range r.roles {
				all = append(all, role.spans(Right(right))...)
			}
			r.all[right] = unite(all)
		}
	})
	return r.all[right]
}

// farthest is the span with a key that ends last; nil if none has it.
func (r *Rights) farthest(right Right, key []byte) (far *span) {
	for _, role := range r.roles {
		s := find(role.spans(right), key)
		switch {
		case s == nil:
		case s.open:
			return s
		case far == nil || bytes.Compare(far.end, s.end) < 0:
			far = s
		}
	}
	return far
}

// sets are the rights of sets of roles in a view, as they were asked for.
type sets struct {
	known sync.Map // by the roles' names
	// before are those of the view before, for as long as this is the last: where no role
	// of a set has changed, its rights have not.
	before atomic.Pointer[sets]
}

// of are the rights of some roles of a view.
func (s *sets) of(names []string, v *View) *Rights {
	key := strings.Join(names, "\x00") // where two are the same, the roles differ
	r := &Rights{root: slices.Contains(names, Root)}
	for _, name := range names {
		if role, ok := v.roles.Get(name); ok {
			r.roles = append(r.roles, role)
		}
	}
	if before := s.before.Load(); before != nil {
		if old, ok := before.known.Load(key); ok && r.Equal(old.(*Rights)) {
			r = old.(*Rights)
		}
	}
	if known, ok := s.known.LoadOrStore(key, r); ok {
		if known := known.(*Rights); known.Equal(r) {
			return known
		}
	}
	return r
}
