package conformance

import (
	"context"
	"crypto/tls"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"etcd.alt/conformance/member"
	testmember "etcd.alt/test/member"
)

// tokenLife is short, so that tokens end during the tests. A JWT's end is in whole
// seconds, and may come one later.
const tokenLife = 2 * time.Second

// transport is a way to a member: a kind made to serve it, and what its clients need.
type transport struct {
	name   string
	kind   func(member.Kind) member.Kind
	client *tls.Config
}

// transports are the ways that are tried.
func transports(t *testing.T) []transport {
	t.Helper()
	ca := testmember.NewAuthority(t, "ca")
	cert, key := ca.Issue("member")
	one, mutual := ca.Client("", ""), ca.Client(ca.Issue("nobody"))
	return []transport{
		{"plain", func(k member.Kind) member.Kind { return k }, nil},
		{"TLS", func(k member.Kind) member.Kind {
			return k.OverTLS(one, "--cert-file", cert, "--key-file", key)
		}, one},
		{"mutual TLS", func(k member.Kind) member.Kind {
			return k.OverTLS(mutual, "--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca.File(), "--client-cert-auth")
		}, mutual},
	}
}

// TestUsersOverEverything has users with passwords do all there is to do, with every
// kind of token over every transport.
func TestUsersOverEverything(t *testing.T) {
	kinds, ways := tokenKinds(t), transports(t)
	for _, kind := range kinds {
		for _, way := range ways {
			t.Run(kind.name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				flags := append([]string{"--unsafe-no-fsync", "--bcrypt-cost", "4"}, kind.flags(tokenLife)...)
				m, err := member.Start(way.kind(member.Ours(os.Getenv(binaryVariable), flags...)))
				require.NoError(t, err)
				t.Cleanup(m.Close)
				populate(t, &town{m: m, tls: way.client, look: kind.look(tokenLife), named: way.name == "mutual TLS"})
			})
		}
	}
}

// town is a member and who is known there.
type town struct {
	m                        *member.Member
	tls                      *tls.Config
	named                    bool          // every client has a name in a certificate
	look                     time.Duration // between two looks at whether a token has ended
	nobody, root, alice, bob person
}

// populate is a day in a town's life, in the order that it must have.
func populate(t *testing.T, w *town) {
	w.nobody = login(t, w.tls, "", "", w.m)
	put(t, w.nobody.Client, "b/before", "v")
	enableAuth(t, w.nobody.Client)
	w.root = login(t, w.tls, "root", "rootpw", w.m)
	addRole(t, w.root.Client, "a", "a/", "a0")
	addRole(t, w.root.Client, "b", "b/", "b0")
	addUser(t, w.root, "alice", "alicepw", "a")
	addUser(t, w.root, "bob", "bobpw", "b")
	w.alice, w.bob = login(t, w.tls, "alice", "alicepw", w.m), login(t, w.tls, "bob", "bobpw", w.m)

	for _, step := range []struct {
		name string
		do   func(*testing.T, *town)
	}{
		{"administer", administer},
		{"nobody", nobodyMayDoAnything},
		{"keys", keysOfOnesOwn},
		{"denied", keysOfOthers},
		{"leases", leasesOfOnesOwn},
		{"tokens end", tokensEnd},
		{"passwords change", passwordsChange},
		{"roles go", rolesGo},
		{"disable", disableAuth},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, w) }) {
			return
		}
	}
}

// administer looks at users and roles, and is refused where it should be.
func administer(t *testing.T, w *town) {
	status, err := w.root.AuthStatus(within(t))
	require.NoError(t, err)
	require.True(t, status.Enabled)
	require.Greater(t, status.AuthRevision, uint64(5))
	users, err := w.root.UserList(within(t))
	require.NoError(t, err)
	require.Equal(t, []string{"alice", "bob", "root"}, users.Users)
	roles, err := w.root.RoleList(within(t))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "root"}, roles.Roles)
	role, err := w.root.RoleGet(within(t), "a")
	require.NoError(t, err)
	require.Len(t, role.Perm, 1)
	require.Equal(t, "a/", string(role.Perm[0].Key))
	require.Equal(t, "a0", string(role.Perm[0].RangeEnd))

	own, err := w.alice.UserGet(within(t), "alice")
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, own.Roles)
	_, err = w.alice.RoleGet(within(t), "a")
	require.NoError(t, err)
	_, err = w.alice.UserGet(within(t), "bob")
	refused(t, err, "another user")
	_, err = w.alice.RoleGet(within(t), "b")
	refused(t, err, "a role that one has not")
	_, err = w.alice.UserAdd(within(t), "eve", "evepw")
	refused(t, err, "a new user")
	_, err = w.alice.UserGrantRole(within(t), "alice", "root")
	refused(t, err, "the role root")
	_, err = w.alice.UserChangePassword(within(t), "root", "mine")
	refused(t, err, "another's password")
	_, err = w.alice.AuthDisable(within(t))
	refused(t, err, "no more asking")
	_, err = w.root.UserDelete(within(t), "root")
	require.ErrorIs(t, err, rpctypes.ErrInvalidAuthMgmt)
}

