package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"etcd.alt/api/authpb"
	"etcd.alt/api/electionpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/token"
)

// What a stream watches while nobody is judged is looked at when users are again, though
// its user may do what he might before.
func TestAWatchMadeWhileAuthenticationWasOff(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r", permission(authpb.Permission_READ, "a", ""))
	anon.addUser("alice", "pw", "r")
	root := anon.enable()
	alice := anon.login("alice", "pw")
	w := alice.watch()
	w.create("a", "")
	w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled })
	must[pb.AuthDisableResponse](root, "Auth/AuthDisable", &pb.AuthDisableRequest{})
	w.create("secret", "")
	w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled })
	must[pb.AuthEnableResponse](anon, "Auth/AuthEnable", &pb.AuthEnableRequest{})
	root = anon.login("root", "r")
	require.NoError(t, root.put("secret", "of root's"))
	r := &pb.WatchResponse{}
	require.NoError(t, w.stream.RecvMsg(r))
	require.True(t, r.Canceled, "alice is told: %v", r)
}

// A right goes while its holder makes watchers on the stream that stands on it.
func TestARightGoesWhileItsHolderMakesWatchers(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r", permission(authpb.Permission_READ, "b", ""))
	anon.addUser("alice", "pw", "r")
	anon.addRole("many", permission(authpb.Permission_READ, "z", ""))
	const others = 100
	for i := range others {
		anon.addUser(fmt.Sprint("u", i), "pw", "many")
	}
	root := anon.enable()
	alice := anon.login("alice", "pw")
	for i := range others {
		one := anon.login(fmt.Sprint("u", i), "pw")
		w := one.watch()
		w.create("z", "")
	}
	kept := 0
	for round := range 15 {
		must[pb.AuthRoleGrantPermissionResponse](root, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: permission(authpb.Permission_READ, "a", "")})
		w := alice.watch()
		w.create("a", "")
		w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled && r.WatchId == 0 })
		var told atomic.Bool
		var ended, busy atomic.Bool
		var wg sync.WaitGroup
		stop := make(chan struct{})
		go func() { // until the stream ends, with the test
			for {
				r := &pb.WatchResponse{}
				if w.stream.RecvMsg(r) != nil {
					return
				}
				if r.WatchId > 3 {
					busy.Store(true)
				}
				if r.WatchId == 0 && r.Canceled {
					ended.Store(true)
				}
				if len(r.Events) > 0 && strings.HasPrefix(string(r.Events[0].Kv.Value), "secret") && r.WatchId == 0 {
					told.Store(true)
				}
			}
		}()
		wg.Go(func() {
			for i := int64(1); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_ = w.stream.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("b"), WatchId: i}}})
				_ = w.stream.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: i}}})
			}
		})
		require.Eventually(t, busy.Load, time.Minute, time.Millisecond)
		must[pb.AuthRoleRevokePermissionResponse](root, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a")})
		require.NoError(t, root.put("a", fmt.Sprint("secret", round)))
		require.Eventually(t, ended.Load, time.Minute, time.Millisecond)
		close(stop)
		wg.Wait()
		if told.Load() {
			kept++
		}
	}
	require.Zero(t, kept, "rounds in which alice was told what was written after her right was gone")
}

// Who has a stream that stands needs a good token for each new watcher all the same.
func TestAStreamThatStandsDoesNotKeepATokenAlive(t *testing.T) {
	for _, kind := range []string{"jwt", "simple"} {
		t.Run(kind, func(t *testing.T) {
			c := newIsland(t, kind, 1)
			anon := somebody{t, dial(t, c.members[0]), ""}
			anon.addRole("r", permission(authpb.Permission_READ, "a", ""), permission(authpb.Permission_READ, "b", ""))
			anon.addUser("alice", "pw", "r")
			anon.enable()
			alice := anon.login("alice", "pw")
			alice.conn = dial(t, c.members[0]) // nobody else's
			w := alice.watch()
			w.create("a", "")
			w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled })
			c.later.Add(int64(24 * time.Hour))
			w.create("b", "")
			r := &pb.WatchResponse{}
			require.NoError(t, w.stream.RecvMsg(r))
			_, err := alice.get("a")
			require.EqualError(t, err, invalidToken)
			require.True(t, r.Canceled && r.CancelReason == invalidToken, "a day after the token's end: %v", r)
		})
	}
}

// A member that cannot read its keys says so.
func TestAKeyThatIsNotThere(t *testing.T) {
	c := authConfig(t)
	var err error
	c.AuthToken, err = token.Parse("jwt,sign-method=RS512,priv-key=/nowhere/app.rsa")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = Start(ctx, c, zap.NewNop())
	require.ErrorContains(t, err, "--auth-token")
}

