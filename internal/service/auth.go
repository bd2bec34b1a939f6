package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/password"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/rpc"
)

// administer serves the methods of Auth that go through the log as they come, and
// answer with a header alone.
func (s *Service) administer(field int) func(*rpc.Call) {
	return func(c *rpc.Call) {
		r, err := administrative(field, c.Payload())
		if !decoded(c, err) {
			return
		}
		audited(c, r)
		if err := s.roomForUsers(r); err != nil {
			fail(c, err)
			return
		}
		s.proposeFor(c, field, answerCompact)
	}
}

// administrative decodes the request of a field, as every member will: what cannot be
// decoded must not get into the log.
func administrative(field int, payload []byte) (any, error) {
	var r interface {
		proto.Message
		UnmarshalVT([]byte) error
	}
	switch field {
	case fieldAuthEnable:
		r = &etcdserverpb.AuthEnableRequest{}
	case fieldAuthDisable:
		r = &etcdserverpb.AuthDisableRequest{}
	case fieldAuthUserDelete:
		r = &etcdserverpb.AuthUserDeleteRequest{}
	case fieldAuthUserGrantRole:
		r = &etcdserverpb.AuthUserGrantRoleRequest{}
	case fieldAuthUserRevokeRole:
		r = &etcdserverpb.AuthUserRevokeRoleRequest{}
	case fieldAuthRoleAdd:
		r = &etcdserverpb.AuthRoleAddRequest{}
	case fieldAuthRoleDelete:
		r = &etcdserverpb.AuthRoleDeleteRequest{}
	case fieldAuthRoleGrantPermission:
		r = &etcdserverpb.AuthRoleGrantPermissionRequest{}
	case fieldAuthRoleRevokePermission:
		r = &etcdserverpb.AuthRoleRevokePermissionRequest{}
	default:
		return nil, fmt.Errorf("field %d is no request of this kind", field)
	}
	if err := r.UnmarshalVT(payload); err != nil {
		return nil, err
	}
	return r, textual(r)
}

// textual says that the strings of a message are text, without which nobody could name
// what they name.
func textual(m proto.Message) (err error) {
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() == protoreflect.StringKind && !f.IsList() && !utf8.ValidString(v.String()) {
			err = fmt.Errorf("string field contains invalid UTF-8: %s", f.Name())
		}
		return err == nil
	})
	return err
}

const (
	// longestName bounds the names of users and roles, in bytes.
	longestName = 4 << 10
	// usersBytes is what users and roles may take, all together: they lie in the memory
	// of every member.
	usersBytes = 32 << 20
)

// roomForUsers refuses what would have users and roles take too much.
func (s *Service) roomForUsers(r any) error {
	var more int
	switch r := r.(type) {
	case *etcdserverpb.AuthUserAddRequest:
		more = len(r.Name)
	case *etcdserverpb.AuthRoleAddRequest:
		more = len(r.Name)
	case *etcdserverpb.AuthRoleGrantPermissionRequest:
		if s.c.Machine.View().Auth.Bytes()+len(r.Perm.GetKey())+len(r.Perm.GetRangeEnd()) > usersBytes {
			return errs.NoSpace
		}
		return nil
	case *etcdserverpb.AuthUserGrantRoleRequest:
		if s.c.Machine.View().Auth.Bytes() > usersBytes {
			return errs.NoSpace
		}
		return nil
	default:
		return nil
	}
	if more > longestName {
		return status.Errorf(codes.InvalidArgument, "etcdserver: the name has %d bytes; %d is the most", more, longestName)
	}
	if s.c.Machine.View().Auth.Bytes()+more > usersBytes {
		return errs.NoSpace
	}
	return nil
}

// authStatus serves Auth.AuthStatus.
func (s *Service) authStatus(c *rpc.Call) {
	s.linearizable(c, func() {
		v := s.c.Machine.View()
		c.Reply(&etcdserverpb.AuthStatusResponse{Header: s.protoHeader(v.Keys.Revision), Enabled: v.Auth.Enabled, AuthRevision: v.Auth.Revision})
	}, nil)
}

// readUsers answers a call from the users as of all that was acknowledged before,
// if the caller passes check there.
func (s *Service) readUsers(c *rpc.Call, check func(*machine.Rights) error, answer func(v *machine.View) error) {
	c.Keep()
	s.linearizable(c, func() {
		v := s.c.Machine.View()
		by, err := s.rights(v, s.credentialOf(c))
		if err == nil {
			err = check(&by)
		}
		if err == nil {
			err = answer(v)
		}
		if err != nil {
			fail(c, err)
		}
	}, nil)
}

