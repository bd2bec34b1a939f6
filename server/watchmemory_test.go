//go:build cgo && !race

// Without cgo the engine's memory lies in Go's heap, and with the race detector all
// of it is larger: it is the streams' that is measured.

package server

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// One connection, 800 streams of watchers that nobody reads: each has less to wait
// in than where there are few.
func TestVeryManyStreamsThatAreNotRead(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(plain()), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const streams = 800
	for range streams {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Watch/Watch")
		require.NoError(t, err)
		require.NoError(t, s.SendMsg(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte("k")}}}))
		require.NoError(t, s.RecvMsg(&etcdserverpb.WatchResponse{}))
	}
	heap := func() int64 {
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return int64(ms.HeapAlloc >> 20)
	}
	before := heap()
	value := bytes.Repeat([]byte("x"), 10<<10)
	writer := dial(t, m)
	for range 100 {
		_, err := call[etcdserverpb.PutResponse](t, writer, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: value})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return m.state.Watch.Stats().Slow == streams }, 20*time.Second, 10*time.Millisecond, "all streams are full")
	// Beside the client's share, of 50 MiB, and all budgets each stream may be a message
	// over.
	require.Eventually(t, func() bool { return heap()-before < 180 }, 20*time.Second, 200*time.Millisecond)
	t.Logf("MiB before %d, after %d", before, heap())
}
