package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
)

// model is the log as a slice: what a Log has to be found to be.
type model struct {
	prev       Position
	entries    []*raftpb.Entry
	hard       hardState
	installing Position
}

func (m *model) last() Position {
	if len(m.entries) == 0 {
		return m.prev
	}
	e := m.entries[len(m.entries)-1]
	return Position{e.GetIndex(), e.GetTerm()}
}

func (m *model) append(b Batch) {
	for _, e := range b.Entries {
		m.entries = append(slices.Clip(m.entries[:e.GetIndex()-m.prev.Index-1]), e)
	}
	if b.HardState != nil {
		m.hard = plainHardState(b.HardState)
	}
	if b.Installing != nil {
		m.installing = b.Installing.Position
	}
}

func (m model) clone() model {
	m.entries = slices.Clone(m.entries)
	return m
}

// matches reports whether r is m, of which entries up to released may be missing.
func (m *model) matches(r *Recovered, released uint64) error {
	var installing Position
	if r.Installing != nil {
		installing = r.Installing.Position
	}
	if plainHardState(r.HardState) != m.hard || installing != m.installing {
		return fmt.Errorf("HardState %v installing %v, want %v and %v", r.HardState, installing, m.hard, m.installing)
	}
	if r.Prev.Index < m.prev.Index || r.Prev.Index > max(m.prev.Index, released) {
		return fmt.Errorf("begins after %d, want %d to %d", r.Prev.Index, m.prev.Index, released)
	}
	want := m.entries
	term := m.prev.Term
	if skip := r.Prev.Index - m.prev.Index; skip > 0 {
		if skip > uint64(len(want)) {
			return fmt.Errorf("begins after %d, the model ends at %d", r.Prev.Index, m.last().Index)
		}
		term, want = want[skip-1].GetTerm(), want[skip:]
	}
	if r.Prev.Term != term {
		return fmt.Errorf("entry %d before the first has term %d, want %d", r.Prev.Index, r.Prev.Term, term)
	}
	if !slices.EqualFunc(want, r.Entries, func(a, b *raftpb.Entry) bool { return describe(a) == describe(b) }) {
		return fmt.Errorf("entries\n%v\nwant\n%v", describeAll(r.Entries), describeAll(want))
	}
	return nil
}

// walker drives a log and the models of every state that a crash may bring back: the last synced one, and one for each batch since.
type walker struct {
	t        *testing.T
	rng      *rand.Rand
	fs       *disk.FS
	log      *Log
	states   []model // states[0] is synced, the last one is now
	released uint64
}

func (w *walker) now() *model { return &w.states[len(w.states)-1] }

func (w *walker) synced() { w.states = w.states[len(w.states)-1:] }

func (w *walker) append() {
	m := w.now()
	last := m.last().Index
	var b Batch
	term := m.hard.term
	if w.rng.IntN(10) == 0 {
		term++
	}
	first := last + 1
	if w.rng.IntN(5) == 0 && last > m.hard.commit {
		first = m.hard.commit + 1 + w.rng.Uint64N(last-m.hard.commit)
		term++
	}
	for i := range uint64(w.rng.IntN(6)) {
		e := entry(first+i, term, string(make([]byte, w.rng.IntN(80))))
		for j := range e.Data {
			e.Data[j] = byte(w.rng.Uint32())
		}
		if w.rng.IntN(4) == 0 {
			e.Type = new(raftpb.EntryConfChangeV2)
		}
		b.Entries = append(b.Entries, e)
		last = first + i
	}
	if w.rng.IntN(2) == 0 || term != m.hard.term {
		commit := m.hard.commit + w.rng.Uint64N(last-m.hard.commit+1)
		b.HardState = hard(term, w.rng.Uint64N(3), commit)
	}
	switch w.rng.IntN(30) {
	case 0:
		b.Installing = &Installing{Position: Position{last + 5, term}, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}
	case 1, 2:
		b.Installing = &Installing{}
	}
	segments := w.log.header.id
	require.NoError(w.t, w.log.Append(b))
	if w.log.header.id != segments {
		w.synced() // a new segment is begun on a synced one
	}
	next := w.now().clone()
	next.append(b)
	w.states = append(w.states, next)
}

