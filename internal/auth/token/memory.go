package token

import (
	"strings"
	"sync"
	"time"
)

// Bounds of what is remembered of good tokens. Only who has a right signature gets
// in, so they are generous: 131,072 tokens and 64 MiB of text, in two halves.
const (
	memoryShards = 16
	shardTokens  = 131_072 / memoryShards / 2
	shardBytes   = 64 << 20 / memoryShards / 2
)

// memory has the tokens whose signatures were verified, by their text. A look-up
// compares the text in full; Go's maps have a hash with a key of their own. When the
// young half of a shard is full it becomes the old one, and what was the old one
// goes, but for those that were asked for meanwhile.
type memory struct {
	shards [memoryShards]shard
}

type shard struct {
	mu struct {
		sync.RWMutex
		young, old map[string]*Token
		bytes      int // of young's texts
	}
}

func newMemory() *memory {
	m := &memory{}
	for i := range m.shards {
		m.shards[i].mu.young = map[string]*Token{}
	}
	return m
}

// shard is chosen by what differs most between tokens, the signature.
func (m *memory) shard(text string) *shard {
	return &m.shards[(text[len(text)-2]+text[len(text)-3])%memoryShards]
}

// get returns nil for what is not remembered.
func (m *memory) get(text string) *Token {
	s := m.shard(text)
	s.mu.RLock()
	t := s.mu.young[text]
	aged := t == nil && s.mu.old != nil
	if aged {
		t = s.mu.old[text]
	}
	s.mu.RUnlock()
	if aged && t != nil {
		s.put(t)
	}
	return t
}

// put remembers t under a copy of text.
func (m *memory) put(text string, t *Token) {
	t.text = strings.Clone(text)
	m.shard(text).put(t)
}

func (s *shard) put(t *Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.young[t.text] != nil {
		return
	}
	if len(s.mu.young) >= shardTokens || s.mu.bytes+len(t.text) > shardBytes {
		s.mu.old, s.mu.young, s.mu.bytes = s.mu.young, map[string]*Token{}, 0
	}
	s.mu.young[t.text] = t
	s.mu.bytes += len(t.text)
}

// Bounds of what is remembered of bad tokens, which anybody can send.
const (
	refusedFor    = 2 * time.Second // twice that at most
	refusedTokens = 512
	refusedBytes  = 512 << 10
)

// refusals has the tokens that no key has signed, so that sending one again does
// not cost a verification each time.
type refusals struct {
	mu struct {
		sync.Mutex
		young, old map[string]struct{}
		bytes      int
		since      time.Time // when young was begun
	}
}

func (r *refusals) has(text string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age(now)
	_, young := r.mu.young[text]
	_, old := r.mu.old[text]
	return young || old
}

func (r *refusals) put(text string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age(now)
	if len(r.mu.young) >= refusedTokens || r.mu.bytes+len(text) > refusedBytes {
		r.turn(now)
	}
	if r.mu.young == nil {
		r.mu.young = map[string]struct{}{}
	}
	r.mu.young[strings.Clone(text)] = struct{}{}
	r.mu.bytes += len(text)
}

// age lets go of what has been here for long enough.
func (r *refusals) age(now time.Time) {
	switch passed := now.Sub(r.mu.since); {
	case passed >= 2*refusedFor || passed < 0:
		r.turn(now)
		r.mu.old = nil
	case passed >= refusedFor:
		r.turn(now)
	}
}

func (r *refusals) turn(now time.Time) {
	r.mu.old, r.mu.young, r.mu.bytes, r.mu.since = r.mu.young, nil, 0, now
}
