package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
)

func testConfig(t *testing.T) *Config {
	t.Helper()
	c := Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.ListenClientURLs = mustURLs("http://127.0.0.1:0")
	c.ListenPeerURLs = mustURLs("http://127.0.0.1:0")
	return c
}

func start(t *testing.T, c *Config) *Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := Start(ctx, c, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() }) // again, where the test does so itself
	return m
}

func dial(t *testing.T, m *Member) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(plain()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func plain() credentials.TransportCredentials { return insecure.NewCredentials() }

func call[R any](t *testing.T, conn *grpc.ClientConn, method string, req any) (*R, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res := new(R)
	err := conn.Invoke(ctx, "/etcdserverpb."+method, req, res)
	return res, err
}

func TestAMemberServesStopsAndComesBack(t *testing.T) {
	c := testConfig(t)
	m := start(t, c)
	conn := dial(t, m)
	put, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
	require.Equal(t, int64(2), put.Header.Revision)
	require.NoError(t, m.Close())

	m = start(t, c)
	conn = dial(t, m)
	got, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.NoError(t, err)
	require.Equal(t, "v", string(got.Kvs[0].Value))
	require.Equal(t, int64(2), got.Header.Revision)
	require.Equal(t, put.Header.ClusterId, got.Header.ClusterId)
	require.Greater(t, got.Header.RaftTerm, put.Header.RaftTerm)
	require.NoError(t, m.Close())
}

func TestStatusAndMembers(t *testing.T) {
	c := testConfig(t)
	m := start(t, c)
	defer m.Close()
	conn := dial(t, m)
	st, err := call[etcdserverpb.StatusResponse](t, conn, "Maintenance/Status", &etcdserverpb.StatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "3.7.1", st.Version)
	require.Equal(t, "3.7.0", st.StorageVersion)
	require.Equal(t, st.Header.MemberId, st.Leader)
	require.NotNil(t, st.DowngradeInfo)
	require.Positive(t, st.DbSize)
	for _, linearizable := range []bool{false, true} {
		list, err := call[etcdserverpb.MemberListResponse](t, conn, "Cluster/MemberList", &etcdserverpb.MemberListRequest{Linearizable: linearizable})
		require.NoError(t, err)
		require.Zero(t, list.Header.Revision)
		require.Len(t, list.Members, 1)
		require.Equal(t, "default", list.Members[0].Name)
		require.Equal(t, []string{"http://localhost:2380"}, list.Members[0].PeerURLs)
		require.Equal(t, []string{"http://localhost:2379"}, list.Members[0].ClientURLs)
	}
	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Lease: 7})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, "etcdserver: requested lease not found", status.Convert(err).Message())
}

