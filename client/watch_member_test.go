package client_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/client"
)

// next is the next response of a watch, within a generous time.
func next(t *testing.T, w client.WatchChan) client.WatchResponse {
	t.Helper()
	select {
	case res, ok := <-w:
		require.True(t, ok, "the watch has ended")
		return res
	case <-time.After(20 * time.Second):
		require.FailNow(t, "nothing was told")
		return client.WatchResponse{}
	}
}

// events is a response in short.
func events(res client.WatchResponse) []string {
	var out []string
	for _, e := range res.Events {
		s := fmt.Sprintf("%v %s=%s @%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
		if e.PrevKv != nil {
			s += fmt.Sprintf(" was %s", e.PrevKv.Value)
		}
		out = append(out, s)
	}
	return out
}

func TestWatch(t *testing.T) {
	c, ctx := open(t)
	live := c.Watch(ctx, "k", client.WithPrefix(), client.WithPrevKV(), client.WithCreatedNotify())
	created := next(t, live)
	require.True(t, created.Created)
	begun := created.Header.Revision

	_, err := c.Put(ctx, "k1", "a")
	require.NoError(t, err)
	_, err = c.Put(ctx, "other", "x")
	require.NoError(t, err)
	_, err = c.Txn().Then(client.OpPut("k1", "b"), client.OpPut("k2", "c")).Commit(ctx)
	require.NoError(t, err)
	_, err = c.Delete(ctx, "k1")
	require.NoError(t, err)
	want := []string{
		fmt.Sprintf("PUT k1=a @%d", begun+1),
		fmt.Sprintf("PUT k1=b @%d was a", begun+3), fmt.Sprintf("PUT k2=c @%d", begun+3),
		fmt.Sprintf("DELETE k1= @%d was b", begun+4),
	}
	collect := func(w client.WatchChan, n int) (got []string) {
		t.Helper()
		for len(got) < n {
			got = append(got, events(next(t, w))...)
		}
		return got
	}
	require.Equal(t, want, collect(live, 4))
	past := c.Watch(ctx, "k", client.WithPrefix(), client.WithPrevKV(), client.WithRev(begun+1))
	require.Equal(t, want, collect(past, 4))
	filtered := c.Watch(ctx, "k", client.WithPrefix(), client.WithRev(begun+1), client.WithFilterPut())
	require.Equal(t, []string{fmt.Sprintf("DELETE k1= @%d", begun+4)}, collect(filtered, 1))

	c.RequestProgress()
	res := next(t, live)
	require.True(t, res.IsProgressNotify())
	require.Equal(t, begun+4, res.Header.Revision)

	_, err = c.Compact(ctx, begun+3)
	require.NoError(t, err)
	ended := next(t, c.Watch(ctx, "k", client.WithRev(begun+2)))
	require.True(t, ended.Canceled)
	require.ErrorIs(t, ended.Err(), errs.Compacted)
	require.Equal(t, begun+3, ended.CompactRevision)

	ended = next(t, c.Watch(ctx, "k", client.WithLimit(1)))
	require.ErrorContains(t, ended.Err(), "WithLimit does not go with a watch")
}

// Ten thousand revisions that nobody takes for a while cost nobody anything, and all
// come in the end.
func TestAWatchThatIsNotListenedTo(t *testing.T) {
	c, ctx := open(t)
	deaf := c.Watch(ctx, "k", client.WithCreatedNotify())
	begun := next(t, deaf).Header.Revision
	const n = 10_000
	value := fmt.Sprintf("%0200d", 0)
	for i := range n {
		_, err := c.Put(ctx, "k", value)
		require.NoError(t, err, i)
	}
	for want := begun + 1; want <= begun+n; {
		for _, e := range next(t, deaf).Events {
			require.Equal(t, want, e.Kv.ModRevision)
			want++
		}
	}
}
