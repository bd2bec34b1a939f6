package server

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// A follower streams a range to a slow client, and is sent a snapshot meanwhile. The
// stream may end with an error; it must not begin again in its middle.
func TestARangeStreamDoesNotBeginAgainWhenTheStateIsReplaced(t *testing.T) {
	if raceDetector {
		t.Skip("the state is replaced from outside, beside a replica that ticks: what is looked at is the stream")
	}
	c := testConfig(t)
	c.CacheBytes = 4 << 10
	m := start(t, c)
	defer m.Close()
	conn := dial(t, m)
	const keys = 2000
	for k := range keys {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%05d", k), Value: make([]byte, 10_000)})
		require.NoError(t, err)
	}
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/etcdserverpb.KV/RangeStream")
	require.NoError(t, err)
	require.NoError(t, s.SendMsg(&etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Serializable: true}))
	require.NoError(t, s.CloseSend())
	next := func() ([]string, error) {
		part := &etcdserverpb.RangeStreamResponse{}
		err := s.RecvMsg(part)
		var got []string
		for _, kv := range part.GetRangeResponse().GetKvs() {
			got = append(got, string(kv.Key))
		}
		return got, err
	}
	seen := map[string]int{}
	got, err := next()
	require.NoError(t, err)
	for _, k := range got {
		seen[k]++
	}

	// What comes with a snapshot: here of the same state.
	meta, err := m.state.Checkpoint()
	require.NoError(t, err)
	body, err := m.state.Open(meta)
	require.NoError(t, err)
	require.NoError(t, m.state.Receive(meta, body))
	require.NoError(t, body.Close())
	require.NoError(t, m.state.Install(meta))

	for {
		got, err := next()
		for _, k := range got {
			seen[k]++
			require.Equal(t, 1, seen[k], "key %s came again, after %d others", k, len(seen))
		}
		if err != nil {
			if err == io.EOF {
				require.Len(t, seen, keys)
			}
			return
		}
	}
}
