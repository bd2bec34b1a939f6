package server

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/lease"
)

// leases are what a client does with them, on one connection.
type leases struct {
	t    *testing.T
	conn *grpc.ClientConn
}

func leasesAt(t *testing.T, m *Member) leases { return leases{t, dial(t, m)} }

func (l leases) grant(id, ttl int64) *etcdserverpb.LeaseGrantResponse {
	l.t.Helper()
	res, err := call[etcdserverpb.LeaseGrantResponse](l.t, l.conn, "Lease/LeaseGrant", &etcdserverpb.LeaseGrantRequest{ID: id, TTL: ttl})
	require.NoError(l.t, err)
	return res
}

func (l leases) put(key string, lease int64) error {
	_, err := call[etcdserverpb.PutResponse](l.t, l.conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte("v"), Lease: lease})
	return err
}

func (l leases) revoke(id int64) (*etcdserverpb.LeaseRevokeResponse, error) {
	return call[etcdserverpb.LeaseRevokeResponse](l.t, l.conn, "Lease/LeaseRevoke", &etcdserverpb.LeaseRevokeRequest{ID: id})
}

func (l leases) left(id int64) *etcdserverpb.LeaseTimeToLiveResponse {
	l.t.Helper()
	res, err := call[etcdserverpb.LeaseTimeToLiveResponse](l.t, l.conn, "Lease/LeaseTimeToLive", &etcdserverpb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	require.NoError(l.t, err)
	return res
}

func (l leases) list() (ids []int64) {
	l.t.Helper()
	res, err := call[etcdserverpb.LeaseLeasesResponse](l.t, l.conn, "Lease/LeaseLeases", &etcdserverpb.LeaseLeasesRequest{})
	require.NoError(l.t, err)
	require.NotZero(l.t, res.Header.Revision)
	for _, one := range res.Leases {
		ids = append(ids, one.ID)
	}
	return ids
}

func (l leases) keys(prefix string) int64 {
	l.t.Helper()
	res, err := call[etcdserverpb.RangeResponse](l.t, l.conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(prefix + "\xff"), CountOnly: true})
	require.NoError(l.t, err)
	return res.Count
}

// renewing is a stream of renewals.
type renewing struct {
	t *testing.T
	grpc.ClientStream
}

func (l leases) renewing(ctx context.Context) renewing {
	l.t.Helper()
	s, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Lease/LeaseKeepAlive")
	require.NoError(l.t, err)
	return renewing{l.t, s}
}

func (r renewing) renew(id int64) *etcdserverpb.LeaseKeepAliveResponse {
	r.t.Helper()
	require.NoError(r.t, r.SendMsg(&etcdserverpb.LeaseKeepAliveRequest{ID: id}))
	res := &etcdserverpb.LeaseKeepAliveResponse{}
	require.NoError(r.t, r.RecvMsg(res))
	require.Equal(r.t, id, res.ID)
	return res
}

