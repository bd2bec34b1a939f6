package mvcc

import (
	"sync/atomic"
	"unsafe"
)

const (
	// fanout is the most keys of a leaf and the most children of an inner node. A
	// copied leaf costs its keys and 12 bytes for each; a smaller fanout makes the
	// tree deeper and every look-up slower.
	fanout = 64
	// fatNode is from how many bytes of keys on a node is split before it is full,
	// so that copying one stays cheap where keys are long.
	fatNode = 16 << 10
)

// node is a leaf (heads) or an inner node (kids). A node that belongs to a
// published tree is never changed, but for the heads of a leaf, which move on;
// the writer changes the nodes of its own generation in place and copies others
// first.
type node struct {
	gen  uint64
	live int // keys below that live at the tree's newest revision
	// keys of a leaf are those of its heads. Those of an inner node are bounds: no
	// key below kids[i] is less than the i-th, and the first is not looked at.
	keys keys
	// heads are the newest versions. The one writer sets them and anybody reads
	// them, so whoever is not the writer goes through head.
	heads []*version
	kids  []*node
}

func (n *node) leaf() bool { return n.kids == nil }

func (n *node) slot(i int) *unsafe.Pointer { return (*unsafe.Pointer)(unsafe.Pointer(&n.heads[i])) }

// head is the newest version of the i-th key of a leaf.
func (n *node) head(i int) *version { return (*version)(atomic.LoadPointer(n.slot(i))) }

// setHead is for the writer; readers of every tree that shares the leaf see it.
func (n *node) setHead(i int, v *version) { atomic.StorePointer(n.slot(i), unsafe.Pointer(v)) }

// child is the place of the kid that holds key.
func (n *node) child(key string) int {
	lo, hi := 1, len(n.kids) // the first bound above key lies in [lo, hi]
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); n.keys.at(m) <= key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// tree is a published tree at one revision.
type tree struct {
	root *node
	// revision at which the live counts of the nodes hold.
	revision int64
}

// place finds the leaf of key and its place there.
func (n *node) place(key string) (leaf *node, i int, ok bool) {
	for !n.leaf() {
		n = n.kids[n.child(key)]
	}
	i = n.keys.find(key)
	return n, i, i < n.keys.len() && n.keys.at(i) == key
}

// get returns the newest version of key, nil if there never was one.
func (t tree) get(key string) *version {
	if leaf, i, ok := t.root.place(key); ok {
		return leaf.head(i)
	}
	return nil
}

// len is the number of live keys.
func (t tree) len() int { return t.root.live }

// below counts the live keys less than key, in O(log n).
func (t tree) below(key string) int {
	n, total := t.root, 0
	for !n.leaf() {
		i := n.child(key)
		for _, k := range n.kids[:i] {
			total += k.live
		}
		n = n.kids[i]
	}
	for i := range n.keys.find(key) {
		if n.head(i).liveAt(t.revision) != nil {
			total++
		}
	}
	return total
}

// ascend calls fn for each key from lo on, in key order, with its newest
// version, until fn returns false. Dead keys are among them. The keys alias the
// tree, which no later change touches.
func (t tree) ascend(lo string, fn func(key string, head *version) bool) { t.root.ascend(lo, fn) }

func (n *node) ascend(lo string, fn func(string, *version) bool) bool {
	if n.leaf() {
		for i := n.keys.find(lo); i < n.keys.len(); i++ {
			if !fn(n.keys.at(i), n.head(i)) {
				return false
			}
		}
		return true
	}
	for i := n.child(lo); i < len(n.kids); i++ {
		if !n.kids[i].ascend(lo, fn) {
			return false
		}
	}
	return true
}

// writer changes a tree, copying what a published one still needs.
type writer struct {
	root *node
	gen  uint64
}

func newWriter() *writer { return &writer{root: &node{gen: 1}, gen: 1} }

// publish returns the tree as it stands, at revision; later changes leave it
// alone.
func (w *writer) publish(revision int64) tree {
	w.gen++
	return tree{root: w.root, revision: revision}
}

// get returns the newest version of key, nil if there never was one.
func (w *writer) get(key string) *version { return tree{root: w.root}.get(key) }

// set makes v the newest version of a key that is there. The live counts are
// left to add.
func (w *writer) set(key string, v *version) {
	leaf, i, _ := w.root.place(key)
	leaf.setHead(i, v)
}

// own returns n if it is the writer's to change, else a copy that is and has
// room for one more key.
func (w *writer) own(n *node, room int) *node {
	if n.gen == w.gen {
		return n
	}
	c := w.part(n, 0, n.keys.len()+1, room)
	c.live = n.live
	return c
}

// part copies the children of n from the i-th on, into a node with places for
// most children and room for so many more bytes of keys. Their live counts are
// left to the caller.
func (w *writer) part(n *node, i, most, room int) *node {
	c := &node{gen: w.gen, keys: n.keys.clone(i, most, room)}
	if n.leaf() {
		c.heads = append(make([]*version, 0, most), n.heads[i:]...)
	} else {
		c.kids = append(make([]*node, 0, most), n.kids[i:]...)
	}
	return c
}

