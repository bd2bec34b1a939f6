package mvcc

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func over(old *version, main, create, count int64) *version {
	n := &version{main: main, create: create, count: count}
	n.older.Store(old)
	return n
}

func made(main int64) *version { return &version{main: main, create: main, count: 1} }

// check walks a tree and holds its counts and order against what is below.
func check(t *testing.T, tr tree) {
	t.Helper()
	var walk func(n *node, lo string) (live int, depth int)
	walk = func(n *node, lo string) (int, int) {
		if n.leaf() {
			live := 0
			require.Equal(t, len(n.heads), n.keys.len())
			for i := range n.heads {
				require.GreaterOrEqual(t, n.keys.at(i), lo)
				if i > 0 {
					require.Greater(t, n.keys.at(i), n.keys.at(i-1))
				}
				if n.head(i).liveAt(tr.revision) != nil {
					live++
				}
			}
			require.Equal(t, live, n.live)
			return live, 0
		}
		require.Equal(t, len(n.kids), n.keys.len())
		require.LessOrEqual(t, len(n.kids), fanout)
		total, depth := 0, -1
		for i, k := range n.kids {
			bound := lo
			if i > 0 {
				bound = n.keys.at(i)
			}
			l, d := walk(k, bound)
			if depth >= 0 {
				require.Equal(t, depth, d)
			}
			total, depth = total+l, d
		}
		require.Equal(t, total, n.live)
		return total, depth + 1
	}
	walk(tr.root, "")
}

// A random walk against a map: every published tree keeps its content and its
// counts, whatever is done after it.
func TestTreeAgainstAMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	type snapshot struct {
		tree tree
		live []string
	}
	var (
		w     = newWriter()
		live  = map[string]bool{}
		all   = map[string]*version{}
		kept  []snapshot
		main  = int64(1)
		space = 3000
	)
	for round := range 150 {
		for range 1 + r.IntN(200) {
			main++
			n := r.IntN(space)
			key := fmt.Sprintf("k%05d", n) + strings.Repeat("x", n%7/6*3000) // one in seven is long
			head := all[key]
			// next sets the newest version of a key that is there.
			next := func(create, count int64) {
				all[key] = over(head, main, create, count)
				w.set(key, all[key])
			}
			switch op := r.IntN(10); {
			case head == nil:
				all[key], live[key] = made(main), true
				w.insert(key, all[key])
			case op < 4 && live[key]: // delete
				next(0, 0)
				w.add(key, -1)
				delete(live, key)
			case !live[key] && op < 7: // recreate
				next(main, 1)
				w.add(key, 1)
				live[key] = true
			case !live[key]: // forget
				w.remove(key)
				delete(all, key)
			default: // overwrite: the tree is not touched
				next(head.create, head.count+1)
			}
		}
		var s snapshot
		s.tree = w.publish(main)
		for k := range live {
			s.live = append(s.live, k)
		}
		sort.Strings(s.live)
		check(t, s.tree)
		kept = append(kept, s)
		if round%10 == 9 {
			kept = kept[len(kept)-5:]
		}
	}
	for _, s := range kept {
		check(t, s.tree)
		var got []string
		s.tree.ascend("", func(key string, head *version) bool {
			if head.liveAt(s.tree.revision) != nil {
				got = append(got, strings.Clone(key))
			}
			return true
		})
		require.Equal(t, s.live, got)
		require.Equal(t, len(s.live), s.tree.len())
		for range 200 {
			k := fmt.Sprintf("k%05d", r.IntN(space))
			require.Equal(t, sort.SearchStrings(s.live, k), s.tree.below(k))
		}
	}
}

func TestTreeInKeyOrderStaysFull(t *testing.T) {
	w := newWriter()
	const n = 100_000
	for i := range n {
		w.insert(fmt.Sprintf("%08d", i), made(2))
	}
	tr := w.publish(2)
	check(t, tr)
	require.Equal(t, n, tr.len())
	leaves := 0
	var walk func(*node)
	walk = func(n *node) {
		if n.leaf() {
			leaves++
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	walk(tr.root)
	require.LessOrEqual(t, leaves, n/fanout+2)
	require.Equal(t, 12_345, tr.below("00012345"))
}

func TestBuiltTreeIsTheInsertedOne(t *testing.T) {
	for _, n := range []int{0, 1, fanout - 1, fanout, fanout + 1, fanout * fanout, fanout*fanout + 1, 20_000} {
		var heads []*version
		inserted, built := newWriter(), newWriter()
		b := builder{w: built}
		for i := range n {
			v := made(2)
			if i%7 == 0 {
				v = over(v, 3, 0, 0)
			}
			heads = append(heads, v)
			key := fmt.Sprintf("%08d", i)
			inserted.insert(key, v)
			b.push(key, v)
		}
		b.finish()
		one, other := inserted.publish(3), built.publish(3)
		check(t, other)
		require.Equal(t, one.len(), other.len())
		for i := 0; i <= n; i += 1 + n/50 {
			k := fmt.Sprintf("%08d", i)
			require.Equal(t, one.below(k), other.below(k))
			require.Same(t, one.get(k), other.get(k))
		}
		for i := range n { // it can be written to
			if i%7 != 0 {
				key := fmt.Sprintf("%08d", i)
				built.set(key, over(heads[i], 4, 0, 0))
				built.add(key, -1)
			}
		}
		check(t, built.publish(4))
	}
}
