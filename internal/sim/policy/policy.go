package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
)

// State is the users and the roles. Nobody changes one.
type State struct {
	// Enabled says that rights are judged at all, Revision counts the changes.
	Enabled  bool
	Revision uint64
	Users    map[string]User
	Roles    map[string]Role

	// every is a key from each stretch of keys that any two ranges can tell apart.
	every []string
}

// User is a user: his roles, whether he has no password, and the revisions that have
// made him and given him his password.
type User struct {
	Roles         map[string]bool
	NoPassword    bool
	Made, Changed uint64
}

// Role is what may be done with which keys.
type Role map[Range]authpb.Permission_Type

// Range is a key, or a range of them as requests have it.
type Range struct{ Key, End string }

// New is nobody, with rights that are not judged. points are all keys at which any
// range begins or ends, and all keys there are.
func New(points ...string) *State {
	s := &State{Revision: 1, Users: map[string]User{}, Roles: map[string]Role{}}
	for _, p := range points {
		// Ranges end right before a point, or right behind one.
		s.every = append(s.every, p, p+"\x00", p+"\x00\x00")
	}
	slices.Sort(s.every)
	s.every = slices.Compact(s.every)
	return s
}

// clone is a copy that can be changed.
func (s *State) clone() *State {
	c := *s
	c.Users, c.Roles = map[string]User{}, map[string]Role{}
	for name, u := range s.Users {
		u.Roles = maps.Clone(u.Roles)
		c.Users[name] = u
	}
	for name, role := range s.Roles {
		c.Roles[name] = maps.Clone(role)
	}
	return &c
}

func rangeOf(key, end []byte) Range { return Range{string(key), string(end)} }

func (r Range) has(key string) bool {
	switch r.End {
	case "":
		return key == r.Key
	case "\x00":
		return key >= r.Key
	}
	return key >= r.Key && key < r.End
}

// Compare orders ranges.
func (r Range) Compare(o Range) int {
	return cmp.Or(strings.Compare(r.Key, o.Key), strings.Compare(r.End, o.End))
}

// empty says that the range ends before it begins.
func (r Range) empty() bool { return r.End != "" && r.End != "\x00" && r.End <= r.Key }

// judge is one request's subject before a state.
type judge struct {
	*State
	attached func(int64) ([]string, bool)
	user     string
	revision uint64
}

func (j judge) root() bool { return j.Users[j.user].Roles["root"] }

// keys is the key check.
func (j judge) keys(right authpb.Permission_Type, r Range) error {
	switch {
	case !j.Enabled:
		return nil
	case j.revision == 0:
		return errs.UserEmpty
	case j.revision < j.Revision:
		return errs.AuthOldRevision
	case !j.known(j.user):
		return errs.PermissionDenied
	case j.root():
		return nil
	case r.empty(): // judged by the key that it begins with
		r.End = ""
	}
	for _, key := range j.every {
		if r.has(key) && !j.one(right, key) {
			return errs.PermissionDenied
		}
	}
	return nil
}

// May says whether a user may read, or write, a key, where rights are judged.
func (s *State) May(user string, right authpb.Permission_Type, key string) bool {
	j := judge{State: s, user: user}
	return j.root() || j.known(user) && j.one(right, key)
}

// one says whether any permission of the user has the key.
func (j judge) one(right authpb.Permission_Type, key string) bool {
	for role := range j.Users[j.user].Roles {
		for r, t := range j.Roles[role] {
			if (t == right || t == authpb.Permission_READWRITE) && r.has(key) {
				return true
			}
		}
	}
	return false
}

// admin is the admin check.
func (j judge) admin() error {
	switch {
	case !j.Enabled:
		return nil
	case j.user == "":
		return errs.UserEmpty
	case !j.known(j.user):
		return errs.UserNotFound
	case !j.root():
		return errs.PermissionDenied
	}
	return nil
}