// A lease from its grant to its end, as a client sees it.
func TestLeases(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	l := leasesAt(t, m)
	granted := l.grant(0, 100)
	require.Positive(t, granted.ID)
	require.EqualValues(t, 100, granted.TTL)
	require.EqualValues(t, 1, granted.Header.Revision, "a grant is no revision")
	require.NotZero(t, granted.Header.ClusterId)
	require.EqualValues(t, m.state.Data.Identity.MemberID&0x7fff, granted.ID>>48)
	require.NotEqual(t, granted.ID, l.grant(0, 100).ID)
	require.EqualValues(t, 2, l.grant(7, 1).TTL, "the shortest life")
	require.EqualValues(t, 9_000_000_000, l.grant(-5, 9_000_000_000).TTL)
	for _, refused := range []struct {
		id, ttl int64
		code    codes.Code
		text    string
	}{
		{7, 10, codes.FailedPrecondition, "etcdserver: lease already exists"},
		{8, 9_000_000_001, codes.OutOfRange, "etcdserver: too large lease TTL"},
	} {
		_, err := call[etcdserverpb.LeaseGrantResponse](t, l.conn, "Lease/LeaseGrant", &etcdserverpb.LeaseGrantRequest{ID: refused.id, TTL: refused.ttl})
		require.Equal(t, refused.code, status.Code(err))
		require.Equal(t, refused.text, status.Convert(err).Message())
	}

	require.Equal(t, codes.NotFound, status.Code(l.put("a", 99)))
	for _, key := range []string{"b", "a", "c"} {
		require.NoError(t, l.put(key, granted.ID))
	}
	require.NoError(t, l.put("c", 0), "a put without a lease takes the key off it")
	left := l.left(granted.ID)
	require.Equal(t, [][]byte{[]byte("a"), []byte("b")}, left.Keys)
	require.EqualValues(t, 100, left.GrantedTTL)
	require.InDelta(t, 99, left.TTL, 1)
	require.EqualValues(t, 5, left.Header.Revision)
	require.EqualValues(t, -1, l.left(99).TTL)
	require.Zero(t, l.left(99).GrantedTTL)
	require.Equal(t, []int64{-5}, l.list()[3:], "the last to end")

	revoked, err := l.revoke(granted.ID)
	require.NoError(t, err)
	require.EqualValues(t, 6, revoked.Header.Revision, "all keys go in one revision")
	require.Zero(t, l.keys("a"))
	require.EqualValues(t, 1, l.keys("c"))
	require.EqualValues(t, -1, l.left(granted.ID).TTL)
	for _, unknown := range []int64{granted.ID, 0} {
		_, err = l.revoke(unknown)
		require.Equal(t, codes.NotFound, status.Code(err))
		require.Equal(t, "etcdserver: requested lease not found", status.Convert(err).Message())
	}
	revoked, err = l.revoke(-5)
	require.NoError(t, err)
	require.EqualValues(t, 6, revoked.Header.Revision, "without keys there is no revision")
}

// A lease lives while it is renewed, and ends in time when it is not.
func TestALeaseEndsInTime(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	l := leasesAt(t, m)
	l.grant(1, 2)
	l.grant(2, 2)
	require.NoError(t, l.put("once", 1))
	require.NoError(t, l.put("again", 2))
	began := time.Now()
	stream := l.renewing(t.Context())
	for time.Since(began) < 1500*time.Millisecond {
		res := stream.renew(2)
		require.EqualValues(t, 2, res.TTL)
		require.EqualValues(t, 3, res.Header.Revision)
		time.Sleep(100 * time.Millisecond)
	}
	last := time.Now()
	require.Eventually(t, func() bool { return l.keys("once") == 0 }, 10*time.Second, 10*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), 1900*time.Millisecond)
	require.Less(t, time.Since(began), 3*time.Second)
	require.EqualValues(t, 1, l.keys("again"))
	require.Eventually(t, func() bool { return l.keys("again") == 0 }, 10*time.Second, 10*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(last), 1900*time.Millisecond)
	require.Zero(t, stream.renew(2).TTL, "what is not there has no time left")
	l.grant(3, 100)
	require.EqualValues(t, 100, stream.renew(3).TTL, "and the stream goes on")
	require.NoError(t, stream.CloseSend())

	families := scrape(t, "http://"+m.ClientAddresses()[0].String())
	require.Equal(t, 3.0, value(t, families, "etcd_debugging_lease_granted_total"))
	require.Equal(t, 2.0, value(t, families, "etcd_debugging_lease_revoked_total"))
	require.Equal(t, 2.0, value(t, families, "etcd_debugging_server_lease_expired_total"))
	require.Greater(t, value(t, families, "etcd_debugging_lease_renewed_total"), 5.0)
	ttls := families["etcd_debugging_lease_ttl_total"].Metric[0].Histogram
	require.Equal(t, 104.0, ttls.GetSampleSum())
	require.Equal(t, 2.0, ttls.Bucket[1].GetUpperBound())
	require.EqualValues(t, 2, ttls.Bucket[1].GetCumulativeCount())
}

