package auth

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/store"
)

// book is a State over a store.
type book struct {
	*testing.T
	*State
	store *store.Store
}

func newBook(t *testing.T) *book {
	st, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	s, err := Load(st)
	require.NoError(t, err)
	return &book{t, s, st}
}

// do makes a change, and commits it.
func (b *book) do(change func(*store.Batch) error) error {
	batch := b.store.NewBatch()
	defer batch.Discard()
	err := change(batch)
	require.NoError(b, batch.Commit())
	return err
}

func (b *book) addUser(name string) error {
	hash := base64.StdEncoding.EncodeToString([]byte("hash of " + name))
	return b.do(func(w *store.Batch) error {
		return b.AddUser(w, &etcdserverpb.AuthUserAddRequest{Name: name, HashedPassword: hash})
	})
}

func (b *book) addRole(name string) error {
	return b.do(func(w *store.Batch) error { return b.AddRole(w, name) })
}

func (b *book) grant(role string, t authpb.Permission_Type, key, end string) error {
	return b.do(func(w *store.Batch) error {
		return b.GrantPermission(w, role, &authpb.Permission{PermType: t, Key: []byte(key), RangeEnd: []byte(end)})
	})
}

func (b *book) give(user, role string) error {
	return b.do(func(w *store.Batch) error { return b.GrantRole(w, user, role) })
}

// enabled has root, and rights that are judged.
func (b *book) enabled() {
	require.NoError(b, b.addUser(Root))
	require.NoError(b, b.give(Root, Root))
	require.NoError(b, b.do(func(w *store.Batch) error { return b.Enable(w) }))
}

func TestEveryChangeCounts(t *testing.T) {
	b := newBook(t)
	require.EqualValues(t, 1, b.View().Revision)
	step := func(want uint64, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, want, b.View().Revision)
	}
	step(2, b.addUser("u"))
	step(3, b.addRole("r"))
	step(4, b.grant("r", authpb.Permission_READ, "k", ""))
	step(5, b.grant("r", authpb.Permission_READ, "k", ""))
	step(6, b.give("u", "r"))
	step(6, b.give("u", "r"))
	step(7, b.do(func(w *store.Batch) error {
		return b.ChangePassword(w, &etcdserverpb.AuthUserChangePasswordRequest{Name: "u", HashedPassword: "eA=="})
	}))
	u, _ := b.View().User("u")
	require.Equal(t, &User{Name: "u", Hash: []byte("x"), Roles: []string{"r"}, Made: 2, Changed: 7}, u)
	step(8, b.do(func(w *store.Batch) error { return b.RevokePermission(w, "r", []byte("k"), nil) }))
	step(9, b.addRole("s"))
	step(10, b.give("u", "s"))
	step(11, b.do(func(w *store.Batch) error { return b.DeleteRole(w, "r") }))
	u, _ = b.View().User("u")
	require.Equal(t, []string{"s"}, u.Roles)
	step(12, b.do(func(w *store.Batch) error { return b.RevokeRole(w, "u", "s") }))
	step(13, b.do(func(w *store.Batch) error { return b.DeleteUser(w, "u") }))
	b.enabled()
	require.EqualValues(t, 15, b.View().Revision, "switching it on is no change")
	b.enabled2(t)
	step(16, b.do(func(w *store.Batch) error { b.Disable(w); return nil }))
	step(16, b.do(func(w *store.Batch) error { b.Disable(w); return nil }))
	require.EqualValues(t, 16, b.View().Disabled)
}

// enabled2 switches on what is on.
func (b *book) enabled2(t *testing.T) {
	t.Helper()
	before := b.View()
	require.NoError(t, b.do(func(w *store.Batch) error { return b.Enable(w) }))
	require.Same(t, before, b.View())
}

