package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

var background = context.Background()

// of looks up a hash.
func of(hash []byte) func() ([]byte, error) { return func() ([]byte, error) { return hash, nil } }

func TestHashAndCompare(t *testing.T) {
	k := New(Options{Cost: MinCost})
	defer k.Close()
	for _, password := range []string{"secret", "", "mit Umlauten: äöü", "a\x00b", strings.Repeat("x", MaxLength)} {
		hash, err := k.Hash(background, "alice", "a", password)
		require.NoError(t, err)
		cost, err := bcrypt.Cost(hash)
		require.NoError(t, err)
		require.Equal(t, MinCost, cost)
		require.NoError(t, bcrypt.CompareHashAndPassword(hash, []byte(password)))

		ok, err := k.Compare(background, "alice", "a", of(hash), password)
		require.NoError(t, err)
		require.True(t, ok)
		for _, wrong := range []string{password + "y", "Secret", "a"} {
			ok, err = k.Compare(background, "alice", "a", of(hash), wrong)
			require.NoError(t, err)
			require.False(t, ok, "%q for %q", wrong, password)
		}
	}
	_, err := k.Hash(background, "alice", "a", strings.Repeat("x", MaxLength+1))
	require.ErrorIs(t, err, ErrTooLong)
	require.ErrorContains(t, err, "72 bytes")
}

// Names that do not exist take what others take, and are never right.
func TestUnknownUsers(t *testing.T) {
	k := New(Options{Cost: MinCost + 1})
	defer k.Close()
	var compared [][]byte
	k.compare = func(hash, password []byte, pause func() error) (bool, error) {
		compared = append(compared, hash)
		return matches(hash, password, pause)
	}
	known, err := k.Hash(background, "alice", "a", "secret")
	require.NoError(t, err)
	for _, hash := range [][]byte{nil, {}, []byte("not a hash"), known[:20], known} {
		ok, err := k.Compare(background, "alice", "a", of(hash), "wrong")
		require.NoError(t, err)
		require.False(t, ok)
	}
	require.Len(t, compared, 5)
	for _, hash := range compared {
		cost, err := bcrypt.Cost(hash)
		require.NoError(t, err)
		require.Equal(t, MinCost+1, cost)
		require.Len(t, hash, len(known))
	}
	require.Equal(t, bcrypt.ErrMismatchedHashAndPassword, bcrypt.CompareHashAndPassword(k.dummy, nil), "it is well formed")
	require.False(t, bytes.Equal(k.dummy, New(Options{Cost: MinCost + 1}).dummy))

	// However long a password that is too long, as much of it is looked at.
	k.compare = func(_, password []byte, _ func() error) (bool, error) {
		require.LessOrEqual(t, len(password), MaxLength)
		return true, nil
	}
	ok, err := k.Compare(background, "alice", "a", of(known), strings.Repeat("x", 1<<20))
	require.NoError(t, err)
	require.False(t, ok)
	ok, err = k.Compare(background, "alice", "a", of(nil), "x")
	require.NoError(t, err)
	require.False(t, ok, "a dummy that fits is no user")
}

// slow is a Keeper whose runs take a time of the bubble's clock, and count.
type slow struct {
	*Keeper
	mu struct {
		sync.Mutex
		running, most, runs int
		order               []string // whose runs have ended
	}
}

// pauses is how many pauses a run of theirs makes.
const pauses = 10

