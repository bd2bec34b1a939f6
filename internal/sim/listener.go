package sim

import (
	"fmt"
	"slices"
	"time"

	"etcd.alt/internal/watch"
)

// listeners is how many clients watch at the same time.
const listeners = 5

// mostWatches is how many watches a listener has at a time.
const mostWatches = 5

// listener is a client that watches. It stays with a member for a while; when the
// member dies, or the listener has had enough, it goes on with another where it was.
type listener struct {
	c       *Cluster
	id      int
	line    *line // nil between two
	until   time.Duration
	watches []*watching // in the order in which they were asked for
	asked   int64       // for progress, once all is over, at this revision
	all     int64       // progress spoke of all of them
	numbers int64       // watches so far
}

// watching is a watch as its client sees it, across all streams that it was on.
type watching struct {
	watch.Request
	number  int64
	refusal bool // it is to be refused

	// next is the revision from which on events are to come, 0 where that is not
	// known yet: it is what a resumption begins with. at is the place of the next
	// change in the model that may be one of them.
	next int64
	at   int
	// partial says that a fragment came last; whole is where it was before the first
	// of its kind.
	partial bool
	whole   struct {
		next int64
		at   int
	}

	id      int64 // on its present stream
	begun   bool  // there
	doomed  bool  // it began there below the compaction
	ended   bool  // a compaction has ended it
	leaving bool  // it is asked to be cancelled
	denied  bool  // the member does not make it, for want of rights
}

func (w *watching) String() string {
	s := fmt.Sprintf("watch %d of [%q, %q) from %d", w.number, w.Key, w.End, w.next)
	for _, o := range []struct {
		set  bool
		name string
	}{{w.NoPut, "no puts"}, {w.NoDelete, "no deletions"}, {w.Prev, "previous"}, {w.Notify, "progress"}, {w.Fragment, "fragments"}} {
		if o.set {
			s += ", " + o.name
		}
	}
	return s
}

// act is what a listener does now and then.
func (l *listener) act() {
	c := l.c
	most := 1500 * time.Millisecond
	if c.closing {
		most = 100 * time.Millisecond
	}
	c.clock.after(50*time.Millisecond+time.Duration(c.dice.Int64N(int64(most))), l.act)
	switch {
	case l.line == nil:
		l.call()
	case l.line.life != l.line.h.life, !c.closing && c.clock.now > l.until:
		l.hangUp()
	case c.closing:
		l.close()
	default:
		l.wish()
	}
}

// budgets and fragments are drawn from: the bytes that may wait for a listener, and
// those of a fragment.
var (
	budgets   = []int{1, 200, 1000, 8000, 1 << 18}
	fragments = []int{200, 1000, 1 << 20}
)

// call has the listener go to a member, and go on there.
func (l *listener) call() {
	c := l.c
	h := l.find()
	if h == nil {
		return
	}
	n := &line{l: l, h: h, life: h.life, cluster: h.data.Identity.ClusterID, watches: map[int64]*watching{}, user: l.as(), budget: budgets[c.dice.IntN(len(budgets))]}
	n.stream = h.state.Watch.Open(n, fragments[c.dice.IntN(len(fragments))])
	l.line, l.asked, l.all, l.until = n, 0, 0, c.clock.now+time.Second+time.Duration(c.dice.Int64N(int64(40*time.Second)))
	if c.dice.IntN(2) == 0 {
		l.until = mostTime // as long as the member lives
	}
	c.say("listener %d goes to host %d, which is at revision %d, with room for %d bytes", l.id, h.id, n.revision(), n.budget)
	for _, w := range l.watches {
		w.Start, w.ID = w.next, 0
		if w.next > 0 {
			c.out.Watch.Resumed++
			if w.next > n.revision()+1 {
				c.out.Watch.Behind++
			}
		}
		l.create(w)
	}
	for len(l.watches) < 2 && !c.closing {
		l.watches = append(l.watches, l.draw())
		l.create(l.watches[len(l.watches)-1])
	}
}

// find draws a member that answers, nil for none; at times it is the one that is
// furthest behind.
func (l *listener) find() (h *host) {
	c := l.c
	if one := c.hosts[c.dice.IntN(len(c.hosts))]; one.answers() {
		h = one
	}
	if c.dice.IntN(2) == 0 {
		for _, o := range c.hosts {
			if o.answers() && (h == nil || o.machine.View().Applied < h.machine.View().Applied) {
				h = o
			}
		}
	}
	return h
}

func (h *host) answers() bool { return h.up && h.served && h.paused == 0 }

// hangUp ends the listener's line. Of what is on its way some may still arrive. The
// member takes note of it late.
func (l *listener) hangUp() {
	n := l.line
	n.hear(l.c.dice.IntN(len(n.queue) + 1))
	l.line, n.dead = nil, true
	l.c.say("listener %d is without host %d", l.id, n.h.id)
	n.h.in(n.life, func() { n.h.after(l.c.dawdle(), n.stream.Close) })
	kept := l.watches[:0]
	for _, w := range l.watches {
		if w.leaving || w.ended {
			continue
		}
		if w.partial {
			w.partial, w.next, w.at = false, w.whole.next, w.whole.at
		}
		w.begun, w.doomed = false, false
		kept = append(kept, w)
	}
	l.watches = kept
}

// wish draws what a listener wants of its member.
func (l *listener) wish() {
	switch n := l.c.dice.IntN(100); {
	case n < 20 && len(l.watches) < mostWatches:
		l.watches = append(l.watches, l.draw())
		l.create(l.watches[len(l.watches)-1])
	case n < 26:
		l.cancel()
	case n < 50:
		l.ask()
	case n < 53:
		l.create(l.drawWrong())
	}
}