func TestHTTP(t *testing.T) {
	c := testConfig(t)
	c.ListenMetricsURLs = mustURLs("http://127.0.0.1:0")
	m := start(t, c)
	defer m.Close()
	client, metrics := "http://"+m.ClientAddresses()[0].String(), "http://"+m.listeners.metrics[0].Addr().String()
	for _, tc := range []struct {
		url  string
		code int
		body string
	}{
		{client + "/health", 200, `{"health":"true","reason":""}`},
		{client + "/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{client + "/livez", 200, "ok\n"},
		{client + "/readyz?verbose", 200, "[+]data_corruption ok\n[+]linearizable_read ok\n[+]non_learner ok\n[+]serializable_read ok\nok\n"},
		{client + "/readyz?exclude=linearizable_read&exclude=non_learner&exclude=data_corruption&verbose", 200, "[+]serializable_read ok\nok\n"},
		{client + "/readyz/linearizable_read", 200, "ok\n"},
		{client + "/readyz/nonsense", 404, "404 page not found\n"},
		{client + "/version", 200, `{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}` + "\n"},
		{client + "/", 404, "404 page not found\n"},
		{metrics + "/health", 200, `{"health":"true","reason":""}`},
		{metrics + "/version", 404, "404 page not found\n"},
	} {
		res, err := http.Get(tc.url)
		require.NoError(t, err, tc.url)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		require.NoError(t, err)
		require.Equal(t, tc.code, res.StatusCode, tc.url)
		require.Equal(t, tc.body, string(body), tc.url)
	}
	res, err := http.Post(client+"/health", "text/plain", nil)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	require.Equal(t, "GET", res.Header.Get("Allow"))
	require.Equal(t, "*", res.Header.Get("Access-Control-Allow-Origin"))
}

// What cannot be started says why, with the path at fault, and takes nothing
// with it.
func TestStartRefusals(t *testing.T) {
	fails := func(t *testing.T, c *Config, want string) {
		t.Helper()
		m, err := Start(t.Context(), c, zap.NewNop())
		require.ErrorContains(t, err, want)
		require.Nil(t, m)
	}
	t.Run("directory in use", func(t *testing.T) {
		c := testConfig(t)
		m := start(t, c)
		defer m.Close()
		fails(t, c, "is in use by another process")
	})
	t.Run("port in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		c := testConfig(t)
		c.ListenClientURLs = mustURLs("http://" + l.Addr().String())
		fails(t, c, "--listen-client-urls")
		_, err = os.Stat(c.DataDir)
		require.ErrorIs(t, err, os.ErrNotExist, "nothing is made before the port is bound")
	})
	t.Run("upstream's data", func(t *testing.T) {
		c := testConfig(t)
		require.NoError(t, os.MkdirAll(filepath.Join(c.DataDir, "member", "wal"), 0o700))
		fails(t, c, "holds data of upstream etcd (member/)")
	})
	t.Run("no log", func(t *testing.T) {
		c := testConfig(t)
		require.NoError(t, start(t, c).Close())
		require.NoError(t, os.RemoveAll(c.walDirectory()))
		fails(t, c, "there is a store but no log")
	})
	t.Run("no store", func(t *testing.T) {
		c := testConfig(t)
		require.NoError(t, start(t, c).Close())
		require.NoError(t, os.RemoveAll(filepath.Join(c.DataDir, "store-1")))
		fails(t, c, "store-1")
	})
	t.Run("no pointer", func(t *testing.T) {
		c := testConfig(t)
		require.NoError(t, start(t, c).Close())
		require.NoError(t, os.Remove(filepath.Join(c.DataDir, "current")))
		fails(t, c, "current is missing: the data is incomplete")
	})
	t.Run("the log of another member", func(t *testing.T) {
		a, b := testConfig(t), testConfig(t)
		b.InitialClusterToken = "another"
		require.NoError(t, start(t, a).Close())
		require.NoError(t, start(t, b).Close())
		require.NoError(t, os.RemoveAll(a.walDirectory()))
		require.NoError(t, os.Rename(b.walDirectory(), a.walDirectory()))
		fails(t, a, a.walDirectory())
	})
	t.Run("an older log of the same member", func(t *testing.T) {
		c := testConfig(t)
		require.NoError(t, start(t, c).Close())
		old := filepath.Join(t.TempDir(), "log")
		require.NoError(t, os.CopyFS(old, os.DirFS(c.walDirectory())))
		m := start(t, c)
		_, err := call[etcdserverpb.PutResponse](t, dial(t, m), "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		require.NoError(t, m.Close())
		require.NoError(t, os.RemoveAll(c.walDirectory()))
		require.NoError(t, os.Rename(old, c.walDirectory()))
		fails(t, c, "do not belong together")
	})
}

// Initial settings count only where there is no data.
func TestInitialSettingsAreIgnoredLater(t *testing.T) {
	c := testConfig(t)
	require.NoError(t, start(t, c).Close())
	c.InitialClusterToken = "another"
	m := start(t, c)
	defer m.Close()
	st, err := call[etcdserverpb.StatusResponse](t, dial(t, m), "Maintenance/Status", &etcdserverpb.StatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "cdf818194e3a8c32", fmt.Sprintf("%x", st.Header.ClusterId))
}

// After `member update` a member is started at its new address, with the
// --initial-cluster that it was born with.
func TestRestartAtAnotherPeerURL(t *testing.T) {
	c := clusterOf(t, 1)[0]
	m := startAll(t, []*Config{c})[0]
	moved := mustURLs("http://" + freeAddresses(t, 1)[0])
	_, err := call[etcdserverpb.MemberUpdateResponse](t, dial(t, m), "Cluster/MemberUpdate", &etcdserverpb.MemberUpdateRequest{
		ID: m.state.Data.Identity.MemberID, PeerURLs: urlStrings(moved),
	})
	require.NoError(t, err)
	require.NoError(t, m.Close())

	again := *c
	again.ListenPeerURLs, again.InitialAdvertisePeerURLs = moved, moved
	m = start(t, &again)
	defer m.Close()
	list, err := call[etcdserverpb.MemberListResponse](t, dial(t, m), "Cluster/MemberList", &etcdserverpb.MemberListRequest{Linearizable: true})
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	require.Equal(t, urlStrings(moved), list.Members[0].PeerURLs)
}

// A name may be changed at any start; the others hear of it.
func TestRestartUnderAnotherName(t *testing.T) {
	c := clusterOf(t, 1)[0]
	require.NoError(t, startAll(t, []*Config{c})[0].Close())
	again := *c
	again.Name = "renamed"
	m := start(t, &again)
	defer m.Close()
	list, err := call[etcdserverpb.MemberListResponse](t, dial(t, m), "Cluster/MemberList", &etcdserverpb.MemberListRequest{Linearizable: true})
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	require.Equal(t, "renamed", list.Members[0].Name)
}

func TestUnixSocket(t *testing.T) {
	c := testConfig(t)
	path := filepath.Join(t.TempDir(), "etcd.sock")
	c.ListenClientURLs = mustURLs("unix://" + path)
	m := start(t, c)
	defer m.Close()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(plain()))
	require.NoError(t, err)
	defer conn.Close()
	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k")})
	require.NoError(t, err)
}

