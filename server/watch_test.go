package server

import (
	"context"
	"fmt"
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
	at     int64 // see follow
}

func openWatch(t *testing.T, conn *grpc.ClientConn, md ...string) *watcherStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), md...), time.Minute)
	t.Cleanup(cancel)
	s, err := conn.NewStream(ctx, watchDesc, "/etcdserverpb.Watch/Watch", grpc.MaxCallRecvMsgSize(64<<20))
	require.NoError(t, err)
	return &watcherStream{t: t, stream: s, cancel: cancel}
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

func compactTo(t *testing.T, conn *grpc.ClientConn, revision int64) {
	t.Helper()
	_, err := call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: revision, Physical: true})
	require.NoError(t, err)
}

func TestWatchersThatAreRefused(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	revision := putKey(t, conn, "a", "1")
	w := openWatch(t, conn)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	w.created(7, revision)
	for _, tc := range []struct {
		request *etcdserverpb.WatchCreateRequest
		reason  string
	}{
		{&etcdserverpb.WatchCreateRequest{Key: []byte("a"), WatchId: 7}, "mvcc: duplicate watch ID provided on the WatchStream"},
		{&etcdserverpb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}, "mvcc: watcher range is empty"},
		{&etcdserverpb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("b")}, "mvcc: watcher range is empty"},
		{&etcdserverpb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1}, "etcdserver: mvcc: required revision has been compacted"},
	} {
		w.create(tc.request)
		r := w.next()
		require.True(t, r.Created && r.Canceled)
		require.Equal(t, int64(-1), r.WatchId)
		require.Equal(t, tc.reason, r.CancelReason)
		require.Equal(t, revision, r.Header.Revision)
		require.Zero(t, r.CompactRevision)
	}
	// Ids of the server's own count from 0 and pass over those in use.
	for _, id := range []int64{0, 1} {
		w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
		w.created(id, revision)
	}
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), WatchId: 2})
	w.created(2, revision)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
	w.created(3, revision)
	// A cancelled one's id is free, one that is not known is not spoken of.
	w.cancelWatch(99)
	w.cancelWatch(7)
	require.Equal(t, int64(7), w.next().WatchId)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	w.created(7, revision)
}

func TestWatchOfACompactedRevision(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	putKey(t, conn, "a", "1") // 2
	delKeys(t, conn, "a", "") // 3
	putKey(t, conn, "b", "1") // 4
	compactTo(t, conn, 3)
	w := openWatch(t, conn)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2, WatchId: 5})
	w.created(5, 4)
	r := w.next()
	require.True(t, r.Canceled)
	require.False(t, r.Created)
	require.Equal(t, int64(5), r.WatchId)
	require.Equal(t, int64(3), r.CompactRevision)
	require.Zero(t, r.Header.Revision)
	require.Empty(t, r.CancelReason)
	// Its id is taken until the client cancels it.
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), WatchId: 5})
	r = w.next()
	require.Equal(t, "mvcc: duplicate watch ID provided on the WatchStream", r.CancelReason)
	w.cancelWatch(5)
	r = w.next()
	require.True(t, r.Canceled)
	require.Zero(t, r.CompactRevision)
	// The compacted revision itself can be watched, and its deletion is there.
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 3, WatchId: 5, PrevKv: true})
	w.created(5, 4)
	require.Equal(t, []string{"DELETE a=@3", "PUT b=1@4"}, w.events(5, 2))
}

func TestWatchOfARevisionToCome(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	putKey(t, conn, "a", "1") // 2
	w := openWatch(t, conn)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), StartRevision: 5})
	w.created(0, 2)
	w.progress() // said when revision 4 is there: before, it would promise too much
	for i := range 4 {
		putKey(t, conn, "a", fmt.Sprint(i)) // 3, 4, 5, 6
	}
	r := w.next()
	require.Equal(t, int64(-1), r.WatchId)
	require.GreaterOrEqual(t, r.Header.Revision, int64(4))
	if r.Header.Revision > 4 {
		t.Fatalf("progress at %d before the event of revision 5", r.Header.Revision)
	}
	require.Equal(t, []string{"PUT a=2@5", "PUT a=3@6"}, w.events(0, 2))
}

