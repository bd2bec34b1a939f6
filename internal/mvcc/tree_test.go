package mvcc

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
)

func over(old *version, main, create, count int64) *version {
	n := &version{main: main, create: create, count: count}
	n.older.Store(old)
	return n
}

func liveItem(main int64) *item {
	it := &item{}
	it.head.Store(&version{main: main, create: main, count: 1})
	return it
}

// check walks a tree and holds its counts and order against what is below.
func check(t *testing.T, tr tree) {
	t.Helper()
	var walk func(n *node, lo string) (live int, depth int)
	walk = func(n *node, lo string) (int, int) {
		if n.leaf() {
			live := 0
			for i, e := range n.entries {
				require.GreaterOrEqual(t, e.key, lo)
				if i > 0 {
					require.Greater(t, e.key, n.entries[i-1].key)
				}
				if e.item.liveAt(tr.revision) != nil {
					live++
				}
			}
			require.Equal(t, live, n.live)
			return live, 0
		}
		require.Equal(t, len(n.kids), len(n.seps))
		require.LessOrEqual(t, len(n.kids), fanout)
		total, depth := 0, -1
		for i, k := range n.kids {
			bound := lo
			if i > 0 {
				bound = n.seps[i]
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
		all   = map[string]*item{}
		kept  []snapshot
		main  = int64(1)
		space = 3000
	)
	for round := range 150 {
		for range 1 + r.IntN(200) {
			main++
			key := fmt.Sprintf("k%05d", r.IntN(space))
			it := all[key]
			switch op := r.IntN(10); {
			case it == nil:
				it = liveItem(main)
				w.insert(key, it)
				all[key], live[key] = it, true
			case op < 4 && live[key]: // delete
				it.head.Store(over(it.head.Load(), main, 0, 0))
				w.add(key, -1)
				delete(live, key)
			case !live[key] && op < 7: // recreate
				it.head.Store(over(it.head.Load(), main, main, 1))
				w.add(key, 1)
				live[key] = true
			case !live[key]: // forget
				w.remove(key)
				delete(all, key)
			default: // overwrite: the tree is not touched
				h := it.head.Load()
				it.head.Store(over(h, main, h.create, h.count+1))
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
		s.tree.ascend("", func(e entry) bool {
			if e.item.liveAt(s.tree.revision) != nil {
				got = append(got, e.key)
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
		w.insert(fmt.Sprintf("%08d", i), liveItem(2))
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
