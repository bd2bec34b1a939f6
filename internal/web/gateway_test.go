package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/api/wire"
	"etcd.alt/internal/rpc"
)

// fine is a member that is well.
type fine struct{}

func (fine) HasLeader() bool                        { return true }
func (fine) Learner() bool                          { return false }
func (fine) Alarmed(etcdserverpb.AlarmType) bool    { return false }
func (fine) SerializableRead() error                { return nil }
func (fine) LinearizableRead(context.Context) error { return nil }
func (fine) ClusterVersion() string                 { return "3.7.0" }

// serve runs methods behind a gateway until the test ends and returns its URL.
func serve(t *testing.T, methods []rpc.Method) string {
	t.Helper()
	return "http://" + serveBehind(t, Client(fine{}, Options{Gateway: true, MaxRequest: 1 << 10, Origins: []string{"*"}}), methods)
}

// serveBehind runs methods behind a handler until the test ends and returns its address.
func serveBehind(t *testing.T, handler http.Handler, methods []rpc.Method) string {
	t.Helper()
	s, err := rpc.NewServer(rpc.Options{Methods: methods, Web: handler})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// clients are one of HTTP/1.1 and one of HTTP/2 without TLS.
func clients(t *testing.T) map[string]*http.Client {
	h1 := &http.Transport{}
	h2 := &http.Transport{Protocols: &http.Protocols{}}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h1.CloseIdleConnections)
	t.Cleanup(h2.CloseIdleConnections)
	return map[string]*http.Client{"h1": {Transport: h1, Timeout: time.Minute}, "h2": {Transport: h2, Timeout: time.Minute}}
}

// watch answers each request with two events, and a request to cancel with an
// error.
func watch(_ context.Context, s *rpc.Stream) error {
	for {
		b, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.Send(&etcdserverpb.WatchResponse{WatchId: 99})
		}
		if err != nil {
			return err
		}
		r := &etcdserverpb.WatchRequest{}
		if err := r.UnmarshalVT(b); err != nil {
			return err
		}
		if r.GetCancelRequest() != nil {
			return status.Error(codes.OutOfRange, "no more")
		}
		key := r.GetCreateRequest().GetKey()
		for _, typ := range []mvccpb.Event_EventType{mvccpb.Event_PUT, mvccpb.Event_DELETE} {
			if err := s.Send(&etcdserverpb.WatchResponse{Events: []*mvccpb.Event{{Type: typ, Kv: &mvccpb.KeyValue{Key: key, ModRevision: 7}}}}); err != nil {
				return err
			}
		}
	}
}

