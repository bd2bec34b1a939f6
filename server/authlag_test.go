package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/test/member"
)

// cut drops the log's entries on their way to one member, while it is set.
type cut struct{ to atomic.Uint64 }

func (c *cut) around(send func([]*raftpb.Message)) func([]*raftpb.Message) {
	return func(all []*raftpb.Message) {
		send(slices.DeleteFunc(slices.Clone(all), func(m *raftpb.Message) bool {
			return m.GetType() == raftpb.MsgApp && m.GetTo() == c.to.Load()
		}))
	}
}

// lagging is a cluster of three whose first follower hears of nothing new once the cut
// is set.
func lagging(t *testing.T) (members []*Member, leader, follower int, c *cut) {
	c = &cut{}
	configs := clusterOf(t, 3)
	for _, one := range configs {
		one.BcryptCost, one.sending = 4, c.around
	}
	members = startAll(t, configs)
	leader = leaderOf(t, members)
	return members, leader, (leader + 1) % 3, c
}

// Whoever logs in at one member and adds a member at another that is a little behind is
// known there.
func TestMemberAddKnowsAFreshToken(t *testing.T) {
	t.Parallel() // it waits, mostly
	members, leader, follower, c := lagging(t)
	there, here := somebody{t, dial(t, members[leader]), ""}, dial(t, members[follower])
	root := there.enable()
	root.conn = here
	_, err := root.get("k")
	require.NoError(t, err, "the follower knows that rights are judged")

	c.to.Store(members[follower].state.Data.Identity.MemberID)
	fresh := there.login("root", "r")
	fresh.conn = here
	done := make(chan error, 1)
	go func() {
		_, err := ask[pb.MemberAddResponse](fresh, "Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("at once: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	c.to.Store(0)
	if !t.Failed() {
		require.NoError(t, <-done)
	}
}

// A put that the users' change has overtaken does not start over when its caller was told
// that its time is over.
func TestNothingStartsOverAfterItsDeadline(t *testing.T) {
	t.Parallel() // it waits, mostly
	configs := clusterOf(t, 3)
	pipes := make([]*pipe, len(configs))
	for i, c := range configs {
		c.BcryptCost = 4
		pipes[i] = &pipe{some: make(chan struct{}, 1)}
		c.sending = pipes[i].around
	}
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	at, other := (leader+1)%3, (leader+2)%3
	there := somebody{t, dial(t, members[other]), ""}
	there.addRole("r", permission(authpb.Permission_READWRITE, "k", ""))
	there.addUser("alice", "pw", "r")
	root := there.enable()
	require.NoError(t, root.put("k", "root"))
	alice := there.login("alice", "pw")
	alice.conn = dial(t, members[at])
	_, err := alice.get("k")
	require.NoError(t, err)

	p := pipes[at]
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "token", alice.token), 500*time.Millisecond)
	defer cancel()
	err = alice.conn.Invoke(ctx, "/etcdserverpb.KV/Put", &pb.PutRequest{Key: []byte("k"), Value: []byte("alice")}, &pb.PutResponse{})
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	root.addUser("somebody else", "pw")
	time.Sleep(100 * time.Millisecond) // the server's own clock of the deadline
	p.open()
	require.Never(t, func() bool {
		v, err := root.get("k")
		return err == nil && v != "root"
	}, time.Second, 50*time.Millisecond, "the put was refused, and begun again when nobody waited for it")
}

// stranded is a member that judges users, and whose cluster has gone.
func stranded(t *testing.T) (victim *Member) {
	t.Helper()
	configs := clusterOf(t, 3)
	for _, c := range configs {
		c.BcryptCost = 4
	}
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	victim = members[(leader+1)%3]
	anon := somebody{t, dial(t, members[leader]), ""}
	root := anon.enable()
	root.conn = dial(t, victim)
	_, err := root.get("k")
	require.NoError(t, err)
	for i, m := range members {
		if i != (leader+1)%3 {
			require.NoError(t, m.Close())
		}
	}
	return victim
}

