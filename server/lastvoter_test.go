package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
)

// Two members, both asked to go: the leader is told to remove the other, and, before that
// is applied, to remove itself (two `etcdctl member remove` side by side). Both pass the
// check of the moment; the second waits for the first, and is looked at again then. The
// raft library panics where the last voter is removed, and again at every start.
//
// The members run in a process of their own, should it panic.
func TestTheLastVoterDoesNotRemoveItself(t *testing.T) {
	dir := os.Getenv("LASTVOTER_DIR")
	switch os.Getenv("LASTVOTER_STEP") {
	case "remove":
		removeBoth(t, dir)
		return
	case "restart", "force":
		at, err := os.ReadFile(filepath.Join(dir, "leader"))
		require.NoError(t, err)
		c := testConfig(t)
		c.DataDir, c.ForceNewCluster = string(at), os.Getenv("LASTVOTER_STEP") == "force"
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		m, err := Start(ctx, c, zap.NewNop())
		require.NoError(t, err)
		require.NoError(t, m.Close())
		return
	}
	t.Parallel() // it waits, mostly
	dir = t.TempDir()
	for _, step := range []string{"remove", "restart", "force"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "LASTVOTER_DIR="+dir, "LASTVOTER_STEP="+step)
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s: %v\n%s", step, err, firstLines(out, 25))
		}
	}
}

func firstLines(b []byte, n int) []byte {
	for i, c := range b {
		if c == '\n' {
			if n--; n == 0 {
				return b[:i]
			}
		}
	}
	return b
}

func removeBoth(t *testing.T, dir string) {
	var mu sync.Mutex
	holding := false
	var held []func()
	configs := clusterOf(t, 2)
	for i, c := range configs {
		c.DataDir = filepath.Join(dir, fmt.Sprint(i))
		c.sending = func(send func([]*raftpb.Message)) func([]*raftpb.Message) {
			return func(ms []*raftpb.Message) {
				mu.Lock()
				defer mu.Unlock()
				var now, later []*raftpb.Message
				for _, m := range ms {
					if holding && m.GetType() == raftpb.MsgApp {
						later = append(later, m)
					} else {
						now = append(now, m)
					}
				}
				if len(later) > 0 {
					held = append(held, func() { send(later) })
				}
				send(now)
			}
		}
	}
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "leader"), []byte(configs[leader].DataDir), 0o600))
	self, other := members[leader].state.Data.Identity.MemberID, members[1-leader].state.Data.Identity.MemberID
	steady(t, members[leader], other)
	conn := dial(t, members[leader])

	mu.Lock()
	holding = true // a slow network, or a slow disk
	mu.Unlock()
	answers := make([]error, 2)
	var asked sync.WaitGroup
	for i, id := range []uint64{other, self} {
		asked.Go(func() {
			_, answers[i] = call[etcdserverpb.MemberRemoveResponse](t, conn, "Cluster/MemberRemove", &etcdserverpb.MemberRemoveRequest{ID: id})
		})
		require.Eventually(t, func() bool { return members[leader].service.Gauges().ProposalsPending == int64(i+1) }, 10*time.Second, time.Millisecond)
	}
	mu.Lock()
	holding = false
	for _, send := range slices.Clone(held) {
		send()
	}
	mu.Unlock()
	asked.Wait()
	t.Logf("answers: %v, %v", answers[0], answers[1])
	_, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.NoError(t, err, "who is left agrees with itself")
	require.NotEmpty(t, members[leader].state.View().Members.Members)
}