// A bidirectional stream: lines come as they are sent, while the request goes
// on; the end of the body ends the client's half alone.
func TestBidirectionalStream(t *testing.T) {
	url := serve(t, []rpc.Method{{Path: "/etcdserverpb.Watch/Watch", Stream: watch}})
	for name, client := range clients(t) {
		t.Run(name, func(t *testing.T) {
			body, say := io.Pipe()
			requests := make(chan string)
			go func() {
				for r := range requests {
					io.WriteString(say, r)
				}
				say.Close()
			}()
			requests <- `{"create_request":{"key":"Zm9v"}}`
			res, err := client.Post(url+"/v3/watch", "application/json", body)
			require.NoError(t, err)
			defer res.Body.Close()
			require.Equal(t, 200, res.StatusCode)
			require.Equal(t, name == "h2", res.ProtoMajor == 2)
			require.Equal(t, "application/json", res.Header.Get("Content-Type"))
			lines := bufio.NewReader(res.Body)
			next := func() string {
				t.Helper()
				line, err := lines.ReadString('\n')
				require.NoError(t, err)
				return line
			}
			require.Equal(t, `{"result":{"events":[{"kv":{"key":"Zm9v","mod_revision":"7"}}]}}`+"\n", next())
			require.Equal(t, `{"result":{"events":[{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"7"}}]}}`+"\n", next())
			requests <- "\n" + `{"createRequest":{"key":"YmFy"}}`
			require.Equal(t, `{"result":{"events":[{"kv":{"key":"YmFy","mod_revision":"7"}}]}}`+"\n", next())
			next()
			close(requests)
			require.Equal(t, `{"result":{"watch_id":"99"}}`+"\n", next())
			_, err = lines.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

// A stream that fails says so in its last line; one that fails before its first
// in its status too. Neither waits for the client to end its body.
func TestStreamsThatFail(t *testing.T) {
	url := serve(t, []rpc.Method{
		{Path: "/etcdserverpb.Watch/Watch", Stream: watch},
		{Path: "/etcdserverpb.Maintenance/Snapshot", Stream: func(_ context.Context, s *rpc.Stream) error {
			if err := s.Send(&etcdserverpb.SnapshotResponse{Blob: []byte("abc"), RemainingBytes: 3}); err != nil {
				return err
			}
			return status.Error(codes.DataLoss, "gone")
		}},
	})
	for name, client := range clients(t) {
		t.Run(name, func(t *testing.T) {
			read := func(path, body string, open bool) (int, string) {
				t.Helper()
				r, w := io.Pipe()
				defer w.Close()
				go func() {
					io.WriteString(w, body)
					if !open {
						w.Close()
					}
				}()
				res, err := client.Post(url+path, "application/json", r)
				require.NoError(t, err)
				defer res.Body.Close()
				b, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				return res.StatusCode, string(b)
			}
			code, body := read("/v3/watch", `{"cancel_request":{}}`, true)
			require.Equal(t, `{"error":{"code":11,"message":"no more"}}`+"\n", body)
			require.Equal(t, 400, code)
			code, body = read("/v3/watch", `{"create_request":{}}{"cancel_request":{}}`, true)
			require.Equal(t, 200, code)
			require.Equal(t, 3, strings.Count(body, "\n"))
			require.True(t, strings.HasSuffix(body, `{"error":{"code":11,"message":"no more"}}`+"\n"), body)
			code, body = read("/v3/watch", `{"create_request":}`, true)
			require.Equal(t, 400, code)
			require.Contains(t, body, `{"error":{"code":3,`)
			code, body = read("/v3/watch", `{"create_request":{"key":"`+strings.Repeat("A", 4<<10), true)
			require.Equal(t, 429, code)
			require.Contains(t, body, "the request is larger than 2048 bytes")
			code, body = read("/v3/maintenance/snapshot", ``, false)
			require.Equal(t, 200, code)
			require.Equal(t, `{"result":{"remaining_bytes":"3","blob":"YWJj"}}`+"\n"+`{"error":{"code":15,"message":"gone"}}`+"\n", body)
		})
	}
}

// A client that goes away ends the call.
func TestStreamIsLeft(t *testing.T) {
	over := make(chan error, 1)
	url := serve(t, []rpc.Method{{Path: "/v3electionpb.Election/Observe", Stream: func(ctx context.Context, s *rpc.Stream) error {
		if err := s.Send(&etcdserverpb.WatchResponse{}); err != nil {
			return err
		}
		<-ctx.Done()
		over <- ctx.Err()
		return ctx.Err()
	}}})
	for name, client := range clients(t) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, "POST", url+"/v3/election/observe", strings.NewReader("{}"))
			require.NoError(t, err)
			res, err := client.Do(r)
			require.NoError(t, err)
			line, err := bufio.NewReader(res.Body).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, `{"result":{}}`+"\n", line)
			cancel()
			res.Body.Close()
			require.ErrorIs(t, <-over, context.Canceled)
		})
	}
}

