package mvcc

import (
	"slices"
	"sort"
)

// Ranges is a set of keys, told as the ranges that requests name. Adding and
// asking take logarithmic time, however many ranges a request brings. The zero
// value is empty. It aliases what it is given.
type Ranges struct {
	points map[string]struct{}
	// from is the least key from which on everything is in the set.
	from    string
	hasFrom bool
	// runs hold disjoint intervals in order, each run at least twice as long as
	// the next: the logarithmic method of turning a sorted list into a set that
	// grows.
	runs [][]interval
}

type interval struct{ lo, hi string } // lo ≤ key < hi

// Add takes the range of a request into the set.
func (r *Ranges) Add(key, end []byte) {
	s := newSpan(key, end)
	switch {
	case !s.ranged:
		if r.points == nil {
			r.points = map[string]struct{}{}
		}
		r.points[s.lo] = struct{}{}
	case s.open:
		if !r.hasFrom || s.lo < r.from {
			r.from, r.hasFrom = s.lo, true
		}
	case s.lo < s.hi:
		r.runs = append(r.runs, []interval{{s.lo, s.hi}})
		for n := len(r.runs); n > 1 && len(r.runs[n-1])*2 > len(r.runs[n-2]); n-- {
			r.runs = append(r.runs[:n-2], merge(r.runs[n-2], r.runs[n-1]))
		}
	}
}

// merge joins two runs, and the intervals of them that meet.
func merge(a, b []interval) []interval {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, func(x, y interval) int {
		if x.lo < y.lo {
			return -1
		} else if x.lo > y.lo {
			return 1
		}
		return 0
	})
	out := all[:1]
	for _, i := range all[1:] {
		last := &out[len(out)-1]
		if i.lo <= last.hi {
			last.hi = max(last.hi, i.hi)
		} else {
			out = append(out, i)
		}
	}
	return out
}

// Has says whether name is in the set.
func (r *Ranges) Has(name []byte) bool {
	key := view(name)
	if _, ok := r.points[key]; ok {
		return true
	}
	if r.hasFrom && key >= r.from {
		return true
	}
	for _, run := range r.runs {
		i := sort.Search(len(run), func(i int) bool { return run[i].lo > key }) - 1
		if i >= 0 && key < run[i].hi {
			return true
		}
	}
	return false
}

// AddAll takes another set into this one.
func (r *Ranges) AddAll(o *Ranges) {
	for key := range o.points {
		r.Add([]byte(key), nil)
	}
	if o.hasFrom {
		r.Add([]byte(o.from), []byte{0})
	}
	for _, run := range o.runs {
		for _, i := range run {
			r.Add([]byte(i.lo), []byte(i.hi))
		}
	}
}
