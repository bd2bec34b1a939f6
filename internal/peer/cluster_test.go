package peer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// hasty is the timing of tests.
var hasty = timing{
	heartbeat: 20 * time.Millisecond,
	idle:      time.Second,
	redial:    5 * time.Millisecond,
	redialMax: 20 * time.Millisecond,
	probe:     20 * time.Millisecond,
	post:      2 * time.Second,
	bulk:      2 * time.Second,
	farewell:  500 * time.Millisecond,
}

const testCluster = 0xc1

// node is a Transport behind a listener, and what its functions were told.
type node struct {
	*Transport
	id       uint64
	url      string
	server   *http.Server
	full     atomic.Bool // Deliver takes nothing
	got      atomic.Int64
	removed  atomic.Uint64 // an ID that was
	gone     atomic.Int64
	lostTo   [10]atomic.Int64 // by ID
	sentOK   atomic.Int64
	sentFail atomic.Int64

	open    func(m *raftpb.Message) (io.ReadCloser, error)
	receive func(m *raftpb.Message, body io.Reader) error

	mu       sync.Mutex
	messages []*raftpb.Message
}

// listen returns a listener at a free port, or at the address.
func listen(t testing.TB, address string) net.Listener {
	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	return ln
}

func start(t testing.TB, id uint64, ln net.Listener, change ...func(n *node, c *Config)) *node {
	t.Helper()
	n := &node{id: id, url: "http://" + ln.Addr().String()}
	cfg := Config{
		ID: id, ClusterID: testCluster, PeerURLs: []string{n.url}, Logger: zap.NewNop(), MaxMessage: 1 << 20,
		Deliver: func(m *raftpb.Message) error {
			if n.full.Load() {
				return errors.New("full")
			}
			n.mu.Lock()
			n.messages = append(n.messages, m)
			n.mu.Unlock()
			n.got.Add(1)
			return nil
		},
		Unreachable: func(id uint64) { n.lostTo[min(id, 9)].Add(1) },
		SnapshotSent: func(_ uint64, ok bool) {
			if ok {
				n.sentOK.Add(1)
			} else {
				n.sentFail.Add(1)
			}
		},
		Removed:         func(id uint64) bool { return n.removed.Load() == id },
		Gone:            func(uint64) { n.gone.Add(1) },
		OpenSnapshot:    func(m *raftpb.Message) (io.ReadCloser, error) { return n.open(m) },
		ReceiveSnapshot: func(m *raftpb.Message, body io.Reader) error { return n.receive(m, body) },
	}
	for _, c := range change {
		c(n, &cfg)
	}
	tr, err := newTransport(cfg, hasty)
	require.NoError(t, err)
	n.Transport = tr
	n.server = &http.Server{Handler: tr.Handler()}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = n.server.Serve(ln)
	}()
	t.Cleanup(func() {
		n.stop()
		<-served
	})
	return n
}

func (n *node) stop() {
	n.Close()
	_ = n.server.Close()
}

// trio starts three members that know each other, and waits until all streams
// are up.
func trio(t testing.TB) []*node {
	nodes := make([]*node, 3)
	for i := range nodes {
		nodes[i] = start(t, uint64(i+1), listen(t, "127.0.0.1:0"))
	}
	introduce(t, nodes...)
	return nodes
}

func introduce(t testing.TB, nodes ...*node) {
	for _, a := range nodes {
		for _, b := range nodes {
			require.NoError(t, a.Add(b.id, []string{b.url}))
		}
	}
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				soon(t, func() bool { return a.streamsTo(b.id) == 2 && !a.ActiveSince(b.id).IsZero() }, "%d has no streams to %d", a.id, b.id)
			}
		}
	}
}

// streamsTo is how many streams to a member are up.
func (n *node) streamsTo(id uint64) (up int) {
	if l := n.link(id); l != nil {
		for k := range l.out {
			if l.out[k].Load() != nil {
				up++
			}
		}
	}
	return up
}

