package network

import (
	"sync"
	"time"
)

// Loss is what becomes of the bytes of a link.
type Loss int

const (
	// Pass lets them through.
	Pass Loss = iota
	// Swallow loses them. A connection that has lost any is reset when the link
	// is healed: no network gives a stream with a hole.
	Swallow
	// Hold keeps them back until the link is healed, and delivers them then, as
	// a network does that is found again before anybody has given up.
	Hold
)

// Rule is how a link is.
type Rule struct {
	Loss Loss
	// Delay is how long bytes are under way, at the least; to each piece up to
	// Jitter is added. They stay in order.
	Delay, Jitter time.Duration
}

// link is one direction between two members.
type link struct {
	mu struct {
		sync.Mutex
		rule    Rule
		changed chan struct{}  // closed when rule is another
		conns   map[*conn]bool // the value says that it has lost bytes
	}
}

func newLink() *link {
	l := &link{}
	l.mu.changed, l.mu.conns = make(chan struct{}), map[*conn]bool{}
	return l
}

// set changes the rule.
func (l *link) set(r Rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.rule.Loss == Swallow && r.Loss != Swallow {
		for c, lost := range l.mu.conns {
			if lost {
				c.reset()
			}
		}
	}
	l.mu.rule = r
	close(l.mu.changed)
	l.mu.changed = make(chan struct{})
}

func (l *link) add(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.conns[c] = false
}

func (l *link) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.conns, c)
}

// now returns the rule, and what is closed when there is another.
func (l *link) now() (Rule, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.rule, l.mu.changed
}

// swallows says whether bytes of c that come now are lost, and remembers it.
func (l *link) swallows(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.rule.Loss != Swallow {
		return false
	}
	l.mu.conns[c] = true
	return true
}