func TestWatchFiltersAndTransactions(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	w := openWatch(t, conn)
	all := &etcdserverpb.WatchCreateRequest{RangeEnd: []byte{0}}
	w.create(all)
	w.created(0, 1)
	putKey(t, conn, "a", "1") // 2
	require.Equal(t, []string{"PUT a=1@2"}, w.events(0, 1))
	w.cancelWatch(0)
	w.next()
	w.create(&etcdserverpb.WatchCreateRequest{RangeEnd: []byte{0}, Filters: []etcdserverpb.WatchCreateRequest_FilterType{etcdserverpb.WatchCreateRequest_NOPUT}, PrevKv: true})
	w.created(1, 2)
	delKeys(t, conn, "a", "")
	require.Equal(t, []string{"DELETE a=@3 was 1@2"}, w.events(1, 1))
	w.cancelWatch(1)
	w.next()
	w.create(&etcdserverpb.WatchCreateRequest{RangeEnd: []byte{0}, Filters: []etcdserverpb.WatchCreateRequest_FilterType{etcdserverpb.WatchCreateRequest_NODELETE}})
	w.created(2, 3)
	op := func(key string) *etcdserverpb.RequestOp {
		return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte("t")}}}
	}
	_, err := call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{op("x"), op("y"), op("z")}})
	require.NoError(t, err)
	r := w.next()
	require.Len(t, r.Events, 3) // of one revision
	require.Equal(t, int64(4), r.Header.Revision)
}

func TestWatchProgress(t *testing.T) {
	c := testConfig(t)
	c.WatchProgressInterval = 100 * time.Millisecond
	m := start(t, c)
	defer m.Close()
	conn := dial(t, m)
	w := openWatch(t, conn)
	w.progress() // nobody watches: nothing is said
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
	w.created(0, 1)
	revision := putKey(t, conn, "b", "1")
	w.progress()
	r := w.next()
	require.Equal(t, int64(-1), r.WatchId)
	require.Equal(t, revision, r.Header.Revision)
	require.False(t, r.Created || r.Canceled)
	// Behind each event, and never before it.
	for i := range 50 {
		revision = putKey(t, conn, "a", fmt.Sprint(i))
		w.progress()
		require.Equal(t, []string{fmt.Sprintf("PUT a=%d@%d", i, revision)}, w.events(0, 1))
		r = w.next()
		require.Equal(t, int64(-1), r.WatchId)
		require.Equal(t, revision, r.Header.Revision)
	}
	// By itself, for who asks for it, again and again.
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	w.created(1, revision)
	for range 3 {
		r = w.next()
		require.Equal(t, int64(1), r.WatchId)
		require.Empty(t, r.Events)
		require.Equal(t, revision, r.Header.Revision)
	}
}

func TestWatchFragments(t *testing.T) {
	c := testConfig(t)
	c.MaxRequestBytes = 64 << 10 // and a message may be 576 KiB
	m := start(t, c)
	defer m.Close()
	conn := dial(t, m)
	w := openWatch(t, conn)
	for id, fragment := range []bool{false, true} {
		w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true, Fragment: fragment})
		w.created(int64(id), 1)
	}
	for i := range 20 {
		putKey(t, conn, fmt.Sprintf("k%02d", i), string(make([]byte, 60<<10)))
	}
	seen := map[int64]int{}
	for seen[0] < 20 || seen[1] < 20 {
		r := w.next()
		seen[r.WatchId] += len(r.Events)
	}
	delKeys(t, conn, "k", "l")
	seen = map[int64]int{}
	pieces := 0
	for last := false; seen[0] < 20 || !last; {
		r := w.next()
		seen[r.WatchId] += len(r.Events)
		require.Equal(t, int64(22), r.Header.Revision)
		if r.WatchId == 0 {
			require.False(t, r.Fragment)
			require.Len(t, r.Events, 20)
			continue
		}
		pieces++
		require.Less(t, r.SizeVT(), 576<<10)
		last = !r.Fragment
	}
	require.Equal(t, 20, seen[1])
	require.Equal(t, 3, pieces)
}

// dialNarrow connects with a small window for each stream.
func dialNarrow(t *testing.T, m *Member) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(plain()),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(1<<20))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Who reads nothing is told everything when he does, and holds up nobody: writes,
// other streams of the member, other streams of his own connection.
func TestWatchersThatDoNotRead(t *testing.T) {
	c := testConfig(t)
	c.watchBudget = 1 << 10
	m := start(t, c)
	defer m.Close()
	conn, others := dialNarrow(t, m), dial(t, m)
	stalled, sibling, other := openWatch(t, conn), openWatch(t, conn), openWatch(t, others)
	for _, w := range []*watcherStream{stalled, sibling, other} {
		w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
		w.created(0, 1)
	}
	const n = 500 // of 2 KiB: more than windows and buffers take
	value := string(make([]byte, 2<<10))
	for i := range n {
		revision := putKey(t, others, "a", value)
		if i%100 == 0 {
			sibling.follow(revision)
			other.follow(revision)
		}
	}
	sibling.follow(n + 1)
	other.follow(n + 1)
	require.Eventually(t, func() bool { return m.state.Watch.Stats().Slow == 1 }, time.Minute, 10*time.Millisecond)
	stalled.follow(n + 1)
	stalled.progress()
	r := stalled.next()
	require.Equal(t, int64(-1), r.WatchId)
	require.Equal(t, int64(n+1), r.Header.Revision)
	require.Zero(t, m.state.Watch.Stats().Slow)
}

