package auth

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/tidwall/btree"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/store"
)

// firstRevision is the auth revision before the first change.
const firstRevision = 1

// ErrPlainPassword is a password that should have been hashed by whoever has
// proposed it: members hash with salts of their own, so none may do it here.
var ErrPlainPassword = errors.New("auth: a password in the log that is not hashed, as members before version 3.6 write them")

// State is the users and roles in the making. It belongs to the state machine.
// Its changes are written into the batch that they are given; an error, which is of
// package errs but for ErrPlainPassword, changes nothing.
type State struct {
	enabled            bool
	revision, disabled uint64
	users              *btree.Map[string, *User]
	roles              *btree.Map[string, *Role]
	bytes              int // of users and roles

	view *View // as it is now; nil after a change
	sets *sets // of the last view
}

func newState() *State {
	return &State{revision: firstRevision, users: &btree.Map[string, *User]{}, roles: &btree.Map[string, *Role]{}}
}

// View is the state as it is. It is the same one until something changes.
func (s *State) View() *View {
	if s.view == nil {
		before := s.sets
		if s.sets = new(sets); before != nil {
			before.before.Store(nil)
			s.sets.before.Store(before)
		}
		s.view = &View{id: &ID{}, sets: s.sets, Enabled: s.enabled, Revision: s.revision, Disabled: s.disabled, bytes: s.bytes, users: s.users.Copy(), roles: s.roles.Copy()}
	}
	return s.view
}

// Enable has rights judged from now on.
func (s *State) Enable(b *store.Batch) error {
	if s.enabled {
		return nil
	}
	root, ok := s.users.Get(Root)
	switch {
	case !ok:
		return errs.RootUserNotExist
	case !root.Is(Root):
		return errs.RootRoleNotExist
	}
	s.enabled, s.view = true, nil
	s.writeMeta(b)
	return nil
}

// Disable has everybody do everything from now on.
func (s *State) Disable(b *store.Batch) {
	if !s.enabled {
		return
	}
	s.enabled, s.disabled = false, s.revision+1
	s.changed(b)
}

// AddUser makes a user.
func (s *State) AddUser(b *store.Batch, r *etcdserverpb.AuthUserAddRequest) error {
	if r.Name == "" {
		return errs.UserEmpty
	}
	if _, ok := s.users.Get(r.Name); ok {
		return errs.UserAlreadyExist
	}
	u := &User{Name: r.Name, NoPassword: r.Options.GetNoPassword(), Made: s.revision + 1, Changed: s.revision + 1}
	if !u.NoPassword {
		var err error
		if u.Hash, err = hashOf(r.Password, r.HashedPassword); err != nil {
			return err
		}
	}
	s.setUser(b, u)
	s.changed(b)
	return nil
}

// hashOf is the stored form of a password that was hashed before it was replicated.
func hashOf(plain, hashed string) ([]byte, error) {
	if plain != "" && hashed == "" {
		return nil, ErrPlainPassword
	}
	hash, err := base64.StdEncoding.DecodeString(hashed)
	if err != nil {
		return nil, errs.NoPasswordUser
	}
	return hash, nil
}

// ChangePassword gives a user another password. One that has none keeps none.
func (s *State) ChangePassword(b *store.Batch, r *etcdserverpb.AuthUserChangePasswordRequest) error {
	old, ok := s.users.Get(r.Name)
	if !ok {
		return errs.UserNotFound
	}
	u := *old
	u.Changed = s.revision + 1
	if !u.NoPassword {
		var err error
		if u.Hash, err = hashOf(r.Password, r.HashedPassword); err != nil {
			return err
		}
	}
	s.setUser(b, &u)
	s.changed(b)
	return nil
}

// DeleteUser takes a user away.
func (s *State) DeleteUser(b *store.Batch, name string) error {
	if s.enabled && name == Root {
		return errs.InvalidAuthMgmt
	}
	u, ok := s.users.Delete(name)
	if !ok {
		return errs.UserNotFound
	}
	s.bytes -= u.size()
	b.Delete(store.SpaceAuth, userKey(name))
	s.changed(b)
	return nil
}