func TestRefusedChangesChangeNothing(t *testing.T) {
	b := newBook(t)
	require.Equal(t, errs.RootUserNotExist, b.do(func(w *store.Batch) error { return b.Enable(w) }))
	require.NoError(t, b.addUser(Root))
	require.Equal(t, errs.RootRoleNotExist, b.do(func(w *store.Batch) error { return b.Enable(w) }))
	b2 := b.View()
	b2.Users()
	require.NoError(t, b.give(Root, Root))
	require.NoError(t, b.do(func(w *store.Batch) error { return b.Enable(w) }))
	require.NoError(t, b.addRole("r"))
	require.NoError(t, b.addRole(Root))
	before := b.View()
	for _, tc := range []struct {
		want   error
		change func(*store.Batch) error
	}{
		{errs.UserEmpty, func(w *store.Batch) error { return b.AddUser(w, &etcdserverpb.AuthUserAddRequest{}) }},
		{errs.UserAlreadyExist, func(w *store.Batch) error { return b.AddUser(w, &etcdserverpb.AuthUserAddRequest{Name: Root}) }},
		{errs.NoPasswordUser, func(w *store.Batch) error {
			return b.AddUser(w, &etcdserverpb.AuthUserAddRequest{Name: "x", HashedPassword: "!"})
		}},
		{ErrPlainPassword, func(w *store.Batch) error {
			return b.AddUser(w, &etcdserverpb.AuthUserAddRequest{Name: "x", Password: "secret"})
		}},
		{errs.UserNotFound, func(w *store.Batch) error {
			return b.ChangePassword(w, &etcdserverpb.AuthUserChangePasswordRequest{Name: "x"})
		}},
		{errs.InvalidAuthMgmt, func(w *store.Batch) error { return b.DeleteUser(w, Root) }},
		{errs.UserNotFound, func(w *store.Batch) error { return b.DeleteUser(w, "x") }},
		{errs.UserNotFound, func(w *store.Batch) error { return b.GrantRole(w, "x", "r") }},
		{errs.RoleNotFound, func(w *store.Batch) error { return b.GrantRole(w, Root, "x") }},
		{errs.InvalidAuthMgmt, func(w *store.Batch) error { return b.RevokeRole(w, Root, Root) }},
		{errs.UserNotFound, func(w *store.Batch) error { return b.RevokeRole(w, "x", "r") }},
		{errs.RoleNotGranted, func(w *store.Batch) error { return b.RevokeRole(w, Root, "r") }},
		{errs.RoleEmpty, func(w *store.Batch) error { return b.AddRole(w, "") }},
		{errs.RoleAlreadyExist, func(w *store.Batch) error { return b.AddRole(w, "r") }},
		{errs.InvalidAuthMgmt, func(w *store.Batch) error { return b.DeleteRole(w, Root) }},
		{errs.RoleNotFound, func(w *store.Batch) error { return b.DeleteRole(w, "x") }},
		{errs.PermissionNotGiven, func(w *store.Batch) error { return b.GrantPermission(w, "r", nil) }},
		{errs.InvalidAuthMgmt, func(w *store.Batch) error { return b.GrantPermission(w, "r", &authpb.Permission{}) }},
		{errs.InvalidAuthMgmt, func(w *store.Batch) error {
			return b.GrantPermission(w, "r", &authpb.Permission{Key: []byte("b"), RangeEnd: []byte("a")})
		}},
		{errs.RoleNotFound, func(w *store.Batch) error {
			return b.GrantPermission(w, "x", &authpb.Permission{Key: []byte("b")})
		}},
		{errs.RoleNotFound, func(w *store.Batch) error { return b.RevokePermission(w, "x", []byte("b"), nil) }},
		{errs.PermissionNotGranted, func(w *store.Batch) error { return b.RevokePermission(w, "r", []byte("b"), nil) }},
	} {
		require.Equal(t, tc.want, b.do(tc.change))
		require.Same(t, before, b.View())
	}
}

func TestAViewStays(t *testing.T) {
	b := newBook(t)
	b.enabled()
	require.NoError(t, b.addRole("r"))
	require.NoError(t, b.addUser("u"))
	require.NoError(t, b.give("u", "r"))
	require.NoError(t, b.grant("r", authpb.Permission_READ, "k", ""))
	old := b.View()
	require.NoError(t, b.do(func(w *store.Batch) error { return b.RevokePermission(w, "r", []byte("k"), nil) }))
	now := b.View()
	require.True(t, old.Rights("u").May(Read, []byte("k"), nil))
	require.False(t, now.Rights("u").May(Read, []byte("k"), nil))
	require.NoError(t, b.do(func(w *store.Batch) error { return b.DeleteUser(w, "u") }))
	_, ok := old.User("u")
	require.True(t, ok)
	require.Nil(t, b.View().Rights("u"))
}