// Requests with made-up tokens wait behind a barrier, at a member without a leader for
// long; what of them is kept is bounded.
func TestStrangersDoNotFillTheMemory(t *testing.T) {
	victim := stranded(t)
	stranger := dial(t, victim)
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "token", "abcdefghijklmnop.18446744073709551615"), 5*time.Second)
	defer cancel()
	const requests, size = 300, 1 << 20
	message := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, size)}
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() { _ = stranger.Invoke(ctx, "/etcdserverpb.KV/Put", message, &pb.PutResponse{}) })
	}
	time.Sleep(2500 * time.Millisecond)
	runtime.GC()
	var profile bytes.Buffer
	require.NoError(t, pprof.Lookup("heap").WriteTo(&profile, 1))
	cancel()
	wg.Wait()
	kept := int64(0) // by the server alone: the client is in this process, too
	for _, stack := range strings.Split(profile.String(), "\n\n") {
		for _, one := range regexp.MustCompile(`(?m)^\d+: (\d+) \[.*\n(?:#.*\n)*#.*KeepPayload`).FindAllStringSubmatch(stack, -1) {
			n, err := strconv.ParseInt(one[1], 10, 64)
			require.NoError(t, err)
			kept += n
		}
	}
	require.Less(t, kept, int64(64<<20), "bytes of strangers' requests in the server's memory, of %d", requests*size)
}

// An administrator who is known by a client's certificate promotes a learner at a
// member that does not lead. A certificate cannot be handed on to the leader, so that
// he is sent there himself, and at once.
func TestPromotionByCertificateAtAFollower(t *testing.T) {
	t.Parallel() // it waits, mostly
	ca := member.NewAuthority(t, "ca")
	configs := clusterOf(t, 2)
	for _, c := range configs {
		c.BcryptCost = 4
		c.ClientCertFile, c.ClientKeyFile = ca.Issue("member")
		c.ClientTrustedCAFile, c.ClientCertAuth = ca.File(), true
		c.ListenClientURLs = mustURLs("https://127.0.0.1:0")
	}
	members := startAll(t, configs)
	leader := leaderOf(t, members)
	as := func(m *Member) somebody {
		conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.Client(ca.Issue("root")))))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return somebody{t, conn, ""}
	}
	at, root := as(members[leader]), as(members[1-leader])
	at.addUser("root", "r", "root")
	must[pb.AuthEnableResponse](at, "Auth/AuthEnable", &pb.AuthEnableRequest{})
	added := must[pb.MemberAddResponse](at, "Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
	require.Eventually(t, func() bool {
		r, err := ask[pb.MemberListResponse](root, "Cluster/MemberList", &pb.MemberListRequest{})
		return err == nil && len(r.Members) == 3
	}, 20*time.Second, 20*time.Millisecond)
	_, err := ask[pb.MemberPromoteResponse](at, "Cluster/MemberPromote", &pb.MemberPromoteRequest{ID: added.Member.ID})
	require.ErrorContains(t, err, "which is in sync with leader")
	_, err = ask[pb.MemberPromoteResponse](root, "Cluster/MemberPromote", &pb.MemberPromoteRequest{ID: added.Member.ID})
	require.EqualError(t, err, "rpc error: code = FailedPrecondition desc = etcdserver: not leader")
}

