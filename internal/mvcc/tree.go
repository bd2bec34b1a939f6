package mvcc

import "sort"

// fanout is the most entries of a leaf and the most children of an inner node.
// A copied path costs about fanout × 24 bytes a level; a smaller fanout makes
// the tree deeper and every look-up slower.
const fanout = 64

// entry is a key's place in a leaf.
type entry struct {
	key  string
	item *item
}

// node is a leaf (entries) or an inner node (kids). A node that belongs to a
// published tree is never changed; the writer changes the nodes of its own
// generation in place and copies others first.
type node struct {
	gen     uint64
	live    int // keys below that live at the tree's newest revision
	entries []entry
	kids    []*node
	// seps[i] is a bound: no key below kids[i] is less. seps[0] is not looked at.
	seps []string
}

func (n *node) leaf() bool { return n.kids == nil }

// find is the place of the first entry of a leaf that is not below key.
func (n *node) find(key string) int {
	return sort.Search(len(n.entries), func(i int) bool { return n.entries[i].key >= key })
}

// child is the place of the kid that holds key.
func (n *node) child(key string) int {
	return sort.Search(len(n.kids)-1, func(i int) bool { return n.seps[i+1] > key })
}

// tree is a published tree at one revision.
type tree struct {
	root *node
	// revision at which the live counts of the nodes hold.
	revision int64
}

