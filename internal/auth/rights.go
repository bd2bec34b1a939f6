package auth

import (
	"bytes"
	"slices"

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

// Rights are what somebody may do: what his roles allow, all taken together. They are
// those of one View, and immutable; the roles are shared by all who have them.
type Rights struct {
	root  bool
	roles []*Role
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
	if r == nil || o == nil {
		return r == o
	}
	return r.root == o.root && slices.Equal(r.roles, o.roles)
}

// May says whether all keys from key to end may be read, or written. end is as in
// View.Check. A range that ends before it begins has no keys, and is allowed where the
// key that it begins with is.
func (r *Rights) May(right Right, key, end []byte) bool {
	if r.root {
		return true
	}
	for at := key; ; {
		// How far the roles reach from here on: each next span is another role's.
		s := r.farthest(right, at)
		switch {
		case s == nil:
			return false
		case s.open || len(end) == 0:
			return true
		case bytes.Compare(s.end, end) >= 0 && !(len(end) == 1 && end[0] == 0):
			return true
		}
		at = s.end
	}
}

// farthest is the span with a key that ends last; nil if none has it.
func (r *Rights) farthest(right Right, key []byte) (far *span) {
	for _, role := range r.roles {
		all := role.spans(right)
		// The only span that can have key is the last that begins at it or before.
		i, exact := slices.BinarySearchFunc(all, key, func(s span, key []byte) int { return bytes.Compare(s.begin, key) })
		if !exact {
			i--
		}
		if i < 0 {
			continue
		}
		switch s := &all[i]; {
		case s.open:
			return s
		case bytes.Compare(s.end, key) > 0 && (far == nil || bytes.Compare(far.end, s.end) < 0):
			far = s
		}
	}
	return far
}
