package machine

import (
	"errors"
	"strings"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
)

// Login is a login in the log: a user has shown the right password to a member.
type Login struct {
	User string
	// Hash is the user's stored password, Revision the auth revision, as they were then.
	Hash     []byte
	Revision uint64
	// Token is what the member has proposed for a token, and Index the entry.
	Token string
	Index uint64
}

// logIn notes a login. The password was compared by whoever has proposed it, who
// sees by the hash whether it was still the same.
func (m *Machine) logIn(r *etcdserverpb.InternalAuthenticateRequest, index uint64, res *Result) error {
	users := m.auth.View()
	if !users.Enabled {
		return errs.AuthNotEnabled
	}
	u, ok := users.User(r.Name)
	switch {
	case !ok:
		return errs.AuthFailed
	case u.NoPassword:
		return errs.NoPasswordUser
	}
	l := Login{User: u.Name, Hash: u.Hash, Revision: users.Revision, Token: strings.Clone(r.SimpleToken), Index: index}
	m.effects.Logins = append(m.effects.Logins, l)
	res.Login = &l
	return nil
}

// applyAuth applies a request that concerns users and roles. Those that only ask
// are answered elsewhere.
func (m *Machine) applyAuth(r *etcdserverpb.InternalRaftRequest) error {
	switch {
	case r.AuthEnable != nil:
		return m.auth.Enable(m.batch)
	case r.AuthDisable != nil:
		if m.auth.View().Enabled {
			m.effects.Logins = nil // they have ended
		}
		m.auth.Disable(m.batch)
		return nil
	case r.AuthUserAdd != nil:
		return hashed(m.auth.AddUser(m.batch, r.AuthUserAdd))
	case r.AuthUserDelete != nil:
		return m.auth.DeleteUser(m.batch, r.AuthUserDelete.Name)
	case r.AuthUserChangePassword != nil:
		return hashed(m.auth.ChangePassword(m.batch, r.AuthUserChangePassword))
	case r.AuthUserGrantRole != nil:
		return m.auth.GrantRole(m.batch, r.AuthUserGrantRole.User, r.AuthUserGrantRole.Role)
	case r.AuthUserRevokeRole != nil:
		return m.auth.RevokeRole(m.batch, r.AuthUserRevokeRole.Name, r.AuthUserRevokeRole.Role)
	case r.AuthRoleAdd != nil:
		return m.auth.AddRole(m.batch, r.AuthRoleAdd.Name)
	case r.AuthRoleDelete != nil:
		return m.auth.DeleteRole(m.batch, r.AuthRoleDelete.Role)
	case r.AuthRoleGrantPermission != nil:
		return m.auth.GrantPermission(m.batch, r.AuthRoleGrantPermission.Name, r.AuthRoleGrantPermission.Perm)
	case r.AuthRoleRevokePermission != nil:
		p := r.AuthRoleRevokePermission
		return m.auth.RevokePermission(m.batch, p.Role, p.Key, p.RangeEnd)
	case r.AuthStatus != nil, r.AuthUserGet != nil, r.AuthUserList != nil, r.AuthRoleGet != nil, r.AuthRoleList != nil:
		return nil // changes nothing; whoever has proposed it looks by itself
	}
	return errUnknownRequest
}

// hashed stops a member that meets a password which is not hashed.
func hashed(err error) error {
	if errors.Is(err, auth.ErrPlainPassword) {
		return &fatalError{err}
	}
	return err
}

// kindOfAuth is kindOf for requests that concern users and roles.
func kindOfAuth(r *etcdserverpb.InternalRaftRequest) Kind {
	switch {
	case r.AuthEnable != nil:
		return AuthEnable
	case r.AuthDisable != nil:
		return AuthDisable
	case r.Authenticate != nil:
		return Authenticate
	case r.AuthUserAdd != nil:
		return AuthUserAdd
	case r.AuthUserDelete != nil:
		return AuthUserDelete
	case r.AuthUserGet != nil:
		return AuthUserGet
	case r.AuthUserChangePassword != nil:
		return AuthUserChangePassword
	case r.AuthUserGrantRole != nil:
		return AuthUserGrantRole
	case r.AuthUserRevokeRole != nil:
		return AuthUserRevokeRole
	case r.AuthUserList != nil:
		return AuthUserList
	case r.AuthRoleList != nil:
		return AuthRoleList
	case r.AuthRoleAdd != nil:
		return AuthRoleAdd
	case r.AuthRoleDelete != nil:
		return AuthRoleDelete
	case r.AuthRoleGet != nil:
		return AuthRoleGet
	case r.AuthRoleGrantPermission != nil:
		return AuthRoleGrantPermission
	case r.AuthRoleRevokePermission != nil:
		return AuthRoleRevokePermission
	}
	return AuthStatus
}
