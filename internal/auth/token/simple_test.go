package token

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// login logs alice in, as every member hears of it.
func login(t testing.TB, index uint64, members ...Provider) string {
	t.Helper()
	draft, err := members[0].Draft()
	require.NoError(t, err)
	l := alice
	l.Draft, l.Index = draft, index
	for _, m := range members {
		m.Applied([]Login{l})
	}
	return must(members[0].Issue(l))
}

func TestSimple(t *testing.T) {
	a, _, _ := start(t, "simple")
	b, _, _ := start(t, "simple")
	text := login(t, 41, a, b)
	require.Regexp(t, regexp.MustCompile(`^[a-zA-Z]{16}\.41$`), text)
	require.NotEqual(t, text, login(t, 41, a, b))
	for _, p := range []Provider{a, b} {
		read, err := p.Read(text)
		require.NoError(t, err)
		require.Equal(t, "alice", read.User)
		require.Equal(t, uint64(7), read.Revision)
		require.True(t, read.Vouches(alice.account()))
		require.False(t, read.Vouches(Account{Name: "alice", Hash: []byte("a later one")}))
		require.False(t, read.Vouches(Account{Name: "bob", Hash: alice.Hash}))
	}
}

// A token that is in order may be of a login that is still on its way.
func TestUnknownOrInvalid(t *testing.T) {
	p, _, _ := start(t, "simple")
	other, _, _ := start(t, "simple")
	text := login(t, 50, other)
	_, err := p.Read(text)
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorIs(t, err, ErrInvalid)
	login(t, 50, p)
	_, err = p.Read(text)
	require.ErrorIs(t, err, ErrUnknown, "two logins may have one index")
	login(t, 51, p)
	_, err = p.Read(text)
	require.Equal(t, ErrInvalid, err, "it was not made before index 51")

	long := strings.Repeat("a", 16)
	for _, text := range []string{"", "x", long, long + ".", long + ".x", long + ".-1", long + ".+1", long + ".01", long + ".1.", "a" + long + ".1",
		long[1:] + ".1", long[1:] + "1.1", long[1:] + "é.1", long + ".18446744073709551616", strings.Repeat("a.", 1<<20)} {
		_, err := p.Read(text)
		require.Equal(t, ErrInvalid, err, "%.40q", text)
	}
	_, err = p.Read(long + ".18446744073709551615")
	require.Equal(t, ErrUnknown, err)
}

func TestSimpleLifeSlides(t *testing.T) {
	p, c, _ := start(t, "simple")
	text := login(t, 1, p)
	read := must(p.Read(text))
	for range 10 {
		c.add(300 * time.Second)
		c.add(-time.Nanosecond)
		require.True(t, read.Good(c.now()), "each use is good for all of the time again")
	}
	c.add(299 * time.Second)
	require.Same(t, read, must(p.Read(text)), "reading is a use")
	c.add(301 * time.Second)
	require.False(t, read.Good(c.now()), "and little more than that")
	_, err := p.Read(text)
	require.Equal(t, ErrInvalid, err)
}

func TestDisabledForgets(t *testing.T) {
	p, c, _ := start(t, "simple")
	text := login(t, 1, p)
	read := must(p.Read(text))
	p.Disabled()
	require.False(t, read.Good(c.now()))
	_, err := p.Read(text)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = p.Read(login(t, 2, p))
	require.NoError(t, err)
}

// What has expired goes as logins come, and what is used stays.
func TestSimpleSweep(t *testing.T) {
	p, c, _ := start(t, "simple")
	s := p.(*simple)
	var texts []string
	for i := range uint64(1000) {
		texts = append(texts, login(t, i, p))
	}
	used := must(p.Read(texts[500]))
	for range 2 {
		c.add(200 * time.Second)
		require.True(t, used.Good(c.now()))
	}
	for i := range uint64(400) {
		login(t, 1000+i, p)
	}
	require.True(t, used.Good(c.now()))
	require.Len(t, s.mu.tokens, 401)
	require.Len(t, s.mu.queue[s.mu.head:], 401)
	require.Less(t, cap(s.mu.queue), 4000)
}

func TestSimpleIsBounded(t *testing.T) {
	p, c, _ := start(t, "simple")
	s := p.(*simple)
	s.limit = 100
	first := must(p.Read(login(t, 1, p)))
	for i := range uint64(1000) {
		login(t, i+2, p)
		require.LessOrEqual(t, len(s.mu.tokens), 100)
	}
	require.False(t, first.Good(c.now()), "the oldest was forgotten")
	require.Len(t, s.mu.queue[s.mu.head:], 100)
}

// A login that is applied again, or that another kind of token was drafted for.
func TestOddLogins(t *testing.T) {
	p, c, _ := start(t, "simple")
	l := alice
	l.Draft, l.Index = "abcdefghijklmnop", 3
	p.Applied([]Login{l})
	first := must(p.Read(simpleText(l)))
	p.Applied([]Login{l, {User: "a"}, {User: "b", Draft: "x", Index: 4}, {User: "c", Draft: strings.Repeat("é", 8)}})
	second := must(p.Read(simpleText(l)))
	require.True(t, first.Good(c.now()))
	c.add(200 * time.Second)
	require.True(t, second.Good(c.now()))
	c.add(200 * time.Second)
	login(t, 9, p)
	require.False(t, first.Good(c.now()))
	require.Same(t, second, must(p.Read(simpleText(l))))
	c.add(10 * time.Minute)
	for i := range uint64(3) {
		login(t, 10+i, p)
	}
	require.False(t, second.Good(c.now()))
	require.Len(t, p.(*simple).mu.tokens, 3)
}

func TestDraftsAreEvenlySpread(t *testing.T) {
	p, _, _ := start(t, "simple")
	count := map[rune]int{}
	const drafts = 5000
	for range drafts {
		for _, r := range must(p.Draft()) {
			count[r]++
		}
	}
	require.Len(t, count, 52)
	for r, n := range count {
		require.InDelta(t, drafts*16/52, n, 300, "%c", r) // seven standard deviations
	}
}

func TestSimpleMany(t *testing.T) {
	p, c, _ := start(t, "simple")
	var all sync.WaitGroup
	texts := make(chan string, 1000)
	for range 3 {
		all.Go(func() {
			for text := range texts {
				if read, err := p.Read(text); err == nil {
					read.Good(c.now())
					read.Vouches(alice.account())
				}
			}
		})
	}
	for i := range uint64(2000) {
		texts <- login(t, i, p)
		if c.add(time.Second); i%500 == 499 {
			p.Disabled()
		}
	}
	close(texts)
	all.Wait()
}

func BenchmarkReadSimple(b *testing.B) {
	p := must(New(Options{}))
	for i := range uint64(1000) {
		login(b, i, p)
	}
	text := login(b, 1000, p)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplied(b *testing.B) {
	p := must(New(Options{}))
	l := alice
	i := 0
	for b.Loop() {
		l.Draft, l.Index = "abcdefghijklmnop", uint64(i)
		if i++; i%1000 == 0 {
			p.Disabled()
		}
		p.Applied([]Login{l})
	}
}
