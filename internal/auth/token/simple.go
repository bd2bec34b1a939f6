package token

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	draftLetters = 16
	letters      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	// maxSimple is how many simple tokens are remembered, some 300 MB of them. The
	// pace of logins is bounded by their hashing, so it takes days to get there;
	// then the oldest go.
	maxSimple = 1_000_000
	// swept is how many tokens a login looks at for whether they have expired. More
	// than one, so that they go faster than they came.
	swept = 4
	// longestLife keeps the end of a token's life within an int64.
	longestLife = 100 * 365 * 24 * time.Hour
)

// simple are tokens of 16 random letters, a point and a log index. They are in
// memory only: every member hears of each login from the log, and starts with none.
type simple struct {
	now     func() time.Time
	cluster uint64
	life    time.Duration
	limit   int

	mu struct {
		sync.RWMutex
		era    *era
		tokens map[string]*Token
		queue  []queued // by due, from head on
		head   int
		newest uint64 // the index of the last login
	}
}

type queued struct {
	text  string
	token *Token
	due   int64 // when it is worth looking at: it does not expire before
}

func newSimple(o Options) *simple {
	s := &simple{now: o.Now, cluster: o.ClusterID, life: min(o.TTL, longestLife), limit: maxSimple}
	s.mu.era = &era{}
	s.mu.tokens = map[string]*Token{}
	return s
}

// Draft is Provider's.
func (s *simple) Draft() (string, error) {
	b := make([]byte, 0, draftLetters)
	var random [64]byte
	for len(b) < draftLetters {
		rand.Read(random[:]) // it does not fail
		for _, r := range random {
			// Of 64 values 52 are letters, all with the same chance.
			if r &= 63; int(r) < len(letters) && len(b) < draftLetters {
				b = append(b, letters[r])
			}
		}
	}
	return string(b), nil
}

// Issue is Provider's.
func (s *simple) Issue(l Login) (string, error) {
	return simpleText(l), nil
}

func simpleText(l Login) string { return l.Draft + "." + strconv.FormatUint(l.Index, 10) }

// Applied is Provider's.
func (s *simple) Applied(logins []Login) {
	now := s.now().UnixNano()
	for _, l := range logins {
		text := simpleText(l)
		if _, ok := simpleIndex(text); !ok {
			continue // a draft of another kind of token
		}
		t := &Token{
			User: l.User, Revision: l.Revision, cluster: s.cluster,
			life: int64(s.life), grain: int64(min(s.life/100, time.Second)),
			print: Fingerprint(s.cluster, l.User, l.Hash), bound: true,
		}
		t.ends.Store(now + t.life)
		s.remember(text, t, l.Index, now)
	}
}

func (s *simple) remember(text string, t *Token, index uint64, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < swept && s.mu.head < len(s.mu.queue) && s.mu.queue[s.mu.head].due <= now; i++ {
		s.sweep(now)
	}
	for len(s.mu.tokens) >= s.limit {
		q := s.pop()
		q.token.ends.Store(0)
		s.forget(q)
	}
	t.era = s.mu.era
	s.mu.newest = max(s.mu.newest, index)
	s.mu.tokens[text] = t
	s.mu.queue = append(s.mu.queue, queued{text, t, now + t.life})
}

// sweep looks at the first token, which is due. If it was used since it is due
// again in a lifetime.
func (s *simple) sweep(now int64) {
	q := s.pop()
	if end := q.token.ends.Load(); now >= end && q.token.ends.CompareAndSwap(end, 0) {
		s.forget(q)
		return
	}
	q.due = now + q.token.life
	s.mu.queue = append(s.mu.queue, q)
}

func (s *simple) pop() queued {
	q := s.mu.queue[s.mu.head]
	s.mu.queue[s.mu.head] = queued{}
	if s.mu.head++; s.mu.head > len(s.mu.queue)/2 {
		n := copy(s.mu.queue, s.mu.queue[s.mu.head:])
		clear(s.mu.queue[n:])
		s.mu.queue, s.mu.head = s.mu.queue[:n], 0
	}
	return q
}

// forget drops a token whose life has been ended.
func (s *simple) forget(q queued) {
	if s.mu.tokens[q.text] == q.token { // a login that was applied again has made another
		delete(s.mu.tokens, q.text)
	}
}

// Disabled is Provider's.
func (s *simple) Disabled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.era.over.Store(true)
	s.mu.era = &era{}
	s.mu.tokens = map[string]*Token{}
	s.mu.queue, s.mu.head = nil, 0
}

// Read is Provider's. A token whose index lies before that of a login which was
// applied here was applied here too, or never made: it cannot become known.
func (s *simple) Read(text string) (*Token, error) {
	s.mu.RLock()
	t, newest := s.mu.tokens[text], s.mu.newest
	s.mu.RUnlock()
	if t != nil {
		if t.Good(s.now()) {
			return t, nil
		}
		return nil, ErrInvalid
	}
	if index, ok := simpleIndex(text); !ok || index < newest {
		return nil, ErrInvalid
	}
	return nil, ErrUnknown
}

// simpleIndex returns the index of a token that is in order.
func simpleIndex(text string) (index uint64, ok bool) {
	if len(text) < draftLetters+2 || len(text) > draftLetters+21 || text[draftLetters] != '.' {
		return 0, false
	}
	for i := range draftLetters {
		if strings.IndexByte(letters, text[i]) < 0 {
			return 0, false
		}
	}
	digits := text[draftLetters+1:]
	index, err := strconv.ParseUint(digits, 10, 64)
	return index, err == nil && (digits[0] != '0' || digits == "0")
}

// Close is Provider's.
func (s *simple) Close() {}
