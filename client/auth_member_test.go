package client_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/client"
)

// as returns another client of the same members, who logs in.
func as(ctx context.Context, t *testing.T, c *client.Client, user, password string) *client.Client {
	t.Helper()
	other, err := client.New(ctx, client.Config{Endpoints: c.Endpoints(), Username: user, Password: password})
	require.NoError(t, err)
	t.Cleanup(func() { other.Close() })
	return other
}

func TestUsersAndRoles(t *testing.T) {
	c, ctx := open(t)
	_, err := c.AuthEnable(ctx)
	require.ErrorIs(t, err, errs.RootUserNotExist)
	_, err = c.UserAdd(ctx, "root", "r")
	require.NoError(t, err)
	_, err = c.RoleAdd(ctx, "root")
	require.NoError(t, err)
	_, err = c.UserGrantRole(ctx, "root", "root")
	require.NoError(t, err)
	_, err = c.RoleAdd(ctx, "r")
	require.NoError(t, err)
	_, err = c.RoleGrantPermission(ctx, "r", "k/", client.PrefixEnd("k/"), client.PermReadWrite)
	require.NoError(t, err)
	_, err = c.UserAdd(ctx, "alice", "a")
	require.NoError(t, err)
	_, err = c.UserGrantRole(ctx, "alice", "r")
	require.NoError(t, err)
	role, err := c.RoleGet(ctx, "r")
	require.NoError(t, err)
	require.Equal(t, "k0", string(role.Perm[0].RangeEnd))
	user, err := c.UserGet(ctx, "alice")
	require.NoError(t, err)
	require.Equal(t, []string{"r"}, user.Roles)
	_, err = c.AuthEnable(ctx)
	require.NoError(t, err)

	_, err = c.Put(ctx, "k/a", "v")
	require.ErrorIs(t, err, errs.UserEmpty)
	_, err = client.New(ctx, client.Config{Endpoints: c.Endpoints(), Username: "alice", Password: "wrong"})
	require.ErrorIs(t, err, errs.AuthFailed)
	root, alice := as(ctx, t, c, "root", "r"), as(ctx, t, c, "alice", "a")
	status, err := root.AuthStatus(ctx)
	require.NoError(t, err)
	require.True(t, status.Enabled)
	_, err = alice.Put(ctx, "k/a", "v")
	require.NoError(t, err)
	_, err = alice.Put(ctx, "x", "v")
	require.ErrorIs(t, err, errs.PermissionDenied)
	_, err = alice.UserAdd(ctx, "mallory", "m")
	require.ErrorIs(t, err, errs.PermissionDenied)
	res := next(t, alice.Watch(ctx, "x"))
	require.ErrorIs(t, res.Err(), errs.PermissionDenied)

	// A token that is sent as it is goes with its user.
	token, err := c.Authenticate(ctx, "alice", "a")
	require.NoError(t, err)
	bearer, err := client.New(ctx, client.Config{Endpoints: c.Endpoints(), Token: token.Token})
	require.NoError(t, err)
	defer bearer.Close()
	_, err = bearer.Get(ctx, "k/a")
	require.NoError(t, err)
	_, err = root.UserChangePassword(ctx, "alice", "b")
	require.NoError(t, err)
	_, err = bearer.Get(ctx, "k/a")
	require.ErrorIs(t, err, errs.InvalidAuthToken)
	_, err = alice.Get(ctx, "k/a")
	require.ErrorIs(t, err, errs.AuthFailed, "her password is another")
}

// All tokens die when authentication is switched off and on again. Who has a password
// goes on as if nothing had been: calls, a watch, and a lease that is kept alive.
func TestTokensThatDie(t *testing.T) {
	c, ctx := open(t)
	for _, name := range []string{"root", "alice"} {
		_, err := c.UserAdd(ctx, name, name)
		require.NoError(t, err)
		_, err = c.RoleAdd(ctx, name)
		require.NoError(t, err)
		_, err = c.UserGrantRole(ctx, name, name)
		require.NoError(t, err)
	}
	_, err := c.RoleGrantPermission(ctx, "alice", "k", "", client.PermReadWrite)
	require.NoError(t, err)
	_, err = c.AuthEnable(ctx)
	require.NoError(t, err)
	root, alice := as(ctx, t, c, "root", "root"), as(ctx, t, c, "alice", "alice")
	lease, err := alice.Grant(ctx, 2)
	require.NoError(t, err)
	_, err = alice.Put(ctx, "k", "0", client.WithLease(client.LeaseID(lease.ID)))
	require.NoError(t, err)
	kept, err := alice.KeepAlive(ctx, client.LeaseID(lease.ID))
	require.NoError(t, err)
	watch := alice.Watch(ctx, "k", client.WithRev(2))
	require.Equal(t, "0", string(next(t, watch).Events[0].Kv.Value))

	for _, value := range []string{"1", "2"} {
		_, err = root.AuthDisable(ctx)
		require.NoError(t, err)
		_, err = c.AuthEnable(ctx)
		require.NoError(t, err)
		_, err = alice.Put(ctx, "k", value, client.WithIgnoreLease())
		require.NoError(t, err)
		require.Equal(t, value, string(next(t, watch).Events[0].Kv.Value))
	}
	for range 8 { // three times in two seconds: longer than the lease would live by itself
		_, alive := <-kept
		require.True(t, alive)
	}
	got, err := alice.Get(ctx, "k")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)

	// A right that is taken away ends the watch that stands on it, with its name.
	_, err = root.RoleRevokePermission(ctx, "alice", "k", "")
	require.NoError(t, err)
	last := next(t, watch)
	require.ErrorIs(t, last.Err(), errs.PermissionDenied)
}
