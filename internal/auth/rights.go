package auth

import (
	"cmp"
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

// Rights are the keys that somebody may read and write.
type Rights struct {
	root bool
	may  [rights][]span // sorted, disjoint, and not adjoining
}

// span is the keys from begin to end, which is not in it.
type span struct {
	begin, end string
	open       bool // there is no end
}

// spanOf is the range from key to end as requests have it.
func spanOf(key, end []byte) span {
	switch {
	case len(end) == 0:
		return span{begin: string(key), end: string(key) + "\x00"}
	case len(end) == 1 && end[0] == 0:
		return span{begin: string(key), open: true}
	}
	return span{begin: string(key), end: string(end)}
}

func (r *Rights) add(permissions []*authpb.Permission) {
	for _, p := range permissions {
		s := spanOf(p.Key, p.RangeEnd)
		// A type of a later version gives nothing.
		if p.PermType == authpb.Permission_READ || p.PermType == authpb.Permission_READWRITE {
			r.may[Read] = append(r.may[Read], s)
		}
		if p.PermType == authpb.Permission_WRITE || p.PermType == authpb.Permission_READWRITE {
			r.may[Write] = append(r.may[Write], s)
		}
	}
}

// unite sorts the spans, and makes one of those that touch each other.
func (r *Rights) unite() {
	for right, all := range r.may {
		slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
		united := all[:0]
		for _, s := range all {
			if n := len(united); n > 0 && (united[n-1].open || s.begin <= united[n-1].end) {
				last := &united[n-1]
				last.open = last.open || s.open
				last.end = max(last.end, s.end)
				continue
			}
			united = append(united, s)
		}
		r.may[right] = slices.Clip(united)
	}
}

// Equal says that both allow the same. nil is nobody's.
func (r *Rights) Equal(o *Rights) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.root == o.root && slices.Equal(r.may[Read], o.may[Read]) && slices.Equal(r.may[Write], o.may[Write])
}

// Root says that everything is allowed.
func (r *Rights) Root() bool { return r.root }

// May says whether all keys from key to end may be read, or written. end is as in
// View.Check. A range that ends before it begins has no keys, and is allowed where the
// key that it begins with is.
func (r *Rights) May(right Right, key, end []byte) bool {
	if r.root {
		return true
	}
	all := r.may[right]
	// The only span that can have key is the last that begins at it or before.
	i, exact := slices.BinarySearchFunc(all, key, func(s span, key []byte) int { return compare(s.begin, key) })
	if !exact {
		i--
	}
	if i < 0 {
		return false
	}
	s := &all[i]
	switch {
	case s.open:
		return true
	case compare(s.end, key) <= 0:
		return false
	case len(end) == 0:
		return true
	case len(end) == 1 && end[0] == 0:
		return false
	}
	return compare(s.end, end) >= 0
}

func compare(s string, b []byte) int {
	switch {
	case s < string(b):
		return -1
	case s > string(b):
		return 1
	}
	return 0
}
