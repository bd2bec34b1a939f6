package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/raft"
)

// What the largest --max-request-bytes lets in at one member reaches the other, and so does
// all that comes behind it.
func TestTheLargestRequestThatCanBeSetIsAgreedOn(t *testing.T) {
	if raceDetector {
		t.Skip("it is about sizes, and slow")
	}
	configs := clusterOf(t, 2)
	for _, c := range configs {
		c.MaxRequestBytes = raft.MaxEntryBytes
		require.NoError(t, c.Validate())
		beyond := *c
		beyond.MaxRequestBytes++
		require.ErrorContains(t, beyond.Validate(), "--max-request-bytes")
	}
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	for i, asked := range []*Member{members[leader], members[1-leader]} {
		conn := dial(t, asked)
		put := &pb.PutRequest{Key: []byte{'a' + byte(i)}, Value: make([]byte, raft.MaxEntryBytes-20)}
		for try := 0; ; try++ {
			_, err := call[pb.PutResponse](t, conn, "KV/Put", put)
			if err == nil {
				t.Logf("%d bytes below", raft.MaxEntryBytes-len(put.Value))
				break
			}
			require.ErrorContains(t, err, errs.RequestTooLarge.Error())
			require.Less(t, try, 20)
			put.Value = put.Value[:len(put.Value)-4]
		}
	}
	for _, m := range members {
		_, err := call[pb.PutResponse](t, dial(t, m), "KV/Put", &pb.PutRequest{Key: []byte("behind"), Value: []byte("v")})
		require.NoError(t, err)
	}
}
