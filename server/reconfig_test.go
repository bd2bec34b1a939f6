package server

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
)

// steady waits until another member has been connected for as long as
// --strict-reconfig-check wants.
func steady(t *testing.T, m *Member, other uint64) {
	t.Helper()
	require.Eventually(t, func() bool {
		since := m.peers.transport.ActiveSince(other)
		return !since.IsZero() && time.Since(since) > 5500*time.Millisecond
	}, 20*time.Second, 50*time.Millisecond)
}

// Two voters that have started bear one more that has not, and no second: four need
// three. One after the other, the second is refused ("not enough started members").
// Asked at once, both pass the first check; the second waits while the first is applied,
// and is looked at again.
func TestChangesAskedAtOnceAreCheckedAgainstEachOther(t *testing.T) {
	t.Parallel() // it waits, mostly
	configs := clusterOf(t, 2)
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	other := members[1-leader].state.Data.Identity.MemberID
	steady(t, members[leader], other)
	conn := dial(t, members[leader])
	urls := freeAddresses(t, 2)
	var asked sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		asked.Go(func() {
			_, errs[i] = call[etcdserverpb.MemberAddResponse](t, conn, "Cluster/MemberAdd", &etcdserverpb.MemberAddRequest{PeerURLs: []string{"http://" + urls[i]}})
		})
	}
	asked.Wait()
	t.Logf("answers: %v, %v", errs[0], errs[1])
	require.LessOrEqual(t, len(members[leader].state.View().Members.Members), 3,
		"of four voters two have started: --strict-reconfig-check has let the majority go")
}
