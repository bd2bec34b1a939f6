package peer

import (
	"context"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A voter with nothing behind it: it grants what it is asked for, and stores
// nothing. One real member and this one are a cluster.
func voter(n *node, m *raftpb.Message) error {
	answer := &raftpb.Message{From: m.To, To: m.From, Term: m.Term, Context: m.Context}
	switch m.GetType() {
	case raftpb.MsgPreVote:
		answer.Type = raftpb.MsgPreVoteResp.Enum()
	case raftpb.MsgVote:
		answer.Type = raftpb.MsgVoteResp.Enum()
	case raftpb.MsgHeartbeat:
		answer.Type = raftpb.MsgHeartbeatResp.Enum()
	case raftpb.MsgApp:
		answer.Type, answer.Index = raftpb.MsgAppResp.Enum(), proto.Uint64(m.GetIndex()+uint64(len(m.Entries)))
	default:
		return nil
	}
	n.Send([]*raftpb.Message{answer})
	return nil
}

// The etcd that is installed (Debian's 3.4, say) becomes a leader by our vote,
// and answers a linearizable read, for which it needs our answers to appends and
// heartbeats.
func TestWithTheInstalledEtcd(t *testing.T) {
	binary, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("no etcd is installed")
	}
	ln := listen(t, "127.0.0.1:0")
	own := "http://" + ln.Addr().String()
	free := func() string {
		l := listen(t, "127.0.0.1:0")
		defer l.Close()
		return "http://" + l.Addr().String()
	}
	theirs, clients := free(), free()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--name=a", "--data-dir="+t.TempDir(), "--initial-cluster=a="+theirs+",b="+own,
		"--listen-peer-urls="+theirs, "--initial-advertise-peer-urls="+theirs, "--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--heartbeat-interval=20", "--election-timeout=200")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	defer func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	}()

	c := NewClient(ClientConfig{})
	defer c.Close()
	var members []Member
	var cluster uint64
	soon(t, func() bool { members, cluster, err = c.Members(ctx, theirs); return err == nil }, "no answer")
	require.Len(t, members, 2)
	ids := map[string]uint64{}
	for _, m := range members {
		ids[m.PeerURLs[0]] = m.ID
	}
	self := start(t, ids[own], ln, func(n *node, c *Config) {
		c.ClusterID = cluster
		count := c.Deliver
		c.Deliver = func(m *raftpb.Message) error {
			_ = count(m)
			return voter(n, m)
		}
	})
	require.NoError(t, self.Add(ids[theirs], []string{theirs}))
	soon(t, func() bool {
		resp, err := http.Post(clients+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"YQ=="}`))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusOK && strings.Contains(string(b), "header")
	}, "it does not lead")
	soon(t, func() bool { return self.streamsTo(ids[theirs]) == 2 })
	kinds := map[raftpb.MessageType]int{}
	for _, m := range self.received() {
		kinds[m.GetType()]++
	}
	require.NotZero(t, kinds[raftpb.MsgVote])
	require.NotZero(t, kinds[raftpb.MsgApp])
	require.NotZero(t, kinds[raftpb.MsgHeartbeat])
	stats := self.Stats().Peers[ids[theirs]]
	require.Zero(t, stats.Refused)
	require.True(t, stats.Active)
	v, err := c.ServerVersion(ctx, theirs)
	require.NoError(t, err)
	require.NotEmpty(t, v.Server)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