// userGet serves Auth.UserGet.
func (s *Service) userGet(c *rpc.Call) {
	var r etcdserverpb.AuthUserGetRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	audited(c, &r)
	s.readUsers(c, func(by *machine.Rights) error { return by.Auth.CheckSelf(by.Subject, r.Name) }, func(v *machine.View) error {
		u, ok := v.Auth.User(r.Name)
		if !ok {
			return errs.UserNotFound
		}
		c.Reply(&etcdserverpb.AuthUserGetResponse{Header: s.protoHeader(v.Keys.Revision), Roles: u.Roles})
		return nil
	})
}

// userList serves Auth.UserList.
func (s *Service) userList(c *rpc.Call) {
	s.readUsers(c, (*machine.Rights).Root, func(v *machine.View) error {
		c.Reply(&etcdserverpb.AuthUserListResponse{Header: s.protoHeader(v.Keys.Revision), Users: v.Auth.Users()})
		return nil
	})
}

// roleGet serves Auth.RoleGet. The role root may do everything, whatever it was
// given.
func (s *Service) roleGet(c *rpc.Call) {
	var r etcdserverpb.AuthRoleGetRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	audited(c, &r)
	s.readUsers(c, func(by *machine.Rights) error { return by.Auth.CheckHolder(by.Subject, r.Role) }, func(v *machine.View) error {
		role, ok := v.Auth.Role(r.Role)
		if !ok {
			return errs.RoleNotFound
		}
		res := &etcdserverpb.AuthRoleGetResponse{Header: s.protoHeader(v.Keys.Revision), Perm: role.Permissions}
		if role.Name == auth.Root {
			res.Perm = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, RangeEnd: []byte{0}}}
		}
		c.Reply(res)
		return nil
	})
}

// roleList serves Auth.RoleList.
func (s *Service) roleList(c *rpc.Call) {
	s.readUsers(c, (*machine.Rights).Root, func(v *machine.View) error {
		c.Reply(&etcdserverpb.AuthRoleListResponse{Header: s.protoHeader(v.Keys.Revision), Roles: v.Auth.Roles()})
		return nil
	})
}

// userAdd serves Auth.UserAdd. The password is hashed here: the log has the hash.
func (s *Service) userAdd(ctx context.Context, stream *rpc.Stream) error {
	r := &etcdserverpb.AuthUserAddRequest{}
	if err := receiveOwn(stream, r); err != nil {
		return err
	}
	if err := s.roomForUsers(r); err != nil {
		return toStatus(err)
	}
	if !r.Options.GetNoPassword() && r.Name != "" {
		if err := s.hashPassword(ctx, stream, r.Name, &r.Password, &r.HashedPassword); err != nil {
			return toStatus(err)
		}
	}
	r.Password = ""
	h, err := s.administerNow(ctx, stream, &etcdserverpb.InternalRaftRequest{AuthUserAdd: r})
	if err != nil {
		return toStatus(err)
	}
	return stream.Send(&etcdserverpb.AuthUserAddResponse{Header: h})
}

// userChangePassword serves Auth.UserChangePassword.
func (s *Service) userChangePassword(ctx context.Context, stream *rpc.Stream) error {
	r := &etcdserverpb.AuthUserChangePasswordRequest{}
	if err := receiveOwn(stream, r); err != nil {
		return err
	}
	// Of a user without a password too, who keeps none: this member may not know that
	// he has one by now.
	if err := s.hashPassword(ctx, stream, r.Name, &r.Password, &r.HashedPassword); err != nil {
		return toStatus(err)
	}
	r.Password = ""
	h, err := s.administerNow(ctx, stream, &etcdserverpb.InternalRaftRequest{AuthUserChangePassword: r})
	if err != nil {
		return toStatus(err)
	}
	return stream.Send(&etcdserverpb.AuthUserChangePasswordResponse{Header: h})
}

