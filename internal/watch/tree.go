package watch

import "cmp"

// span is a range of keys: lo ≤ key < hi, or every key from lo on.
type span struct {
	lo, hi string
	open   bool
}

func (s span) compare(o span) int {
	if c := cmp.Compare(s.lo, o.lo); c != 0 {
		return c
	}
	return compareEnds(s, o)
}

// compareEnds compares where two spans end; an open one ends behind all others.
func compareEnds(s, o span) int {
	switch {
	case s.open && o.open:
		return 0
	case s.open:
		return 1
	case o.open:
		return -1
	}
	return cmp.Compare(s.hi, o.hi)
}

// tree is a set of spans, each with a group of watchers: a treap in the order of
// spans, whose nodes know the span of their subtree that ends last, so that all spans
// around a key are found without looking at many others.
type tree struct {
	root *node
	dice uint64
}

type node struct {
	span        span
	last        span // of the subtree
	group       group
	rank        uint64 // no child has a higher one
	left, right *node
}

// at is the group of a span, which is made if there is none.
func (t *tree) at(s span) *group {
	for n := t.root; n != nil; {
		switch c := s.compare(n.span); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return &n.group
		}
	}
	// A step of a xorshift generator: no client can tell what it will be.
	if t.dice == 0 {
		t.dice = 0x9e3779b97f4a7c15
	}
	t.dice ^= t.dice << 13
	t.dice ^= t.dice >> 7
	t.dice ^= t.dice << 17
	fresh := &node{span: s, last: s, rank: t.dice}
	t.root = insert(t.root, fresh)
	return &fresh.group
}

func insert(n, fresh *node) *node {
	switch {
	case n == nil:
		return fresh
	case fresh.rank > n.rank:
		fresh.left, fresh.right = split(n, fresh.span)
		return fresh.sum()
	case fresh.span.compare(n.span) < 0:
		n.left = insert(n.left, fresh)
	default:
		n.right = insert(n.right, fresh)
	}
	return n.sum()
}

// split parts a subtree into what is before s and what is behind.
func split(n *node, s span) (before, behind *node) {
	if n == nil {
		return nil, nil
	}
	if n.span.compare(s) < 0 {
		n.right, behind = split(n.right, s)
		return n.sum(), behind
	}
	before, n.left = split(n.left, s)
	return before, n.sum()
}

// remove forgets a span.
func (t *tree) remove(s span) { t.root = remove(t.root, s) }

func remove(n *node, s span) *node {
	if n == nil {
		return nil
	}
	switch c := s.compare(n.span); {
	case c < 0:
		n.left = remove(n.left, s)
	case c > 0:
		n.right = remove(n.right, s)
	default:
		return join(n.left, n.right)
	}
	return n.sum()
}

// join makes one subtree of two, all of whose spans are in order.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.rank > b.rank:
		a.right = join(a.right, b)
		return a.sum()
	}
	b.left = join(a, b.left)
	return b.sum()
}

// sum renews what a node knows of its subtree.
func (n *node) sum() *node {
	n.last = n.span
	for _, child := range [...]*node{n.left, n.right} {
		if child != nil && compareEnds(child.last, n.last) > 0 {
			n.last = child.last
		}
	}
	return n
}

// around calls fn for the group of each span that has key.
func (n *node) around(key string, fn func(*group)) {
	for n != nil && (n.last.open || key < n.last.hi) {
		n.left.around(key, fn)
		if key < n.span.lo {
			return // and so is all that is behind
		}
		if n.span.open || key < n.span.hi {
			fn(&n.group)
		}
		n = n.right
	}
}
