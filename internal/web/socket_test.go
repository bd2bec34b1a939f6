package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/rpc"
)

func TestSockets(t *testing.T) {
	left := make(chan error, 10)
	url := serve(t, []rpc.Method{
		{Path: "/etcdserverpb.Maintenance/Status", Inline: func(c *rpc.Call) {
			token, _ := c.Metadata("authorization")
			c.Reply(&etcdserverpb.StatusResponse{Version: token})
		}},
		{Path: "/etcdserverpb.KV/Compact", Inline: func(c *rpc.Call) { c.Fail(codes.OutOfRange, "too late") }},
		{Path: "/etcdserverpb.Watch/Watch", Stream: func(ctx context.Context, s *rpc.Stream) error {
			for {
				b, err := s.Recv()
				if errors.Is(err, io.EOF) {
					<-ctx.Done()
					left <- ctx.Err()
					return ctx.Err()
				}
				if err != nil {
					left <- err
					return err
				}
				r := &etcdserverpb.WatchRequest{}
				if err := r.UnmarshalVT(b); err != nil {
					return status.Error(codes.Internal, err.Error())
				}
				if err := s.Send(&etcdserverpb.WatchResponse{WatchId: r.GetCreateRequest().GetStartRevision()}); err != nil {
					return err
				}
			}
		}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func(path string, header http.Header, subprotocols ...string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+path, &websocket.DialOptions{HTTPHeader: header, Subprotocols: subprotocols})
	}
	must := func(c *websocket.Conn, res *http.Response, err error) *websocket.Conn {
		t.Helper()
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.CloseNow() })
		return c
	}
	read := func(c *websocket.Conn) string {
		t.Helper()
		kind, b, err := c.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, websocket.MessageText, kind)
		return string(b)
	}

	// One answer, and the end.
	for name, tc := range map[string]struct {
		header       http.Header
		subprotocols []string
		want         string
	}{
		"no token":                   {nil, nil, `{}`},
		"no token of other pages":    {http.Header{"Origin": {"http://elsewhere"}}, nil, `{}`},
		"subprotocol":                {nil, []string{"Bearer", "abc"}, `{"version":"Bearer abc"}`},
		"subprotocol of other pages": {http.Header{"Origin": {"http://elsewhere"}}, []string{"Bearer", "abc"}, `{"version":"Bearer abc"}`},
		"cookie":                     {http.Header{"Cookie": {"token=abc"}}, nil, `{"version":"Bearer abc"}`},
		"header":                     {http.Header{"Authorization": {"abc"}}, nil, `{"version":"abc"}`},
	} {
		c, res, err := open("/v3/maintenance/status", tc.header, tc.subprotocols...)
		c = must(c, res, err)
		require.Equal(t, slices.Contains(tc.subprotocols, bearer), c.Subprotocol() == bearer, name)
		require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(`{}`)))
		require.Equal(t, tc.want, read(c), name)
		_, _, err = c.Read(ctx)
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err), name)
	}
	c := must(open("/v3/kv/compaction", nil))
	require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(`{}`)))
	require.Equal(t, `{"code":11,"message":"too late"}`, read(c))

	// A stream, until the client has enough. Requests may come in pieces.
	c = must(open("/v3/watch", nil))
	for _, n := range []string{"7", "8"} {
		require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(`{"create_request":`)))
		require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(`{"start_revision":`+n+`}}`)))
		require.Equal(t, `{"result":{"watch_id":"`+n+`"}}`, read(c))
	}
	require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
	require.Error(t, <-left)

	c = must(open("/v3/watch", nil))
	require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(`{"create_request":}`)))
	require.Contains(t, read(c), `{"error":{"code":3,`)
	require.Error(t, <-left)

	c = must(open("/v3/watch", nil))
	require.NoError(t, c.CloseNow()) // the client has died
	require.Error(t, <-left)

	// No page of elsewhere may use a browser's cookies.
	_, res, err := open("/v3/maintenance/status", http.Header{"Origin": {"http://elsewhere"}, "Cookie": {"token=abc"}})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	_, res, err = open("/v3/nonsense", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusNotFound, res.StatusCode)
}