// follow reads the events of a key that changes with each revision, up to one.
func (w *watcherStream) follow(revision int64) {
	w.t.Helper()
	w.at = max(w.at, 1)
	for w.at < revision {
		for _, e := range w.next().Events {
			require.Equal(w.t, w.at+1, e.Kv.ModRevision)
			w.at++
		}
	}
}

// What a stream that lags has not read when it is compacted is not passed over in
// silence: its watcher is cancelled.
func TestWatchersThatAreOvertakenByACompaction(t *testing.T) {
	c := testConfig(t)
	c.watchBudget = 1 << 10
	m := start(t, c)
	defer m.Close()
	conn, others := dialNarrow(t, m), dial(t, m)
	w := openWatch(t, conn)
	w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
	w.created(0, 1)
	value := string(make([]byte, 2<<10))
	var last int64
	for range 500 {
		last = putKey(t, others, "a", value)
	}
	compactTo(t, others, last)
	for w.at = 1; ; {
		r := w.next()
		if r.Canceled {
			require.Equal(t, last, r.CompactRevision)
			require.Less(t, w.at, last)
			break
		}
		for _, e := range r.Events {
			require.Equal(t, w.at+1, e.Kv.ModRevision)
			w.at++
		}
	}
}

func TestWatchStreamsEnd(t *testing.T) {
	m := start(t, testConfig(t))
	conn := dial(t, m)
	half, open := openWatch(t, conn), openWatch(t, conn)
	for _, w := range []*watcherStream{half, open} {
		w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
		w.created(0, 1)
	}
	// The end of the client's half is not the end.
	require.NoError(t, half.stream.CloseSend())
	for i := range 3 {
		revision := putKey(t, conn, "a", "1")
		require.Equal(t, []string{fmt.Sprintf("PUT a=1@%d", revision)}, half.events(0, 1), "%d", i)
	}
	gone := openWatch(t, conn)
	gone.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
	gone.created(0, 4)
	require.Equal(t, 3, m.state.Watch.Stats().Streams)
	gone.cancel()
	require.Eventually(t, func() bool { return m.state.Watch.Stats().Streams == 2 }, time.Minute, time.Millisecond)
	open.events(0, 3)
	f := scrape(t, "http://"+m.ClientAddresses()[0].String())
	for name, want := range map[string]float64{"watch_stream_total": 2, "watcher_total": 2, "slow_watcher_total": 0, "events_total": 6, "pending_events_total": 0} {
		require.Equal(t, want, value(t, f, "etcd_debugging_mvcc_"+name), name)
	}
	closed := make(chan error)
	go func() { closed <- m.Close() }()
	for _, w := range []*watcherStream{half, open} {
		err := w.stream.RecvMsg(&etcdserverpb.WatchResponse{})
		require.Equal(t, codes.Unavailable, status.Code(err))
		require.Equal(t, "etcdserver: server stopped", status.Convert(err).Message())
	}
	require.NoError(t, <-closed)
	require.Zero(t, m.state.Watch.Stats().Streams)
}

// A stream that needs a leader ends when there is none for long; others stay, and
// are told what comes when there is one again.
func TestWatchNeedsALeader(t *testing.T) {
	t.Parallel() // it waits, mostly
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	at := (leader + 1) % 3
	conn := dial(t, members[at])
	needs, does := openWatch(t, conn, "hasleader", "true"), openWatch(t, conn)
	for _, w := range []*watcherStream{needs, does} {
		w.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
		require.True(t, w.next().Created)
	}
	require.NoError(t, members[leader].Close())
	require.NoError(t, members[(leader+2)%3].Close())
	err := needs.stream.RecvMsg(&etcdserverpb.WatchResponse{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "etcdserver: no leader", status.Convert(err).Message())
	late := openWatch(t, conn, "hasleader", "true")
	err = late.stream.RecvMsg(&etcdserverpb.WatchResponse{})
	require.Equal(t, "etcdserver: no leader", status.Convert(err).Message())
	members[leader] = start(t, configs[leader])
	revision := putKey(t, dial(t, members[leader]), "a", "1")
	require.Equal(t, []string{fmt.Sprintf("PUT a=1@%d", revision)}, does.events(0, 1))
}
