package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// story is a history that a cluster may have had, and what the cluster knows.
type story struct {
	ops []*Op
	end content
	was map[int64]Change
}

// look answers as the cluster would.
func (s *story) look(revision int64) (Change, error) {
	if c, ok := s.was[revision]; ok {
		return c, nil
	}
	return Change{}, errors.New("there is nothing")
}

// tell makes a story of n operations of ten clients. Each takes effect at a
// moment of its own between its call and its return; some ends nobody sees.
func tell(seed uint64, n int) *story {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := &story{end: content{revision: 1}, was: map[int64]Change{}}
	for i := range n {
		moment := int64(i+1) * 1000
		o := &Op{Client: i % 10, Kind: Kind(rng.IntN(5)), Key: fmt.Sprintf("k%d", rng.IntN(3)), Member: 1, Life: 1}
		o.Call, o.Return = moment-rng.Int64N(5000), moment+rng.Int64N(5000)
		if o.Kind == Put || o.Kind == Swap {
			o.Value = fmt.Sprintf("v%d", i)
		}
		if o.reads() && rng.IntN(3) == 0 {
			o.Key, o.Prefix = "k", true
		}
		s.make(o, rng)
		if rng.IntN(10) == 0 {
			o.Outcome, o.Found, o.Succeeded, o.Return, o.Revision = Unknown, nil, false, Never, 0
		}
		s.ops = append(s.ops, o)
	}
	return s
}

// make makes an operation at the end of the story, and answers it.
func (s *story) make(o *Op, rng *rand.Rand) {
	o.Outcome = Answered
	at := slices.IndexFunc(s.end.kvs, func(kv KV) bool { return kv.Key == o.Key })
	if at >= 0 && !o.Prefix {
		o.Found = []KV{s.end.kvs[at]}
	}
	switch o.Kind {
	case Swap:
		if o.Expected = modification(o.Found); rng.IntN(2) == 0 {
			o.Expected++
		}
		o.Succeeded = o.Expected == modification(o.Found)
	case Delete:
		o.Succeeded = at >= 0
	}
	if o.Prefix {
		o.Found = slices.Clone(s.end.kvs)
	}
	if o.changes() {
		i, there := slices.BinarySearchFunc(s.end.kvs, o.Key, func(kv KV, key string) int {
			if kv.Key < key {
				return -1
			} else if kv.Key > key {
				return 1
			}
			return 0
		})
		s.end = s.end.apply(o, i, there)
		s.was[s.end.revision] = o.change()
	}
	if o.Kind == Swap && o.Succeeded {
		o.Found = nil
	}
	o.Revision = s.end.revision
}

// judge settles and judges the story.
func (s *story) judge() error {
	l := NewLedger()
	late, err := l.Settle(s.ops, s.end.revision, s.look)
	if err != nil {
		return err
	}
	return l.Judge(s.ops, late)
}

func TestWhatMayBePasses(t *testing.T) {
	for seed := range uint64(20) {
		s := tell(seed, 500)
		require.NoError(t, s.judge(), "seed %d", seed)
	}
}

// some returns an operation of a story that fits.
func (s *story) some(t *testing.T, fits func(*Op) bool) *Op {
	t.Helper()
	i := slices.IndexFunc(s.ops[100:], fits)
	require.GreaterOrEqual(t, i, 0)
	return s.ops[100+i]
}

func answered(k Kind) func(*Op) bool {
	return func(o *Op) bool { return o.Kind == k && o.Outcome == Answered && len(o.Found) > 0 }
}

