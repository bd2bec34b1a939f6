package machine

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
)

// points are the keys that policies and requests name; "c\xff" stands behind all
// others.
var points = []string{"a", "a\x00", "ab", "b", "b\x00", "ba", "c", "c\xff"}

// everyKey is a key from each stretch of keys that any two policies or requests can
// tell apart: stretches begin at a point, or right behind one.
var everyKey = func() (all []string) {
	for _, p := range points {
		all = append(all, p, p+"\x00", p+"\x00\x00")
	}
	slices.Sort(all)
	return slices.Compact(all)
}()

// oracle is users and roles told the plain way: a range may be read if each of its
// keys may be. It shares no code with what it checks.
type oracle struct {
	enabled  bool
	revision uint64
	users    map[string]*oracleUser
	roles    map[string]map[keyRange]authpb.Permission_Type
	// attached lists the keys on a lease, and says whether the lease is there.
	attached func(id int64) ([]string, bool)
}

type oracleUser struct {
	roles      map[string]bool
	noPassword bool
}

type keyRange struct{ key, end string }

func newOracle(attached func(int64) ([]string, bool)) *oracle {
	return &oracle{revision: 1, users: map[string]*oracleUser{}, roles: map[string]map[keyRange]authpb.Permission_Type{}, attached: attached}
}

func (r keyRange) has(key string) bool {
	switch r.end {
	case "":
		return key == r.key
	case "\x00":
		return key >= r.key
	}
	return key >= r.key && key < r.end
}

func (r keyRange) compare(o keyRange) int {
	return cmp.Or(strings.Compare(r.key, o.key), strings.Compare(r.end, o.end))
}

// empty says that the range ends before it begins.
func (r keyRange) empty() bool { return r.end != "" && r.end != "\x00" && r.end <= r.key }

func rangeOf(key, end []byte) keyRange { return keyRange{string(key), string(end)} }

// judge is one request's subject before the oracle.
type judge struct {
	*oracle
	user     string
	revision uint64
}

func (j judge) root() bool { return j.users[j.user] != nil && j.users[j.user].roles["root"] }

// keys is the key check.
func (j judge) keys(right authpb.Permission_Type, r keyRange) error {
	switch {
	case !j.enabled:
		return nil
	case j.revision == 0:
		return errs.UserEmpty
	case j.revision < j.oracle.revision:
		return errs.AuthOldRevision
	case j.users[j.user] == nil:
		return errs.PermissionDenied
	case j.root():
		return nil
	case r.empty(): // judged by the key that it begins with
		r.end = ""
	}
	for _, key := range everyKey {
		if r.has(key) && !j.one(right, key) {
			return errs.PermissionDenied
		}
	}
	return nil
}

