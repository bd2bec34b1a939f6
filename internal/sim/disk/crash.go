package disk

import (
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
)

// SectorBytes is the unit in which a disk writes.
const SectorBytes = 512

// Write is a write to a file that is not yet durable.
type Write struct {
	Offset int64
	Data   []byte
}

// Crash decides what of the unsynced state survives. Its methods are called in a fixed order: directories before what lies in them,
// names sorted.
type Crash interface {
	// Names returns how many of the n unsynced changes of a directory's names survive, the oldest first.
	Names(dir string, n int) int
	// Writes returns what survives of a file's unsynced writes, given in the order in which they were made. The result is applied in
	// order; it may hold parts of the writes. It must not change their Data.
	Writes(path string, unsynced []Write) []Write
}

// LoseAll keeps nothing that was not synced.
type LoseAll struct{}

func (LoseAll) Names(string, int) int          { return 0 }
func (LoseAll) Writes(string, []Write) []Write { return nil }

// KeepAll keeps everything, as a kill of the process does.
type KeepAll struct{}

func (KeepAll) Names(_ string, n int) int          { return n }
func (KeepAll) Writes(_ string, w []Write) []Write { return w }

// KeepBytes keeps the first N bytes of each file's unsynced writes, in the order in which they were written, and all names.
type KeepBytes struct{ N int64 }

func (KeepBytes) Names(_ string, n int) int { return n }

func (k KeepBytes) Writes(_ string, unsynced []Write) []Write {
	left := k.N
	var kept []Write
	for _, w := range unsynced {
		n := min(left, int64(len(w.Data)))
		left -= n
		kept = append(kept, Write{w.Offset, w.Data[:n]})
	}
	return kept
}

// Random draws from a seed: for each file it loses all, keeps all, keeps a prefix cut at any byte, or keeps each sector of each write
// with even odds; for each directory it keeps any number of changes. What becomes of a file depends on the seed, its path and its own
// writes alone: one file more or less elsewhere changes nothing.
func Random(seed uint64) Crash { return random(seed) }

type random uint64

func (r random) rng(path string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(path))
	return rand.New(rand.NewPCG(uint64(r), h.Sum64()))
}

func (r random) Names(dir string, n int) int { return r.rng(dir).IntN(n + 1) }

func (r random) Writes(path string, unsynced []Write) []Write {
	rng := r.rng(path)
	switch rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return unsynced
	case 2:
		var total int64
		for _, w := range unsynced {
			total += int64(len(w.Data))
		}
		return KeepBytes{rng.Int64N(total + 1)}.Writes(path, unsynced)
	}
	var kept []Write
	for _, w := range unsynced {
		for _, s := range Sectors(w) {
			if rng.IntN(2) == 0 {
				kept = append(kept, s)
			}
		}
	}
	return kept
}

// Sectors cuts a write at the borders of the disk's sectors.
func Sectors(w Write) []Write {
	var parts []Write
	for len(w.Data) > 0 {
		n := min(int64(len(w.Data)), SectorBytes-w.Offset%SectorBytes)
		parts = append(parts, Write{w.Offset, w.Data[:n]})
		w.Offset, w.Data = w.Offset+n, w.Data[n:]
	}
	return parts
}

// CrashImage returns the disk that is found after a power cut now. The FS itself goes on as if nothing had happened.
func (fs *FS) CrashImage(c Crash) *FS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	image := New()
	image.mu.capacity = fs.mu.capacity
	copies := map[*node]*node{}
	image.mu.root = fs.mu.root.crash("/", c, copies)
	for n := range copies {
		if !n.dir {
			image.mu.used += int64(len(copies[n].data))
		}
	}
	return image
}

// crash returns what is left of n. A file with two names is the same file in the image.
func (n *node) crash(path string, c Crash, copies map[*node]*node) *node {
	if done := copies[n]; done != nil {
		return done
	}
	left := &node{dir: n.dir}
	copies[n] = left
	if !n.dir {
		left.data = slices.Clone(n.durable)
		if len(n.writes) > 0 {
			for _, w := range c.Writes(path, slices.Clone(n.writes)) {
				left.data = writeAt(left.data, w.Data, w.Offset)
			}
		}
		left.durable = slices.Clone(left.data)
		return left
	}
	names := maps.Clone(n.durableNames)
	if names == nil {
		names = map[string]*node{}
	}
	if len(n.changes) > 0 {
		for _, change := range n.changes[:c.Names(path, len(n.changes))] {
			change.apply(names)
		}
	}
	left.names = map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		child := names[name].crash(join(path, name), c, copies)
		child.links++
		left.names[name] = child
	}
	left.durableNames = maps.Clone(left.names)
	return left
}