func (w *walker) sync() {
	require.NoError(w.t, w.log.Sync())
	w.synced()
}

func (w *walker) release() {
	if m := w.now(); m.last().Index > 0 {
		index := w.rng.Uint64N(m.last().Index + 1)
		require.NoError(w.t, w.log.Release(index))
		w.released = max(w.released, min(index, w.states[0].hard.commit))
	}
}

func (w *walker) reset() {
	m := w.now()
	start := Position{m.hard.commit + w.rng.Uint64N(20), m.hard.term}
	require.NoError(w.t, w.log.Reset(start))
	w.states = []model{{prev: start, hard: hardState{m.hard.term, m.hard.vote, start.Index}}}
}

// reopen goes on with what is left after a crash, which must be one of the states since the last sync.
func (w *walker) reopen(c disk.Crash) {
	w.fs = w.fs.CrashImage(c)
	l, r, err := Open(testOptions(w.fs))
	require.NoError(w.t, err)
	var misses error
	for _, m := range w.states {
		miss := m.matches(r, w.released)
		if miss == nil {
			w.states, misses = []model{m}, nil
			break
		}
		misses = errors.Join(misses, miss)
	}
	require.NoError(w.t, misses)
	w.log = l
	require.Equal(w.t, w.now().last(), l.Last())
}

func walk(t *testing.T, seed uint64, steps int) {
	defer func() {
		if t.Failed() {
			t.Logf("replay with -seed=%d -steps=%d", seed, steps)
		}
	}()
	w := &walker{t: t, rng: rand.New(rand.NewPCG(seed, 1)), fs: disk.New(), states: []model{{}}}
	var err error
	w.log, err = Create(testOptions(w.fs), Position{}, nil)
	require.NoError(t, err)
	for range steps {
		switch n := w.rng.IntN(100); {
		case n < 65:
			w.append()
		case n < 80:
			w.sync()
		case n < 85:
			w.release()
		case n < 89:
			require.NoError(t, w.log.Prepare())
		case n < 90:
			w.reset()
		case n < 92:
			require.NoError(t, w.log.Close())
			w.synced()
			w.reopen(disk.LoseAll{})
		case n < 94:
			w.reopen(disk.KeepAll{})
		default:
			w.reopen(disk.Random(w.rng.Uint64()))
		}
	}
}

func TestRandomWalk(t *testing.T) {
	if *oneSeed != 0 {
		walk(t, *oneSeed, *walkSteps)
		return
	}
	for range *walks {
		walk(t, rand.Uint64(), *walkSteps)
	}
}

// torn keeps all names and, of the unsynced writes, what keep returns.
type torn struct {
	keep func([]disk.Write) []disk.Write
}

func (torn) Names(_ string, n int) int                      { return n }
func (c torn) Writes(_ string, w []disk.Write) []disk.Write { return c.keep(w) }

// The last write is torn at every byte, and loses every subset of its sectors: what was synced is found, and the log
// opens.
func TestTornLastBatch(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.fill(4096))
	appendSynced(t, l, Batch{Entries: entries(1, 3, 1), HardState: hard(1, 1, 2)})
	start := l.end
	big := append(entries(4, 8, 1), entry(9, 1, string(slices.Repeat([]byte{0xee}, 2000))))
	require.NoError(t, l.Append(Batch{Entries: big, HardState: hard(1, 1, 5)}))
	size := l.end - start
	meant := size // bytes that are not zero: what follows them is padding, and the high bytes of Commit
	for l.buf[meant-1] == 0 {
		meant--
	}

	check := func(c disk.Crash, whole bool, what string) {
		image := fs.CrashImage(c)
		l, r, err := Open(testOptions(image))
		require.NoError(t, err, what)
		want := entries(1, 3, 1)
		if whole {
			want = append(want, big...)
			require.Nil(t, r.Cut)
		}
		require.Equal(t, describeAll(want), describeAll(r.Entries), what)
		// The next batch is shorter than what was torn: no rest of it may show.
		next := l.Last().Index + 1
		appendSynced(t, l, Batch{Entries: entries(next, next, 2)})
		_, r, err = Open(testOptions(image.CrashImage(disk.LoseAll{})))
		require.NoError(t, err, what)
		require.Nil(t, r.Cut)
		require.Len(t, r.Entries, len(want)+1)
	}
	for n := int64(0); n <= size; n++ {
		check(disk.KeepBytes{N: n}, n >= meant, fmt.Sprintf("torn after %d bytes", n))
	}
	sectors := len(disk.Sectors(disk.Write{Offset: start, Data: make([]byte, size)}))
	for mask := range 1 << sectors {
		check(torn{func(ws []disk.Write) (kept []disk.Write) {
			require.Len(t, ws, 1)
			for i, s := range disk.Sectors(ws[0]) {
				if mask>>i&1 == 1 {
					kept = append(kept, s)
				}
			}
			return kept
		}}, mask == 1<<sectors-1, fmt.Sprintf("sectors %0*b", sectors, mask))
	}
}

