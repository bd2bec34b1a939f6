// Package crash kills a loaded member and looks for acknowledged writes that
// are gone.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/test/member"
)

const writers = 20

// TestKillNine runs CRASH_ROUNDS rounds (3 by default): load, kill -9 at a
// random moment, start again, look.
func TestKillNine(t *testing.T) {
	rounds := 3
	if s := os.Getenv("CRASH_ROUNDS"); s != "" {
		var err error
		rounds, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	m := member.New(t)
	want := map[string]*history{}
	for i := range writers {
		want[fmt.Sprintf("writer/%02d", i)] = &history{}
	}
	total, revision := 0, int64(0)
	for round := range rounds {
		m.Start()
		now := verify(t, m, want)
		require.GreaterOrEqual(t, now, revision, "the revision went back in round %d", round)
		revision = load(t, m, want)
		n := 0
		for _, h := range want {
			n += int(h.acknowledged)
		}
		require.Greater(t, n, total, "round %d wrote nothing", round)
		total = n
	}
	m.Start()
	verify(t, m, want)
	m.Stop()
	t.Logf("%d rounds of kill -9, %d acknowledged writes, none lost", rounds, total)
}

// history is what is known of one writer: the number of its last acknowledged
// put, and of the last one that was sent. Each put is of a key of its own.
type history struct{ acknowledged, sent int64 }

// load lets all writers write until the member is killed under them.
func load(t *testing.T, m *member.Member, want map[string]*history) (revision int64) {
	t.Helper()
	conn := m.Dial()
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for name, h := range want {
		wg.Go(func() {
			for {
				h.sent++
				header, err := put(ctx, conn, fmt.Sprintf("%s/%08d", name, h.sent), strconv.FormatInt(h.sent, 10))
				if err != nil {
					return
				}
				h.acknowledged = h.sent
				mu.Lock()
				revision = max(revision, header.GetRevision())
				mu.Unlock()
			}
		})
	}
	timer := time.NewTimer(time.Duration(50+rand.IntN(400)) * time.Millisecond)
	<-timer.C
	m.Kill()
	wg.Wait()
	return revision
}

// verify looks whether every acknowledged put is there, and nothing that was
// never sent. What was sent and not acknowledged may be there or not, and is
// settled by what is found.
func verify(t *testing.T, m *member.Member, want map[string]*history) (revision int64) {
	t.Helper()
	conn := m.Dial()
	defer conn.Close()
	for name, h := range want {
		res := &etcdserverpb.RangeResponse{}
		require.NoError(t, invoke(t.Context(), conn, "Range", &etcdserverpb.RangeRequest{Key: []byte(name + "/"), RangeEnd: []byte(name + "0")}, res))
		revision = res.Header.GetRevision()
		found := int64(len(res.Kvs))
		require.GreaterOrEqual(t, found, h.acknowledged, "%s lost acknowledged puts", name)
		require.LessOrEqual(t, found, h.sent, "%s has puts that nobody sent", name)
		for i, kv := range res.Kvs {
			requireKV(t, kv, fmt.Sprintf("%s/%08d", name, i+1), strconv.Itoa(i+1))
		}
		h.acknowledged, h.sent = found, found
	}
	return revision
}

func requireKV(t *testing.T, kv *mvccpb.KeyValue, key, value string) {
	t.Helper()
	require.Equal(t, key, string(kv.Key))
	require.Equal(t, value, string(kv.Value))
	require.Equal(t, int64(1), kv.Version)
}

func put(ctx context.Context, conn *grpc.ClientConn, key, value string) (*etcdserverpb.ResponseHeader, error) {
	res := &etcdserverpb.PutResponse{}
	err := invoke(ctx, conn, "Put", &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value)}, res)
	return res.GetHeader(), err
}

func invoke(ctx context.Context, conn *grpc.ClientConn, method string, req, res any) error {
	return conn.Invoke(ctx, "/etcdserverpb.KV/"+method, req, res, grpc.MaxCallRecvMsgSize(1<<30))
}