func soon(t testing.TB, cond func() bool, what ...any) {
	t.Helper()
	require.Eventually(t, cond, 8*time.Second, time.Millisecond, what...)
}

func (n *node) received() []*raftpb.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*raftpb.Message(nil), n.messages...)
}

func beat(from, to uint64, commit uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: &from, To: &to, Term: proto.Uint64(3), Commit: &commit}
}

func TestThreeMembersExchangeThousandsOfMessages(t *testing.T) {
	nodes := trio(t)
	const rounds, each = 300, 10
	var senders sync.WaitGroup
	for _, n := range nodes {
		senders.Go(func() {
			for i := range rounds {
				var batch []*raftpb.Message
				for to := uint64(1); to <= 3; to++ {
					if to != n.id {
						batch = append(batch, appOf(n.id, to, 3, uint64(i*each), each, 100), beat(n.id, to, uint64(i)))
					}
				}
				n.Send(batch)
			}
		})
	}
	senders.Wait()
	for _, n := range nodes {
		soon(t, func() bool { return n.got.Load() == rounds*4 }, "%d got %d", n.id, n.got.Load())
		at := map[uint64]uint64{}   // how far each sender's log has come
		beats := map[uint64]int64{} // and its heartbeats
		for _, m := range n.received() {
			require.Equal(t, n.id, m.GetTo())
			if m.GetType() == raftpb.MsgHeartbeat {
				require.EqualValues(t, beats[m.GetFrom()], m.GetCommit())
				beats[m.GetFrom()]++
				continue
			}
			require.Equal(t, at[m.GetFrom()], m.GetIndex(), "a stream keeps the order")
			require.True(t, proto.Equal(appOf(m.GetFrom(), n.id, 3, m.GetIndex(), each, 100), m))
			at[m.GetFrom()] += each
		}
		require.Len(t, at, 2)
		require.Zero(t, n.lostTo[1].Load()+n.lostTo[2].Load()+n.lostTo[3].Load())
	}
	stats := nodes[0].Stats()
	require.Len(t, stats.Peers, 2)
	for id, p := range stats.Peers {
		require.True(t, p.Active)
		require.Greater(t, p.SentBytes, uint64(rounds*each*100))
		require.Greater(t, p.ReceivedBytes, uint64(rounds*each*100))
		require.Zero(t, p.SentFailures+p.ReceivedFailures)
		require.False(t, nodes[0].ActiveSince(id).IsZero())
	}
	soon(t, func() bool { return nodes[0].Stats().HeartbeatBytes > 0 })
	soon(t, func() bool {
		rtt := nodes[0].Stats().Peers[2].RoundTrip
		n := uint64(0)
		for _, c := range rtt.Counts {
			n += c
		}
		return n > 2 && rtt.Sum > 0
	}, "probes")
}

func TestAMemberComesBack(t *testing.T) {
	nodes := trio(t)
	ln := nodes[2].url[len("http://"):]
	since := nodes[0].ActiveSince(3)
	require.False(t, since.IsZero())
	nodes[2].stop()
	soon(t, func() bool { return nodes[0].ActiveSince(3).IsZero() && nodes[1].ActiveSince(3).IsZero() })
	require.GreaterOrEqual(t, nodes[0].Stats().Peers[3].Disconnects, uint64(1))

	// Without a stream there is the pipeline, and nobody is there.
	soon(t, func() bool { return nodes[0].streamsTo(3) == 0 })
	nodes[0].Send([]*raftpb.Message{beat(1, 3, 1)})
	soon(t, func() bool { return nodes[0].lostTo[3].Load() > 0 })

	back := start(t, 3, listen(t, ln))
	introduce(t, nodes[0], nodes[1], back)
	require.True(t, nodes[0].ActiveSince(3).After(since))
	nodes[0].Send([]*raftpb.Message{appOf(1, 3, 3, 7, 2, 10)})
	nodes[1].Send([]*raftpb.Message{appOf(2, 3, 3, 9, 2, 10)})
	soon(t, func() bool { return back.got.Load() == 2 })
}

