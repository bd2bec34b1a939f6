package auth

import (
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
)

// Root is the user who must be there, and the role that he must have, before
// rights are judged. The role may do everything.
const Root = "root"

// User is a user as all members know it. Nobody changes one.
type User struct {
	Name string
	// Hash is the bcrypt hash of the password. Without a password a user can only be
	// named by a client's certificate.
	Hash       []byte
	NoPassword bool
	// Roles are sorted.
	Roles []string
	// Made is the auth revision since which the user is there, Changed the one since
	// which the password is what it is.
	Made, Changed uint64
}

// Is says whether the user has a role.
func (u *User) Is(role string) bool {
	_, ok := slices.BinarySearch(u.Roles, role)
	return ok
}

// Role is a role as all members know it. Nobody changes one.
type Role struct {
	Name string
	// Permissions are sorted by key and end.
	Permissions []*authpb.Permission

	once sync.Once
	may  [rights][]span // see spans
}

// View is all of it at one moment. It is immutable.
type View struct {
	// Enabled says that rights are judged at all.
	Enabled bool
	// Revision is the auth revision.
	Revision uint64
	// Disabled is the auth revision that came of switching it off last; 0 if it was
	// never on.
	Disabled uint64

	id     *ID
	bytes  int
	users  *btree.Map[string, *User]
	roles  *btree.Map[string, *Role]
	rights sync.Map // of users, by name, as they were asked for
	sets   *sets
}

// ID tells a view from every other, and keeps nothing of it alive.
type ID struct{ _ byte }

// ID is the view's.
func (v *View) ID() *ID { return v.id }

// Bytes is about what all of it takes in memory.
func (v *View) Bytes() int { return v.bytes }

// User returns the user of a name.
func (v *View) User(name string) (*User, bool) { return v.users.Get(name) }

// Users are the names of all users, sorted.
func (v *View) Users() []string { return v.users.Keys() }

// Role returns the role of a name.
func (v *View) Role(name string) (*Role, bool) { return v.roles.Get(name) }

// Roles are the names of all roles, sorted.
func (v *View) Roles() []string { return v.roles.Keys() }

// Rights are what a user may do, all roles taken together; nil if there is no such
// user.
func (v *View) Rights(name string) *Rights {
	if r, ok := v.rights.Load(name); ok {
		return r.(*Rights)
	}
	u, ok := v.users.Get(name)
	if !ok {
		return nil // not remembered: names that do not exist are many
	}
	r := v.sets.of(u.Roles, v)
	v.rights.Store(u.Name, r)
	return r
}

// Subject is in whose name something is asked, and under which auth revision that
// was authorised. The zero value is nobody.
type Subject struct {
	User     string
	Revision uint64
}

// Check says why a subject may not read or write the range from key to end; nil if
// it may. end is as in requests: empty for the key alone, "\0" for all from it on.
// Errors, in this order: errs.UserEmpty, AuthOldRevision, PermissionDenied.
func (v *View) Check(s Subject, right Right, key, end []byte) error {
	switch {
	case !v.Enabled:
		return nil
	case s.Revision == 0:
		return errs.UserEmpty
	case s.Revision < v.Revision && !plantNoAuthRevision:
		return errs.AuthOldRevision
	}
	if r := v.Rights(s.User); r == nil || !r.May(right, key, end) {
		return errs.PermissionDenied
	}
	return nil
}

// CheckRoot says why a subject may not do what only root may; nil if it may. The
// revision is not compared. Errors: errs.UserEmpty, UserNotFound, PermissionDenied.
func (v *View) CheckRoot(s Subject) error {
	if !v.Enabled {
		return nil
	}
	if s.User == "" {
		return errs.UserEmpty
	}
	u, ok := v.users.Get(s.User)
	switch {
	case !ok:
		return errs.UserNotFound
	case !u.Is(Root):
		return errs.PermissionDenied
	}
	return nil
}

// CheckSelf is CheckRoot, but that everybody may ask about himself.
func (v *View) CheckSelf(s Subject, name string) error {
	err := v.CheckRoot(s)
	if err != nil && s.User != "" && s.User == name {
		return nil
	}
	return err
}

// CheckHolder is CheckRoot, but that everybody may ask about his own roles.
func (v *View) CheckHolder(s Subject, role string) error {
	err := v.CheckRoot(s)
	if u, ok := v.users.Get(s.User); err != nil && ok && u.Is(role) {
		return nil
	}
	return err
}

// CheckUser says why a subject is not a user; nil if it is one. Errors:
// errs.UserEmpty, PermissionDenied.
func (v *View) CheckUser(s Subject) error {
	if !v.Enabled {
		return nil
	}
	if s.User == "" {
		return errs.UserEmpty
	}
	if _, ok := v.users.Get(s.User); !ok {
		return errs.PermissionDenied
	}
	return nil
}
