package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// create reads the request for a watcher, and says where it is to begin.
func (c *received) create() int64 {
	var r etcdserverpb.WatchRequest
	c.request(&r)
	return r.GetCreateRequest().GetStartRevision()
}

func (c *received) send(m *etcdserverpb.WatchResponse) {
	require.NoError(c.fake.t, c.stream.SendMsg(m))
}

func header(revision int64) *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{Revision: revision}
}

func putAt(key string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: revision}}
}

// A watch goes on behind what was told, on whatever stream: a piece of a revision was
// not told, progress was.
func TestAWatchGoesOn(t *testing.T) {
	f := startFake(t, func(c *received) error {
		start := c.create()
		if c.nth == 3 {
			require.Equal(t, int64(12), start)
			return c.cutOff()
		}
		c.send(&etcdserverpb.WatchResponse{Header: header(10), Created: true})
		switch c.nth {
		case 1:
			require.Zero(t, start)
			return answer(codes.Unavailable, "etcdserver: server stopped")
		case 2:
			require.Equal(t, int64(11), start, "behind the revision at which it was created")
			c.send(&etcdserverpb.WatchResponse{Header: header(12), Events: []*mvccpb.Event{putAt("a", 11)}})
			c.send(&etcdserverpb.WatchResponse{Header: header(12), Fragment: true, Events: []*mvccpb.Event{putAt("b", 12)}})
			return answer(codes.Unavailable, "etcdserver: server stopped")
		case 4:
			require.Equal(t, int64(12), start)
			c.send(&etcdserverpb.WatchResponse{Header: header(12), Fragment: true, Events: []*mvccpb.Event{putAt("b", 12)}})
			c.send(&etcdserverpb.WatchResponse{Header: header(12), Events: []*mvccpb.Event{putAt("c", 12)}})
			return answer(codes.Unavailable, "etcdserver: server stopped")
		case 5:
			require.Equal(t, int64(13), start)
			c.send(&etcdserverpb.WatchResponse{Header: header(20), WatchId: -1})
			return answer(codes.Unavailable, "etcdserver: no leader")
		default:
			require.Equal(t, int64(21), start)
			c.send(&etcdserverpb.WatchResponse{Header: header(0), Canceled: true, CompactRevision: 30})
			<-c.ctx.Done()
			return c.ctx.Err()
		}
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	w := c.Watch(within(t, 20*time.Second), "k", WithPrefix(), WithFragment(), WithCreatedNotify())
	var told []string
	var last WatchResponse
	for res := range w {
		switch {
		case res.Created:
			told = append(told, "created")
		case res.IsProgressNotify():
			told = append(told, "progress")
		}
		keys := ""
		for _, e := range res.Events {
			keys += string(e.Kv.Key)
		}
		if keys != "" {
			told = append(told, keys)
		}
		last = res
	}
	require.Equal(t, []string{"created", "a", "bc", "progress"}, told)
	require.True(t, last.Canceled)
	require.ErrorIs(t, last.Err(), errs.Compacted)
	require.Equal(t, int64(30), last.CompactRevision)
	require.Equal(t, 6, f.count(methodWatch))
}

func TestAWatchThatMayNotGoOn(t *testing.T) {
	for name, tc := range map[string]struct {
		code    codes.Code
		text    string
		leader  bool // is required
		streams int
		want    error
	}{
		"without a right":                  {codes.PermissionDenied, "etcdserver: permission denied", false, 1, errs.PermissionDenied},
		"without a leader that it demands": {codes.Unavailable, "etcdserver: no leader", true, 1, errs.NoLeader},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, func(c *received) error {
				c.create()
				return answer(tc.code, tc.text)
			})
			c := connectTo(t, Config{Endpoints: []string{f.address}})
			ctx := within(t, 20*time.Second)
			if tc.leader {
				ctx = WithRequireLeader(ctx)
			}
			res := <-c.Watch(ctx, "k")
			require.True(t, res.Canceled)
			require.ErrorIs(t, res.Err(), tc.want)
			require.Equal(t, tc.streams, f.count(methodWatch))
		})
	}
}

// What a server says in a response is an error too.
func TestAWatchThatIsRefused(t *testing.T) {
	f := startFake(t, func(c *received) error {
		c.create()
		c.send(&etcdserverpb.WatchResponse{Header: header(10), WatchId: -1, Created: true, Canceled: true, CancelReason: "etcdserver: permission denied"})
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	w := c.Watch(within(t, 20*time.Second), "k")
	res := <-w
	require.True(t, res.Canceled)
	require.ErrorIs(t, res.Err(), errs.PermissionDenied)
	require.Equal(t, "etcdserver: permission denied", res.CancelReason)
	_, open := <-w
	require.False(t, open)
}

func TestTheEndOfAWatch(t *testing.T) {
	f := startFake(t, func(c *received) error {
		c.create()
		c.send(&etcdserverpb.WatchResponse{Header: header(10), Created: true})
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	c, err := New(within(t, 20*time.Second), Config{Endpoints: []string{f.address}})
	require.NoError(t, err)
	w := c.Watch(t.Context(), "k", WithCreatedNotify())
	require.True(t, (<-w).Created)
	require.NoError(t, c.Close())
	res := <-w
	require.ErrorIs(t, res.Err(), ErrClosed)
	_, open := <-w
	require.False(t, open)
	require.Empty(t, c.watches.mu.all)
}