func TestThePipelineServesWhereNoStreamIs(t *testing.T) {
	a, b := start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
	// b does not know a, so that it cannot dial it.
	require.NoError(t, a.AddRemote(2, []string{b.url}))
	for i := range 20 {
		soon(t, func() bool { return int(b.got.Load()) >= i-8 })
		a.Send([]*raftpb.Message{beat(1, 2, uint64(i))})
	}
	soon(t, func() bool { return b.got.Load() == 20 })
	require.Empty(t, a.Members())
	require.True(t, a.Stats().Peers[2].Remote)

	// b has heard where a is, and can answer.
	require.True(t, b.Stats().Peers[1].Remote)
	b.Send([]*raftpb.Message{beat(2, 1, 0)})
	soon(t, func() bool { return a.got.Load() == 1 })

	// A member takes the remote's place.
	introduce(t, a, b)
	require.Equal(t, []uint64{2}, a.Members())
	b.full.Store(true)
	a.Send([]*raftpb.Message{beat(1, 2, 99)})
	soon(t, func() bool { return b.Stats().Peers[1].ReceivedFailures == 1 })
}

func TestRemotesAreBounded(t *testing.T) {
	a := start(t, 1, listen(t, "127.0.0.1:0"))
	for id := range uint64(3 * maxRemotes) {
		require.NoError(t, a.AddRemote(id+1, []string{"http://127.0.0.1:1"}))
	}
	require.Len(t, a.Stats().Peers, maxRemotes)
	require.Nil(t, a.link(1), "that is itself")
	require.NoError(t, a.Add(1000, []string{"http://127.0.0.1:1"}), "members have room")
	for _, urls := range [][]string{nil, {"ftp://x"}, {"http://"}, {"http://a", ":"}, make([]string, maxURLs+1)} {
		require.Error(t, a.AddRemote(500, urls))
		require.Error(t, a.Add(500, urls))
		require.Error(t, a.Update(500, urls))
	}
}

func TestAllURLsAreTried(t *testing.T) {
	a, b := start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
	dead := listen(t, "127.0.0.1:0")
	nowhere := "http://" + dead.Addr().String()
	require.NoError(t, dead.Close())
	require.NoError(t, a.Add(2, []string{nowhere, b.url}))
	require.NoError(t, b.Add(1, []string{nowhere}))
	soon(t, func() bool { return !a.ActiveSince(2).IsZero() })
	require.True(t, b.ActiveSince(1).IsZero())
	require.NoError(t, b.Update(1, []string{a.url}))
	soon(t, func() bool { return !b.ActiveSince(1).IsZero() })
}

// What was sent to a member before it was removed still reaches it, over a stream and over
// the pipeline: how far the log is committed is among it.
func TestTheLastWordsToARemovedMemberLeave(t *testing.T) {
	const words = 50
	for name, introduced := range map[string]bool{"stream": true, "pipeline": false} {
		t.Run(name, func(t *testing.T) {
			a, b := start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
			if introduced {
				introduce(t, a, b)
			} else {
				require.NoError(t, a.AddRemote(2, []string{b.url}))
			}
			for i := range words {
				a.Send([]*raftpb.Message{beat(1, 2, uint64(i+1))})
			}
			gone := a.link(2)
			a.Remove(2)
			require.Nil(t, a.link(2))
			require.False(t, gone.send(beat(1, 2, 99)), "nothing more is taken")
			soon(t, func() bool { return b.got.Load() == words })
			soon(t, func() bool { return gone.posting.Err() != nil }, "then it ends")
		})
	}
}

