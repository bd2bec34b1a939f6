package server

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
)

// Whoever asks a member to remove itself is told that it is done, and soon: where it
// follows, the others have cut it off before it can know, and still it gets to hear of it.
func TestAMemberThatIsAskedToRemoveItselfAnswers(t *testing.T) {
	t.Parallel() // it waits, mostly
	for name, place := range map[string]struct{ rounds, beside int }{"follower": {2, 1}, "leader": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range place.rounds {
				configs := clusterOf(t, 3)
				for _, c := range configs {
					c.StrictReconfigCheck = false // which would have the test wait
				}
				members := startAll(t, configs)
				gone := members[(leaderOf(t, members)+place.beside)%3]
				conn := dial(t, gone)
				stopped := make(chan error, 1)
				go func() { // as main does
					why := <-gone.Failed()
					gone.Close()
					stopped <- why
				}()
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				res := new(etcdserverpb.MemberRemoveResponse)
				err := conn.Invoke(ctx, "/etcdserverpb.Cluster/MemberRemove", &etcdserverpb.MemberRemoveRequest{ID: gone.state.Data.Identity.MemberID}, res)
				cancel()
				t.Logf("answered after %v", time.Since(began))
				require.NoError(t, err)
				require.Len(t, res.Members, 2)
				select {
				case why := <-stopped:
					require.ErrorIs(t, why, errRemoved)
				case <-time.After(4 * time.Second):
					t.Fatal("the member does not stop")
				}
				t.Logf("stopped after %v", time.Since(began))
				var closing sync.WaitGroup
				for _, m := range members {
					closing.Go(func() { m.Close() })
				}
				closing.Wait()
			}
		})
	}
}