func newSlow(t *testing.T, o Options, takes time.Duration) *slow {
	s := &slow{Keeper: New(o)}
	s.compare = func(_, password []byte, pause func() error) (bool, error) {
		s.mu.Lock()
		s.mu.running++
		s.mu.runs++
		s.mu.most = max(s.mu.most, s.mu.running)
		s.mu.Unlock()
		var err error
		for i := 0; i < pauses && err == nil; i++ {
			time.Sleep(takes / pauses)
			err = pause()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.running--
		s.mu.order = append(s.mu.order, string(password))
		return strings.HasPrefix(string(password), "right"), err
	}
	t.Cleanup(func() {
		s.Close()
		time.Sleep(2 * time.Hour) // of the bubble's: who computes is let end
	})
	return s
}

var someHash = []byte("$2a$04$......................abcdefghijklmnopqrstuvwxyzabcde")

// login compares on a goroutine of its own and tells how it ended.
func (s *slow) login(ctx context.Context, user, address, password string) chan error {
	done := make(chan error, 1)
	go func() {
		ok, err := s.Compare(ctx, user, address, of(someHash), password)
		if err == nil && ok != strings.HasPrefix(password, "right") {
			err = errors.New("the answer is another's")
		}
		done <- err
	}()
	synctest.Wait()
	return done
}

// held are how many wait and how many compute.
func held(k *Keeper) (waiting, running int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.line.len(), k.mu.running
}

// The share of the CPU is kept to, after what was saved up.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share = 0.2 // of one CPU
		s := newSlow(t, Options{Parallel: 1, Share: share / float64(runtime.GOMAXPROCS(0)), Queue: 1000}, 50*time.Millisecond)
		time.Sleep(time.Hour) // no more than a second is saved up
		for i := range 1000 {
			s.login(background, "u", "a", fmt.Sprint(i))
		}
		const minute = 60
		time.Sleep(minute*time.Second + time.Millisecond)
		s.mu.Lock()
		runs, most := s.mu.runs, s.mu.most
		s.mu.Unlock()
		require.InDelta(t, (burst.Seconds()+share*minute)/0.05, runs, 3)
		require.Equal(t, 1, most)
	})
}

// Runs side by side share what is earned.
func TestBudgetOfManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 4, Share: 0.1 / float64(runtime.GOMAXPROCS(0))}, time.Second)
		began := time.Now()
		var all []chan error
		for i := range 8 {
			all = append(all, s.login(background, "u", "a", fmt.Sprint(i)))
		}
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, 4, s.mu.most)
		require.InDelta(t, (8-burst.Seconds())/0.1, time.Since(began).Seconds(), 10)
	})
}

// A run whose caller has gone, or that Close ends, computes no further.
func TestRunsAreCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 2, Share: 1}, time.Hour)
		ctx, cancel := context.WithCancel(background)
		one, two := s.login(ctx, "u", "a", "right"), s.login(background, "u", "b", "right")
		time.Sleep(time.Minute)
		cancel()
		s.Close()
		require.ErrorIs(t, <-one, ErrClosed)
		require.ErrorIs(t, <-two, ErrClosed)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 1, Share: 1}, time.Hour)
		ctx, cancel := context.WithCancel(background)
		one := s.login(ctx, "u", "a", "right")
		cancel()
		require.ErrorIs(t, <-one, context.Canceled)
	})
}

// What is computed in slices is what the library computes.
func TestTheSameAsTheLibrary(t *testing.T) {
	rested := 0
	pause := func() error { rested++; return nil }
	for cost := MinCost; cost < MinCost+3; cost++ {
		for _, password := range []string{"", "a", "secret", "a\x00b", "äöü", strings.Repeat("x", MaxLength)} {
			theirs, err := bcrypt.GenerateFromPassword([]byte(password), cost)
			require.NoError(t, err)
			ok, err := matches(theirs, []byte(password), pause)
			require.NoError(t, err)
			require.True(t, ok, "%q", password)
			ok, err = matches(theirs, []byte(password + "x")[:min(len(password)+1, MaxLength)], pause)
			require.NoError(t, err)
			require.Equal(t, len(password) == MaxLength, ok)
			ours, err := generate([]byte(password), cost, pause)
			require.NoError(t, err)
			require.NoError(t, bcrypt.CompareHashAndPassword(ours, []byte(password)))
		}
	}
	require.Positive(t, rested)
}

// Who may not know the hash does not wait for it to be compared.
func TestTheHashIsLookedUpWhenTheTurnHasCome(t *testing.T) {
	k := New(Options{Cost: MinCost})
	failed := errors.New("not now")
	_, err := k.Compare(background, "u", "a", func() ([]byte, error) { return nil, failed }, "x")
	require.ErrorIs(t, err, failed)
	waiting, running := held(k)
	require.Zero(t, waiting+running)
	k.Close()
	_, err = k.Compare(background, "u", "a", func() ([]byte, error) { panic("looked up") }, "x")
	require.ErrorIs(t, err, ErrClosed)
}