// get returns the item of key, nil if there is none.
func (t tree) get(key string) *item {
	n := t.root
	for !n.leaf() {
		n = n.kids[n.child(key)]
	}
	if i := n.find(key); i < len(n.entries) && n.entries[i].key == key {
		return n.entries[i].item
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
	for _, e := range n.entries[:n.find(key)] {
		if e.item.liveAt(t.revision) != nil {
			total++
		}
	}
	return total
}

// ascend calls fn for each entry from key lo on, in key order, until fn returns
// false. Entries of dead keys are among them.
func (t tree) ascend(lo string, fn func(entry) bool) { t.root.ascend(lo, fn) }

func (n *node) ascend(lo string, fn func(entry) bool) bool {
	if n.leaf() {
		for _, e := range n.entries[n.find(lo):] {
			if !fn(e) {
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

// build makes the tree out of entries, which come in key order, with full
// nodes. The tree is empty before.
func (w *writer) build(entries []entry) {
	var level []*node
	var seps []string
	for len(entries) > 0 {
		n := min(fanout, len(entries))
		leaf := &node{gen: w.gen, entries: append(make([]entry, 0, fanout+1), entries[:n]...)}
		for _, e := range leaf.entries {
			if e.item.head.Load().live() {
				leaf.live++
			}
		}
		level, seps = append(level, leaf), append(seps, entries[0].key)
		entries = entries[n:]
	}
	for len(level) > 1 {
		var up []*node
		var upSeps []string
		for len(level) > 0 {
			n := min(fanout, len(level))
			inner := &node{
				gen:  w.gen,
				kids: append(make([]*node, 0, fanout+1), level[:n]...),
				seps: append(make([]string, 0, fanout+1), seps[:n]...),
			}
			for _, k := range inner.kids {
				inner.live += k.live
			}
			up, upSeps = append(up, inner), append(upSeps, seps[0])
			level, seps = level[n:], seps[n:]
		}
		level, seps = up, upSeps
	}
	if len(level) == 1 {
		w.root = level[0]
	}
}

// publish returns the tree as it stands, at revision; later changes leave it
// alone.
func (w *writer) publish(revision int64) tree {
	w.gen++
	return tree{root: w.root, revision: revision}
}

// own returns n if it is the writer's to change, else a copy that is.
func (w *writer) own(n *node) *node {
	if n.gen == w.gen {
		return n
	}
	c := &node{gen: w.gen, live: n.live}
	if n.leaf() {
		c.entries = append(make([]entry, 0, cap(n.entries)), n.entries...)
		return c
	}
	c.kids = append(make([]*node, 0, cap(n.kids)), n.kids...)
	c.seps = append(make([]string, 0, cap(n.seps)), n.seps...)
	return c
}

// get returns the item of key, nil if there is none.
func (w *writer) get(key string) *item { return tree{root: w.root}.get(key) }

// add adds delta to the live counts on the path to key, which is there.
func (w *writer) add(key string, delta int) {
	w.root = w.own(w.root)
	for n := w.root; ; {
		n.live += delta
		if n.leaf() {
			return
		}
		i := n.child(key)
		n.kids[i] = w.own(n.kids[i])
		n = n.kids[i]
	}
}

// insert puts a new key with its item, whose head is set, into the tree. The
// key is not there yet.
func (w *writer) insert(key string, it *item) {
	w.root = w.own(w.root)
	if right, sep := w.insertInto(w.root, key, it); right != nil {
		w.root = &node{gen: w.gen, live: w.root.live + right.live, kids: []*node{w.root, right}, seps: []string{"", sep}}
	}
}

// insertInto inserts below n, which is the writer's own. When n is full it
// keeps the left half and returns the right one with its bound.
func (w *writer) insertInto(n *node, key string, it *item) (right *node, sep string) {
	if it.head.Load().live() {
		n.live++
	}
	if n.leaf() {
		i := n.find(key)
		n.entries = append(n.entries, entry{})
		copy(n.entries[i+1:], n.entries[i:])
		n.entries[i] = entry{key, it}
		if len(n.entries) > fanout {
			return w.splitLeaf(n, i == len(n.entries)-1)
		}
		return nil, ""
	}
	i := n.child(key)
	n.kids[i] = w.own(n.kids[i])
	split, bound := w.insertInto(n.kids[i], key, it)
	if split == nil {
		return nil, ""
	}
	n.kids = append(n.kids, nil)
	copy(n.kids[i+2:], n.kids[i+1:])
	n.kids[i+1] = split
	n.seps = append(n.seps, "")
	copy(n.seps[i+2:], n.seps[i+1:])
	n.seps[i+1] = bound
	if len(n.kids) > fanout {
		return w.splitInner(n, i+1 == len(n.kids)-1)
	}
	return nil, ""
}

// cut says where a full run of length n is split: in the middle, but near the
// end where keys arrive in order, so that the left halves stay full.
func cut(n int, atEnd bool) int {
	if atEnd {
		return n - 1
	}
	return n / 2
}

func (w *writer) splitLeaf(n *node, atEnd bool) (*node, string) {
	m := cut(len(n.entries), atEnd)
	right := &node{gen: w.gen, entries: append(make([]entry, 0, fanout+1), n.entries[m:]...)}
	clear(n.entries[m:])
	n.entries = n.entries[:m]
	for _, e := range right.entries {
		if e.item.head.Load().live() {
			right.live++
		}
	}
	n.live -= right.live
	return right, right.entries[0].key
}

func (w *writer) splitInner(n *node, atEnd bool) (*node, string) {
	m := cut(len(n.kids), atEnd)
	right := &node{
		gen:  w.gen,
		kids: append(make([]*node, 0, fanout+1), n.kids[m:]...),
		seps: append(make([]string, 0, fanout+1), n.seps[m:]...),
	}
	clear(n.kids[m:])
	clear(n.seps[m:])
	n.kids, n.seps = n.kids[:m], n.seps[:m]
	for _, k := range right.kids {
		right.live += k.live
	}
	n.live -= right.live
	return right, right.seps[0]
}

// remove takes a dead key out of the tree.
func (w *writer) remove(key string) {
	w.root = w.own(w.root)
	w.removeFrom(w.root, key)
	for len(w.root.kids) == 1 {
		w.root = w.own(w.root.kids[0])
	}
}

// removeFrom removes below n, which is the writer's own. A kid that runs empty
// is dropped; one that together with its left neighbour fills no more than half
// a node is merged into it.
func (w *writer) removeFrom(n *node, key string) {
	if n.leaf() {
		if i := n.find(key); i < len(n.entries) && n.entries[i].key == key {
			n.entries = append(n.entries[:i], n.entries[i+1:]...)
		}
		return
	}
	i := n.child(key)
	n.kids[i] = w.own(n.kids[i])
	kid := n.kids[i]
	w.removeFrom(kid, key)
	switch {
	case kid.width() == 0 && len(n.kids) > 1:
		n.drop(i)
	case i > 0 && kid.width()+n.kids[i-1].width() <= fanout/2:
		left := w.own(n.kids[i-1])
		left.live += kid.live
		left.entries = append(left.entries, kid.entries...)
		left.kids = append(left.kids, kid.kids...)
		if !kid.leaf() {
			left.seps = append(append(left.seps, n.seps[i]), kid.seps[1:]...)
		}
		n.kids[i-1] = left
		n.drop(i)
	}
}

func (n *node) width() int { return len(n.entries) + len(n.kids) }

func (n *node) drop(i int) {
	n.kids = append(n.kids[:i], n.kids[i+1:]...)
	n.seps = append(n.seps[:i], n.seps[i+1:]...)
}