func TestTheOrderOfVerdicts(t *testing.T) {
	b := newBook(t)
	key := []byte("k")
	require.NoError(t, b.View().Check(Subject{}, Write, key, nil), "nobody is asked")
	b.enabled()
	require.NoError(t, b.addUser("u"))
	v := b.View()
	require.Equal(t, errs.UserEmpty, v.Check(Subject{}, Read, key, nil))
	require.Equal(t, errs.UserEmpty, v.Check(Subject{User: Root}, Read, key, nil), "nothing was stamped")
	require.Equal(t, errs.AuthOldRevision, v.Check(Subject{"x", v.Revision - 1}, Read, key, nil))
	require.Equal(t, errs.PermissionDenied, v.Check(Subject{"x", v.Revision}, Read, key, nil))
	require.Equal(t, errs.PermissionDenied, v.Check(Subject{"u", v.Revision}, Read, key, nil))
	require.NoError(t, v.Check(Subject{Root, v.Revision}, Read, key, nil))
	require.NoError(t, v.Check(Subject{Root, v.Revision + 7}, Write, key, []byte{0}))

	require.Equal(t, errs.UserEmpty, v.CheckRoot(Subject{}))
	require.Equal(t, errs.UserNotFound, v.CheckRoot(Subject{User: "x"}))
	require.Equal(t, errs.PermissionDenied, v.CheckRoot(Subject{User: "u"}))
	require.NoError(t, v.CheckRoot(Subject{User: Root}), "the revision does not matter")
	require.NoError(t, v.CheckSelf(Subject{User: "u"}, "u"))
	require.Equal(t, errs.PermissionDenied, v.CheckSelf(Subject{User: "u"}, Root))
	require.Equal(t, errs.UserEmpty, v.CheckSelf(Subject{}, ""))
	require.Equal(t, errs.PermissionDenied, v.CheckHolder(Subject{User: "u"}, "r"))
	require.Equal(t, errs.PermissionDenied, v.CheckUser(Subject{User: "x"}))
	require.Equal(t, errs.UserEmpty, v.CheckUser(Subject{}))
}

// TestRightsAgainstKeys compares the verdict over a range with the verdicts over its
// keys, of which there are few.
func TestRightsAgainstKeys(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		// All keys there are: "b" to "i", each with one below it that no end can name.
		point := func() string { return string(rune('b' + rng.IntN(8))) }
		end := func() string {
			return [...]string{"", "\x00", point()}[rng.IntN(3)]
		}
		var permissions []*authpb.Permission
		for range rng.IntN(6) {
			p := &authpb.Permission{PermType: authpb.Permission_Type(rng.IntN(3)), Key: []byte(point()), RangeEnd: []byte(end())}
			if validRange(p.Key, p.RangeEnd) {
				permissions = append(permissions, p)
			}
		}
		r := &Rights{} // of several roles, which reach farther together than each alone
		for range [...]int{1, 2, 3, fewRoles + 1}[seed%4] {
			r.roles = append(r.roles, &Role{})
		}
		for _, p := range permissions {
			role := r.roles[rng.IntN(len(r.roles))]
			role.Permissions = append(role.Permissions, p)
		}
		in := func(key, begin, end string) bool {
			switch end {
			case "":
				return key == begin
			case "\x00":
				return key >= begin
			}
			return key >= begin && key < end
		}
		may := func(right Right, key string) bool {
			return slices.ContainsFunc(permissions, func(p *authpb.Permission) bool {
				has := p.PermType == authpb.Permission_READWRITE || (p.PermType == authpb.Permission_READ) == (right == Read)
				return has && in(key, string(p.Key), string(p.RangeEnd))
			})
		}
		for range 50 {
			right, key, end := Right(rng.IntN(2)), point(), end()
			if end > "\x00" && end <= key {
				continue
			}
			want := true
			for c := 'b'; c <= 'z'; c++ {
				for _, k := range []string{string(c), string(c) + "\x00", string(c) + "x"} {
					if in(k, key, end) && !may(right, k) {
						want = false
					}
				}
			}
			require.Equal(t, want, r.May(right, []byte(key), []byte(end)), "seed %d: right %d to %q..%q of %v", seed, right, key, end, permissions)
		}
	}
}