func TestTheAuditLogKnowsWhichWatchersWereMade(t *testing.T) {
	c := authConfig(t)
	c.AuditLog = filepath.Join(t.TempDir(), "audit.json")
	m := start(t, c)
	anon := somebody{t, dial(t, m), ""}
	w := anon.watch()
	for range 2 {
		require.NoError(t, w.stream.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), WatchId: 7}}}))
	}
	w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled })
	w.next(func(r *pb.WatchResponse) bool { return r.Created && r.Canceled })
	require.NoError(t, m.Close())
	written, err := os.ReadFile(c.AuditLog)
	require.NoError(t, err)
	ok := 0
	for line := range strings.Lines(string(written)) {
		var r struct {
			RPC, Verdict string
			Keys         []any
		}
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		if strings.HasSuffix(r.RPC, "Watch/Watch") && len(r.Keys) > 0 && r.Verdict == "OK" {
			ok++
		}
	}
	require.Equal(t, 1, ok, "%s", written)
}

func TestRightsAreSharedByThoseWhoHaveARole(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r")
	const perms, people = 500, 500
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := g; i < perms; i += 8 {
				must[pb.AuthRoleGrantPermissionResponse](anon, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: permission(authpb.Permission_READWRITE, fmt.Sprintf("app/%06d/", i), fmt.Sprintf("app/%06d0", i))})
			}
		})
		wg.Go(func() {
			for i := g; i < people; i += 8 {
				anon.addUser(fmt.Sprint("u", i), "pw", "r")
			}
		})
	}
	wg.Wait()
	anon.enable()
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	v := m.state.View().Auth
	before := heap()
	for i := range people {
		require.True(t, v.Rights(fmt.Sprint("u", i)).May(auth.Write, []byte("app/000001/x"), nil))
	}
	require.Less(t, heap()-before, int64(16<<20), "bytes that the rights of all take, who have asked once; %d is what users and roles say they have", v.Bytes())
	runtime.KeepAlive(v)
}

// waitsForALock has root hold the lock l and alice wait for it: held has the key to
// unlock, done is told what becomes of alice.
func waitsForALock(root, alice somebody) (held *lockpb.LockResponse, done chan error) {
	t := root.t
	t.Helper()
	lease := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 1000}).ID
	other := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 1000}).ID
	held = must[lockpb.LockResponse](root, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: other})
	done = make(chan error, 1)
	go func() {
		_, err := ask[lockpb.LockResponse](alice, "/v3lockpb.Lock/Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: lease})
		done <- err
	}()
	require.Eventually(t, func() bool {
		return must[pb.RangeResponse](root, "KV/Range", &pb.RangeRequest{Key: []byte("l/"), RangeEnd: []byte("l0"), CountOnly: true}).Count == 2
	}, time.Minute, 5*time.Millisecond)
	return held, done
}

// A lock that is waited for longer than its caller's token lives is had, or left, also
// where the connection has shown another token meanwhile.
func TestALockOutlivesItsToken(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared connection ", shared), func(t *testing.T) {
			c := newIsland(t, "jwt", 1)
			anon := somebody{t, dial(t, c.members[0]), ""}
			anon.addRole("r", permission(authpb.Permission_READWRITE, "l", "m"))
			anon.addUser("alice", "pw", "r")
			root := anon.enable()
			alice := anon.login("alice", "pw")
			alice.conn = dial(t, c.members[0])
			held, done := waitsForALock(root, alice)
			c.later.Add(int64(time.Hour))
			if shared {
				second := anon.login("alice", "pw")
				second.conn = alice.conn
				require.NoError(t, second.put("l1", "v"))
			}
			root = anon.login("root", "r")
			must[lockpb.UnlockResponse](root, "/v3lockpb.Lock/Unlock", &lockpb.UnlockRequest{Key: held.Key})
			require.NoError(t, <-done)
			left := must[pb.RangeResponse](root, "KV/Range", &pb.RangeRequest{Key: []byte("l/"), RangeEnd: []byte("l0"), CountOnly: true}).Count
			require.EqualValues(t, 1, left, "keys in the queue")
		})
	}
}

// A lock that is waited for under a token whose keys are replaced, as where they are in
// wrong hands, is not had.
func TestALockDoesNotOutliveTheKeysOfItsToken(t *testing.T) {
	c := newIsland(t, "jwt", 1)
	anon := somebody{t, dial(t, c.members[0]), ""}
	anon.addRole("r", permission(authpb.Permission_READWRITE, "l", "m"))
	anon.addUser("alice", "pw", "r")
	root := anon.enable()
	alice := anon.login("alice", "pw")
	held, done := waitsForALock(root, alice)
	c.writeKeys()
	require.Eventually(t, func() bool {
		_, err := alice.get("l1")
		return err != nil
	}, time.Minute, 10*time.Millisecond)
	root = anon.login("root", "r")
	must[lockpb.UnlockResponse](root, "/v3lockpb.Lock/Unlock", &lockpb.UnlockRequest{Key: held.Key})
	require.ErrorContains(t, <-done, "invalid auth token")
}

