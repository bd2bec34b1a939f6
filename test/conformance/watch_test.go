package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// told is the next response of a watch.
func told(t *testing.T, w clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case res, ok := <-w:
		require.True(t, ok, "the watch has ended")
		return res
	case <-time.After(20 * time.Second):
		require.FailNow(t, "nothing was told")
		return clientv3.WatchResponse{}
	}
}

// collect takes n events.
func collect(t *testing.T, w clientv3.WatchChan, n int) (events []*clientv3.Event) {
	t.Helper()
	for len(events) < n {
		res := told(t, w)
		require.NoError(t, res.Err())
		events = append(events, res.Events...)
	}
	require.Len(t, events, n)
	return events
}

func TestWatchLivePastAndFuture(t *testing.T) {
	m := start(t)
	c := connect(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live := c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	require.True(t, told(t, live).Created)
	first := put(t, c, "w/a", "1")
	put(t, c, "v", "elsewhere")
	_, err := c.Txn(within(t)).Then(clientv3.OpPut("w/a", "2"), clientv3.OpPut("w/b", "3"), clientv3.OpDelete("w/none")).Commit()
	require.NoError(t, err)
	_, err = c.Delete(within(t), "w/", clientv3.WithPrefix())
	require.NoError(t, err)

	future := c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first+5))
	check := func(events []*clientv3.Event) {
		t.Helper()
		var got []string
		for _, e := range events {
			s := fmt.Sprintf("%v %s=%s @%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision-first)
			if e.PrevKv != nil {
				s += " was " + string(e.PrevKv.Value)
			}
			if e.IsCreate() {
				s += " new"
			}
			got = append(got, s)
		}
		require.Equal(t, []string{"PUT w/a=1 @0 new", "PUT w/a=2 @2 was 1", "PUT w/b=3 @2 new", "DELETE w/a= @3 was 2", "DELETE w/b= @3 was 3"}, got)
	}
	check(collect(t, live, 5))
	check(collect(t, c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(first)), 5))
	check(collect(t, c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(first), clientv3.WithFragment()), 5))
	deletes := collect(t, c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithFilterPut()), 2)
	require.Equal(t, mvccpb.Event_DELETE, deletes[0].Type)

	put(t, c, "w/a", "early") // first+4
	put(t, c, "w/a", "in time")
	require.Equal(t, "in time", string(collect(t, future, 1)[0].Kv.Value))

	require.NoError(t, c.RequestProgress(ctx))
	for {
		if res := told(t, live); res.IsProgressNotify() {
			require.Equal(t, first+5, res.Header.Revision)
			break
		}
	}

	_, err = c.Compact(within(t), first+3)
	require.NoError(t, err)
	res := told(t, c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first+1)))
	require.Equal(t, rpctypes.ErrCompacted, res.Err())
	require.Equal(t, first+3, res.CompactRevision)
	at := collect(t, c.Watch(ctx, "w/a", clientv3.WithRev(first+3)), 3)
	require.Equal(t, mvccpb.Event_DELETE, at[0].Type, "what is at the compaction is still told")
	require.Nil(t, at[0].PrevKv)
}

// A client that loses its member goes on where it was when that comes back.
func TestAWatchSurvivesARestart(t *testing.T) {
	m := start(t)
	c := connect(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := c.Watch(ctx, "k")
	var want int64
	for round := range 3 {
		last := put(t, c, "k", fmt.Sprint(round))
		if want == 0 {
			want = last
		}
		for i := range 20 {
			last = put(t, c, "k", fmt.Sprint(round, i))
		}
		if round == 1 {
			require.NoError(t, m.Stop())
		} else {
			m.Kill()
		}
		require.NoError(t, m.Up())
		for want <= last { // a response may have several
			res := told(t, w)
			require.NoError(t, res.Err())
			for _, e := range res.Events {
				require.Equal(t, want, e.Kv.ModRevision)
				want++
			}
		}
	}
}

func TestAThousandWatchersOfOneStream(t *testing.T) {
	c := connect(t, start(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all []clientv3.WatchChan
	for i := range 1000 {
		w := c.Watch(ctx, fmt.Sprintf("k%d", i%10), clientv3.WithCreatedNotify())
		require.True(t, told(t, w).Created)
		all = append(all, w)
	}
	for i := range 10 {
		put(t, c, fmt.Sprintf("k%d", i), "v")
	}
	for i, w := range all {
		require.Equal(t, fmt.Sprintf("k%d", i%10), string(collect(t, w, 1)[0].Kv.Key))
	}
}