// A compaction under readers: every page is of one revision, or the reader is
// told that its revision is gone.
func TestCompactionUnderReaders(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	const keys = 50
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Serializable: true})
				if err != nil {
					t.Error(err)
					return
				}
				if res.Count != int64(len(res.Kvs)) {
					t.Errorf("%d keys and a count of %d", len(res.Kvs), res.Count)
					return
				}
				if _, err := call[etcdserverpb.HashKVResponse](t, conn, "Maintenance/HashKV", &etcdserverpb.HashKVRequest{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var revision int64
	for round := range 20 {
		for k := range keys {
			res, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%03d", k), Value: fmt.Append(nil, round)})
			require.NoError(t, err)
			revision = res.Header.Revision
		}
		_, err := call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: revision, Physical: round%2 == 0})
		require.NoError(t, err)
	}
	close(stop)
	readers.Wait()
	_, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), Revision: revision - 1})
	require.Equal(t, codes.OutOfRange, status.Code(err))
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: revision})
	require.Equal(t, codes.OutOfRange, status.Code(err))
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: revision + 1})
	require.Equal(t, "etcdserver: mvcc: required revision is a future revision", status.Convert(err).Message())
}

// A list larger than any buffer comes whole, of one revision, while it is
// written over and compacted under the reader.
func TestLargeListsUnderWrites(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	const keys, size = 3000, 2000
	for k := range keys {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%05d", k), Value: make([]byte, size)})
		require.NoError(t, err)
	}
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			res, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%05d", i*7%keys), Value: make([]byte, size)})
			if err != nil {
				t.Error(err)
				return
			}
			if i%100 == 99 {
				if _, err := call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: res.Header.Revision}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for _, r := range []*etcdserverpb.RangeRequest{
		{},
		{KeysOnly: true},
		{Limit: 1000},
		{SortOrder: etcdserverpb.RangeRequest_DESCEND},
		{SortTarget: etcdserverpb.RangeRequest_MOD, SortOrder: etcdserverpb.RangeRequest_ASCEND},
		{SortTarget: etcdserverpb.RangeRequest_VALUE, SortOrder: etcdserverpb.RangeRequest_DESCEND, Limit: 2000},
		{MinCreateRevision: 100},
	} {
		r.Key, r.RangeEnd = []byte("k"), []byte("l")
		for range 3 {
			res := &etcdserverpb.RangeResponse{}
			require.NoError(t, conn.Invoke(t.Context(), "/etcdserverpb.KV/Range", r, res, grpc.MaxCallRecvMsgSize(1<<30)), "%v", r)
			require.Equal(t, int64(keys), res.Count)
			want := keys
			if r.Limit > 0 {
				want = int(r.Limit)
			}
			if r.MinCreateRevision > 0 {
				want = keys - 98
			}
			require.Len(t, res.Kvs, want, "%v", r)
			require.Equal(t, r.Limit > 0, res.More)
			for _, kv := range res.Kvs {
				require.LessOrEqual(t, kv.ModRevision, res.Header.Revision)
			}
		}
	}
	close(done)
	writer.Wait()
}

func TestRangeStream(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	const keys = 500
	for k := range keys {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "k%05d", k), Value: make([]byte, 1000)})
		require.NoError(t, err)
	}
	stream := func(r *etcdserverpb.RangeRequest) (kvs int, last *etcdserverpb.RangeResponse, parts int, err error) {
		s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/etcdserverpb.KV/RangeStream")
		require.NoError(t, err)
		require.NoError(t, s.SendMsg(r))
		require.NoError(t, s.CloseSend())
		for {
			part := &etcdserverpb.RangeStreamResponse{}
			if err := s.RecvMsg(part); err == io.EOF {
				return kvs, last, parts, nil
			} else if err != nil {
				return 0, nil, 0, err
			}
			if last != nil {
				require.Nil(t, last.Header, "the header stands in the last part")
				require.Zero(t, last.Count)
			}
			last = part.RangeResponse
			kvs += len(last.Kvs)
			parts++
		}
	}
	all := &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	n, last, parts, err := stream(all)
	require.NoError(t, err)
	require.Equal(t, keys, n)
	require.Equal(t, int64(keys), last.Count)
	require.Equal(t, int64(keys+1), last.Header.Revision)
	require.Greater(t, parts, 2)
	all.Limit = 7
	n, last, parts, err = stream(all)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.Equal(t, 1, parts)
	require.True(t, last.More)
	all.CountOnly = true
	n, last, _, err = stream(all)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, int64(keys), last.Count)
	_, _, _, err = stream(&etcdserverpb.RangeRequest{Key: []byte("k"), SortTarget: etcdserverpb.RangeRequest_MOD})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, _, _, err = stream(&etcdserverpb.RangeRequest{})
	require.Equal(t, "etcdserver: key is not provided", status.Convert(err).Message())
	_, _, _, err = stream(&etcdserverpb.RangeRequest{Key: []byte("k"), Revision: 1 << 40})
	require.Equal(t, codes.OutOfRange, status.Code(err))
}
