package client

import (
	"context"

	"etcd.alt/api/authpb"
	"etcd.alt/api/etcdserverpb"
)

// Answers about users and roles, as they travel.
type (
	AuthEnableResponse               = etcdserverpb.AuthEnableResponse
	AuthDisableResponse              = etcdserverpb.AuthDisableResponse
	AuthStatusResponse               = etcdserverpb.AuthStatusResponse
	AuthenticateResponse             = etcdserverpb.AuthenticateResponse
	AuthUserAddResponse              = etcdserverpb.AuthUserAddResponse
	AuthUserDeleteResponse           = etcdserverpb.AuthUserDeleteResponse
	AuthUserGetResponse              = etcdserverpb.AuthUserGetResponse
	AuthUserListResponse             = etcdserverpb.AuthUserListResponse
	AuthUserChangePasswordResponse   = etcdserverpb.AuthUserChangePasswordResponse
	AuthUserGrantRoleResponse        = etcdserverpb.AuthUserGrantRoleResponse
	AuthUserRevokeRoleResponse       = etcdserverpb.AuthUserRevokeRoleResponse
	AuthRoleAddResponse              = etcdserverpb.AuthRoleAddResponse
	AuthRoleGrantPermissionResponse  = etcdserverpb.AuthRoleGrantPermissionResponse
	AuthRoleGetResponse              = etcdserverpb.AuthRoleGetResponse
	AuthRoleListResponse             = etcdserverpb.AuthRoleListResponse
	AuthRoleRevokePermissionResponse = etcdserverpb.AuthRoleRevokePermissionResponse
	AuthRoleDeleteResponse           = etcdserverpb.AuthRoleDeleteResponse

	// Permission is what a role may do to a range of keys: to Key alone where RangeEnd
	// is empty, and from Key on where it is one zero byte.
	Permission = authpb.Permission
	// PermissionType says whether that is reading, writing, or both.
	PermissionType = authpb.Permission_Type
	// UserAddOptions are a new user's.
	UserAddOptions = authpb.UserAddOptions
)

// What a Permission lets do.
const (
	PermRead      = authpb.Permission_READ
	PermWrite     = authpb.Permission_WRITE
	PermReadWrite = authpb.Permission_READWRITE
)

// AuthEnable has the cluster ask for users from now on. There must be a user root
// that has the role root: errs.RootUserNotExist, errs.RootRoleNotExist.
func (c *Client) AuthEnable(ctx context.Context) (*AuthEnableResponse, error) {
	return call[AuthEnableResponse](ctx, c, methodAuthEnable, &etcdserverpb.AuthEnableRequest{})
}

// AuthDisable lets everybody do everything again.
func (c *Client) AuthDisable(ctx context.Context) (*AuthDisableResponse, error) {
	return call[AuthDisableResponse](ctx, c, methodAuthDisable, &etcdserverpb.AuthDisableRequest{})
}

// AuthStatus says whether users are asked for, and the revision of users and roles.
func (c *Client) AuthStatus(ctx context.Context) (*AuthStatusResponse, error) {
	return call[AuthStatusResponse](ctx, c, methodAuthStatus, &etcdserverpb.AuthStatusRequest{})
}

// Authenticate returns a token for a user. The client's own login is not changed.
func (c *Client) Authenticate(ctx context.Context, name, password string) (*AuthenticateResponse, error) {
	return call[AuthenticateResponse](ctx, c, methodAuthenticate, &etcdserverpb.AuthenticateRequest{Name: name, Password: password})
}

// UserAdd adds a user with a password.
func (c *Client) UserAdd(ctx context.Context, name, password string) (*AuthUserAddResponse, error) {
	return c.UserAddWithOptions(ctx, name, password, nil)
}

// UserAddWithOptions adds a user. One with NoPassword is known by a certificate
// only.
func (c *Client) UserAddWithOptions(ctx context.Context, name, password string, options *UserAddOptions) (*AuthUserAddResponse, error) {
	return call[AuthUserAddResponse](ctx, c, methodUserAdd, &etcdserverpb.AuthUserAddRequest{Name: name, Password: password, Options: options})
}