// nobodyMayDoAnything is a client without a name or, over mutual TLS, with one that
// no user has.
func nobodyMayDoAnything(t *testing.T, w *town) {
	c := w.nobody
	unknown, unknownRoot := rpctypes.ErrUserEmpty, rpctypes.ErrUserEmpty
	if w.named {
		unknown, unknownRoot = rpctypes.ErrPermissionDenied, rpctypes.ErrUserNotFound
	}
	for _, row := range []struct {
		name string
		want error
		do   func() error
	}{
		{"get", unknown, func() error { _, err := c.Get(within(t), "a/k"); return err }},
		{"put", unknown, func() error { _, err := c.Put(within(t), "a/k", "v"); return err }},
		{"delete", unknown, func() error { _, err := c.Delete(within(t), "a/k"); return err }},
		{"txn", unknown, func() error { _, err := c.Txn(within(t)).Then(clientv3.OpGet("a/k")).Commit(); return err }},
		{"grant", unknown, func() error { _, err := c.Grant(within(t), 10); return err }},
		{"leases", unknown, func() error { _, err := c.Leases(within(t)); return err }},
		{"members", unknown, func() error { _, err := c.MemberList(within(t)); return err }},
		{"status", unknown, func() error { _, err := c.Status(within(t), w.m.URL()); return err }},
		{"compact", unknownRoot, func() error { _, err := c.Compact(within(t), 1); return err }},
		{"users", unknownRoot, func() error { _, err := c.UserList(within(t)); return err }},
	} {
		require.ErrorIs(t, row.do(), row.want, row.name)
	}
	res, ok := <-c.Watch(ownStream(within(t)), "a/k")
	require.True(t, ok)
	require.True(t, res.Canceled)
	require.ErrorContains(t, res.Err(), unknown.Error())
	status, err := c.AuthStatus(within(t))
	require.NoError(t, err)
	require.True(t, status.Enabled)
}

// keysOfOnesOwn is what a user does all day.
func keysOfOnesOwn(t *testing.T, w *town) {
	c := w.alice.Client
	events := watching(ownStream(within(t)), t, w.alice, "a/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	first := put(t, c, "a/1", "one")
	put(t, c, "a/2", "two")
	require.Equal(t, []string{"a/1", "a/2"}, keysOf(get(t, c, "a/", clientv3.WithRange("a0"), clientv3.WithLimit(2))))
	done, err := c.Txn(within(t)).
		If(clientv3.Compare(clientv3.Value("a/1"), "=", "one")).
		Then(clientv3.OpPut("a/1", "uno"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("a/2")}, nil)).
		Commit()
	require.NoError(t, err)
	require.True(t, done.Succeeded)
	require.Equal(t, "one", string(get(t, c, "a/1", clientv3.WithRev(first)).Kvs[0].Value))
	deleted, err := c.Delete(within(t), "a/2", clientv3.WithPrevKV())
	require.NoError(t, err)
	require.Equal(t, "two", string(deleted.PrevKvs[0].Value))
	list, err := c.MemberList(within(t))
	require.NoError(t, err)
	require.Equal(t, []string{w.m.URL()}, list.Members[0].ClientURLs)

	seen := nextEvents(t, events, 4)
	require.Equal(t, []string{"a/1", "a/2", "a/1", "a/2"}, []string{string(seen[0].Kv.Key), string(seen[1].Kv.Key), string(seen[2].Kv.Key), string(seen[3].Kv.Key)})
	require.Equal(t, "one", string(seen[2].PrevKv.Value))
	require.Equal(t, mvccpb.DELETE, seen[3].Type)

	_, err = w.root.Compact(within(t), first+1)
	require.NoError(t, err)
	_, err = c.Get(within(t), "a/1", clientv3.WithRev(first))
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
}