// GrantRole gives a role to a user. The role root need not have been made for that.
func (s *State) GrantRole(b *store.Batch, name, role string) error {
	old, ok := s.users.Get(name)
	if !ok {
		return errs.UserNotFound
	}
	if _, ok := s.roles.Get(role); !ok && role != Root {
		return errs.RoleNotFound
	}
	i, has := slices.BinarySearch(old.Roles, role)
	if has {
		return nil
	}
	u := *old
	u.Roles = slices.Insert(slices.Clone(old.Roles), i, role)
	s.setUser(b, &u)
	s.changed(b)
	return nil
}

// RevokeRole takes a role from a user.
func (s *State) RevokeRole(b *store.Batch, name, role string) error {
	if s.enabled && name == Root && role == Root {
		return errs.InvalidAuthMgmt
	}
	old, ok := s.users.Get(name)
	if !ok {
		return errs.UserNotFound
	}
	if !old.Is(role) {
		return errs.RoleNotGranted
	}
	s.setUser(b, old.without(role))
	s.changed(b)
	return nil
}

// without is the user without a role.
func (u *User) without(role string) *User {
	n := *u
	n.Roles = slices.DeleteFunc(slices.Clone(u.Roles), func(r string) bool { return r == role })
	return &n
}

// AddRole makes a role without permissions.
func (s *State) AddRole(b *store.Batch, name string) error {
	if name == "" {
		return errs.RoleEmpty
	}
	if _, ok := s.roles.Get(name); ok {
		return errs.RoleAlreadyExist
	}
	s.setRole(b, &Role{Name: name})
	s.changed(b)
	return nil
}

// DeleteRole takes a role away, from all who have it too.
func (s *State) DeleteRole(b *store.Batch, name string) error {
	if s.enabled && name == Root {
		return errs.InvalidAuthMgmt
	}
	r, ok := s.roles.Delete(name)
	if !ok {
		return errs.RoleNotFound
	}
	s.bytes -= r.size()
	b.Delete(store.SpaceAuth, roleKey(name))
	var holders []*User
	s.users.Scan(func(_ string, u *User) bool {
		if u.Is(name) {
			holders = append(holders, u)
		}
		return true
	})
	for _, u := range holders {
		s.setUser(b, u.without(name))
	}
	s.changed(b)
	return nil
}

// GrantPermission gives a role a permission, or another type to one that it has.
func (s *State) GrantPermission(b *store.Batch, name string, p *authpb.Permission) error {
	if p == nil {
		return errs.PermissionNotGiven
	}
	if !validRange(p.Key, p.RangeEnd) {
		return errs.InvalidAuthMgmt
	}
	old, ok := s.roles.Get(name)
	if !ok {
		return errs.RoleNotFound
	}
	// The request lies in memory that is used again.
	given := &authpb.Permission{PermType: p.PermType, Key: bytes.Clone(p.Key), RangeEnd: bytes.Clone(p.RangeEnd)}
	role := &Role{Name: old.Name, Permissions: slices.Clone(old.Permissions)}
	i, has := role.find(p.Key, p.RangeEnd)
	if has {
		role.Permissions[i] = given
	} else {
		role.Permissions = slices.Insert(role.Permissions, i, given)
	}
	s.setRole(b, role)
	s.changed(b)
	return nil
}

// validRange says whether there is a key in the range of a permission.
func validRange(key, end []byte) bool {
	return len(key) > 0 && (len(end) == 0 || len(end) == 1 && end[0] == 0 || bytes.Compare(key, end) < 0)
}

// RevokePermission takes a permission from a role.
func (s *State) RevokePermission(b *store.Batch, name string, key, end []byte) error {
	old, ok := s.roles.Get(name)
	if !ok {
		return errs.RoleNotFound
	}
	i, has := old.find(key, end)
	if !has {
		return errs.PermissionNotGranted
	}
	s.setRole(b, &Role{Name: old.Name, Permissions: slices.Delete(slices.Clone(old.Permissions), i, i+1)})
	s.changed(b)
	return nil
}

// find looks for the permission of exactly this range.
func (r *Role) find(key, end []byte) (int, bool) {
	return slices.BinarySearchFunc(r.Permissions, key, func(p *authpb.Permission, key []byte) int {
		return cmp.Or(bytes.Compare(p.Key, key), bytes.Compare(p.RangeEnd, end))
	})
}