// An administrator is dismissed, and that is acknowledged. A member that has not heard of
// it yet does not let him compact, raise alarms or add members either.
func TestADismissedAdministratorAtALaggingMember(t *testing.T) {
	t.Parallel() // it waits, mostly
	members, leader, follower, c := lagging(t)
	there, here := somebody{t, dial(t, members[leader]), ""}, dial(t, members[follower])
	there.addUser("mallory", "pw", "root")
	root := there.enable()
	mallory := there.login("mallory", "pw")
	mallory.conn = here
	require.NoError(t, mallory.put("k", "v"))
	require.NoError(t, mallory.put("k", "w"))

	c.to.Store(members[follower].state.Data.Identity.MemberID)
	must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "mallory"})
	type outcome struct {
		what string
		err  error
	}
	done := make(chan outcome, 4)
	go func() { done <- outcome{"put", mallory.put("k", "mallory")} }()
	go func() {
		_, err := ask[pb.CompactionResponse](mallory, "KV/Compact", &pb.CompactionRequest{Revision: 3})
		done <- outcome{"compact", err}
	}()
	go func() {
		_, err := ask[pb.AlarmResponse](mallory, "Maintenance/Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: 1})
		done <- outcome{"alarm", err}
	}()
	go func() {
		_, err := ask[pb.MemberAddResponse](mallory, "Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
		done <- outcome{"add a member", err}
	}()
	time.Sleep(300 * time.Millisecond) // they are on their way, or wait
	c.to.Store(0)
	for range cap(done) {
		o := <-done
		require.Error(t, o.err, o.what)
		require.Regexp(t, "permission denied|invalid auth token|user name not found", o.err.Error(), o.what)
	}
}

// exchange sends the first request of a stream, and takes the first answer.
func (s somebody) exchange(method string, req, res any) error {
	ctx, cancel := context.WithTimeout(s.with(s.t.Context()), time.Minute)
	defer cancel()
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/etcdserverpb."+method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) { // the answer says why
		return err
	}
	return stream.RecvMsg(res)
}

// started is how many calls a member has begun to answer.
func started(m *Member) (n uint64) {
	for _, one := range m.rpc.Stats().Methods {
		n += one.Started
	}
	return n
}

// A right is given, and that is acknowledged. A member that has not heard of it yet does
// not refuse what it is to.
func TestAFreshRightAtALaggingMember(t *testing.T) {
	t.Parallel() // it waits, mostly
	members, leader, follower, c := lagging(t)
	there, here := somebody{t, dial(t, members[leader]), ""}, dial(t, members[follower])
	there.addRole("r", permission(authpb.Permission_READWRITE, "k", "l"))
	there.addUser("bob", "pw")
	root := there.enable()
	lease := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 60})
	must[pb.PutResponse](root, "KV/Put", &pb.PutRequest{Key: []byte("k"), Lease: lease.ID})
	revoked := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 60})
	must[pb.PutResponse](root, "KV/Put", &pb.PutRequest{Key: []byte("k2"), Lease: revoked.ID})
	bob := there.login("bob", "pw")
	bob.conn = here
	requests := map[string]func() error{
		"put": func() error { return bob.put("k", "v") },
		"delete": func() error {
			_, err := ask[pb.DeleteRangeResponse](bob, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("k")})
			return err
		},
		"txn": func() error {
			op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k")}}}
			_, err := ask[pb.TxnResponse](bob, "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{op}})
			return err
		},
		"large txn": func() error {
			op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 100<<10)}}}
			_, err := ask[pb.TxnResponse](bob, "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{op}})
			return err
		},
		"lease revoke": func() error {
			_, err := ask[pb.LeaseRevokeResponse](bob, "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: revoked.ID})
			return err
		},
		"time to live": func() error {
			_, err := ask[pb.LeaseTimeToLiveResponse](bob, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: lease.ID, Keys: true})
			return err
		},
		"keep-alive": func() error {
			return bob.exchange("Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: lease.ID}, &pb.LeaseKeepAliveResponse{})
		},
		"watch": func() error {
			var res pb.WatchResponse
			create := &pb.WatchCreateRequest{Key: []byte("k")}
			err := bob.exchange("Watch/Watch", &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}, &res)
			if err == nil && res.Canceled {
				err = errors.New(res.CancelReason)
			}
			return err
		},
	}
	for what, do := range requests {
		require.ErrorContains(t, do(), "permission denied", what)
	}

	c.to.Store(members[follower].state.Data.Identity.MemberID)
	must[pb.AuthUserGrantRoleResponse](root, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "bob", Role: "r"})
	before := started(members[follower])
	type outcome struct {
		what string
		err  error
	}
	done := make(chan outcome, len(requests))
	for what, do := range requests {
		go func() { done <- outcome{what, do()} }()
	}
	require.Eventually(t, func() bool { return started(members[follower]) == before+uint64(len(requests)) }, 20*time.Second, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // who did not wait would be told by then
	early := len(done)
	c.to.Store(0)
	for range cap(done) {
		o := <-done
		require.NoError(t, o.err, o.what)
	}
	require.Zero(t, early, "what was done at once")
}