// One that takes nothing is not waited for: neither by who removes it nor for ever.
func TestLastWordsThatAreNotTakenAreDropped(t *testing.T) {
	a, b := start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
	introduce(t, a, b)
	out := deafStream(t, a)
	data := make([]byte, 256<<10)
	for i := range 100 { // more than what the kernel takes
		m := appOf(1, 3, 3, uint64(i), 1, 0)
		m.Entries[0].Data = data
		a.Send([]*raftpb.Message{m})
	}
	a.Remove(3)
	a.Send([]*raftpb.Message{beat(1, 2, 1)})
	soon(t, func() bool { return b.got.Load() == 1 }, "the others are served")
	soon(t, func() bool { return a.lostTo[3].Load() > 0 })
	soon(t, func() bool { _, err := out.end.Write(nil); return errors.Is(err, net.ErrClosed) })
}

func TestARemovedMemberIsTold(t *testing.T) {
	nodes := trio(t)
	nodes[0].removed.Store(3)
	nodes[0].Remove(3)
	soon(t, func() bool { return nodes[2].gone.Load() > 0 })
	require.NotContains(t, nodes[0].Stats().Peers, uint64(3))

	// Its posts fail too, and it is not remembered as a remote.
	before := nodes[2].lostTo[1].Load()
	soon(t, func() bool {
		nodes[2].Send([]*raftpb.Message{beat(3, 1, 0)})
		return nodes[2].lostTo[1].Load() > before
	})
	require.NotContains(t, nodes[0].Stats().Peers, uint64(3))
	require.Zero(t, nodes[0].got.Load())
	require.Zero(t, nodes[1].gone.Load()+nodes[0].gone.Load())
}

func TestForbiddenPostsMeanGone(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })}
	go func() { _ = server.Serve(ln) }()
	defer server.Close()
	a := start(t, 1, listen(t, "127.0.0.1:0"))
	require.NoError(t, a.AddRemote(2, []string{"http://" + ln.Addr().String()}))
	a.Send([]*raftpb.Message{beat(1, 2, 0)})
	soon(t, func() bool { return a.gone.Load() == 1 && a.lostTo[2].Load() == 1 })
}

// A message of the largest size is taken over the pipeline, and a larger one is not read.
func TestPostsAreBounded(t *testing.T) {
	m := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: proto.Uint64(1), To: proto.Uint64(2), Entries: []*raftpb.Entry{{Data: make([]byte, 1<<20)}}}
	a := start(t, 1, listen(t, "127.0.0.1:0"))
	b := start(t, 2, listen(t, "127.0.0.1:0"), func(_ *node, c *Config) { c.MaxMessage = int64(proto.Size(m)) })
	require.NoError(t, a.AddRemote(2, []string{b.url}))
	a.Send([]*raftpb.Message{m})
	soon(t, func() bool { return b.got.Load() == 1 })
	require.Zero(t, a.lostTo[2].Load())
	larger := proto.Clone(m).(*raftpb.Message)
	larger.Entries[0].Data = append(larger.Entries[0].Data, 0)
	a.Send([]*raftpb.Message{larger})
	soon(t, func() bool { return a.lostTo[2].Load() == 1 })
	require.EqualValues(t, 1, b.got.Load())
}

func TestMembersOfOthersAreKeptOut(t *testing.T) {
	for name, change := range map[string]func(*node, *Config){
		"another cluster": func(_ *node, c *Config) { c.ClusterID++ },
		"an old release":  func(_ *node, c *Config) { c.Version = "2.3.7" },
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, 1, listen(t, "127.0.0.1:0"))
			b := start(t, 2, listen(t, "127.0.0.1:0"), change)
			require.NoError(t, a.Add(2, []string{b.url}))
			require.NoError(t, b.Add(1, []string{a.url}))
			b.Send([]*raftpb.Message{beat(2, 1, 0)})
			soon(t, func() bool { return b.lostTo[1].Load() == 1 })
			a.Send([]*raftpb.Message{beat(1, 2, 0)})
			soon(t, func() bool { return a.lostTo[2].Load() == 1 })
			require.Zero(t, a.got.Load()+b.got.Load())
			require.True(t, a.ActiveSince(2).IsZero())
			require.True(t, b.ActiveSince(1).IsZero())
		})
	}
}

