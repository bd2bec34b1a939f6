package service

import (
	"context"
	"encoding/base64"
	"errors"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
		s.auditField(c, field)
		s.proposeFor(c, field, answerCompact)
	}
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
	if u, ok := s.c.Machine.View().Auth.User(r.Name); !ok || !u.NoPassword {
		if err := s.hashPassword(ctx, stream, r.Name, &r.Password, &r.HashedPassword); err != nil {
			return toStatus(err)
		}
	}
	r.Password = ""
	h, err := s.administerNow(ctx, stream, &etcdserverpb.InternalRaftRequest{AuthUserChangePassword: r})
	if err != nil {
		return toStatus(err)
	}
	return stream.Send(&etcdserverpb.AuthUserChangePasswordResponse{Header: h})
}

// receiveOwn receives a request that may be kept.
func receiveOwn(stream *rpc.Stream, r interface{ UnmarshalVT([]byte) error }) error {
	payload, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := r.UnmarshalVT(payload); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	audited(stream, r)
	return nil
}

// errHash refuses what is no hash, before every member stores it.
var errHash = status.Error(codes.InvalidArgument, "etcdserver: hashedPassword is not the base64 of a bcrypt hash")

// hashPassword replaces a password by its hash, unless the client has done that.
func (s *Service) hashPassword(ctx context.Context, a asked, user string, plain, hashed *string) error {
	if *hashed != "" {
		raw, err := base64.StdEncoding.DecodeString(*hashed)
		if err == nil {
			_, err = bcrypt.Cost(raw)
		}
		if err != nil {
			return errHash
		}
		return nil
	}
	h, err := s.c.Passwords.Hash(ctx, user, address(a), *plain)
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
	by, err := s.rightsNow(ctx, s.credentialOf(a))
	if err == nil {
		err = by.Root()
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.c.RequestTimeout, errs.Timeout)
	defer cancel()
	res, err := s.proposeBy(ctx, by.Subject, r)
	if err != nil {
		return nil, err
	}
	return s.protoHeader(res.Revision), nil
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
		same, err := s.c.Passwords.Compare(ctx, name, address(a), func() (_ []byte, err error) {
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
