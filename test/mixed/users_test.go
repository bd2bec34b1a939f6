package mixed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/client"
)

const (
	root = "root"
	// part is a user who may read and write the keys from partFrom up to partEnd.
	part              = "part"
	partFrom, partEnd = "k000", "k150"
	within, without   = "k010", "k190" // of these keys
)

// passwords are those that the cluster's clients know.
var passwords = map[string]string{root: "root's", part: "part's"}

// statusText is what a member has said.
func statusText(err error) string { return status.Convert(err).Message() }

// setUsers makes the users of the cluster's clients, and switches authentication on.
func (c *cluster) setUsers() {
	c.t.Helper()
	ctx := c.t.Context()
	for user, password := range passwords {
		_, err := c.anyone().RoleAdd(ctx, user)
		require.NoError(c.t, err)
		_, err = c.anyone().UserAdd(ctx, user, password)
		require.NoError(c.t, err)
		_, err = c.anyone().UserGrantRole(ctx, user, user)
		require.NoError(c.t, err)
	}
	_, err := c.anyone().RoleGrantPermission(ctx, part, partFrom, partEnd, client.PermReadWrite)
	require.NoError(c.t, err)
	c.enable()
}

// enable switches authentication on, and looks who is let in then.
func (c *cluster) enable() {
	c.t.Helper()
	before := c.sameUsers()
	_, err := c.anyone().AuthEnable(c.t.Context())
	require.NoError(c.t, err)
	after := c.sameUsers()
	require.True(c.t, after.Enabled)
	require.Equal(c.t, before.Revision, after.Revision)
	for i := range c.clients {
		nobody := c.bearer(i, "")
		_, err := nobody.Put(c.t.Context(), within, "nobody's")
		require.ErrorIs(c.t, err, errs.UserEmpty, "m%d", i)
		_, err = nobody.Get(c.t.Context(), within)
		require.ErrorIs(c.t, err, errs.UserEmpty, "m%d", i)
	}
	c.agree()
}

// disable switches authentication off, after which everybody may do everything.
func (c *cluster) disable() {
	c.t.Helper()
	before := c.sameUsers()
	_, err := c.anyone().AuthDisable(c.t.Context())
	require.NoError(c.t, err)
	after := c.sameUsers()
	require.False(c.t, after.Enabled)
	require.Equal(c.t, before.Revision+1, after.Revision)
	for i := range c.clients {
		res, err := c.bearer(i, "").Put(c.t.Context(), without, "nobody's")
		require.NoError(c.t, err, "m%d", i)
		c.told(res.Header.Revision)
	}
	c.agree()
}

// bearer is a client of a member who shows a token; none if it is empty.
func (c *cluster) bearer(i int, token string) *client.Client {
	c.t.Helper()
	one, err := client.New(c.t.Context(), client.Config{Endpoints: []string{c.members[i].Address()}, Token: token})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, one.Close()) })
	return one
}

// users are the users and roles of a cluster.
type users struct {
	Enabled  bool
	Revision uint64
	Users    map[string][]string // their roles
	Roles    map[string][]string // what they may do
}

// sameUsers waits until all members know the same users.
func (c *cluster) sameUsers() users {
	c.t.Helper()
	return same(c, "users", func(ctx context.Context, at *client.Client) (users, error) {
		all := users{Users: map[string][]string{}, Roles: map[string][]string{}}
		s, err := at.AuthStatus(ctx)
		if err != nil {
			return all, err
		}
		all.Enabled, all.Revision = s.Enabled, s.AuthRevision
		names, err := at.UserList(ctx)
		if err != nil {
			return all, err
		}
		for _, user := range names.Users {
			res, err := at.UserGet(ctx, user)
			if err != nil {
				return all, err
			}
			all.Users[user] = res.Roles
		}
		roles, err := at.RoleList(ctx)
		if err != nil {
			return all, err
		}
		for _, role := range roles.Roles {
			res, err := at.RoleGet(ctx, role)
			if err != nil {
				return all, err
			}
			all.Roles[role] = nil
			for _, p := range res.Perm {
				all.Roles[role] = append(all.Roles[role], fmt.Sprintf("%v %q %q", p.PermType, p.Key, p.RangeEnd))
			}
		}
		return all, nil
	})
}

// names are how many users, and how many roles, drawChange draws from.
const names = 3

// change is what drawChange has drawn.
type change struct {
	what       string
	user, role string
}

// drawChange changes users or roles as it draws.
func drawChange(ctx context.Context, at *client.Client, rng *rand.Rand) (done change, err error) {
	user, role := fmt.Sprintf("user%d", rng.IntN(names)), fmt.Sprintf("role%d", rng.IntN(names))
	from, end := fmt.Sprintf("k%03d", rng.IntN(2)*50), fmt.Sprintf("k%03d", 100+rng.IntN(2)*50)
	switch n := rng.IntN(16); {
	case n < 2:
		done.what = "add a user"
		_, err = at.UserAdd(ctx, user, fmt.Sprint(rng.Int()))
	case n < 3:
		done.what = "delete a user"
		_, err = at.UserDelete(ctx, user)
	case n < 5:
		done.what = "change a password"
		_, err = at.UserChangePassword(ctx, user, fmt.Sprint(rng.Int()))
	case n < 8:
		done.what = "grant a role"
		_, err = at.UserGrantRole(ctx, user, role)
	case n < 9:
		done.what = "revoke a role"
		_, err = at.UserRevokeRole(ctx, user, role)
	case n < 11:
		done.what = "add a role"
		_, err = at.RoleAdd(ctx, role)
	case n < 12:
		done.what = "delete a role"
		_, err = at.RoleDelete(ctx, role)
	case n < 15:
		done.what = "grant a permission"
		what := []client.PermissionType{client.PermRead, client.PermWrite, client.PermReadWrite}[rng.IntN(3)]
		_, err = at.RoleGrantPermission(ctx, role, from, end, what)
	default:
		done.what = "revoke a permission"
		_, err = at.RoleRevokePermission(ctx, role, from, end)
	}
	done.user, done.role = user, role
	return done, err
}