func TestUnary(t *testing.T) {
	url := serve(t, []rpc.Method{
		{Path: "/etcdserverpb.KV/Range", Inline: func(c *rpc.Call) {
			r := &etcdserverpb.RangeRequest{}
			if err := r.UnmarshalVT(c.Payload()); err != nil {
				c.Fail(codes.Internal, err.Error())
				return
			}
			c.Reply(&etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 1<<63 + 1}, Count: r.Limit, More: r.SortOrder == etcdserverpb.RangeRequest_DESCEND, Kvs: []*mvccpb.KeyValue{{Key: r.Key, Value: r.RangeEnd}}})
		}},
		{Path: "/etcdserverpb.Maintenance/Status", Inline: func(c *rpc.Call) {
			var seen []string
			c.EachMetadata(func(name, value string) bool { seen = append(seen, name+"="+value); return true })
			slices.Sort(seen)
			c.Reply(&etcdserverpb.StatusResponse{Errors: seen})
		}},
		{Path: "/etcdserverpb.KV/Compact", Inline: func(c *rpc.Call) {
			st, _ := status.New(codes.FailedPrecondition, "with \"details\"").WithDetails(wrapperspb.String("x"))
			c.FailStatus(st)
		}},
		{Path: "/etcdserverpb.KV/Txn", Inline: func(c *rpc.Call) { c.Keep() }},
	})
	post := func(path, body string, header ...string) (int, string, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", url+path, strings.NewReader(body))
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(b), res.Header
	}
	for _, body := range []string{
		`{"key":"a/8=","range_end":"AA","limit":"5","sort_order":"DESCEND","nonsense":{"x":[1]}}`,
		`{"key":"a_8","rangeEnd":"AA==","limit":5,"sortOrder":2} trailing`,
	} {
		code, got, header := post("/v3/kv/range", body)
		require.Equal(t, 200, code, got)
		require.Equal(t, `{"header":{"cluster_id":"9223372036854775809"},"kvs":[{"key":"a/8=","value":"AA=="}],"more":true,"count":"5"}`, got)
		require.Equal(t, "application/json", header.Get("Content-Type"))
		require.Equal(t, "application/grpc", header.Get("Grpc-Metadata-Content-Type"))
		require.Equal(t, "*", header.Get("Access-Control-Allow-Origin"))
	}
	code, got, _ := post("/v3beta/kv/range", "")
	require.Equal(t, 200, code, "a body that is empty is an empty message")
	require.Equal(t, `{"header":{"cluster_id":"9223372036854775809"},"kvs":[{}]}`, got)

	_, got, _ = post("/v3/maintenance/status", "{}", "Authorization", "Bearer t", "Grpc-Metadata-X-Thing", "v", "User-Agent", "ua", "X-Other", "no", "Accept", "*/*")
	for _, want := range []string{"authorization=Bearer t", "grpcgateway-authorization=Bearer t", "x-thing=v", "grpcgateway-user-agent=ua", "grpcgateway-accept=*/*", "x-forwarded-for=127.0.0.1"} {
		require.Contains(t, got, `"`+want+`"`)
	}
	require.NotContains(t, got, "x-other")

	// A method always knows that it is called from here.
	require.Contains(t, silent(t, url+"/v3/maintenance/status"), `"grpcgateway-accept="`)

	for _, tc := range []struct {
		path, body, timeout string
		code                int
		want                string
	}{
		{"/v3/kv/range", `{"key":`, "", 400, `{"code":3,"message":"unexpected EOF"}`},
		{"/v3/kv/range", `{"key":"!"}`, "", 400, `{"code":3,`},
		{"/v3/kv/range", `{"sort_order":"SIDEWAYS"}`, "", 200, `{"header"`}, // unknown names are passed over, of enums too
		{"/v3/kv/range", `{"key":"` + strings.Repeat("A", 4<<10) + `"}`, "", 429, `{"code":8,"message":"the request is larger than 2048 bytes"}`},
		{"/v3/kv/compaction", `{}`, "", 400, `{"code":9,"message":"with \"details\"","details":[{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"x"}]}`},
		{"/v3/kv/deleterange", `{}`, "", 501, `{"code":12,"message":"unknown method DeleteRange for service etcdserverpb.KV"}`},
		{"/v3/lease/grant", `{}`, "", 501, `{"code":12,"message":"unknown service etcdserverpb.Lease"}`},
		{"/v3/kv/nonsense", `{}`, "", 404, `{"code":5,"message":"Not Found"}`},
		{"/v3alpha/kv/range", `{}`, "", 404, "404 page not found\n"},
		{"/v3/kv/txn", `{}`, "20m", 504, `{"code":4,"message":"context deadline exceeded"}`},
		{"/v3/kv/txn", `{}`, "soon", 400, `{"code":3,"message":"invalid grpc-timeout: soon"}`},
	} {
		code, got, _ := post(tc.path, tc.body, "Grpc-Timeout", tc.timeout)
		require.Equal(t, tc.code, code, "%s %s", tc.path, got)
		require.Contains(t, got, tc.want)
	}
	res, err := http.Get(url + "/v3/kv/range")
	require.NoError(t, err)
	b, _ := io.ReadAll(res.Body)
	res.Body.Close()
	require.Equal(t, 501, res.StatusCode)
	require.Equal(t, `{"code":12,"message":"Method Not Allowed"}`, string(b))
}

// Every RPC has a path, but for those that are for gRPC alone.
func TestEveryRPCHasARoute(t *testing.T) {
	methodsByRoute() // no path leads nowhere
	for _, m := range wire.Methods() {
		if strings.HasPrefix(m.Service, "grpc.") || m.Path == "/etcdserverpb.KV/RangeStream" {
			require.NotContains(t, routes, m.Path)
			continue
		}
		require.Contains(t, routes, m.Path)
	}
}

func TestStatusOfCodes(t *testing.T) {
	var got []string
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		got = append(got, fmt.Sprint(httpStatus(c)))
	}
	require.Equal(t, "200 499 500 400 504 404 409 403 429 400 409 400 501 500 503 500 401", strings.Join(got, " "))
}