func TestWhatCannotBeIsFound(t *testing.T) {
	for _, c := range []struct {
		name, says string
		spoil      func(t *testing.T, s *story)
	}{
		{"an answer of the past", "older than one", func(t *testing.T, s *story) {
			o := s.some(t, answered(Get))
			o.Call, o.Return = 450_000, 451_000
		}},
		{"an answer of the future", "older than one", func(t *testing.T, s *story) {
			o := s.some(t, answered(Get))
			o.Call, o.Return = 0, 1000
		}},
		{"another value", "what was there", func(t *testing.T, s *story) { s.some(t, answered(Get)).Found[0].Value = "x" }},
		{"another version", "what was there", func(t *testing.T, s *story) { s.some(t, answered(Put)).Found[0].Version++ }},
		{"another value in a stale read", "what was there", func(t *testing.T, s *story) { s.some(t, answered(Stale)).Found[0].Value = "x" }},
		{"a comparison that did not hold", "the modification was", func(t *testing.T, s *story) {
			s.some(t, func(o *Op) bool { return o.Kind == Swap && o.Succeeded }).Expected++
		}},
		{"a write that is lost", "is lost", func(t *testing.T, s *story) { s.end.revision -= 20 }},
		{"two writes with one revision", "one revision", func(t *testing.T, s *story) { s.some(t, answered(Put)).Revision++ }},
		{"a write of nobody", "of nobody", func(t *testing.T, s *story) {
			s.end.revision++
			s.was[s.end.revision] = Change{Key: "k0", Value: "?"}
		}},
		{"a write made twice", "of nobody", func(t *testing.T, s *story) {
			o := s.some(t, answered(Put))
			s.end.revision++
			s.was[s.end.revision] = o.change()
		}},
		{"a refused write that was made", "refused: client", func(t *testing.T, s *story) {
			o := s.some(t, answered(Put))
			o.Outcome = Refused
		}},
		{"a member that goes back", "has gone back", func(t *testing.T, s *story) {
			o := s.some(t, answered(Stale))
			o.Call, o.Return = 450_000, 451_000
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tell(1, 500)
			c.spoil(t, s)
			err := s.judge()
			require.ErrorContains(t, err, c.says)
		})
	}
}

// Porcupine does not lean on the other checks.
func TestPorcupineJudgesByItself(t *testing.T) {
	for _, spoil := range []func(o *Op){
		func(o *Op) { o.Call, o.Return = 450_000, 451_000 },
		func(o *Op) { o.Call, o.Return = 0, 1000 },
		func(o *Op) { o.Found[0].Value = "x" },
		func(o *Op) { o.Revision-- },
	} {
		s := tell(1, 500)
		l := NewLedger()
		late, err := l.Settle(s.ops, s.end.revision, s.look)
		require.NoError(t, err)
		all := slices.DeleteFunc(slices.Clone(s.ops), func(o *Op) bool { return o.Outcome != Answered })
		require.NoError(t, l.linearizable(all, late))
		spoil(s.some(t, answered(Get)))
		require.ErrorContains(t, l.linearizable(all, late), "not linearizable")
	}
}

// The second epoch begins where the first has ended, with a write of the first
// that comes late.
func TestEpochs(t *testing.T) {
	l, s := NewLedger(), tell(3, 200)
	pending := &Op{Kind: Put, Key: "first", Value: "late", Call: 5, Return: Never}
	late, err := l.Settle(append(s.ops, pending), s.end.revision, s.look)
	require.NoError(t, err)
	require.NoError(t, l.Judge(s.ops, late))

	at := s.end.revision
	read := func(revision int64, found ...KV) *Op {
		return &Op{Kind: Get, Key: "first", Call: 1e6 + revision, Return: 1e6 + revision, Outcome: Answered, Revision: revision, Found: found}
	}
	second := []*Op{read(at), read(at+1, KV{"first", "late", at + 1, at + 1, 1})}
	late, err = l.Settle(second, at+1, func(int64) (Change, error) { return Change{Key: "first", Value: "late"}, nil })
	require.NoError(t, err)
	require.Len(t, late, 1)
	require.NoError(t, l.Judge(second, late))
	require.Equal(t, []KV{{"first", "late", at + 1, at + 1, 1}}, l.List("first", at+1))
}