func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 3, Share: 1}, 50*time.Millisecond)
		var all []chan error
		for i := range 12 {
			all = append(all, s.login(background, "u", "a", fmt.Sprint(i)))
		}
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, 3, s.mu.most)
	})
}

// A flood from one address, under any number of names, does not keep another out.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 50 * time.Millisecond
		s := newSlow(t, Options{Parallel: 1}, takes)
		ctx, stop := context.WithCancel(background)
		var flood sync.WaitGroup
		for i := range 100 {
			flood.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_, err := s.Compare(ctx, fmt.Sprint("user ", i, n), "bad", of(nil), "guess")
					if errors.Is(err, ErrBusy) {
						time.Sleep(50 * time.Millisecond)
					}
				}
			})
		}
		time.Sleep(20 * time.Second)
		// One run that is under way, one of the flood's, and each has to be earned.
		moment := time.Duration(4 * float64(takes) / s.pace)
		for range 5 {
			began := time.Now()
			ok, err := s.Compare(ctx, "alice", "good", of(someHash), "right")
			require.NoError(t, err)
			require.True(t, ok)
			require.Less(t, time.Since(began), moment)
		}
		stop()
		flood.Wait()
	})
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 1}, time.Millisecond)
		var all []chan error
		for _, l := range []struct{ user, address, name string }{
			{"x", "x", "first"}, // it has its turn before the others come
			{"u", "a", "a u 1"}, {"u", "a", "a u 2"}, {"u", "a", "a u 3"}, {"v", "a", "a v 1"},
			{"w", "b", "b w 1"}, {"w", "b", "b w 2"},
			{"u", "c", "c u 1"},
		} {
			all = append(all, s.login(background, l.user, l.address, l.name))
		}
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, []string{"first", "a u 1", "b w 1", "c u 1", "a v 1", "b w 2", "a u 2", "a u 3"}, s.mu.order)
	})
}

func TestFullLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 1, Queue: 4}, time.Hour)
		s.login(background, "x", "x", "the one that computes")
		first := s.login(background, "u", "a", "1")
		second := s.login(background, "u", "a", "2")
		third := s.login(background, "u", "a", "3")
		other := s.login(background, "v", "a", "4")
		refused := func(done chan error) {
			t.Helper()
			select {
			case err := <-done:
				require.ErrorIs(t, err, ErrBusy)
			default:
				require.Fail(t, "it waits")
			}
		}
		waits := func(all ...chan error) {
			t.Helper()
			for _, done := range all {
				require.Empty(t, done)
			}
		}
		// The busiest user of an address gives way to a less busy one of it.
		refused(s.login(background, "u", "a", "5"))
		newcomer := s.login(background, "w", "a", "6")
		refused(third)
		waits(first, second, other, newcomer)
		// The busiest address gives way to others, until they are alike.
		b1 := s.login(background, "u", "b", "7")
		refused(second)
		b2 := s.login(background, "u", "b", "8")
		refused(newcomer)
		waits(first, other, b1, b2)
		c := s.login(background, "u", "c", "9")
		refused(b2)
		d := s.login(background, "u", "d", "10")
		refused(other)
		refused(s.login(background, "u", "e", "11"))
		refused(s.login(background, "u", "c", "12"))
		waits(first, b1, c, d)
		waiting, running := held(s.Keeper)
		require.Equal(t, []int{4, 1}, []int{waiting, running})
		s.Close()
		for _, done := range []chan error{first, b1, c, d} {
			require.ErrorIs(t, <-done, ErrClosed)
		}
		require.ErrorIs(t, <-s.login(background, "u", "a", "13"), ErrClosed)
		_, err := s.Hash(background, "u", "a", "14")
		require.ErrorIs(t, err, ErrClosed)
		s.Close()
	})
}

