package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tree finds what a walk over all spans finds, whatever came and went before.
func TestTreeIsAListOfSpans(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 3))
		var tr tree
		model := map[span]*group{}
		key := func() string { return fmt.Sprintf("%03d", dice.IntN(200)) }
		for range 2000 {
			s := span{lo: key(), hi: key()}
			if dice.IntN(8) == 0 {
				s.hi, s.open = "", true
			}
			if !s.open && s.lo >= s.hi {
				continue
			}
			switch g := model[s]; {
			case g == nil:
				model[s] = tr.at(s)
			case dice.IntN(2) == 0:
				require.Same(t, g, tr.at(s))
			default:
				tr.remove(s)
				delete(model, s)
			}
			if dice.IntN(3) == 0 && len(model) > 0 {
				for gone := range model { // any
					tr.remove(gone)
					delete(model, gone)
					break
				}
			}
			k := key()
			var want, got []*group
			for s, g := range model {
				if s.lo <= k && (s.open || k < s.hi) {
					want = append(want, g)
				}
			}
			tr.root.around(k, func(g *group) { got = append(got, g) })
			require.ElementsMatch(t, want, got)
		}
		checkNode(t, tr.root)
	}
}

// checkNode holds a subtree against what its nodes say, and returns its spans.
func checkNode(t *testing.T, n *node) (all []span) {
	if n == nil {
		return nil
	}
	all = append(append(checkNode(t, n.left), n.span), checkNode(t, n.right)...)
	require.True(t, slices.IsSortedFunc(all, span.compare))
	require.Zero(t, compareEnds(n.last, slices.MaxFunc(all, compareEnds)))
	for _, child := range []*node{n.left, n.right} {
		require.True(t, child == nil || child.rank <= n.rank)
	}
	return all
}

// A tree of many spans, in whatever order they come, is not deep.
func TestTreeStaysFlat(t *testing.T) {
	var tr tree
	for i := range 1 << 14 {
		tr.at(span{lo: fmt.Sprintf("%06d", i), open: true})
	}
	var depth func(n *node) int
	depth = func(n *node) int {
		if n == nil {
			return 0
		}
		return 1 + max(depth(n.left), depth(n.right))
	}
	require.Less(t, depth(tr.root), 60)
}
