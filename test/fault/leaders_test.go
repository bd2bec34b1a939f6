package fault

import (
	"context"
	"sync"
	"time"
)

// leaders watches who leads in which term. A term has one leader.
type leaders struct {
	c  *cluster
	mu struct {
		sync.Mutex
		byTerm map[uint64]uint64
	}
}

// watchLeaders watches until the test ends.
func watchLeaders(c *cluster) *leaders {
	l := &leaders{c: c}
	l.mu.byTerm = map[uint64]uint64{}
	ctx, cancel := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	for i := range size {
		wg.Go(func() { l.routineWatch(ctx, i) })
	}
	c.t.Cleanup(func() { cancel(); wg.Wait() })
	return l
}

func (l *leaders) routineWatch(ctx context.Context, i int) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.look(ctx, i)
		case <-ctx.Done():
			return
		}
	}
}

// look takes down what a member says.
func (l *leaders) look(ctx context.Context, i int) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	s, err := l.c.at[i].Status(ctx, l.c.hosts[i].Address())
	if err != nil || s.Leader == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if was := l.mu.byTerm[s.RaftTerm]; was != 0 && was != s.Leader {
		l.c.t.Errorf("%s takes %x for the leader of term %d, which was %x", name(i), s.Leader, s.RaftTerm, was)
	}
	l.mu.byTerm[s.RaftTerm] = s.Leader
}

// seen is how many terms had a leader that was seen.
func (l *leaders) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.byTerm)
}
