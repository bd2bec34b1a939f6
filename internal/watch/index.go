package watch

// group are the watchers of one key, or of one range.
type group struct{ watchers []*watcher }

// index finds the watchers of a key.
type index struct {
	keys   map[string]*group
	ranges tree
}

func newIndex() *index { return &index{keys: map[string]*group{}} }

// add puts a watcher in and returns its group and its place there.
func (x *index) add(w *watcher) (g *group, slot int) {
	if w.ranged {
		g = x.ranges.at(w.span)
	} else if g = x.keys[w.span.lo]; g == nil {
		g = &group{}
		x.keys[w.span.lo] = g
	}
	g.watchers = append(g.watchers, w)
	return g, len(g.watchers) - 1
}

// place puts a watcher in, to be removed again. A watcher has one place.
func (x *index) place(w *watcher) { w.group, w.slot = x.add(w) }

// remove takes a watcher from its place.
func (x *index) remove(w *watcher) {
	g := w.group
	end := len(g.watchers) - 1
	moved := g.watchers[end]
	g.watchers[w.slot], moved.slot = moved, w.slot
	g.watchers[end] = nil
	g.watchers = g.watchers[:end]
	if w.group = nil; end > 0 {
		return
	}
	if w.ranged {
		x.ranges.remove(w.span)
	} else {
		delete(x.keys, w.span.lo)
	}
}

// match calls fn for the watchers of a key.
func (x *index) match(key string, fn func(*watcher)) {
	if g := x.keys[key]; g != nil {
		for _, w := range g.watchers {
			fn(w)
		}
	}
	if x.ranges.root != nil {
		x.ranges.root.around(key, func(g *group) {
			for _, w := range g.watchers {
				fn(w)
			}
		})
	}
}