// lawful are the refusals of changes: members must give the same.
var lawful = []error{errs.UserAlreadyExist, errs.UserNotFound, errs.RoleAlreadyExist, errs.RoleNotFound, errs.RoleNotGranted, errs.PermissionNotGranted}

// changes makes n changes of users, each at a member that is drawn, and compares the
// members after each.
func (c *cluster) changes(n int) {
	c.t.Helper()
	before := c.sameUsers()
	for range n {
		i := c.rng.IntN(len(c.clients))
		done, err := drawChange(c.t.Context(), c.clients[i], c.rng)
		after := c.sameUsers()
		at := fmt.Sprintf("m%d: %+v: %v", i, done, err)
		switch {
		case err != nil:
			require.True(c.t, slices.ContainsFunc(lawful, func(one error) bool { return errors.Is(err, one) }), at)
			require.Equal(c.t, before, after, at)
		case done.what == "grant a role" && slices.Contains(before.Users[done.user], done.role):
			require.Equal(c.t, before, after, at)
		default:
			require.Equal(c.t, before.Revision+1, after.Revision, at)
		}
		before = after
	}
	c.agree()
}

// tokens has tokens that were got at one member be used at the others, until the
// password changes.
func (c *cluster) tokens() {
	c.t.Helper()
	ctx := c.t.Context()
	const user, first, second = "visitor", "first", "second"
	_, err := c.anyone().UserAdd(ctx, user, first)
	require.NoError(c.t, err)
	_, err = c.anyone().UserGrantRole(ctx, user, part)
	require.NoError(c.t, err)
	c.sameUsers()
	var bearers []*client.Client
	for i, at := range c.clients {
		res, err := at.Authenticate(ctx, user, first)
		require.NoError(c.t, err, "m%d", i)
		for k := range c.clients {
			one := c.bearer(k, res.Token)
			bearers = append(bearers, one)
			c.visit(ctx, one, fmt.Sprintf("a token of m%d at m%d", i, k))
		}
	}
	c.agree()
	// A role that goes is gone everywhere, and acts again when it comes back.
	_, err = c.anyone().UserRevokeRole(ctx, user, part)
	require.NoError(c.t, err)
	c.sameUsers()
	for _, one := range bearers {
		_, err := one.Put(ctx, within, "no more")
		require.ErrorIs(c.t, err, errs.PermissionDenied)
		_, err = one.Get(ctx, within)
		require.ErrorIs(c.t, err, errs.PermissionDenied)
	}
	_, err = c.anyone().UserGrantRole(ctx, user, part)
	require.NoError(c.t, err)
	c.sameUsers()
	for _, one := range bearers {
		c.visit(ctx, one, "after the role came back")
	}
	_, err = c.anyone().UserChangePassword(ctx, user, second)
	require.NoError(c.t, err)
	c.sameUsers()
	for _, one := range bearers {
		_, err := one.Put(ctx, within, "no more")
		require.ErrorIs(c.t, err, errs.InvalidAuthToken)
		_, err = one.Get(ctx, within)
		require.ErrorIs(c.t, err, errs.InvalidAuthToken)
	}
	for i, at := range c.clients {
		_, err := at.Authenticate(ctx, user, first)
		require.ErrorIs(c.t, err, errs.AuthFailed, "m%d", i)
		_, err = at.Authenticate(ctx, user, second)
		require.NoError(c.t, err, "m%d", i)
	}
	_, err = c.anyone().UserDelete(ctx, user)
	require.NoError(c.t, err)
	c.agree()
}

// visit does what a user may with the role part, and tries more.
func (c *cluster) visit(ctx context.Context, by *client.Client, what string) {
	c.t.Helper()
	res, err := by.Put(ctx, within, what, client.WithPrevKV())
	require.NoError(c.t, err, what)
	c.told(res.Header.Revision)
	got, err := by.Get(ctx, within)
	require.NoError(c.t, err, what)
	require.Equal(c.t, what, string(got.Kvs[0].Value))
	_, err = by.Txn().If(client.Compare(client.Value(within), "=", what)).Then(client.OpDelete(within)).Else(client.OpGet(within)).Commit(ctx)
	require.NoError(c.t, err, what)
	for _, refused := range []client.Op{
		client.OpPut(without, what), client.OpGet(without), client.OpDelete(within, client.WithRange("k199")),
		client.OpTxn(nil, nil, []client.Op{client.OpPut(without, what)}),
	} {
		_, err := by.Do(ctx, refused)
		require.ErrorIs(c.t, err, errs.PermissionDenied, what)
	}
	_, err = by.UserAdd(ctx, "more", "more")
	require.ErrorIs(c.t, err, errs.PermissionDenied, what)
	_, err = by.RoleGet(ctx, part)
	require.NoError(c.t, err, what)
}