// sum counts anew what lives below n.
func (n *node) sum() {
	n.live = 0
	for _, k := range n.kids {
		n.live += k.live
	}
	for _, v := range n.heads {
		if v.live() {
			n.live++
		}
	}
}

// add adds delta to the live counts on the path to key, which is there.
func (w *writer) add(key string, delta int) {
	w.root = w.own(w.root, 0)
	for n := w.root; ; {
		n.live += delta
		if n.leaf() {
			return
		}
		i := n.child(key)
		n.kids[i] = w.own(n.kids[i], 0)
		n = n.kids[i]
	}
}

// insert puts a new key into the tree, which does not have it yet.
func (w *writer) insert(key string, v *version) {
	w.root = w.own(w.root, len(key))
	if right := w.insertInto(w.root, key, v); right != nil {
		left := w.root
		w.root = &node{gen: w.gen, kids: []*node{left, right}}
		w.root.keys.insert(0, "")
		w.root.keys.insert(1, right.keys.at(0))
		w.root.sum()
	}
}

// insertInto inserts below n, which is the writer's own. When n is full it
// keeps the left part and returns the right one, whose first key is its bound.
func (w *writer) insertInto(n *node, key string, v *version) (right *node) {
	if v.live() {
		n.live++
	}
	i := 0
	if n.leaf() {
		i = n.keys.find(key)
		n.keys.insert(i, key)
		n.heads = insertAt(n.heads, i, v)
	} else {
		i = n.child(key)
		n.kids[i] = w.own(n.kids[i], len(key))
		split := w.insertInto(n.kids[i], key, v)
		if split == nil {
			return nil
		}
		i++
		n.keys.insert(i, split.keys.at(0))
		n.kids = insertAt(n.kids, i, split)
	}
	if !n.full() {
		return nil
	}
	return w.split(n, i == n.keys.len()-1)
}

func (n *node) full() bool {
	return n.keys.len() > fanout || (n.keys.len() >= 4 && n.keys.size() > fatNode)
}

// split leaves the left part of n in place and returns the right one: a half,
// but the last child alone where keys arrive in order, so that what they leave
// behind stays full.
func (w *writer) split(n *node, atEnd bool) *node {
	m := n.keys.len() / 2
	if atEnd {
		m = n.keys.len() - 1
	}
	right := w.part(n, m, fanout+1, 0)
	right.sum()
	n.keys.cut(m)
	if n.leaf() {
		clear(n.heads[m:])
		n.heads = n.heads[:m]
	} else {
		clear(n.kids[m:])
		n.kids = n.kids[:m]
	}
	n.live -= right.live
	return right
}

// remove takes a dead key out of the tree.
func (w *writer) remove(key string) {
	w.root = w.own(w.root, 0)
	w.removeFrom(w.root, key)
	for len(w.root.kids) == 1 {
		w.root = w.own(w.root.kids[0], 0)
	}
}

// removeFrom removes below n, which is the writer's own. A kid that runs empty
// is dropped; one that together with its left neighbour fills no more than half
// a node is merged into it.
func (w *writer) removeFrom(n *node, key string) {
	if n.leaf() {
		if i := n.keys.find(key); i < n.keys.len() && n.keys.at(i) == key {
			n.keys.remove(i)
			n.heads = removeAt(n.heads, i)
		}
		return
	}
	i := n.child(key)
	n.kids[i] = w.own(n.kids[i], 0)
	kid := n.kids[i]
	w.removeFrom(kid, key)
	switch {
	case kid.keys.len() == 0 && len(n.kids) > 1:
		n.drop(i)
	case i > 0 && kid.small(n.kids[i-1]):
		left := w.own(n.kids[i-1], kid.keys.size())
		first := left.keys.len()
		left.keys.append(&kid.keys)
		if !left.leaf() {
			left.keys.remove(first) // a first bound may stand too low to be one in the middle
			left.keys.insert(first, n.keys.at(i))
		}
		left.live += kid.live
		left.heads = append(left.heads, kid.heads...)
		left.kids = append(left.kids, kid.kids...)
		n.kids[i-1] = left
		n.drop(i)
	}
}

// small says that two neighbours fill no more than half a node.
func (n *node) small(left *node) bool {
	return n.keys.len()+left.keys.len() <= fanout/2 && n.keys.size()+left.keys.size() <= fatNode/2
}

func (n *node) drop(i int) {
	n.keys.remove(i)
	n.kids = removeAt(n.kids, i)
}

func insertAt[T any](s []*T, i int, x *T) []*T {
	s = append(s, nil)
	copy(s[i+1:], s[i:])
	s[i] = x
	return s
}

func removeAt[T any](s []*T, i int) []*T {
	copy(s[i:], s[i+1:])
	s[len(s)-1] = nil
	return s[:len(s)-1]
}