// Connections that have called once, and are silent while users change.
func TestSilentConnectionsKeepNoOldStates(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r")
	const perms, people, idle = 50, 200, 200
	for i := range perms {
		must[pb.AuthRoleGrantPermissionResponse](anon, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: permission(authpb.Permission_READWRITE, fmt.Sprintf("app/%06d/", i), fmt.Sprintf("app/%06d0", i))})
	}
	for i := range people {
		anon.addUser(fmt.Sprint("u", i), "pw", "r")
	}
	root := anon.enable()
	var one somebody
	for i := range people {
		one = anon.login(fmt.Sprint("u", i), "pw")
		w := one.watch()
		w.create("app/000001/x", "")
		w.next(func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled })
	}
	conns := make([]somebody, idle)
	for i := range conns {
		conns[i] = one
		conns[i].conn = dial(t, m)
		_, err := conns[i].get("app/000001/x")
		require.NoError(t, err)
	}
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	for i := range conns {
		root.addRole(fmt.Sprint("any", i))
		_, err := conns[i].get("app/000001/x")
		require.NoError(t, err)
	}
	require.Less(t, heap()-before, int64(24<<20), "bytes for %d silent connections and as many changes", idle)
}

// Small requests with large headers, of tokens that nobody can judge yet, wait in bounded
// memory.
func TestHeadersOfStrangersDoNotFillTheMemory(t *testing.T) {
	victim := stranded(t)
	stranger := dial(t, victim)
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "token", "abcdefghijklmnop.18446744073709551615", "x", strings.Repeat("x", 60<<10)), 30*time.Second)
	defer cancel()
	const requests = 1000
	var wg sync.WaitGroup
	var mu sync.Mutex
	said := map[string]int{}
	for range requests {
		wg.Go(func() {
			err := stranger.Invoke(ctx, "/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte("k")}, &pb.RangeResponse{})
			mu.Lock()
			said[status.Convert(err).Message()]++
			mu.Unlock()
		})
	}
	// 16 MiB may wait, which is some 130 of them.
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return said["etcdserver: too many requests"] > requests/2
	}, 25*time.Second, 10*time.Millisecond)
	cancel()
	wg.Wait()
	// What has ended is counted out.
	again, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "token", "abcdefghijklmnop.18446744073709551615"), 500*time.Millisecond)
	defer cancel()
	err := stranger.Invoke(again, "/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte("k")}, &pb.RangeResponse{})
	require.Equal(t, codes.DeadlineExceeded.String(), status.Code(err).String(), "%v", err)
}

// Who may not read an election's keys learns nothing of its leader.
func TestTheLeaderIsForThoseWhoMayRead(t *testing.T) {
	m := start(t, authConfig(t))
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("w", permission(authpb.Permission_WRITE, "e", "f"))
	anon.addUser("alice", "pw", "w")
	root := anon.enable()
	lease := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 1000}).ID
	must[electionpb.CampaignResponse](root, "/v3electionpb.Election/Campaign", &electionpb.CampaignRequest{Name: []byte("e"), Lease: lease, Value: []byte("secret")})
	alice := anon.login("alice", "pw")
	_, err := ask[electionpb.LeaderResponse](alice, "/v3electionpb.Election/Leader", &electionpb.LeaderRequest{Name: []byte("e")})
	require.ErrorContains(t, err, "permission denied")
	stream, err := alice.conn.NewStream(alice.with(t.Context()), &grpc.StreamDesc{ServerStreams: true}, "/v3electionpb.Election/Observe")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&electionpb.LeaderRequest{Name: []byte("e")}))
	require.NoError(t, stream.CloseSend())
	require.ErrorContains(t, stream.RecvMsg(&electionpb.LeaderResponse{}), "permission denied")
}

// A member that lags asks the leader for a lease's keys, and judges what it hears in a
// state as late.
func TestKeysOfALeaseThatTheLeaderKnowsOf(t *testing.T) {
	c := newIsland(t, "simple", 3)
	at := (leaderOf(t, c.members) + 1) % 3
	here := somebody{t, dial(t, c.members[at]), ""}
	there := somebody{t, dial(t, c.members[(at+2)%3]), ""}
	if (at+2)%3 != leaderOf(t, c.members) {
		there.conn = dial(t, c.members[leaderOf(t, c.members)])
	}
	here.addRole("r", permission(authpb.Permission_READ, "k", ""))
	here.addUser("alice", "pw", "r")
	root := there.enable()
	lease := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 1000}).ID
	alice := here.login("alice", "pw")
	_, err := ask[pb.LeaseTimeToLiveResponse](alice, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: lease, Keys: true})
	require.NoError(t, err)
	c.cut.Store(c.members[at].state.Data.Identity.MemberID)
	must[pb.PutResponse](root, "KV/Put", &pb.PutRequest{Key: []byte("secret"), Lease: lease})
	heal := time.AfterFunc(300*time.Millisecond, func() { c.cut.Store(0) })
	defer heal.Stop()
	_, err = ask[pb.LeaseTimeToLiveResponse](alice, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: lease, Keys: true})
	require.EqualError(t, err, permissionDenied)
}

// That there is no user is no reason to start over where it is said of the user that is
// to be made.
func TestAUserWithoutAName(t *testing.T) {
	anon := somebody{t, dial(t, start(t, authConfig(t))), ""}
	for range 2 {
		_, err := ask[pb.AuthUserAddResponse](anon, "Auth/UserAdd", &pb.AuthUserAddRequest{Password: "x"})
		require.EqualError(t, err, userEmpty)
		if anon.token == "" {
			anon = anon.enable()
		}
	}
}