// keysOfOthers is what is refused, in whatever it is wrapped.
func keysOfOthers(t *testing.T, w *town) {
	c := w.alice
	for name, do := range map[string]func() error{
		"get":             func() error { _, err := c.Get(within(t), "b/before"); return err },
		"get of too much": func() error { _, err := c.Get(within(t), "a/", clientv3.WithRange("a1")); return err },
		"get of all":      func() error { _, err := c.Get(within(t), "", clientv3.WithFromKey()); return err },
		"serializable":    func() error { _, err := c.Get(within(t), "b/before", clientv3.WithSerializable()); return err },
		"the future":      func() error { _, err := c.Get(within(t), "b/before", clientv3.WithRev(1<<40)); return err },
		"put":             func() error { _, err := c.Put(within(t), "b/k", "v"); return err },
		"delete":          func() error { _, err := c.Delete(within(t), "b/before"); return err },
		"compare": func() error {
			_, err := c.Txn(within(t)).If(clientv3.Compare(clientv3.Version("b/before"), "=", 0)).Commit()
			return err
		},
		"the other branch": func() error {
			_, err := c.Txn(within(t)).Then(clientv3.OpPut("a/k", "v")).Else(clientv3.OpPut("b/k", "v")).Commit()
			return err
		},
		"nested": func() error {
			_, err := c.Txn(within(t)).Then(clientv3.OpPut("a/k", "v"), clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpDelete("b/before")})).Commit()
			return err
		},
		"compact": func() error { _, err := c.Compact(within(t), 1); return err },
		"member":  func() error { _, err := c.MemberAdd(within(t), []string{"http://127.0.0.1:1"}); return err },
		"hash":    func() error { _, err := c.HashKV(within(t), w.m.URL(), 0); return err },
	} {
		refused(t, do(), name)
	}
	for _, key := range []string{"b/before", "b/"} {
		res, ok := <-c.Watch(ownStream(within(t)), key, clientv3.WithPrefix())
		require.True(t, ok)
		require.True(t, res.Canceled)
		require.ErrorContains(t, res.Err(), "etcdserver: permission denied")
	}
	require.Equal(t, "v", string(get(t, w.bob.Client, "b/before").Kvs[0].Value))
	require.Empty(t, get(t, c.Client, "a/k").Kvs, "nothing of a transaction that is refused is done")
}

// leasesOfOnesOwn has a lease that others may not touch.
func leasesOfOnesOwn(t *testing.T, w *town) {
	lease, err := w.alice.Grant(within(t), 60)
	require.NoError(t, err)
	put(t, w.alice.Client, "a/leased", "v", clientv3.WithLease(lease.ID))
	kept, err := w.alice.KeepAlive(within(t), lease.ID)
	require.NoError(t, err)
	alive, ok := <-kept
	require.True(t, ok)
	require.EqualValues(t, 60, alive.TTL)
	left, err := w.alice.TimeToLive(within(t), lease.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, "a/leased", string(left.Keys[0]))

	_, err = w.bob.TimeToLive(within(t), lease.ID, clientv3.WithAttachedKeys())
	refused(t, err, "the keys on another's lease")
	_, err = w.bob.Revoke(within(t), lease.ID)
	refused(t, err, "another's lease")
	_, err = w.bob.KeepAliveOnce(within(t), lease.ID)
	refused(t, err, "the life of another's lease")
	_, err = w.bob.Put(within(t), "b/k", "v", clientv3.WithLease(lease.ID))
	refused(t, err, "a lease with another's key on it")
	_, err = w.alice.Revoke(within(t), lease.ID)
	require.NoError(t, err)
	require.Empty(t, get(t, w.alice.Client, "a/leased").Kvs)
}

// tokensEnd has clients go on behind the end of what they logged in for: with calls,
// with watches that stand, and with streams that begin.
func tokensEnd(t *testing.T, w *town) {
	ctx := within(t)
	stream := ownStream(ctx)
	old := watching(stream, t, w.alice, "a/old")
	lease, err := w.root.Grant(ctx, 3)
	require.NoError(t, err)
	put(t, w.root.Client, "a/kept", "v", clientv3.WithLease(lease.ID))
	kept, err := w.root.KeepAlive(ctx, lease.ID)
	require.NoError(t, err)
	put(t, w.bob.Client, "b/k", "1")
	token := tokenOf(t, w.m, "alice", "alicepw")
	require.NoError(t, putWith(t, w.m, token, "a/k"))
	before := w.alice.logins.Load()
	expire(t, w.m, token, "a/k", w.look)

	put(t, w.alice.Client, "a/k", "2")
	require.Greater(t, w.alice.logins.Load(), before, "the client logged in again")
	before = w.bob.logins.Load()
	again := watching(ownStream(ctx), t, w.bob, "b/again") // its first call since then
	require.Greater(t, w.bob.logins.Load(), before)
	put(t, w.root.Client, "a/old", "v")
	put(t, w.root.Client, "b/again", "v")
	require.Equal(t, "a/old", string(nextEvents(t, old, 1)[0].Kv.Key))
	require.Equal(t, "b/again", string(nextEvents(t, again, 1)[0].Kv.Key))

	// So do leases that are kept alive.
	for len(kept) > 0 {
		<-kept
	}
	alive, ok := <-kept
	require.True(t, ok)
	require.EqualValues(t, 3, alive.TTL)
	require.Len(t, get(t, w.alice.Client, "a/kept").Kvs, 1)

	// The official client puts a watch on the stream that it has, with the token of
	// that, and tells its user what comes of it; it makes another stream for another
	// context.
	late, ok := <-w.alice.Watch(stream, "a/late")
	require.True(t, ok)
	require.ErrorContains(t, late.Err(), "etcdserver: invalid auth token")
	watching(ownStream(ctx), t, w.alice, "a/late")
}

