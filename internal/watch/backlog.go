package watch

import "sync"

// backlog is the streams with watchers that lag and that have room to be told more,
// first come, first served.
type backlog struct {
	mu struct {
		sync.Mutex
		streams []*Stream
		closed  bool
	}
	more sync.Cond
}

func (b *backlog) push(s *Stream) {
	b.mu.Lock()
	b.mu.streams = append(b.mu.streams, s)
	b.mu.Unlock()
	b.more.Signal()
}

// pop takes the first stream, nil if there is none; with wait it waits for one, and
// returns nil once the backlog is closed.
func (b *backlog) pop(wait bool) *Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	for wait && len(b.mu.streams) == 0 && !b.mu.closed {
		b.more.Wait()
	}
	if len(b.mu.streams) == 0 || wait && b.mu.closed {
		return nil
	}
	s := b.mu.streams[0]
	b.mu.streams[0] = nil
	if b.mu.streams = b.mu.streams[1:]; len(b.mu.streams) == 0 {
		b.mu.streams = nil
	}
	return s
}

func (b *backlog) close() {
	b.mu.Lock()
	b.mu.closed = true
	b.mu.Unlock()
	b.more.Broadcast()
}