// deafStream is a stream to member 3, who has dialed it and reads nothing.
func deafStream(t testing.TB, a *node) *outgoing {
	t.Helper()
	nowhere := listen(t, "127.0.0.1:0") // takes connections, and answers nothing
	t.Cleanup(func() { nowhere.Close() })
	require.NoError(t, a.Add(3, []string{"http://" + nowhere.Addr().String()}))
	deaf, err := net.Dial("tcp", a.url[len("http://"):])
	require.NoError(t, err)
	t.Cleanup(func() { deaf.Close() })
	_, err = io.WriteString(deaf, "GET /raft/stream/msgapp/3 HTTP/1.1\r\nHost: a\r\nX-Server-From: 3\r\nX-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-Id: c1\r\nX-Raft-To: 1\r\n\r\n")
	require.NoError(t, err)
	soon(t, func() bool { return a.streamsTo(3) == 1 })
	return a.link(3).out[streamMsgApp].Load()
}

// A peer that takes nothing costs its queue, and nobody else anything.
func TestAPeerThatNeverReads(t *testing.T) {
	a, b := start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
	introduce(t, a, b)
	out := deafStream(t, a)

	data := make([]byte, 256<<10)
	const total = 600 // 150 MiB
	longest := time.Duration(0)
	for i := range total {
		to3, to2 := appOf(1, 3, 3, uint64(i), 1, 0), appOf(1, 2, 3, uint64(i), 1, 10)
		to3.Entries[0].Data = data
		began := time.Now()
		a.Send([]*raftpb.Message{to3, to2})
		longest = max(longest, time.Since(began))
		out.queue.mu.Lock()
		bytes := out.queue.mu.bytes
		out.queue.mu.Unlock()
		require.LessOrEqual(t, bytes, queueBytes)
	}
	require.Less(t, longest, 500*time.Millisecond)
	soon(t, func() bool { return b.got.Load() == total }, "the others are served")
	require.Zero(t, a.lostTo[2].Load())
	soon(t, func() bool { return a.lostTo[3].Load() > 0 && a.Stats().Peers[3].SentFailures > 0 })
	soon(t, func() bool { return a.streamsTo(3) == 0 }, "a write that takes too long ends the stream")
}