// draw draws a watch.
func (l *listener) draw() *watching {
	dice := l.c.dice
	key := func() []byte { return fmt.Appendf(nil, "k%d", dice.IntN(clientKeys)) }
	l.numbers++
	w := &watching{number: l.numbers}
	w.Prev, w.Notify, w.Fragment = dice.IntN(2) == 0, dice.IntN(2) == 0, dice.IntN(2) == 0
	switch n := dice.IntN(10); {
	case n < 4:
		w.Key = key()
	case n < 6:
		w.Key, w.End = []byte("k1"), []byte("k3")
	case n < 8:
		w.Key, w.End = []byte("k"), []byte("l")
	case n < 9:
		w.Key, w.End = key(), []byte{0}
	default:
		w.End = []byte{0}
	}
	switch dice.IntN(8) {
	case 0:
		w.NoPut = true
	case 1:
		w.NoDelete = true
	}
	newest := l.c.model.Revision
	switch dice.IntN(6) {
	case 0:
		w.Start = max(1, newest-dice.Int64N(50))
	case 1: // compacted at times
		w.Start = 1 + dice.Int64N(newest)
	case 2:
		w.Start = max(1, l.c.model.Compacted+dice.Int64N(3)-1)
	case 3:
		w.Start = newest + 1 + dice.Int64N(20)
	}
	if dice.IntN(4) == 0 {
		w.ID = 1000 + w.number
	}
	if w.next = w.Start; w.next > 0 {
		w.at = l.c.model.changesFrom(w.next)
	}
	return w
}

// drawWrong draws a watch that is to be refused.
func (l *listener) drawWrong() *watching {
	w := l.draw()
	w.refusal = true
	switch l.c.dice.IntN(3) {
	case 0:
		w.Start = -1
		return w
	case 1:
		for _, o := range l.watches {
			// Where there are users it may be free again by then.
			if o.begun && !o.leaving && o.id != 0 && !hasUsers(l.c.seed) {
				w.ID = o.id
				return w
			}
		}
	}
	w.Key, w.End = []byte("k3"), []byte("k1")
	return w
}

// create asks the member for a watch.
func (l *listener) create(w *watching) {
	n := l.line
	l.c.say("listener %d asks host %d for %v", l.id, n.h.id, w)
	r := w.Request
	n.creating = append(n.creating, w)
	w.denied = false
	n.request(func() { n.admit(w, r) })
}

// cancel asks for one of the watches to be cancelled, if there is one that has begun.
func (l *listener) cancel() {
	if len(l.watches) == 0 {
		return
	}
	w := l.watches[l.c.dice.IntN(len(l.watches))]
	if w.begun && !w.leaving {
		l.leave(w)
	}
}

func (l *listener) leave(w *watching) {
	w.leaving = true
	n, id := l.line, w.id
	l.c.say("listener %d asks host %d to cancel watch %d", l.id, n.h.id, w.number)
	n.request(func() { n.stream.Cancel(id) })
}

// ask asks how far the member is with all the watches of the stream.
func (l *listener) ask() {
	n := l.line
	n.request(func() {
		n.asked = append(n.asked, n.revision())
		n.stream.Ask()
	})
}

// close has a listener ask once, when all is over, whether that was all. It must be
// told: there is a watch.
func (l *listener) close() {
	n, newest := l.line, l.c.model.Revision
	if l.asked == newest || n.revision() < newest || len(n.requests)+len(n.creating) > 0 {
		return
	}
	for _, w := range l.watches {
		if w.begun && !w.doomed && !w.leaving {
			l.asked = newest
			l.ask()
			return
		}
	}
}

// heardAll says whether all who watch were told everything.
func (c *Cluster) heardAll() bool {
	for _, l := range c.listeners {
		if !l.heardAll() {
			return false
		}
	}
	return true
}

func (l *listener) heardAll() bool {
	n, m := l.line, l.c.model
	if n == nil || n.life != n.h.life || len(n.requests)+len(n.creating)+len(n.queue) > 0 {
		return false
	}
	waits, living := false, false // for a revision to come
	for _, w := range l.watches {
		switch {
		case w.leaving:
			return false
		case w.ended:
			continue
		case !w.begun, w.partial, w.coming(m) != nil:
			return false
		}
		living = true
		waits = waits || w.next > m.Revision+1
	}
	return waits || !living || l.all >= m.Revision
}

// lose takes a watch away that the member has ended, or does not make. There may be
// nobody left who is told how far the stream is.
func (l *listener) lose(w *watching) {
	l.asked = 0
	l.watches = slices.DeleteFunc(l.watches, func(o *watching) bool { return o == w })
}

// state tells what a listener waits for.
func (l *listener) state() string {
	if l.line == nil {
		return fmt.Sprintf("listener %d has no member", l.id)
	}
	n := l.line
	s := fmt.Sprintf("listener %d at host %d (at revision %d, %+v; room for %d bytes, %d wait, %d requests, %d to be created; all was told up to %d, %d questions)",
		l.id, n.h.id, n.revision(), n.h.state.Watch.Stats(), n.budget, n.bytes, len(n.requests), len(n.creating), l.all, len(n.asked))
	for _, w := range l.watches {
		s += fmt.Sprintf(", %v (begun %v, ended %v, leaving %v)", w, w.begun, w.ended, w.leaving)
	}
	return s
}