// What a start finds on disk is what there was: the leases, what was left of them,
// and their keys.
func TestLeasesComeBack(t *testing.T) {
	c := testConfig(t)
	m := start(t, c)
	l := leasesAt(t, m)
	l.grant(1, 1000)
	l.grant(2, 20)
	for i := range 5 {
		require.NoError(t, l.put(fmt.Sprintf("k%d", i), int64(i%2)+1))
	}
	require.NoError(t, l.put("k0", 2))
	began := time.Now()
	require.Eventually(t, func() bool { // it is written down after two seconds
		one, _ := m.state.View().Leases.Get(2)
		return one.Remaining > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, m.Close())

	m = start(t, c)
	defer m.Close()
	l = leasesAt(t, m)
	require.Equal(t, []int64{2, 1}, l.list())
	first, second := l.left(1), l.left(2)
	require.Equal(t, "[k2 k4]", fmt.Sprintf("%s", first.Keys))
	require.Equal(t, "[k0 k1 k3]", fmt.Sprintf("%s", second.Keys))
	require.InDelta(t, 20-time.Since(began).Seconds(), second.TTL, 3)
	require.EqualValues(t, 20, second.GrantedTTL)

	// Once it is renewed, the log says so before the client is told.
	require.EqualValues(t, 20, l.renewing(t.Context()).renew(2).TTL)
	one, _ := m.state.View().Leases.Get(2)
	require.Zero(t, one.Remaining)
}

// A stream of renewals ends when the member stops, and does not hold it up.
func TestAStopEndsRenewals(t *testing.T) {
	m := start(t, testConfig(t))
	l := leasesAt(t, m)
	l.grant(1, 100)
	stream := l.renewing(t.Context())
	stream.renew(1)
	began := time.Now()
	require.NoError(t, m.Close())
	require.Less(t, time.Since(began), 3*time.Second)
	require.Equal(t, codes.Unavailable, status.Code(stream.RecvMsg(&etcdserverpb.LeaseKeepAliveResponse{})))
}

// Leases at any member of three: only the leader knows the time, and the others ask
// it. What is left of a lease survives the leader, nearly right.
func TestLeasesOfThreeMembers(t *testing.T) {
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	at := leaderOf(t, members)
	follower := leasesAt(t, members[(at+1)%3])
	granted := follower.grant(0, 30)
	begun := time.Now()
	other := leasesAt(t, members[(at+2)%3])
	require.NoError(t, other.put("k", granted.ID))
	for _, m := range members {
		left := leasesAt(t, m).left(granted.ID)
		require.InDelta(t, 29, left.TTL, 1)
		require.EqualValues(t, 30, left.GrantedTTL)
		require.Equal(t, [][]byte{[]byte("k")}, left.Keys)
		require.Equal(t, m.state.Data.Identity.MemberID, left.Header.MemberId)
		require.EqualValues(t, 2, left.Header.Revision)
		require.EqualValues(t, -1, leasesAt(t, m).left(99).TTL)
		require.Equal(t, []int64{granted.ID}, leasesAt(t, m).list())
	}
	stream := follower.renewing(t.Context())
	require.EqualValues(t, 30, stream.renew(granted.ID).TTL)
	require.Zero(t, stream.renew(99).TTL)
	renewed := time.Now()

	require.Eventually(t, func() bool { // the lease is written down
		one, _ := members[at].state.View().Leases.Get(granted.ID)
		return one.Remaining > 0
	}, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, members[at].Close())
	left := follower.left(granted.ID)
	is := 30 - time.Since(renewed).Seconds()
	require.InDelta(t, is, left.TTL, 3.5, "it was renewed %v after it was granted", renewed.Sub(begun))
	require.GreaterOrEqual(t, float64(left.TTL)+1, is, "not less than the client was promised")

	// The stream goes on, where the leader is another.
	require.EqualValues(t, 30, stream.renew(granted.ID).TTL)
	require.EqualValues(t, 1, follower.keys("k"))
	_, err := other.revoke(granted.ID)
	require.NoError(t, err)
	require.Zero(t, follower.keys("k"))
	require.Zero(t, stream.renew(granted.ID).TTL)

	// Leases end at the new leader too, and all members come to the same.
	short := other.grant(0, 0)
	require.EqualValues(t, 1, short.TTL, "an election takes half a second here")
	require.NoError(t, other.put("short", short.ID))
	require.Eventually(t, func() bool { return other.keys("short") == 0 }, 10*time.Second, 20*time.Millisecond)
	var hashes []uint32
	for i, m := range members {
		if i != at {
			require.Empty(t, leasesAt(t, m).list())
			res, err := call[etcdserverpb.HashKVResponse](t, dial(t, m), "Maintenance/HashKV", &etcdserverpb.HashKVRequest{})
			require.NoError(t, err)
			hashes = append(hashes, res.Hash)
		}
	}
	require.Equal(t, hashes[0], hashes[1])
}

// Without a leader nobody renews. Who asks for one is told soon, and who does not
// when it has waited long enough.
func TestRenewalsWithoutALeader(t *testing.T) {
	configs := clusterOf(t, 3)
	members := startAll(t, configs)
	at := leaderOf(t, members)
	l := leasesAt(t, members[at])
	l.grant(1, 100)
	patient := l.renewing(t.Context())
	patient.renew(1)
	hasty := l.renewing(metadata.NewOutgoingContext(t.Context(), metadata.Pairs("hasleader", "true")))
	hasty.renew(1)
	for i, m := range members {
		if i != at {
			require.NoError(t, m.Close())
		}
	}
	err := hasty.RecvMsg(&etcdserverpb.LeaseKeepAliveResponse{})
	require.Equal(t, "etcdserver: no leader", status.Convert(err).Message())
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.NoError(t, patient.SendMsg(&etcdserverpb.LeaseKeepAliveRequest{ID: 1}))
	err = patient.RecvMsg(&etcdserverpb.LeaseKeepAliveResponse{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "etcdserver: no leader", status.Convert(err).Message())
}

// Many leases on one stream, as the official client has them: what has come by then
// is renewed at once, also where the log has to hear of it first, and the answers
// come in order.
func TestManyRenewalsOnAStream(t *testing.T) {
	members := startAll(t, clusterOf(t, 3))
	at := leaderOf(t, members)
	l := leasesAt(t, members[at])
	const n = 2000
	requests := make(chan int64)
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			for id := range requests {
				_, err := call[etcdserverpb.LeaseGrantResponse](t, l.conn, "Lease/LeaseGrant", &etcdserverpb.LeaseGrantRequest{ID: id, TTL: 10})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for id := range int64(n) {
		requests <- id + 1
	}
	close(requests)
	clients.Wait()
	written := func() (n int) {
		members[at].state.View().Leases.Each(func(l lease.Lease) bool {
			if l.Remaining > 0 {
				n++
			}
			return true
		})
		return n
	}
	require.Eventually(t, func() bool { return written() > n/2 }, 8*time.Second, 20*time.Millisecond)
	for _, m := range members {
		stream := leasesAt(t, m).renewing(t.Context())
		began := time.Now()
		go func() {
			for id := range int64(n) {
				stream.SendMsg(&etcdserverpb.LeaseKeepAliveRequest{ID: id + 1})
			}
			stream.CloseSend()
		}()
		for id := range int64(n) {
			res := &etcdserverpb.LeaseKeepAliveResponse{}
			require.NoError(t, stream.RecvMsg(res))
			require.Equal(t, id+1, res.ID)
			require.EqualValues(t, 10, res.TTL)
		}
		require.ErrorIs(t, stream.RecvMsg(&etcdserverpb.LeaseKeepAliveResponse{}), io.EOF)
		t.Logf("%d renewals took %v at %s", n, time.Since(began).Round(time.Millisecond), m.config.Name)
		require.Less(t, time.Since(began), 8*time.Second)
	}
	require.Less(t, written(), n/2)
}

// Very many leases, each with a key, end at the same time. All go, and who writes
// meanwhile is not held up. LEASES is how many.
func TestManyLeasesEndTogether(t *testing.T) {
	n := 5_000
	if s := os.Getenv("LEASES"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	m := start(t, testConfig(t))
	defer m.Close()
	l := leasesAt(t, m)
	ttl := int64(n/4000 + 3)
	began := time.Now()
	var ids atomic.Int64
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() {
			for id := ids.Add(1); id <= int64(n); id = ids.Add(1) {
				_, err := call[etcdserverpb.LeaseGrantResponse](t, l.conn, "Lease/LeaseGrant", &etcdserverpb.LeaseGrantRequest{ID: id, TTL: ttl})
				if err == nil {
					err = l.put(fmt.Sprintf("leased-%07d", id), id)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	require.EqualValues(t, n, m.state.View().Leases.Len())
	t.Logf("%d leases of %d s granted, and a key put on each, in %v", n, ttl, time.Since(began).Round(time.Millisecond))
	stream := l.renewing(t.Context())
	began = time.Now()
	go func() {
		for id := range int64(n) {
			stream.SendMsg(&etcdserverpb.LeaseKeepAliveRequest{ID: id + 1})
		}
	}()
	for range n {
		require.NoError(t, stream.RecvMsg(&etcdserverpb.LeaseKeepAliveResponse{}))
	}
	t.Logf("they were renewed in %v", time.Since(began).Round(time.Millisecond))

	var quiet, loud time.Duration
	measure := func(worst *time.Duration, until func() bool) {
		for !until() {
			at := time.Now()
			require.NoError(t, l.put("other", 0))
			*worst = max(*worst, time.Since(at))
		}
	}
	measure(&quiet, func() bool { return m.state.View().Leases.Len() < n })
	ended := time.Now()
	measure(&loud, func() bool { return m.state.View().Leases.Len() == 0 })
	t.Logf("the last was gone %v after the first; the longest put took %v, and %v before", time.Since(ended).Round(time.Millisecond), loud, quiet)
	require.Zero(t, l.keys("leased"))
}

// Under the alarm CORRUPT no lease can be revoked. One that has ended is not renewed all
// the same, and whoever asks is not kept waiting; it goes when the alarm does.
func TestALeaseThatEndsWhileTheClusterIsCorrupt(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	l := leasesAt(t, m)
	corrupt := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: etcdserverpb.AlarmType_CORRUPT}
	l.grant(1, 2)
	granted := time.Now()
	l.grant(2, 60)
	require.NoError(t, l.put("k", 1))
	require.Len(t, alarms(t, l.conn, corrupt), 1)
	require.Eventually(t, func() bool { return time.Since(granted) > 2*time.Second && l.left(1).TTL == 0 }, 10*time.Second, 20*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := l.renewing(ctx)
	require.Zero(t, r.renew(1).TTL, "it has ended")
	require.EqualValues(t, 60, r.renew(2).TTL)
	require.EqualValues(t, 1, l.keys("k"))

	corrupt.Action = etcdserverpb.AlarmRequest_DEACTIVATE
	require.Len(t, alarms(t, l.conn, corrupt), 1)
	require.Eventually(t, func() bool { return l.keys("k") == 0 }, 10*time.Second, 20*time.Millisecond)
	require.Zero(t, r.renew(1).TTL)
}

// A lease that a leader grants while it takes over lives as long as it says, and not an
// election longer: that is for those that it has taken over.
func TestLeasesOfALeaderThatTakesOver(t *testing.T) {
	configs := clusterOf(t, 3)
	for _, c := range configs {
		c.HeartbeatInterval, c.ElectionTimeout = 100*time.Millisecond, 3*time.Second
	}
	members := startAll(t, configs)
	defer func() {
		for _, m := range members {
			m.Close()
		}
	}()
	const ttl = 60
	for round := 0; round < 4; {
		from := leaderOf(t, members)
		to := (from + 1) % len(members)
		l, term := leasesAt(t, members[to]), members[from].replica.Status().Term
		_, err := call[etcdserverpb.MoveLeaderResponse](t, dial(t, members[from]), "Maintenance/MoveLeader", &etcdserverpb.MoveLeaderRequest{TargetID: members[to].state.Data.Identity.MemberID})
		if err != nil {
			continue // it has moved by itself
		}
		granted := l.grant(0, ttl)
		left := l.left(granted.ID)
		if left.Header.RaftTerm != term+1 || !members[to].leads() {
			continue // and it has moved again
		}
		require.LessOrEqual(t, left.TTL, int64(ttl), "granted in term %d, as the first of its leader", granted.Header.RaftTerm)
		round++
	}
}
