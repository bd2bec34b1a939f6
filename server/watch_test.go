package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
)

// watchDesc is the Watch method as a client of streams sees it.
var watchDesc = &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true, ClientStreams: true}

// watcherStream is a client's stream of watchers.
type watcherStream struct {
	t      *testing.T
	stream grpc.ClientStream
	cancel context.CancelFunc
}

func openWatch(t *testing.T, conn *grpc.ClientConn, md ...string) *watcherStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), md...), time.Minute)
	t.Cleanup(cancel)
	s, err := conn.NewStream(ctx, watchDesc, "/etcdserverpb.Watch/Watch", grpc.MaxCallRecvMsgSize(64<<20))
	require.NoError(t, err)
	return &watcherStream{t, s, cancel}
}

func (w *watcherStream) create(r *etcdserverpb.WatchCreateRequest) {
	w.t.Helper()
	require.NoError(w.t, w.stream.SendMsg(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: r}}))
}

func (w *watcherStream) cancelWatch(id int64) {
	w.t.Helper()
	require.NoError(w.t, w.stream.SendMsg(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CancelRequest{CancelRequest: &etcdserverpb.WatchCancelRequest{WatchId: id}}}))
}

func (w *watcherStream) progress() {
	w.t.Helper()
	require.NoError(w.t, w.stream.SendMsg(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{ProgressRequest: &etcdserverpb.WatchProgressRequest{}}}))
}

func (w *watcherStream) next() *etcdserverpb.WatchResponse {
	w.t.Helper()
	r := &etcdserverpb.WatchResponse{}
	require.NoError(w.t, w.stream.RecvMsg(r))
	require.NotZero(w.t, r.Header.GetClusterId())
	require.NotZero(w.t, r.Header.GetMemberId())
	require.NotZero(w.t, r.Header.GetRaftTerm())
	return r
}

// created reads the answer to a create that is not refused.
func (w *watcherStream) created(id, revision int64) {
	w.t.Helper()
	r := w.next()
	require.True(w.t, r.Created)
	require.False(w.t, r.Canceled)
	require.Equal(w.t, id, r.WatchId)
	require.Equal(w.t, revision, r.Header.Revision)
	require.Empty(w.t, r.Events)
}

// events reads responses of one watcher until there are n events, and tells them.
func (w *watcherStream) events(id int64, n int) (told []string) {
	w.t.Helper()
	for len(told) < n {
		r := w.next()
		require.Equal(w.t, id, r.WatchId, "%v", r)
		require.NotEmpty(w.t, r.Events, "%v", r)
		for _, e := range r.Events {
			one := fmt.Sprintf("%s %s=%s@%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
			if e.PrevKv != nil {
				one += fmt.Sprintf(" was %s@%d", e.PrevKv.Value, e.PrevKv.ModRevision)
			}
			told = append(told, one)
			require.GreaterOrEqual(w.t, r.Header.Revision, e.Kv.ModRevision)
		}
	}
	return told
}

func putKey(t *testing.T, conn *grpc.ClientConn, key, value string) int64 {
	t.Helper()
	r, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(t, err)
	return r.Header.Revision
}

func delKeys(t *testing.T, conn *grpc.ClientConn, key, end string) {
	t.Helper()
	_, err := call[etcdserverpb.DeleteRangeResponse](t, conn, "KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	require.NoError(t, err)
}

func TestWatchFromNowOnAndFromThePast(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	putKey(t, conn, "a", "1")  // 2
	putKey(t, conn, "a", "2")  // 3
	putKey(t, conn, "ab", "3") // 4
	w := openWatch(t, conn)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
	w.created(0, 4)
	putKey(t, conn, "a", "4") // 5
	delKeys(t, conn, "a", "") // 6
	require.Equal(t, []string{"PUT a=4@5", "DELETE a=@6"}, w.events(0, 2))

	// Both keys, from revision 3 on, with what was replaced.
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b"), StartRevision: 3, PrevKv: true})
	w.created(1, 6)
	require.Equal(t, []string{"PUT a=2@3 was 1@2", "PUT ab=3@4", "PUT a=4@5 was 2@3", "DELETE a=@6 was 4@5"}, w.events(1, 4))
	w.cancelWatch(0)
	r := w.next()
	require.True(t, r.Canceled)
	require.Equal(t, int64(0), r.WatchId)
	require.Equal(t, int64(6), r.Header.Revision)
	putKey(t, conn, "a", "5") // 7
	require.Equal(t, []string{"PUT a=5@7"}, w.events(1, 1))
}

var _ = []any{errors.Is, io.EOF, codes.OK, status.Code}