// A range may reach over the spans of very many roles. Each call looks up a few spans,
// however many there are: at a walk for each, this would take a quarter of an hour.
func TestARangeOverManyRoles(t *testing.T) {
	for _, n := range []int{2, fewRoles, fewRoles + 1, 2000} {
		const spans = 4000
		r := &Rights{}
		for range n {
			r.roles = append(r.roles, &Role{})
		}
		at := func(i int) []byte { return fmt.Appendf(nil, "%06d", i) }
		for i := range spans {
			role := r.roles[i%n]
			if i != spans-10 {
				role.Permissions = append(role.Permissions, &authpb.Permission{PermType: authpb.Permission_READ, Key: at(i), RangeEnd: at(i + 1)})
			}
		}
		for range 10_000 {
			require.True(t, r.May(Read, at(1), at(spans-10)))
			require.False(t, r.May(Read, at(1), at(spans-9)))
			require.False(t, r.May(Write, at(1), nil))
		}
		require.True(t, r.May(Read, at(spans-9), at(spans)))
		require.False(t, r.May(Read, at(spans-9), []byte{0}))
	}
}

// Those who have the same roles have the same rights, also in the next view, as long as
// none of the roles changes.
func TestRightsOfASetAreShared(t *testing.T) {
	b := newBook(t)
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, b.addRole(name))
	}
	for _, name := range []string{"u", "v", "w"} {
		require.NoError(t, b.addUser(name))
		require.NoError(t, b.give(name, "a"))
		require.NoError(t, b.give(name, "b"))
	}
	require.NoError(t, b.give("w", "c"))
	first := b.View()
	of := first.Rights("u")
	require.Same(t, of, first.Rights("v"))
	require.NotSame(t, of, first.Rights("w"))
	require.NoError(t, b.grant("c", authpb.Permission_READ, "k", ""))
	second := b.View()
	require.Same(t, of, second.Rights("v"))
	require.NoError(t, b.grant("b", authpb.Permission_READ, "k", ""))
	third := b.View()
	require.NotSame(t, of, third.Rights("v"))
	require.True(t, third.Rights("u").May(Read, []byte("k"), nil))
	require.False(t, first.Rights("u").May(Read, []byte("k"), nil))
	require.False(t, second.Rights("u").May(Read, []byte("k"), nil))
}

func TestWhatIsStoredComesBack(t *testing.T) {
	b := newBook(t)
	b.enabled()
	for i := range 20 {
		require.NoError(t, b.addUser(fmt.Sprintf("u%d", i)))
		require.NoError(t, b.addRole(fmt.Sprintf("r%d", i)))
		require.NoError(t, b.give(fmt.Sprintf("u%d", i), fmt.Sprintf("r%d", i/2)))
		require.NoError(t, b.grant(fmt.Sprintf("r%d", i/2), authpb.Permission_WRITE, fmt.Sprint(i), "\x00"))
	}
	require.NoError(t, b.do(func(w *store.Batch) error {
		return b.AddUser(w, &etcdserverpb.AuthUserAddRequest{Name: "bare", Options: &authpb.UserAddOptions{NoPassword: true}})
	}))
	require.NoError(t, b.do(func(w *store.Batch) error { return b.DeleteUser(w, "u7") }))
	again, err := Load(b.store)
	require.NoError(t, err)
	one, two := b.View(), again.View()
	require.Equal(t, []any{one.Enabled, one.Revision, one.Disabled}, []any{two.Enabled, two.Revision, two.Disabled})
	require.Equal(t, one.Users(), two.Users())
	require.Equal(t, one.Roles(), two.Roles())
	for _, name := range one.Users() {
		u, _ := one.User(name)
		w, _ := two.User(name)
		require.Equal(t, u, w)
	}
	for _, name := range one.Roles() {
		r, _ := one.Role(name)
		q, _ := two.Role(name)
		require.Equal(t, len(r.Permissions), len(q.Permissions))
		for i := range r.Permissions {
			require.Equal(t, r.Permissions[i].String(), q.Permissions[i].String())
		}
	}
}

func TestDamageIsNamed(t *testing.T) {
	for key, value := range map[string]string{"": "", "m": "short", "mm": "", "x": "", "uu": "short", "ru": "\xff"} {
		b := newBook(t)
		require.NoError(t, b.do(func(w *store.Batch) error {
			w.Set(store.SpaceAuth, []byte(key), []byte(value))
			return nil
		}))
		_, err := Load(b.store)
		require.ErrorContains(t, err, fmt.Sprintf("auth: record %q", key))
	}
}