// passwordsChange has tokens die with the password they were made for, and nobody
// else's.
func passwordsChange(t *testing.T, w *town) {
	put(t, w.alice.Client, "a/k", "v")
	token := tokenOf(t, w.m, "alice", "alicepw")
	_, err := w.root.UserChangePassword(within(t), "alice", "alicepw")
	require.NoError(t, err)
	require.ErrorIs(t, putWith(t, w.m, token, "a/k"), rpctypes.ErrInvalidAuthToken)
	before := w.alice.logins.Load()
	put(t, w.alice.Client, "a/k", "v")
	require.Greater(t, w.alice.logins.Load(), before, "its password is still right")

	_, err = w.root.UserChangePassword(within(t), "alice", "newpw")
	require.NoError(t, err)
	_, err = w.alice.Put(within(t), "a/k", "v")
	require.ErrorIs(t, err, rpctypes.ErrAuthFailed)
	w.alice.Password = "newpw"
	put(t, w.alice.Client, "a/k", "v")

	_, err = w.root.UserChangePassword(within(t), "root", "newrootpw")
	require.NoError(t, err)
	_, err = w.root.UserList(within(t))
	require.ErrorIs(t, err, rpctypes.ErrAuthFailed)
	w.root.Password = "newrootpw"
	_, err = w.root.UserList(within(t))
	require.NoError(t, err)
}

// rolesGo has what was allowed end at once, and begin again.
func rolesGo(t *testing.T, w *town) {
	ctx := within(t)
	events := watching(ownStream(ctx), t, w.alice, "a/", clientv3.WithPrefix())
	_, err := w.root.UserRevokeRole(within(t), "alice", "a")
	require.NoError(t, err)
	_, err = w.alice.Get(within(t), "a/k")
	refused(t, err, "a role that is gone")
	for range events { // the official client closes the channel, and does not say why
	}
	require.NoError(t, ctx.Err())

	_, err = w.root.UserGrantRole(within(t), "alice", "a")
	require.NoError(t, err)
	put(t, w.alice.Client, "a/k", "v")
	_, err = w.root.RoleRevokePermission(within(t), "a", "a/", "a0")
	require.NoError(t, err)
	_, err = w.alice.Put(within(t), "a/k", "v")
	refused(t, err, "a right that is gone")
	_, err = w.root.RoleDelete(within(t), "b")
	require.NoError(t, err)
	_, err = w.bob.Get(within(t), "b/before")
	refused(t, err, "a role that is deleted")
	_, err = w.root.UserDelete(within(t), "bob")
	require.NoError(t, err)
	_, err = w.bob.Get(within(t), "b/before")
	require.ErrorIs(t, err, rpctypes.ErrAuthFailed, "there is no bob")
}

// disableAuth has nobody be asked any more, with a token or without.
func disableAuth(t *testing.T, w *town) {
	_, err := w.root.AuthDisable(within(t))
	require.NoError(t, err)
	require.Equal(t, "v", string(get(t, w.nobody.Client, "b/before").Kvs[0].Value))
	put(t, w.alice.Client, "b/k", "v")
	put(t, w.bob.Client, "b/k", "v")
}

var streams atomic.Int64

// ownStream is a context of a kind that no other is of, so that the official client
// opens a stream for its watches, with a token of now.
func ownStream(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "stream", strconv.FormatInt(streams.Add(1), 10))
}

// watching watches, and returns when the watcher stands.
func watching(ctx context.Context, t *testing.T, c person, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	t.Helper()
	events := c.Watch(ctx, key, append(opts, clientv3.WithCreatedNotify())...)
	select {
	case res, ok := <-events:
		require.True(t, ok)
		require.NoError(t, res.Err())
		require.True(t, res.Created)
	case <-ctx.Done():
		t.Fatal("the watch is not created")
	}
	return events
}

// nextEvents are the next n events of a watch.
func nextEvents(t *testing.T, events clientv3.WatchChan, n int) []*clientv3.Event {
	t.Helper()
	var seen []*clientv3.Event
	for len(seen) < n {
		select {
		case res, ok := <-events:
			require.True(t, ok, "the watch has ended")
			require.NoError(t, res.Err())
			seen = append(seen, res.Events...)
		case <-within(t).Done():
			t.Fatal("no event comes")
		}
	}
	require.Len(t, seen, n)
	return seen
}
