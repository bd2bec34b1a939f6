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

// BenchmarkPuts applies batches of 100 puts over 10,000 keys, without leases and
// each on one of 1,000.
func BenchmarkPuts(b *testing.B) {
	for _, leases := range []int64{0, 1000} {
		b.Run(fmt.Sprintf("%d leases", leases), func(b *testing.B) {
			s, err := store.Open(store.Options{FS: disk.New(), Dir: "store"})
			require.NoError(b, err)
			defer s.Close()
			u, err := mvcc.Load(s, 1, 1<<20)
			require.NoError(b, err)
			m, err := New(s, u, Options{MaxLearners: 1})
			require.NoError(b, err)
			var index uint64
			apply := func(batch []*etcdserverpb.InternalRaftRequest) {
				entries := make([]*raftpb.Entry, len(batch))
				for i, r := range batch {
					index++
					r.Header = &etcdserverpb.RequestHeader{ID: index}
					data, err := r.MarshalVT()
					require.NoError(b, err)
					entries[i] = &raftpb.Entry{Index: proto.Uint64(index), Term: proto.Uint64(1), Data: data}
				}
				_, err := m.Apply(entries, func(uint64) bool { return false })
				require.NoError(b, err)
			}
			for id := range leases {
				apply([]*etcdserverpb.InternalRaftRequest{{LeaseGrant: &etcdserverpb.LeaseGrantRequest{ID: id + 1, TTL: 100}}})
			}
			batch, n := make([]*etcdserverpb.InternalRaftRequest, 100), int64(0)
			b.ResetTimer()
			for b.Loop() {
				for i := range batch {
					n++
					batch[i] = &etcdserverpb.InternalRaftRequest{Put: &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "key-%06d", n*7919%10_000), Value: make([]byte, 64)}}
					if leases > 0 {
						batch[i].Put.Lease = n*31%leases + 1
					}
				}
				apply(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/put")
		})
	}
}