// UserDelete deletes a user.
func (c *Client) UserDelete(ctx context.Context, name string) (*AuthUserDeleteResponse, error) {
	return call[AuthUserDeleteResponse](ctx, c, methodUserDelete, &etcdserverpb.AuthUserDeleteRequest{Name: name})
}

// UserGet returns a user's roles.
func (c *Client) UserGet(ctx context.Context, name string) (*AuthUserGetResponse, error) {
	return call[AuthUserGetResponse](ctx, c, methodUserGet, &etcdserverpb.AuthUserGetRequest{Name: name})
}

// UserList returns the names of all users.
func (c *Client) UserList(ctx context.Context) (*AuthUserListResponse, error) {
	return call[AuthUserListResponse](ctx, c, methodUserList, &etcdserverpb.AuthUserListRequest{})
}

// UserChangePassword gives a user another password.
func (c *Client) UserChangePassword(ctx context.Context, name, password string) (*AuthUserChangePasswordResponse, error) {
	return call[AuthUserChangePasswordResponse](ctx, c, methodUserChangePassword, &etcdserverpb.AuthUserChangePasswordRequest{Name: name, Password: password})
}

// UserGrantRole gives a user a role.
func (c *Client) UserGrantRole(ctx context.Context, user, role string) (*AuthUserGrantRoleResponse, error) {
	return call[AuthUserGrantRoleResponse](ctx, c, methodUserGrantRole, &etcdserverpb.AuthUserGrantRoleRequest{User: user, Role: role})
}

// UserRevokeRole takes a role from a user.
func (c *Client) UserRevokeRole(ctx context.Context, user, role string) (*AuthUserRevokeRoleResponse, error) {
	return call[AuthUserRevokeRoleResponse](ctx, c, methodUserRevokeRole, &etcdserverpb.AuthUserRevokeRoleRequest{Name: user, Role: role})
}

// RoleAdd adds a role that may do nothing yet.
func (c *Client) RoleAdd(ctx context.Context, name string) (*AuthRoleAddResponse, error) {
	return call[AuthRoleAddResponse](ctx, c, methodRoleAdd, &etcdserverpb.AuthRoleAddRequest{Name: name})
}

// RoleGrantPermission lets a role do something to the keys from key up to rangeEnd:
// to key alone where rangeEnd is empty, and from key on where it is "\x00".
// PrefixEnd is the end of a prefix.
func (c *Client) RoleGrantPermission(ctx context.Context, role, key, rangeEnd string, what PermissionType) (*AuthRoleGrantPermissionResponse, error) {
	req := &etcdserverpb.AuthRoleGrantPermissionRequest{Name: role, Perm: &Permission{PermType: what, Key: []byte(key), RangeEnd: []byte(rangeEnd)}}
	return call[AuthRoleGrantPermissionResponse](ctx, c, methodRoleGrantPermission, req)
}

// RoleGet returns what a role may do.
func (c *Client) RoleGet(ctx context.Context, role string) (*AuthRoleGetResponse, error) {
	return call[AuthRoleGetResponse](ctx, c, methodRoleGet, &etcdserverpb.AuthRoleGetRequest{Role: role})
}

// RoleList returns the names of all roles.
func (c *Client) RoleList(ctx context.Context) (*AuthRoleListResponse, error) {
	return call[AuthRoleListResponse](ctx, c, methodRoleList, &etcdserverpb.AuthRoleListRequest{})
}

// RoleRevokePermission takes a permission from a role. Key and rangeEnd must be those
// of a grant.
func (c *Client) RoleRevokePermission(ctx context.Context, role, key, rangeEnd string) (*AuthRoleRevokePermissionResponse, error) {
	req := &etcdserverpb.AuthRoleRevokePermissionRequest{Role: role, Key: []byte(key), RangeEnd: []byte(rangeEnd)}
	return call[AuthRoleRevokePermissionResponse](ctx, c, methodRoleRevokePermission, req)
}

// RoleDelete deletes a role, and takes it from its users.
func (c *Client) RoleDelete(ctx context.Context, role string) (*AuthRoleDeleteResponse, error) {
	return call[AuthRoleDeleteResponse](ctx, c, methodRoleDelete, &etcdserverpb.AuthRoleDeleteRequest{Role: role})
}