// Several unsynced batches, each lost on its own: a later whole one does not vouch for an earlier lost one.
func TestUnsyncedBatchesLostInAnyOrder(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.fill(4096))
	appendSynced(t, l, Batch{Entries: entries(1, 2, 1)})
	for i := uint64(3); i < 8; i++ {
		require.NoError(t, l.Append(Batch{Entries: entries(i, i, 1)}))
	}
	for mask := range 1 << 5 {
		image := fs.CrashImage(torn{func(ws []disk.Write) (kept []disk.Write) {
			require.Len(t, ws, 5)
			for i, w := range ws {
				if mask>>i&1 == 1 {
					kept = append(kept, w)
				}
			}
			return kept
		}})
		_, r, err := Open(testOptions(image))
		require.NoError(t, err)
		want := 2
		for mask>>(want-2)&1 == 1 {
			want++
		}
		require.Len(t, r.Entries, want)
		require.Equal(t, mask>>(want-2) != 0, r.Cut != nil, "mask %05b", mask)
	}
}

// One byte changes anywhere in what a later batch vouches for: refused, with the file and the offset of the batch that holds it.
func TestFlippedByteIsRefused(t *testing.T) {
	fs := disk.New()
	o := testOptions(fs)
	o.SegmentBytes = 1024
	l, err := Create(o, Position{}, nil)
	require.NoError(t, err)
	starts := map[uint64][]int64{} // per segment: header, batches
	var durable int64
	for i := uint64(1); i < 30; i++ {
		durable = l.end
		appendSynced(t, l, Batch{Entries: entries(i, i, 1), HardState: hard(1, 1, i-1)})
		if len(starts[l.header.id]) == 0 {
			durable = segmentHeaderSize
			starts[l.header.id] = []int64{0}
		}
		starts[l.header.id] = append(starts[l.header.id], l.end-int64(len(l.buf)))
	}
	require.Greater(t, len(l.segments), 2)
	flips := 0
	for id, offsets := range starts {
		path := l.path(id)
		end := durable
		if id != l.header.id {
			end = l.segments[id-1].size
		}
		for at := range end {
			for _, mask := range []byte{1, 0x80, 0xff} {
				image := fs.CrashImage(disk.KeepAll{})
				require.NoError(t, image.Flip(path, at, mask))
				o.FS = image
				_, _, err := Open(o)
				var corrupt *CorruptError
				require.ErrorAs(t, err, &corrupt, "segment %d, byte %d", id, at)
				i, found := slices.BinarySearch(offsets, at)
				if !found {
					i--
				}
				require.Equal(t, path, corrupt.File)
				require.Equal(t, offsets[i], corrupt.Offset, "segment %d, byte %d", id, at)
				flips++
			}
		}
	}
	t.Logf("%d flips in %d segments", flips, len(starts))
}

// After Close the last batch is vouched for too.
func TestFlippedByteAfterCloseIsRefused(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	appendSynced(t, l, Batch{Entries: entries(1, 1, 1)})
	end := l.end
	require.NoError(t, l.Close())
	require.NoError(t, fs.Flip("/member/log/0000000000000001.wal", end-5, 4))
	_, _, err = Open(testOptions(fs))
	var corrupt *CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.EqualValues(t, segmentHeaderSize, corrupt.Offset)
}