// needs does one check after the other until one fails.
func needs(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (j judge) check(right authpb.Permission_Type, r Range) func() error {
	return func() error { return j.keys(right, r) }
}

// where is a check where it is called for.
func where(wanted bool, check func() error) func() error {
	if !wanted {
		return func() error { return nil }
	}
	return check
}

func (j judge) lease(id int64) error {
	on, there := j.attached(id)
	if !there || j.admin() == nil {
		return nil
	}
	for _, key := range on {
		if err := j.keys(authpb.Permission_WRITE, Range{key, ""}); err != nil {
			return err
		}
	}
	return nil
}

func (j judge) put(r *etcdserverpb.PutRequest) error {
	key := Range{string(r.Key), ""}
	return needs(j.check(authpb.Permission_WRITE, key), func() error { return j.lease(r.Lease) }, where(r.PrevKv, j.check(authpb.Permission_READ, key)))
}

func (j judge) txn(t *etcdserverpb.TxnRequest) error {
	var checks []func() error
	for _, c := range t.Compare {
		checks = append(checks, j.check(authpb.Permission_READ, rangeOf(c.Key, c.RangeEnd)))
	}
	for _, op := range slices.Concat(t.Success, t.Failure) {
		switch op := op.Request.(type) {
		case *etcdserverpb.RequestOp_RequestRange:
			checks = append(checks, j.check(authpb.Permission_READ, rangeOf(op.RequestRange.Key, op.RequestRange.RangeEnd)))
		case *etcdserverpb.RequestOp_RequestPut:
			checks = append(checks, func() error { return j.put(op.RequestPut) })
		case *etcdserverpb.RequestOp_RequestDeleteRange:
			d := op.RequestDeleteRange
			checks = append(checks, where(d.PrevKv, j.check(authpb.Permission_READ, rangeOf(d.Key, d.RangeEnd))), j.check(authpb.Permission_WRITE, rangeOf(d.Key, d.RangeEnd)))
		case *etcdserverpb.RequestOp_RequestTxn:
			checks = append(checks, func() error { return j.txn(op.RequestTxn) })
		}
	}
	return needs(checks...)
}

// Verdict says why a request may not be applied; nil if it may. attached lists the
// keys on a lease, and says whether the lease is there.
func (s *State) Verdict(r *etcdserverpb.InternalRaftRequest, attached func(id int64) (keys []string, there bool)) error {
	j := judge{s, attached, r.Header.GetUsername(), r.Header.GetAuthRevision()}
	switch {
	case r.Put != nil:
		return j.put(r.Put)
	case r.Range != nil:
		return j.keys(authpb.Permission_READ, rangeOf(r.Range.Key, r.Range.RangeEnd))
	case r.DeleteRange != nil:
		d := rangeOf(r.DeleteRange.Key, r.DeleteRange.RangeEnd)
		return needs(j.check(authpb.Permission_WRITE, d), where(r.DeleteRange.PrevKv, j.check(authpb.Permission_READ, d)))
	case r.Txn != nil:
		return j.txn(r.Txn)
	case r.LeaseRevoke != nil:
		return j.lease(r.LeaseRevoke.ID)
	case r.LeaseGrant != nil, r.LeaseCheckpoint != nil, r.Compaction != nil, r.Alarm != nil, r.Authenticate != nil, r.AuthStatus != nil:
		return nil
	case r.AuthUserGet != nil && r.AuthUserGet.Name == j.user && j.user != "":
		return nil
	case r.AuthRoleGet != nil && j.Users[j.user].Roles[r.AuthRoleGet.Role]:
		return nil
	}
	return j.admin()
}

// Administer is the state after a request that may be applied, and what it is
// answered with.
func (s *State) Administer(r *etcdserverpb.InternalRaftRequest) (*State, error) {
	next := s.clone()
	changed, err := next.change(r)
	if err != nil {
		return s, err
	}
	if changed {
		next.Revision++
	}
	return next, nil
}

func (s *State) known(name string) bool { _, ok := s.Users[name]; return ok }

// change does it, and says whether it counts as a change.
func (s *State) change(r *etcdserverpb.InternalRaftRequest) (changed bool, err error) {
	protected := func(name string) bool { return s.Enabled && name == "root" }
	switch {
	case r.AuthEnable != nil:
		switch root, there := s.Users["root"]; {
		case s.Enabled:
		case !there:
			return false, errs.RootUserNotExist
		case !root.Roles["root"]:
			return false, errs.RootRoleNotExist
		}
		s.Enabled = true
		return false, nil
	case r.AuthDisable != nil:
		was := s.Enabled
		s.Enabled = false
		return was, nil
	case r.AuthUserAdd != nil:
		a := r.AuthUserAdd
		switch {
		case a.Name == "":
			return false, errs.UserEmpty
		case s.known(a.Name):
			return false, errs.UserAlreadyExist
		}
		s.Users[a.Name] = User{map[string]bool{}, a.Options.GetNoPassword(), s.Revision + 1, s.Revision + 1}
	case r.AuthUserDelete != nil:
		switch name := r.AuthUserDelete.Name; {
		case protected(name):
			return false, errs.InvalidAuthMgmt
		case !s.known(name):
			return false, errs.UserNotFound
		}
		delete(s.Users, r.AuthUserDelete.Name)
	case r.AuthUserChangePassword != nil:
		u, there := s.Users[r.AuthUserChangePassword.Name]
		if !there {
			return false, errs.UserNotFound
		}
		u.Changed = s.Revision + 1
		s.Users[r.AuthUserChangePassword.Name] = u
	case r.AuthUserGrantRole != nil:
		g := r.AuthUserGrantRole
		u := s.Users[g.User]
		switch {
		case !s.known(g.User):
			return false, errs.UserNotFound
		case s.Roles[g.Role] == nil && g.Role != "root":
			return false, errs.RoleNotFound
		case u.Roles[g.Role]:
			return false, nil
		}
		u.Roles[g.Role] = true
	case r.AuthUserRevokeRole != nil:
		v := r.AuthUserRevokeRole
		switch u := s.Users[v.Name]; {
		case protected(v.Name) && v.Role == "root":
			return false, errs.InvalidAuthMgmt
		case !s.known(v.Name):
			return false, errs.UserNotFound
		case !u.Roles[v.Role]:
			return false, errs.RoleNotGranted
		}
		delete(s.Users[v.Name].Roles, v.Role)
	case r.AuthRoleAdd != nil:
		switch name := r.AuthRoleAdd.Name; {
		case name == "":
			return false, errs.RoleEmpty
		case s.Roles[name] != nil:
			return false, errs.RoleAlreadyExist
		}
		s.Roles[r.AuthRoleAdd.Name] = Role{}
	case r.AuthRoleDelete != nil:
		switch name := r.AuthRoleDelete.Role; {
		case protected(name):
			return false, errs.InvalidAuthMgmt
		case s.Roles[name] == nil:
			return false, errs.RoleNotFound
		}
		delete(s.Roles, r.AuthRoleDelete.Role)
		for _, u := range s.Users {
			delete(u.Roles, r.AuthRoleDelete.Role)
		}
	case r.AuthRoleGrantPermission != nil:
		g := r.AuthRoleGrantPermission
		if g.Perm == nil {
			return false, errs.PermissionNotGiven
		}
		switch p := rangeOf(g.Perm.Key, g.Perm.RangeEnd); {
		case p.Key == "", p.empty():
			return false, errs.InvalidAuthMgmt
		case s.Roles[g.Name] == nil:
			return false, errs.RoleNotFound
		default:
			s.Roles[g.Name][p] = g.Perm.PermType
		}
	case r.AuthRoleRevokePermission != nil:
		v := r.AuthRoleRevokePermission
		p := rangeOf(v.Key, v.RangeEnd)
		if s.Roles[v.Role] == nil {
			return false, errs.RoleNotFound
		}
		if _, has := s.Roles[v.Role][p]; !has {
			return false, errs.PermissionNotGranted
		}
		delete(s.Roles[v.Role], p)
	default:
		return false, nil // asks
	}
	return true, nil
}

// Differs says in what a view is not this state; nil if it is.
func (s *State) Differs(v *auth.View) error {
	if v.Enabled != s.Enabled || v.Revision != s.Revision {
		return fmt.Errorf("enabled %v, auth revision %d, and must be %v, %d", v.Enabled, v.Revision, s.Enabled, s.Revision)
	}
	if got, want := v.Users(), slices.Sorted(maps.Keys(s.Users)); !slices.Equal(got, want) {
		return fmt.Errorf("the users are %q, and must be %q", got, want)
	}
	if got, want := v.Roles(), slices.Sorted(maps.Keys(s.Roles)); !slices.Equal(got, want) {
		return fmt.Errorf("the roles are %q, and must be %q", got, want)
	}
	for _, name := range v.Users() {
		want := s.Users[name]
		u, _ := v.User(name)
		got := User{map[string]bool{}, u.NoPassword, u.Made, u.Changed}
		for _, role := range u.Roles {
			got.Roles[role] = true
		}
		if !maps.Equal(got.Roles, want.Roles) || got.NoPassword != want.NoPassword || got.Made != want.Made || got.Changed != want.Changed {
			return fmt.Errorf("the user %s is %+v, and must be %+v", name, got, want)
		}
	}
	for _, name := range v.Roles() {
		want := s.Roles[name]
		role, _ := v.Role(name)
		got := Role{}
		for _, p := range role.Permissions {
			got[rangeOf(p.Key, p.RangeEnd)] = p.PermType
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("the role %s is %v, and must be %v", name, got, want)
		}
	}
	return nil
}

// String tells it all.
func (s *State) String() string {
	t := fmt.Sprintf("enabled %v, auth revision %d", s.Enabled, s.Revision)
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		t += fmt.Sprintf(", user %s %q", name, slices.Sorted(maps.Keys(s.Users[name].Roles)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Roles)) {
		t += ", role " + name
		for _, r := range slices.SortedFunc(maps.Keys(s.Roles[name]), Range.Compare) {
			t += fmt.Sprintf(" %v [%q, %q)", s.Roles[name][r], r.Key, r.End)
		}
	}
	return t
}
