package machine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
)

// Who waits for a compaction's space does not wait for later compactions'.
func TestACompactionIsDoneBeforeLaterOnes(t *testing.T) {
	s, err := store.Open(store.Options{FS: disk.New(), Dir: "store"})
	require.NoError(t, err)
	defer s.Close()
	u, err := mvcc.Load(s, 1, 1)
	require.NoError(t, err)
	m, err := New(s, u, Options{MaxLearners: 1})
	require.NoError(t, err)
	var index uint64
	apply := func(r *etcdserverpb.InternalRaftRequest) *Result {
		index++
		r.Header = &etcdserverpb.RequestHeader{ID: index}
		data, err := r.MarshalVT()
		require.NoError(t, err)
		e, err := m.Apply([]*raftpb.Entry{{Index: proto.Uint64(index), Term: proto.Uint64(1), Data: data}}, func(uint64) bool { return true })
		require.NoError(t, err)
		require.NoError(t, e.Answers[0].Err)
		return e.Answers[0].Result
	}
	put := func(i int) int64 {
		return apply(&etcdserverpb.InternalRaftRequest{Put: &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "%d", i%1000)}}).Revision
	}
	compact := func(at int64) <-chan struct{} {
		return apply(&etcdserverpb.InternalRaftRequest{Compaction: &etcdserverpb.CompactionRequest{Revision: at, Physical: true}}).Swept
	}
	for i := range 3000 {
		put(i)
	}
	swept := compact(put(0))
	for i := range 200 {
		_, err := m.Sweep()
		require.NoError(t, err)
		select {
		case <-swept:
			return
		default:
		}
		if i%2 == 0 { // a large keyspace takes many slices to hash
			compact(put(i))
		}
	}
	t.Fatal("the first of many compactions is not done")
}