// receiveOwn receives a request that may be kept.
func receiveOwn(stream *rpc.Stream, r interface {
	proto.Message
	UnmarshalVT([]byte) error
}) error {
	payload, err := stream.Recv()
	if err != nil {
		return err
	}
	if err = r.UnmarshalVT(payload); err == nil {
		err = textual(r)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	audited(stream, r)
	return nil
}

// errHash refuses what is no hash, before every member stores it.
var errHash = status.Error(codes.InvalidArgument, "etcdserver: hashedPassword is not the base64 of a bcrypt hash, or of one that costs too much")

// hashPassword replaces a password by its hash, unless the client has done that.
func (s *Service) hashPassword(ctx context.Context, a asked, user string, plain, hashed *string) error {
	if *hashed != "" {
		raw, err := base64.StdEncoding.DecodeString(*hashed)
		if err != nil || !s.c.Passwords.Comparable(raw) {
			return errHash
		}
		return nil
	}
	h, err := s.c.Passwords.Hash(ctx, user, neighbourhood(a), *plain)
	if err != nil {
		return passwordError(err)
	}
	*hashed = base64.StdEncoding.EncodeToString(h)
	return nil
}

// passwordError is a failure of the hashing as clients know it.
func passwordError(err error) error {
	switch {
	case errors.Is(err, password.ErrBusy):
		return status.Error(codes.ResourceExhausted, "etcdserver: too many passwords are being checked")
	case errors.Is(err, password.ErrClosed):
		return errs.Stopped
	case errors.Is(err, password.ErrTooLong):
		return status.Error(codes.InvalidArgument, "etcdserver: "+err.Error())
	}
	return err
}

// administerNow sends a request through the log in the caller's name, for callers
// that may wait.
func (s *Service) administerNow(ctx context.Context, a asked, r *etcdserverpb.InternalRaftRequest) (*etcdserverpb.ResponseHeader, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.c.RequestTimeout, errs.Timeout)
	defer cancel()
	who := s.credentialOf(a)
	for {
		by, err := s.rightsNow(ctx, who)
		if err == nil {
			err = by.Root()
		}
		if err != nil {
			return nil, err
		}
		res, err := s.proposeBy(ctx, by.Subject, r)
		switch {
		case err == nil:
			return s.protoHeader(res.Revision), nil
		case !s.overtaken(err, by.Subject) || !s.c.Machine.View().Auth.Enabled:
			return nil, err // also that a user without a name cannot be made
		}
	}
}

// authenticate serves Auth.Authenticate: a password for a token.
func (s *Service) authenticate(ctx context.Context, stream *rpc.Stream) error {
	var r etcdserverpb.AuthenticateRequest
	if err := receiveOwn(stream, &r); err != nil {
		return err
	}
	token, revision, err := s.logIn(ctx, stream, r.Name, r.Password)
	if err != nil {
		return toStatus(err)
	}
	return stream.Send(&etcdserverpb.AuthenticateResponse{Header: s.protoHeader(revision), Token: token})
}

// logIn compares a password, and makes the token of the login. What was compared
// counts only if the hash is still the same when the login is applied.
func (s *Service) logIn(ctx context.Context, a asked, name, pass string) (token string, revision int64, err error) {
	if !s.c.Machine.View().Auth.Enabled {
		if err := s.waitApplied(ctx); err != nil {
			return "", 0, err
		}
		if !s.c.Machine.View().Auth.Enabled {
			return "", 0, errs.AuthNotEnabled
		}
	}
	for {
		var hash []byte
		same, err := s.c.Passwords.Compare(ctx, name, neighbourhood(a), func() (_ []byte, err error) {
			hash, err = s.storedHash(ctx, name)
			return hash, err
		}, pass)
		if err != nil {
			return "", 0, passwordError(err)
		}
		if !same {
			return "", 0, errs.AuthFailed
		}
		draft, err := s.c.Users.Tokens.Draft()
		if err != nil {
			return "", 0, err
		}
		res, err := s.proposeBy(ctx, auth.Subject{}, &etcdserverpb.InternalRaftRequest{
			Authenticate: &etcdserverpb.InternalAuthenticateRequest{Name: name, SimpleToken: draft},
		})
		if err != nil {
			return "", 0, err
		}
		if string(res.Login.Hash) == string(hash) {
			token, err = s.c.Users.Tokens.Issue(tokenLogin(res.Login))
			return token, res.Revision, err
		}
	}
}

// storedHash is the hash of a user's password, as of all that was acknowledged before;
// nil for nobody's.
func (s *Service) storedHash(ctx context.Context, name string) ([]byte, error) {
	if err := s.waitApplied(ctx); err != nil {
		return nil, err
	}
	users := s.c.Machine.View().Auth
	u, ok := users.User(name)
	switch {
	case !users.Enabled:
		return nil, errs.AuthNotEnabled
	case !ok:
		return nil, nil
	case u.NoPassword:
		return nil, errs.NoPasswordUser
	}
	return u.Hash, nil
}