func TestANewStreamReplacesTheOld(t *testing.T) {
	a := start(t, 1, listen(t, "127.0.0.1:0"))
	nowhere := listen(t, "127.0.0.1:0")
	defer nowhere.Close()
	require.NoError(t, a.Add(2, []string{"http://" + nowhere.Addr().String()}))
	ask := func() *http.Response {
		req, err := http.NewRequest(http.MethodGet, a.url+"/raft/stream/message/2", nil)
		require.NoError(t, err)
		for name, value := range map[string]string{headerFrom: "2", headerVersion: "3.4.0", headerMinVersion: "3.0.0", headerCluster: "c1", headerTo: "1"} {
			req.Header.Set(name, value)
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	first := ask()
	soon(t, func() bool { return a.streamsTo(2) == 1 })
	old := a.link(2).out[streamMessage].Load()
	second := ask()
	_, err := io.Copy(io.Discard, first.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the old one ends")
	soon(t, func() bool { o := a.link(2).out[streamMessage].Load(); return o != nil && o != old })
	a.Send([]*raftpb.Message{beat(1, 2, 77)})
	for {
		b := make([]byte, 10)
		_, err := io.ReadFull(second.Body, b)
		require.NoError(t, err)
		if b[7] != 2 {
			break // a message that is no link heartbeat
		}
	}
	a.Remove(2)
	_, err = io.Copy(io.Discard, second.Body)
	require.Error(t, err)
}

// What an admitted stream must not bring ends it.
func TestAMessageThatIsRefusedEndsItsStream(t *testing.T) {
	a, b := start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
	introduce(t, a, b)
	bad := beat(1, 2, 0)
	bad.Context = []byte("short")
	old := a.link(2).out[streamMessage].Load()
	a.Send([]*raftpb.Message{bad})
	soon(t, func() bool { return b.Stats().Peers[1].Refused == 1 })
	soon(t, func() bool { o := a.link(2).out[streamMessage].Load(); return o != nil && o != old }, "it is dialed again")
	a.Send([]*raftpb.Message{beat(1, 2, 5)})
	soon(t, func() bool { return b.got.Load() == 1 })
	require.EqualValues(t, 5, b.received()[0].GetCommit())
}

// goroutines returns how many of this package's, or HTTP's, are there.
func goroutines() (n int, stacks string) {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	for _, g := range strings.Split(string(b), "\n\n") {
		if strings.Contains(g, "etcd.alt/internal/peer.(") || strings.Contains(g, "net/http.(*persistConn)") {
			n++
			stacks += g + "\n\n"
		}
	}
	return n, stacks
}

func TestCloseLeavesNothing(t *testing.T) {
	before, _ := goroutines()
	nodes := trio(t)
	for i := range uint64(200) {
		nodes[0].Send([]*raftpb.Message{beat(1, 2, i), appOf(1, 3, 3, i, 1, 1000), appOf(1, 9, 3, i, 1, 1)})
	}
	hole := listen(t, "127.0.0.1:0") // never answers
	defer hole.Close()
	require.NoError(t, nodes[0].Add(4, []string{"http://" + hole.Addr().String()}))
	nodes[0].Send([]*raftpb.Message{beat(1, 4, 0), beat(1, 4, 0)})
	for _, n := range nodes {
		done := make(chan struct{})
		go func() {
			n.Close()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatal("Close does not return")
		}
		_ = n.server.Close()
	}
	nodes[0].Close() // again
	nodes[0].Send([]*raftpb.Message{beat(1, 2, 0)})
	require.NoError(t, nodes[0].Add(7, []string{"http://127.0.0.1:1"}))
	soon(t, func() bool { n, _ := goroutines(); return n <= before })
}

func TestOverTLS(t *testing.T) {
	nodes := make([]*node, 2)
	for i := range nodes {
		// The front has the certificate; the node behind it is called directly.
		var handler http.Handler
		ready := make(chan struct{})
		front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-ready
			handler.ServeHTTP(w, r)
		}))
		front.EnableHTTP2 = true
		front.StartTLS()
		t.Cleanup(front.Close)
		trusted := front.Client().Transport.(*http.Transport).TLSClientConfig
		n := start(t, uint64(i+1), listen(t, "127.0.0.1:0"), func(_ *node, c *Config) {
			c.PeerURLs = []string{front.URL}
			c.TLS = trusted.Clone
		})
		handler, n.url = n.Handler(), front.URL
		close(ready)
		t.Cleanup(n.Close) // before the front, which waits for its connections
		nodes[i] = n
	}
	introduce(t, nodes...)
	nodes[0].Send([]*raftpb.Message{appOf(1, 2, 3, 9, 100, 10000), beat(1, 2, 1)})
	soon(t, func() bool { return nodes[1].got.Load() == 2 })
	nodes[0].Remove(2)
	soon(t, func() bool { return nodes[1].ActiveSince(1).IsZero() })
	require.NoError(t, nodes[1].AddRemote(5, []string{strings.Replace(nodes[0].url, "https", "http", 1)}))
	nodes[1].Send([]*raftpb.Message{beat(2, 5, 1)})
	soon(t, func() bool { return nodes[1].lostTo[5].Load() == 1 }, "it does not speak without")
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "ID is 0")
	_, err = New(Config{ID: 1})
	require.ErrorContains(t, err, "cluster's ID is 0")
	_, err = New(Config{ID: 1, ClusterID: 2})
	require.ErrorContains(t, err, "messages of 0 bytes")
	_, err = New(Config{ID: 1, ClusterID: 2, MaxMessage: 1})
	require.ErrorContains(t, err, "function of Config is missing")
}