// Who gives way to whom in a line that is full.
func TestDisplaced(t *testing.T) {
	for _, tc := range []struct {
		line           string // user@address, in the order they came
		user, from     string
		displaces      string
		displacesIndex int
	}{
		{"", "u", "a", "", 0},
		{"u@a", "v", "b", "", 0},
		{"u@a u@b", "u", "a", "", 0},
		{"u@a u@a", "u", "b", "u@a", 1},
		{"u@a u@a u@b", "u", "b", "", 0},
		{"u@a u@a u@a u@b", "u", "b", "u@a", 2},
		{"u@a v@a w@a", "x", "b", "w@a", 0},
		{"u@a v@a u@a", "x", "b", "u@a", 1},
		{"u@a v@a", "v", "a", "", 0},
		{"u@a u@a v@a", "v", "a", "", 0},
		{"u@a u@a", "v", "a", "u@a", 1},
		{"u@a u@a u@b u@b", "v", "b", "u@b", 1},
		{"u@a u@a u@a u@b u@b", "v", "b", "u@b", 1},
	} {
		var l line
		came := map[string][]*waiter{}
		for _, at := range strings.Fields(tc.line) {
			user, from, _ := strings.Cut(at, "@")
			came[at] = append(came[at], l.push(user, from))
		}
		var want *waiter
		if tc.displaces != "" {
			want = came[tc.displaces][tc.displacesIndex]
		}
		require.True(t, want == l.displaced(tc.user, tc.from), "%s: %s@%s", tc.line, tc.user, tc.from)
	}
}

func TestImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 1}, 10*time.Second)
		runs := s.login(background, "u", "a", "right")
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		gone := s.login(ctx, "u", "b", "1")
		stays := s.login(background, "u", "c", "2")
		require.ErrorIs(t, <-gone, context.DeadlineExceeded)
		waiting, _ := held(s.Keeper)
		require.Equal(t, 1, waiting)
		require.NoError(t, <-runs)
		require.NoError(t, <-stays)
		require.Equal(t, []string{"right", "2"}, s.mu.order)
		require.ErrorIs(t, <-s.login(ctx, "u", "a", "late"), context.DeadlineExceeded)
		waiting, running := held(s.Keeper)
		require.Zero(t, waiting+running)
	})
}

// The same at the very moment, by a clock that can be set: which of the two comes
// first is open, and that nothing is lost is not.
func TestImpatienceAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, Options{Parallel: 1, Share: 1}, 10*time.Millisecond)
		for range 200 {
			runs := s.login(background, "u", "a", "right")
			ctx, cancel := context.WithTimeout(background, 10*time.Millisecond)
			var all []chan error
			for range 3 {
				all = append(all, s.login(ctx, "u", "b", "right"))
			}
			require.NoError(t, <-runs)
			for _, done := range all {
				if err := <-done; err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
			}
			cancel()
			waiting, running := held(s.Keeper)
			require.Zero(t, waiting+running)
		}
	})
}

// Whoever gives up just when the turn comes gives it back.
func TestManyImpatient(t *testing.T) {
	k := New(Options{Cost: MinCost, Parallel: 2, Share: 100, Queue: 8})
	defer k.Close()
	hash, err := k.Hash(background, "u", "a", "right")
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 50 {
				ctx, cancel := context.WithTimeout(background, time.Duration(n*i)*50*time.Microsecond)
				ok, err := k.Compare(ctx, fmt.Sprint("u", n%3), fmt.Sprint("a", i%4), of(hash), "right")
				if !ok && !errors.Is(err, ErrBusy) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a right password was refused: %v", err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	waiting, running := held(k)
	require.Zero(t, waiting+running)
	require.Empty(t, k.mu.line.addresses)
	ok, err := k.Compare(background, "u", "a", of(hash), "right")
	require.NoError(t, err)
	require.True(t, ok)
}

func BenchmarkCompare(b *testing.B) {
	k := New(Options{Share: 100})
	defer k.Close()
	hash, err := k.Hash(background, "u", "a", "right")
	require.NoError(b, err)
	for _, tc := range []struct {
		name string
		hash []byte
	}{{"known", hash}, {"unknown", nil}} {
		b.Run(tc.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := k.Compare(background, "u", "a", of(tc.hash), "wrong"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What waiting in line costs beside the hashing.
func BenchmarkTurn(b *testing.B) {
	k := New(Options{Share: 100})
	defer k.Close()
	k.compare = func(_, _ []byte, _ func() error) (bool, error) { return false, nil }
	for b.Loop() {
		if _, err := k.Compare(background, "u", "a", of(nil), "wrong"); err != nil {
			b.Fatal(err)
		}
	}
}
