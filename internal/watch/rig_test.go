package watch

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
)

// told is an event as a test keeps it.
type told struct {
	revision  int64
	tombstone bool
	key       string
	kv        string // as it is in the event
	prev      string // "" for none
	replaced  bool   // by a later change of the same revision
}

// rig is a keyspace, its whole history, and a hub over it that nobody runs.
type rig struct {
	t       testing.TB
	fs      *disk.FS
	dirs    int
	store   *store.Store
	update  *mvcc.Update
	view    *mvcc.View
	hub     *Hub
	history []told
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, fs: disk.New()}
	r.store = r.open("store-0")
	r.load(1)
	r.hub = New(Options{View: func() *mvcc.View { return r.view }})
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	return r
}

func (r *rig) open(dir string) *store.Store {
	s, err := store.Open(store.Options{FS: r.fs, Dir: dir})
	require.NoError(r.t, err)
	return s
}

func (r *rig) load(revision int64) {
	var err error
	r.update, err = mvcc.Load(r.store, revision, 1<<14)
	require.NoError(r.t, err)
	r.view = r.update.Publish()
}

// commit publishes what was changed, and has the hub take it in.
func (r *rig) commit() {
	r.publish()
	r.hub.Take(r.update.Changes())
}

func (r *rig) publish() {
	b := r.store.NewBatch()
	r.update.Save(b)
	b.SetApplied(store.Applied{Index: 1, Term: 1, Revision: r.update.Revision()})
	require.NoError(r.t, b.Commit())
	r.view = r.update.Publish()
	changes := r.update.Changes()
	for i := range changes {
		c := &changes[i]
		one := told{revision: c.Revision.Main, tombstone: c.Tombstone, key: string([]byte(c.Key())), kv: string(c.Record)}
		for j := i + 1; j < len(changes) && changes[j].Revision.Main == c.Revision.Main; j++ {
			one.replaced = one.replaced || changes[j].Key() == c.Key()
		}
		if c.Tombstone {
			one.kv = string(binary.AppendUvarint(append([]byte(one.kv), 3<<3), uint64(c.Revision.Main)))
		}
		if !c.Creates() {
			one.prev = r.before(one.key, c.Revision.Main)
		}
		r.history = append(r.history, one)
	}
}

// before is what key was before a revision, as the history has it.
func (r *rig) before(key string, revision int64) string {
	for i := len(r.history) - 1; i >= 0; i-- {
		if one := &r.history[i]; one.key == key && one.revision < revision {
			if one.tombstone {
				return ""
			}
			return one.kv
		}
	}
	return ""
}

func (r *rig) put(key, value string) int64 {
	r.update.Put([]byte(key), []byte(value), 0)
	return r.update.End()
}

func (r *rig) delete(key, end string) int64 {
	_, _, err := r.update.DeleteRange([]byte(key), []byte(end), false)
	require.NoError(r.t, err)
	return r.update.End()
}

func (r *rig) compact(revision int64) {
	require.NoError(r.t, r.update.Compact(revision))
	r.commit()
}

// sweep takes what compactions have left.
func (r *rig) sweep() {
	for more := true; more; {
		b := r.store.NewBatch()
		var err error
		more, err = r.update.Sweep(b, 1000)
		require.NoError(r.t, err)
		require.NoError(r.t, b.Commit())
	}
	r.commit()
}

// replace puts a copy of the state in its place, as a snapshot does, with changes in
// it that the hub has never seen.
func (r *rig) replace(change func()) {
	old := r.store
	change()
	r.publish()
	revision := r.view.Revision
	r.dirs++
	dir := fmt.Sprintf("store-%d", r.dirs)
	require.NoError(r.t, old.Checkpoint(dir))
	r.store = r.open(dir)
	r.load(revision)
	r.hub.Replaced()
	require.NoError(r.t, old.Retire())
}

// settle does all that there is to do.
func (r *rig) settle() {
	for again := true; again; {
		r.hub.Step()
		again = false
		for r.hub.Next() {
			again = true
		}
	}
}

// sink is a client that reads when it is told to.
type sink struct {
	t       testing.TB
	budget  int
	bytes   int
	queue   []*etcdserverpb.WatchResponse
	sizes   []int
	waiting []func()
	strict  bool    // progress is held against asked
	asked   []int64 // for progress, at these revisions, and not answered
	ended   error
	flushed int
}

func (s *sink) Header() Header { return Header{Cluster: 1 << 63, Member: 2, Term: 3} }

func (s *sink) Offer(messages []byte, n int) bool {
	if s.bytes >= s.budget {
		return false
	}
	s.take(messages, n)
	return true
}

func (s *sink) Push(message []byte) { s.take(message, 1) }

func (s *sink) take(messages []byte, n int) {
	for len(messages) > 0 {
		require.Zero(s.t, messages[0])
		size := int(binary.BigEndian.Uint32(messages[1:])) + 5
		m := &etcdserverpb.WatchResponse{}
		require.NoError(s.t, m.UnmarshalVT(append([]byte(nil), messages[5:size]...)))
		require.Equal(s.t, uint64(1<<63), m.Header.ClusterId)
		require.Equal(s.t, uint64(2), m.Header.MemberId)
		require.Equal(s.t, uint64(3), m.Header.RaftTerm)
		if s.strict && m.WatchId == -1 && !m.Created {
			require.NotEmpty(s.t, s.asked)
			for _, revision := range s.asked {
				require.GreaterOrEqual(s.t, m.Header.Revision, revision, "progress is behind the question")
			}
			s.asked = nil
		}
		s.queue, s.sizes = append(s.queue, m), append(s.sizes, size)
		s.bytes += size
		messages = messages[size:]
		n--
	}
	require.Zero(s.t, n)
}

func (s *sink) Room(ready func()) bool {
	if s.bytes <= s.budget/2 {
		return true
	}
	s.waiting = append(s.waiting, ready)
	return false
}

func (s *sink) Flush() { s.flushed++ }

func (s *sink) End(err error) { s.ended = err }

// read takes the first response, nil if there is none.
func (s *sink) read() *etcdserverpb.WatchResponse {
	if len(s.queue) == 0 {
		return nil
	}
	m := s.queue[0]
	s.bytes -= s.sizes[0]
	s.queue, s.sizes = s.queue[1:], s.sizes[1:]
	if s.bytes <= s.budget/2 {
		waiting := s.waiting
		s.waiting = nil
		for _, ready := range waiting {
			ready()
		}
	}
	return m
}
