package peer

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
)

// recordedNode is a node with the identity of one of the recordings.
func recordedNode(t *testing.T, id uint64, url string) *node {
	return start(t, id, listen(t, "127.0.0.1:0"), func(_ *node, c *Config) {
		c.ClusterID = recorded
		c.PeerURLs = []string{url}
	})
}

var volatile = regexp.MustCompile(`(?m)^(Date|Host|` + Ours + `): .*\r\n|"Now":"[^"]*"|(?m)^Content-Length: [45]\d\r\n`)

// lasting leaves out what differs from run to run, or on purpose.
func lasting(b []byte) string { return volatile.ReplaceAllString(string(b), "") }

// exchange sends recorded requests, and returns all that comes back.
func exchange(t *testing.T, url string, requests []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Write(requests)
	require.NoError(t, err)
	var all bytes.Buffer
	answers := bufio.NewReader(io.TeeReader(conn, &all))
	for r := bufio.NewReader(bytes.NewReader(requests)); ; {
		req, err := http.ReadRequest(r)
		if err == io.EOF {
			return all.Bytes()
		}
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, req.Body)
		require.NoError(t, err)
		resp, err := http.ReadResponse(answers, req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
}

func TestRecordedRefusals(t *testing.T) {
	third := recordedNode(t, n3, "http://127.0.0.1:45123")
	require.Equal(t, lasting(file(t, "stream-refused-404.resp")), lasting(exchange(t, third.url, file(t, "stream-refused-404.req"))))
	require.True(t, third.Stats().Peers[n2].Remote, "it said where it is")

	second := recordedNode(t, n2, "http://127.0.0.1:45122")
	second.removed.Store(n4)
	require.Equal(t, lasting(file(t, "stream-refused-410.resp")), lasting(exchange(t, second.url, file(t, "stream-refused-410.req"))))
	require.Empty(t, second.Stats().Peers)
}

func TestRecordedPostsAndProbesAreAnswered(t *testing.T) {
	for _, name := range []string{"pipeline-n3-to-n1", "pipeline-n4-to-n1", "probing"} {
		n := recordedNode(t, n1, "http://127.0.0.1:45121")
		got := lasting(exchange(t, n.url, file(t, name+".req")))
		require.True(t, strings.HasPrefix(got, lasting(file(t, name+".resp"))), "the last answer may be missing in the recording: %s", got)
	}
}

// cut returns the head of a request or response.
func cut(t *testing.T, b []byte) []byte {
	head, _, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	require.True(t, ok)
	return append(head, "\r\n\r\n"...)
}

func TestRecordedStreamHeads(t *testing.T) {
	for _, name := range []string{"message-n2-to-n1", "msgapp-n1-to-n2"} {
		server, dialer, k := uint64(n2), uint64(n1), streamMessage
		urls := map[uint64]string{n1: "http://127.0.0.1:45121", n2: "http://127.0.0.1:45122"}
		if name == "msgapp-n1-to-n2" {
			server, dialer, k = n1, n2, streamMsgApp
		}
		// What we ask for.
		ln := listen(t, "127.0.0.1:0")
		asks := recordedNode(t, dialer, urls[dialer])
		require.NoError(t, asks.Add(server, []string{"http://" + ln.Addr().String()}))
		for found := false; !found; {
			conn, err := ln.Accept()
			require.NoError(t, err)
			b := make([]byte, 4096)
			n, err := conn.Read(b)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			if found = bytes.HasPrefix(b, []byte("GET "+streamPaths[k])); found {
				require.Equal(t, lasting(file(t, name+".req")), lasting(cut(t, b[:n])))
				require.Contains(t, string(b), Ours+": 1\r\n")
			}
		}
		require.NoError(t, ln.Close())
		asks.stop()

		// What we answer.
		answers := recordedNode(t, server, urls[server])
		require.NoError(t, answers.Add(dialer, []string{"http://127.0.0.1:1"}))
		conn, err := net.Dial("tcp", strings.TrimPrefix(answers.url, "http://"))
		require.NoError(t, err)
		_, err = conn.Write(file(t, name+".req"))
		require.NoError(t, err)
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		require.NoError(t, err)
		require.Equal(t, lasting(cut(t, file(t, name+".resp"))), lasting(cut(t, b[:n])))
		require.Equal(t, originUpstream, int(answers.link(dialer).origin.Load()), "the recorded member is upstream's")
		require.NoError(t, conn.Close())
	}
}

func TestRecordedPostIsWhatWeSend(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	defer ln.Close()
	fourth := recordedNode(t, n4, "http://127.0.0.1:45124")
	require.NoError(t, fourth.AddRemote(n1, []string{"http://" + ln.Addr().String()}))
	r := bufio.NewReader(bytes.NewReader(file(t, "pipeline-n4-to-n1.req")))
	req, err := http.ReadRequest(r)
	require.NoError(t, err)
	body, err := io.ReadAll(req.Body)
	require.NoError(t, err)
	m, err := parse(body)
	require.NoError(t, err)
	fourth.Send([]*raftpb.Message{m})
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	require.NoError(t, err)
	first, _, _ := bytes.Cut(file(t, "pipeline-n4-to-n1.req"), []byte("\r\n\r\n"))
	require.Equal(t, lasting(append(first, ("\r\n\r\n"+string(body))...)), lasting(b[:n]))
}

func TestChecksAndTheirOrder(t *testing.T) {
	n := start(t, 1, listen(t, "127.0.0.1:0"))
	require.NoError(t, n.Add(2, []string{"http://127.0.0.1:1"}))
	n.removed.Store(3)
	n.receive = func(*raftpb.Message, io.Reader) error { return nil }
	good := map[string]string{headerFrom: "2", headerVersion: "3.7.1", headerMinVersion: "3.0.0", headerCluster: "c1", headerTo: "1"}
	beat := marshal(t, beat(2, 1, 0))
	wrongTo := marshal(t, message(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.To = proto.Uint64(9) }))
	envelope, err := appendEnvelope(nil, message(raftpb.MsgSnap, func(m *raftpb.Message) {
		m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: proto.Uint64(9), Term: proto.Uint64(2), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}}
	}))
	require.NoError(t, err)
	noSnap, err := appendEnvelope(nil, message(raftpb.MsgHeartbeat))
	require.NoError(t, err)
	for _, c := range []struct {
		method, path, change string
		body                 []byte
		status               int
		answer               string
	}{
		{"POST", "/raft/stream/message/2", headerVersion + "=", nil, 405, "Method Not Allowed"},
		{"GET", "/raft/stream/x/2", headerVersion + "=", nil, 412, "incompatible version"},
		{"GET", "/raft/stream/message/2", headerVersion + "=2.3.0", nil, 412, "incompatible version"},
		{"GET", "/raft/stream/message/2", headerVersion + "=x", nil, 412, "incompatible version"},
		{"GET", "/raft/stream/message/2", headerMinVersion + "=3.8.0", nil, 412, "incompatible version"},
		{"GET", "/raft/stream/x/2", headerCluster + "=c2", nil, 412, "cluster ID mismatch"},
		{"GET", "/raft/stream/x/2", "", nil, 404, "invalid path"},
		{"GET", "/raft/stream/message", "", nil, 404, "invalid path"},
		{"GET", "/raft/stream/message/", "", nil, 404, "invalid from"},
		{"GET", "/raft/stream/message/zz", "", nil, 404, "invalid from"},
		{"GET", "/raft/stream/message/3", "", nil, 410, "removed member"},
		{"GET", "/raft/stream/msgapp/4", headerTo + "=7", nil, 404, "error sender not found"},
		{"GET", "/raft/stream/msgapp/2", headerTo + "=7", nil, 412, "to field mismatch"},
		{"GET", "/raft", "", nil, 405, "Method Not Allowed"},
		{"POST", "/raft", headerVersion + "=", beat, 412, "incompatible version"},
		{"POST", "/raft", headerCluster + "=", beat, 412, "cluster ID mismatch"},
		{"POST", "/raft", "", []byte{0xff}, 400, "error unmarshalling raft message"},
		{"POST", "/raft", "", beat, 204, ""},
		{"POST", "/raft", "", wrongTo, 500, "error processing raft message"},
		{"POST", "/raft", headerFrom + "=3", beat, 500, "error processing raft message"},
		{"POST", "/raft", headerFrom + "=", beat, 500, "error processing raft message"},
		{"GET", "/raft/snapshot", "", nil, 405, "Method Not Allowed"},
		{"POST", "/raft/snapshot", headerVersion + "=", envelope, 412, "incompatible version"},
		{"POST", "/raft/snapshot", headerCluster + "=", envelope, 412, "cluster ID mismatch"},
		{"POST", "/raft/snapshot", "", envelope[:20], 400, "failed to decode raft message (unexpected EOF)"},
		{"POST", "/raft/snapshot", "", noSnap, 400, "wrong raft message type"},
		{"POST", "/raft/snapshot", headerFrom + "=3", envelope, 500, "failed to process raft message (its sender was removed)"},
		{"POST", "/raft/snapshot", headerFrom + "=4", envelope, 500, "failed to process raft message (is from 2)"},
		{"POST", "/raft/snapshot", "", envelope, 500, "failed to save KV snapshot (it has no X-Etcd-Alt-Snapshot header: a snapshot of an upstream member cannot be read yet)"},
		{"POST", "/raft/snapshot", Ours + "=1", envelope, 204, ""},
		{"POST", "/raft/snapshot", Ours + "=1", append(envelope[:len(envelope):len(envelope)], 'x'), 500, "failed to save KV snapshot (1 bytes are left over)"},
		{"GET", "/raft/other", "", nil, 404, "404 page not found"},
		{"GET", "/elsewhere", "", nil, 404, "404 page not found"},
	} {
		t.Run(fmt.Sprint(c.method, c.path, c.change, c.status), func(t *testing.T) {
			req, err := http.NewRequest(c.method, n.url+c.path, bytes.NewReader(c.body))
			require.NoError(t, err)
			for name, value := range good {
				req.Header.Set(name, value)
			}
			if name, value, ok := strings.Cut(c.change, "="); ok {
				req.Header.Del(name)
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", b)
			want := c.answer
			if want != "" {
				want += "\n"
			}
			require.Equal(t, want, string(b))
			if c.status == 405 {
				require.NotEmpty(t, resp.Header.Get("Allow"))
			}
		})
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	require.EqualValues(t, 2, n.got.Load(), "a heartbeat and a snapshot")
}

// clusterOf is the cluster of members-join, without n4 being a voter.
var clusterOf = []Member{
	{ID: n4, PeerURLs: []string{"http://127.0.0.1:45124"}, Learner: true},
	{ID: n3, PeerURLs: []string{"http://127.0.0.1:45123"}, Name: "n3", ClientURLs: []string{"http://127.0.0.1:45103"}},
	{ID: n2, PeerURLs: []string{"http://127.0.0.1:45122"}, Name: "n2", ClientURLs: []string{"http://127.0.0.1:45102"}},
	{ID: n1, PeerURLs: []string{"http://127.0.0.1:45121"}, Name: "n1", ClientURLs: []string{"http://127.0.0.1:45101"}},
}

// manage serves a Management, and returns a client of it.
func manage(t *testing.T, m Management) (url string, c *Client) {
	ln := listen(t, "127.0.0.1:0")
	server := &http.Server{Handler: m.Handler()}
	go func() { _ = server.Serve(ln) }()
	c = NewClient(ClientConfig{ClusterID: m.ClusterID})
	t.Cleanup(func() {
		c.Close()
		_ = server.Close()
	})
	return "http://" + ln.Addr().String(), c
}

func TestRecordedManagement(t *testing.T) {
	voter := append([]Member(nil), clusterOf...)
	voter[0] = Member{ID: n4, PeerURLs: voter[0].PeerURLs, Name: "n4", ClientURLs: []string{"http://127.0.0.1:45104"}}
	promotions, versions := 0, 0
	m := Management{
		ClusterID: recorded,
		Members:   func() []Member { return clusterOf },
		Promote: func(_ context.Context, id uint64, _ string) ([]Member, error) {
			require.EqualValues(t, n4, id)
			if promotions++; promotions == 1 {
				return nil, fmt.Errorf("not yet: %w", errs.LearnerNotReady)
			}
			return voter, nil
		},
		Versions: func() Versions {
			if versions++; versions == 3 {
				return Versions{"3.7.1", "3.6.0", "3.6.0"}
			}
			return Versions{"3.7.1", "3.7.0", "3.7.0"}
		},
		DowngradeEnabled: func(context.Context) (bool, error) { return false, nil },
	}
	url, _ := manage(t, m)
	require.Equal(t, lasting(file(t, "promote-and-version.resp")), lasting(exchange(t, url, onlyRequests(t, "promote-and-version"))))
	versions = 0
	require.Equal(t, lasting(file(t, "members-join.resp")), lasting(exchange(t, url, file(t, "members-join.req"))))
	versions = 0
	require.Equal(t, lasting(file(t, "version-downgrade-enabled.resp")), lasting(exchange(t, url, file(t, "version-downgrade-enabled.req"))))
}

// onlyRequests leaves out the requests that have no answer any more in the
// recording.
func onlyRequests(t *testing.T, name string) []byte {
	answers := bytes.Count(file(t, name+".resp"), []byte("HTTP/1.1 "))
	parts := bytes.SplitAfter(file(t, name+".req"), []byte("\r\n\r\n"))
	require.GreaterOrEqual(t, len(parts), answers)
	return bytes.Join(parts[:answers], nil)
}

func TestManagementClient(t *testing.T) {
	var fail error
	var token string
	m := Management{
		ClusterID: recorded,
		Members:   func() []Member { return clusterOf },
		Promote: func(_ context.Context, id uint64, given string) ([]Member, error) {
			token = given
			return clusterOf, fail
		},
		HashKV: func(_ context.Context, revision int64) (Hash, error) {
			return Hash{Current: 70, Hash: 567086357, CompactRevision: 12, Revision: revision}, fail
		},
		DowngradeEnabled: func(context.Context) (bool, error) { return true, fail },
		Versions:         func() Versions { return Versions{"3.7.1", "3.7.0", "3.7.0"} },
	}
	url, c := manage(t, m)
	ctx := t.Context()

	members, cluster, err := c.Members(ctx, url)
	require.NoError(t, err)
	require.Equal(t, clusterOf, members)
	require.EqualValues(t, recorded, cluster)
	v, err := c.ServerVersion(ctx, url+"/")
	require.NoError(t, err)
	require.Equal(t, Versions{"3.7.1", "3.7.0", "3.7.0"}, v)
	enabled, err := c.DowngradeEnabled(ctx, url)
	require.NoError(t, err)
	require.True(t, enabled)
	hash, err := c.HashKV(ctx, url, 62)
	require.NoError(t, err)
	require.Equal(t, Hash{Current: 70, Hash: 567086357, CompactRevision: 12, Revision: 62}, hash)
	members, err = c.Promote(ctx, url, n4, "a token")
	require.NoError(t, err)
	require.Equal(t, clusterOf, members)
	require.Equal(t, "a token", token)

	for _, e := range []*errs.Error{errs.MemberNotFound, errs.MemberNotLearner, errs.LearnerNotReady} {
		fail = e
		_, err = c.Promote(ctx, url, n4, "")
		require.Equal(t, error(e), err)
	}
	for _, e := range []*errs.Error{errs.Compacted, errs.FutureRev} {
		fail = e
		_, err = c.HashKV(ctx, url, 62)
		require.Equal(t, error(e), err)
	}
	fail = errs.NoLeader
	_, err = c.Promote(ctx, url, n4, "")
	require.ErrorContains(t, err, `500: {"message":"Internal Server Error"}`)
	_, err = c.DowngradeEnabled(ctx, url)
	require.ErrorContains(t, err, "500: etcdserver: no leader")
	_, err = c.HashKV(ctx, url, 62)
	require.ErrorContains(t, err, "400: etcdserver: no leader")

	other := NewClient(ClientConfig{ClusterID: 5})
	defer other.Close()
	_, _, err = other.Members(ctx, url)
	require.Equal(t, error(errs.ClusterIDMismatch), err)
	_, err = other.HashKV(ctx, url, 1)
	require.Equal(t, error(errs.ClusterIDMismatch), err)
	_, _, err = other.Members(ctx, "http://127.0.0.1:1")
	require.Error(t, err)
}

func TestManagementRefusals(t *testing.T) {
	url, _ := manage(t, Management{ClusterID: 0xc1, HashKV: func(context.Context, int64) (Hash, error) { return Hash{}, nil }})
	for _, c := range []struct {
		method, path, cluster, body string
		status                      int
		answer                      string
	}{
		{"POST", "/members", "", "", 405, "Method Not Allowed\n"},
		{"GET", "/members/promote/1", "", "", 405, "Method Not Allowed\n"},
		{"POST", "/members/promote/zz", "", "", 404, "member zz not found in cluster\n"},
		{"POST", "/members/hashkv", "", "{}", 405, "Method Not Allowed\n"},
		{"GET", "/members/hashkv", "c2", "{}", 412, "cluster ID mismatch\n"},
		{"GET", "/members/hashkv", "c1", "{", 400, "error unmarshalling request\n"},
		{"GET", "/members/hashkv", "", `{"revision":0}`, 200, `{"header":{"revision":0},"hash":0,"compact_revision":0,"hash_revision":0}`},
		{"GET", "/members/hashkv", "", strings.Repeat(" ", maxAsk+1), 400, "error reading body\n"},
		{"POST", "/downgrade/enabled", "", "", 405, "Method Not Allowed\n"},
		{"POST", "/version", "", "", 405, "Method Not Allowed\n"},
	} {
		req, err := http.NewRequest(c.method, url+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		if c.cluster != "" {
			req.Header.Set(headerCluster, c.cluster)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, c.path)
		require.Equal(t, c.answer, string(b), c.path)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