func TestMissingSegment(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	for i := uint64(1); len(l.segments) < 4; i++ {
		appendSynced(t, l, Batch{Entries: entries(i, i, 1)})
	}
	require.NoError(t, l.Close())
	require.NoError(t, fs.Remove(l.path(3)))
	_, _, err = Open(testOptions(fs))
	var corrupt *CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, l.path(3), corrupt.File)
}

// A segment whose end is gone, zeroed or cut off, is damage where another follows: the next one knows where it ended.
func TestShortenedSegmentInTheMiddle(t *testing.T) {
	fs := disk.New()
	l, err := Create(testOptions(fs), Position{}, nil)
	require.NoError(t, err)
	var batches []int64
	for i := uint64(1); len(l.segments) < 2; i++ {
		batches = append(batches, l.end)
		appendSynced(t, l, Batch{Entries: entries(i, i, 1)})
	}
	lastBatch := batches[len(batches)-2] // the newest went to the next segment
	data, err := fs.ReadFile(l.path(1))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for _, short := range [][]byte{data[:lastBatch], append(slices.Clone(data[:lastBatch]), make([]byte, 500)...)} {
		require.NoError(t, fs.WriteFile(l.path(1), short))
		_, _, err = Open(testOptions(fs))
		var corrupt *CorruptError
		require.ErrorAs(t, err, &corrupt)
		require.Equal(t, l.path(1), corrupt.File)
		require.Equal(t, lastBatch, corrupt.Offset)
	}
}

// A crash at any call of the disk while segments are begun, released and reset: the log opens with what was synced.
func TestCrashAtEveryCall(t *testing.T) {
	for stop := 1; ; stop++ {
		w := &walker{t: t, rng: rand.New(rand.NewPCG(3, 3)), fs: disk.New(), states: []model{{}}}
		var images []*disk.FS
		calls := 0
		died := errors.New("power cut")
		w.fs.Inject(func(op disk.Op, _ string) error {
			if op == disk.OpRead || op == disk.OpOpen {
				return nil
			}
			if calls++; calls >= stop {
				return died
			}
			return nil
		})
		done := w.script()
		w.fs.Inject(nil)
		for seed := range uint64(4) {
			images = append(images, w.fs.CrashImage(disk.Random(seed)))
		}
		images = append(images, w.fs.CrashImage(disk.LoseAll{}), w.fs.CrashImage(disk.KeepAll{}))
		for i, image := range images {
			_, r, err := Open(testOptions(image))
			if errors.Is(err, ErrNoLog) {
				require.Nil(t, w.log, "a log that Create returned is gone")
				continue
			}
			require.NoError(t, err, "stopped at call %d, image %d", stop, i)
			var match error
			for _, m := range w.states {
				if match = m.matches(r, w.released); match == nil {
					break
				}
			}
			require.NoError(t, match, "stopped at call %d, image %d", stop, i)
		}
		if done {
			t.Logf("%d calls", calls)
			return
		}
	}
}

// script runs a fixed story until the first error; done says that it came to its end.
func (w *walker) script() (done bool) {
	log, err := Create(testOptions(w.fs), Position{}, nil)
	if err != nil {
		return false
	}
	w.log = log
	for i := uint64(1); i <= 120; i++ {
		b := Batch{Entries: entries(i, i, 1), HardState: hard(1, 1, i-1)}
		next := w.now().clone()
		next.append(b)
		w.states = append(w.states, next)
		if log.Append(b) != nil {
			return false
		}
		if i%3 == 0 {
			if log.Sync() != nil {
				return false
			}
			w.synced()
		}
		if i%40 == 0 {
			w.released = w.states[0].hard.commit
			if log.Release(i) != nil {
				return false
			}
		}
		if i == 60 && log.Prepare() != nil {
			return false
		}
	}
	fresh := model{prev: Position{500, 1}, hard: hardState{1, 1, 500}}
	w.states = append(w.states, fresh)
	if log.Reset(Position{500, 1}) != nil {
		return false
	}
	w.synced()
	return log.Close() == nil
}