// one says whether any permission of the user has the key.
func (j judge) one(right authpb.Permission_Type, key string) bool {
	for role := range j.users[j.user].roles {
		for r, t := range j.roles[role] {
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
	case !j.enabled:
		return nil
	case j.user == "":
		return errs.UserEmpty
	case j.users[j.user] == nil:
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

func (j judge) check(right authpb.Permission_Type, r keyRange) func() error {
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
		if err := j.keys(authpb.Permission_WRITE, keyRange{key, ""}); err != nil {
			return err
		}
	}
	return nil
}

func (j judge) put(r *etcdserverpb.PutRequest) error {
	key := keyRange{string(r.Key), ""}
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

// verdict says why a request may not be applied; nil if it may.
func (o *oracle) verdict(r *etcdserverpb.InternalRaftRequest) error {
	j := judge{o, r.Header.GetUsername(), r.Header.GetAuthRevision()}
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
	case r.AuthRoleGet != nil && j.users[j.user] != nil && j.users[j.user].roles[r.AuthRoleGet.Role]:
		return nil
	}
	return j.admin()
}

// administer does what a permitted request makes of users and roles.
func (o *oracle) administer(r *etcdserverpb.InternalRaftRequest) error {
	changed, err := o.change(r)
	if changed {
		o.revision++
	}
	return err
}

// change does it, and says whether it counts as a change.
func (o *oracle) change(r *etcdserverpb.InternalRaftRequest) (changed bool, err error) {
	protected := func(name string) bool { return o.enabled && name == "root" }
	switch {
	case r.AuthEnable != nil:
		switch root := o.users["root"]; {
		case o.enabled:
		case root == nil:
			return false, errs.RootUserNotExist
		case !root.roles["root"]:
			return false, errs.RootRoleNotExist
		}
		o.enabled = true
		return false, nil
	case r.AuthDisable != nil:
		was := o.enabled
		o.enabled = false
		return was, nil
	case r.AuthUserAdd != nil:
		a := r.AuthUserAdd
		switch {
		case a.Name == "":
			return false, errs.UserEmpty
		case o.users[a.Name] != nil:
			return false, errs.UserAlreadyExist
		}
		o.users[a.Name] = &oracleUser{map[string]bool{}, a.Options.GetNoPassword()}
	case r.AuthUserDelete != nil:
		switch name := r.AuthUserDelete.Name; {
		case protected(name):
			return false, errs.InvalidAuthMgmt
		case o.users[name] == nil:
			return false, errs.UserNotFound
		}
		delete(o.users, r.AuthUserDelete.Name)
	case r.AuthUserChangePassword != nil:
		if o.users[r.AuthUserChangePassword.Name] == nil {
			return false, errs.UserNotFound
		}
	case r.AuthUserGrantRole != nil:
		g := r.AuthUserGrantRole
		u := o.users[g.User]
		switch {
		case u == nil:
			return false, errs.UserNotFound
		case o.roles[g.Role] == nil && g.Role != "root":
			return false, errs.RoleNotFound
		case u.roles[g.Role]:
			return false, nil
		}
		u.roles[g.Role] = true
	case r.AuthUserRevokeRole != nil:
		v := r.AuthUserRevokeRole
		switch u := o.users[v.Name]; {
		case protected(v.Name) && v.Role == "root":
			return false, errs.InvalidAuthMgmt
		case u == nil:
			return false, errs.UserNotFound
		case !u.roles[v.Role]:
			return false, errs.RoleNotGranted
		}
		delete(o.users[v.Name].roles, v.Role)
	case r.AuthRoleAdd != nil:
		switch name := r.AuthRoleAdd.Name; {
		case name == "":
			return false, errs.RoleEmpty
		case o.roles[name] != nil:
			return false, errs.RoleAlreadyExist
		}
		o.roles[r.AuthRoleAdd.Name] = map[keyRange]authpb.Permission_Type{}
	case r.AuthRoleDelete != nil:
		switch name := r.AuthRoleDelete.Role; {
		case protected(name):
			return false, errs.InvalidAuthMgmt
		case o.roles[name] == nil:
			return false, errs.RoleNotFound
		}
		delete(o.roles, r.AuthRoleDelete.Role)
		for _, u := range o.users {
			delete(u.roles, r.AuthRoleDelete.Role)
		}
	case r.AuthRoleGrantPermission != nil:
		g := r.AuthRoleGrantPermission
		if g.Perm == nil {
			return false, errs.PermissionNotGiven
		}
		switch p := rangeOf(g.Perm.Key, g.Perm.RangeEnd); {
		case p.key == "", p.empty():
			return false, errs.InvalidAuthMgmt
		case o.roles[g.Name] == nil:
			return false, errs.RoleNotFound
		default:
			o.roles[g.Name][p] = g.Perm.PermType
		}
	case r.AuthRoleRevokePermission != nil:
		v := r.AuthRoleRevokePermission
		p := rangeOf(v.Key, v.RangeEnd)
		if o.roles[v.Role] == nil {
			return false, errs.RoleNotFound
		}
		if _, has := o.roles[v.Role][p]; !has {
			return false, errs.PermissionNotGranted
		}
		delete(o.roles[v.Role], p)
	default:
		return false, nil // asks
	}
	return true, nil
}

// same says whether a view is what the oracle knows.
func (o *oracle) same(v *auth.View) bool {
	if v.Enabled != o.enabled || v.Revision != o.revision ||
		!slices.Equal(v.Users(), slices.Sorted(maps.Keys(o.users))) || !slices.Equal(v.Roles(), slices.Sorted(maps.Keys(o.roles))) {
		return false
	}
	for name, known := range o.users {
		u, _ := v.User(name)
		if !slices.Equal(u.Roles, slices.Sorted(maps.Keys(known.roles))) || u.NoPassword != known.noPassword {
			return false
		}
	}
	for name, known := range o.roles {
		role, _ := v.Role(name)
		if len(role.Permissions) != len(known) {
			return false
		}
		for _, p := range role.Permissions {
			if t, has := known[rangeOf(p.Key, p.RangeEnd)]; !has || t != p.PermType {
				return false
			}
		}
	}
	return true
}
