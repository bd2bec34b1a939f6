package server

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	pb "etcd.alt/api/etcdserverpb"
)

// Transparent proxies forward every call as a stream: the message first, the end of the
// request by itself. grpc-go sends nothing at all on a stream whose window is at zero, not
// even its end.
func TestALargeRequestWhoseEndComesByItself(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	for _, size := range []int{60_000, 70_000, 1 << 20} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.KV/Put")
		require.NoError(t, err)
		require.NoError(t, s.SendMsg(&pb.PutRequest{Key: []byte("k"), Value: make([]byte, size)}))
		require.NoError(t, s.CloseSend())
		if err := s.RecvMsg(&pb.PutResponse{}); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		cancel()
	}
}