// Whoever logs in at one member and writes at another at once has the request wait on a
// worker, behind a barrier, while the connection's goroutine goes on: for -race.
func TestCallsThatWaitForTheirTokenRaceNobody(t *testing.T) {
	members, leader, follower, _ := lagging(t)
	there, here := somebody{t, dial(t, members[leader]), ""}, dial(t, members[follower])
	there.enable()
	for range 60 {
		fresh := there.login("root", "r")
		fresh.conn = here
		require.NoError(t, fresh.put("k", "v"))
	}
}

// Authentication was switched on, and that is acknowledged. A member that is behind does
// not let strangers compact, raise alarms or change the membership either.
func TestStrangersAtAMemberThatHasNotHeardOfAuth(t *testing.T) {
	t.Parallel() // it waits, mostly
	members, leader, follower, c := lagging(t)
	there, stranger := somebody{t, dial(t, members[leader]), ""}, somebody{t, dial(t, members[follower]), ""}
	require.NoError(t, stranger.put("k", "v"))
	require.NoError(t, stranger.put("k", "w"))
	c.to.Store(members[follower].state.Data.Identity.MemberID)
	there.enable()
	done := make(chan error, 3)
	go func() { done <- stranger.put("k", "stranger") }()
	go func() {
		_, err := ask[pb.CompactionResponse](stranger, "KV/Compact", &pb.CompactionRequest{Revision: 3})
		done <- err
	}()
	go func() {
		_, err := ask[pb.MemberAddResponse](stranger, "Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
		done <- err
	}()
	time.Sleep(300 * time.Millisecond)
	c.to.Store(0)
	for range cap(done) {
		require.EqualError(t, <-done, userEmpty, "a stranger's, after authentication was switched on")
	}
}

// The password of a user is changed at a member that knows him as one without: he was
// made anew meanwhile, with one. The new password gets him in.
func TestAPasswordIsNotLost(t *testing.T) {
	t.Parallel() // it waits, mostly
	members, leader, follower, c := lagging(t)
	there := somebody{t, dial(t, members[leader]), ""}
	must[pb.AuthUserAddResponse](there, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "alice", Options: &authpb.UserAddOptions{NoPassword: true}})
	root := there.enable()
	here := root
	here.conn = dial(t, members[follower])
	_, err := here.get("k")
	require.NoError(t, err)
	c.to.Store(members[follower].state.Data.Identity.MemberID)
	must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})
	root.addUser("alice", "old")
	done := make(chan error, 1)
	go func() {
		_, err := ask[pb.AuthUserChangePasswordResponse](here, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "new"})
		done <- err
	}()
	time.Sleep(300 * time.Millisecond)
	c.to.Store(0)
	want := "new"
	if err := <-done; err != nil {
		want = "old"
	}
	_, err = ask[pb.AuthenticateResponse](there, "Auth/Authenticate", &pb.AuthenticateRequest{Name: "alice", Password: want})
	require.NoError(t, err, "with the password %q", want)
}

// A request whose token this member does not know yet waits for the state that does, and
// is not begun when its caller was told that it failed.
func TestNothingBeginsAfterItsDeadline(t *testing.T) {
	t.Parallel() // it waits, mostly
	members, leader, follower, c := lagging(t)
	there, here := somebody{t, dial(t, members[leader]), ""}, dial(t, members[follower])
	root := there.enable()
	require.NoError(t, root.put("k", "root"))
	early := root
	early.conn = here
	_, err := early.get("k")
	require.NoError(t, err)
	c.to.Store(members[follower].state.Data.Identity.MemberID)
	fresh := there.login("root", "r")
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "token", fresh.token), 300*time.Millisecond)
	defer cancel()
	err = here.Invoke(ctx, "/etcdserverpb.KV/Put", &pb.PutRequest{Key: []byte("k"), Value: []byte("late")}, &pb.PutResponse{})
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	time.Sleep(100 * time.Millisecond) // the server's own clock of the deadline
	c.to.Store(0)
	require.Never(t, func() bool {
		v, err := root.get("k")
		return err == nil && v != "root"
	}, 2*time.Second, 50*time.Millisecond, "begun when nobody waited for it")
}
