package mvcc

import (
	"cmp"
	"slices"
	"strings"
)

const (
	// epochLen is how many changes an epoch has at most, and epochBytes at how many
	// bytes of keys it is closed. Closing one sorts it, on the goroutine that applies:
	// a few milliseconds for so many.
	epochLen   = 4096
	epochBytes = 1 << 20
	// keptEpochs bound the changes that are remembered: a quarter of a million, at
	// some 50 bytes each. keptBytes bound their keys.
	keptEpochs = 64
	keptBytes  = 32 << 20
)

// epochs are the latest changes of liveness, keys that came and keys that went,
// from which the number of keys at a recent revision follows without a walk. The
// value in a View is immutable; the writer's own grows behind it.
type epochs struct {
	// floor is the newest revision of which not every later change is here.
	floor  int64
	kept   int      // most closed ones
	closed []*epoch // oldest first
	open   []change // in their order
	// Bytes of the keys of either.
	closedBytes, openBytes int
}

// change is a key that came (+1) or went (−1).
type change struct {
	key   string
	main  int64
	delta int32
}

// epoch is a number of changes that follow each other, sorted by key.
type epoch struct {
	first, last int64 // their revisions
	keys        keys
	mains       []int64
	sums        []int32 // sums[i] is the net of the first i changes
}

// add takes note of a change. Changes come in the order of their revisions.
func (e *epochs) add(key string, main int64, delta int32) {
	e.open = append(e.open, change{strings.Clone(key), main, delta})
	e.openBytes += len(key)
	if len(e.open) < epochLen && e.openBytes < epochBytes {
		return
	}
	// Readers may hold what was: it is left to them.
	closed := append(slices.Clone(e.closed), newEpoch(e.open))
	e.closedBytes += e.openBytes
	for len(closed) > e.kept || e.closedBytes > keptBytes {
		e.floor = closed[0].last
		e.closedBytes -= closed[0].keys.size()
		closed = closed[1:]
	}
	e.closed, e.open, e.openBytes = closed, nil, 0
}

func newEpoch(changes []change) *epoch {
	e := &epoch{first: changes[0].main, last: changes[len(changes)-1].main}
	sorted := slices.Clone(changes)
	slices.SortFunc(sorted, func(a, b change) int {
		return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.main, b.main))
	})
	size := 0
	for _, c := range sorted {
		size += len(c.key)
	}
	e.keys = keys{bytes: make([]byte, 0, size), ends: make([]uint32, 0, len(sorted))}
	e.mains, e.sums = make([]int64, len(sorted)), make([]int32, len(sorted)+1)
	for i, c := range sorted {
		e.keys.insert(i, c.key)
		e.mains[i] = c.main
		e.sums[i+1] = e.sums[i] + c.delta
	}
	return e
}

// since is by how many keys a span has grown after revision main. It reports
// false where that is too long ago.
func (e *epochs) since(s span, main int64) (net int, ok bool) {
	if main < e.floor {
		return 0, false
	}
	for i := len(e.closed) - 1; i >= 0 && e.closed[i].last > main; i-- {
		net += e.closed[i].since(s, main)
	}
	for i := len(e.open) - 1; i >= 0 && e.open[i].main > main; i-- {
		if c := &e.open[i]; s.has(c.key) {
			net += int(c.delta)
		}
	}
	return net, true
}

func (e *epoch) since(s span, main int64) (net int) {
	lo, hi := e.keys.find(s.lo), e.keys.len()
	if !s.open {
		hi = max(e.keys.find(s.hi), lo)
	}
	if e.first > main {
		return int(e.sums[hi] - e.sums[lo])
	}
	for i := lo; i < hi; i++ {
		if e.mains[i] > main {
			net += int(e.sums[i+1] - e.sums[i])
		}
	}
	return net
}
