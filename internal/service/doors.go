package service

import (
	"context"
	"errors"
	"strings"

	"etcd.alt/api/errs"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/rpc"
)

// door is what a method asks of its caller before it looks at the request.
type door int

const (
	// shut is the door of a method that nobody has thought of.
	shut door = iota
	// open asks nothing.
	open
	// anybody needs no token, but a token must be good.
	anybody
	// users must be known.
	users
	// roots must have the role root. What is said of this member's own state is judged in
	// that state.
	roots
	// agreed is roots for what changes the cluster: it is judged behind a barrier, so that
	// a right that was withdrawn elsewhere, before the call, is gone here too. No other
	// member judges it again.
	agreed
	// inner is for who is known too, but there is an inner door: what the request
	// names, the keys most of all, is judged by the method, in the view that answers.
	inner
	// streamed judges each message of a stream, so that the stream itself opens.
	streamed
)

// doors has the door of every method. What its inner door asks is in
// machine.Rights; the methods without a rightful place there say it beside them.
var doors = map[string]door{
	"/etcdserverpb.KV/Range":       inner,
	"/etcdserverpb.KV/RangeStream": inner,
	"/etcdserverpb.KV/Put":         inner,
	"/etcdserverpb.KV/DeleteRange": inner,
	"/etcdserverpb.KV/Txn":         inner,
	"/etcdserverpb.KV/Compact":     agreed,

	"/etcdserverpb.Watch/Watch": streamed, // to read what is watched

	"/etcdserverpb.Lease/LeaseGrant":      users,
	"/etcdserverpb.Lease/LeaseRevoke":     inner,    // to write the keys on it
	"/etcdserverpb.Lease/LeaseKeepAlive":  streamed, // to write the keys on it
	"/etcdserverpb.Lease/LeaseTimeToLive": inner,    // with the keys: to read them
	"/etcdserverpb.Lease/LeaseLeases":     inner,    // to read the keys on all of them

	"/v3lockpb.Lock/Lock":             inner, // of all these: what their reads and transactions need
	"/v3lockpb.Lock/Unlock":           inner,
	"/v3electionpb.Election/Campaign": inner,
	"/v3electionpb.Election/Proclaim": inner,
	"/v3electionpb.Election/Leader":   inner,
	"/v3electionpb.Election/Observe":  inner,
	"/v3electionpb.Election/Resign":   inner,

	"/etcdserverpb.Cluster/MemberList":    users,
	"/etcdserverpb.Cluster/MemberAdd":     streamed, // agreed, behind a look at the URLs
	"/etcdserverpb.Cluster/MemberRemove":  agreed,
	"/etcdserverpb.Cluster/MemberUpdate":  agreed,
	"/etcdserverpb.Cluster/MemberPromote": agreed,

	"/etcdserverpb.Maintenance/Alarm":      inner, // agreed for all but to ask
	"/etcdserverpb.Maintenance/Status":     users,
	"/etcdserverpb.Maintenance/Defragment": roots,
	"/etcdserverpb.Maintenance/Hash":       roots,
	"/etcdserverpb.Maintenance/HashKV":     roots,
	"/etcdserverpb.Maintenance/Snapshot":   roots,
	"/etcdserverpb.Maintenance/MoveLeader": agreed,
	"/etcdserverpb.Maintenance/Downgrade":  agreed,

	"/etcdserverpb.Auth/AuthEnable":           roots,
	"/etcdserverpb.Auth/AuthDisable":          roots,
	"/etcdserverpb.Auth/AuthStatus":           anybody,
	"/etcdserverpb.Auth/Authenticate":         open,
	"/etcdserverpb.Auth/UserAdd":              roots,
	"/etcdserverpb.Auth/UserGet":              inner, // root, or the user
	"/etcdserverpb.Auth/UserList":             roots,
	"/etcdserverpb.Auth/UserDelete":           roots,
	"/etcdserverpb.Auth/UserChangePassword":   roots,
	"/etcdserverpb.Auth/UserGrantRole":        roots,
	"/etcdserverpb.Auth/UserRevokeRole":       roots,
	"/etcdserverpb.Auth/RoleAdd":              roots,
	"/etcdserverpb.Auth/RoleGet":              inner, // root, or who has it
	"/etcdserverpb.Auth/RoleList":             roots,
	"/etcdserverpb.Auth/RoleDelete":           roots,
	"/etcdserverpb.Auth/RoleGrantPermission":  roots,
	"/etcdserverpb.Auth/RoleRevokePermission": roots,

	"/grpc.health.v1.Health/Check":                                   open,
	"/grpc.health.v1.Health/List":                                    open,
	"/grpc.health.v1.Health/Watch":                                   open,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      open,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": open,
}

// pass says why a caller may not pass a door in a view; nil if it may. Errors:
// errs.InvalidAuthToken, UserEmpty, UserNotFound, PermissionDenied.
func (s *Service) pass(d door, v *machine.View, c credential) error {
	if d == open || d == streamed || !v.Auth.Enabled {
		return nil
	}
	by, err := s.rights(v, c)
	if err != nil || d == anybody {
		return err
	}
	switch d {
	case users, inner:
		return v.Auth.CheckUser(by.Subject)
	case roots, agreed:
		return by.Root()
	}
	return errs.PermissionDenied
}

// knows says whether this member can judge the caller's credential as far as it has
// come; see errBehind.
func (s *Service) knows(d door, v *auth.View, c credential) bool {
	if d == open || d == streamed {
		return true
	}
	_, err := s.identify(v, c, false)
	return !errors.Is(err, errBehind)
}

// barredInline is an inline method behind its door.
func (s *Service) barredInline(d door, inline func(*rpc.Call)) func(*rpc.Call) {
	enter := func(c *rpc.Call, who credential) {
		v := s.c.Machine.View()
		if by, err := s.identify(v.Auth, who, true); err == nil {
			noteUser(c, by.User)
		}
		if err := s.pass(d, v, who); err != nil {
			fail(c, err)
			return
		}
		inline(c)
	}
	if d == agreed {
		return func(c *rpc.Call) {
			who := s.credentialOf(c)
			noteCaller(c, who)
			s.afterBarrier(c, func() { enter(c, who) })
		}
	}
	return func(c *rpc.Call) {
		v := s.c.Machine.View()
		if !v.Auth.Enabled {
			inline(c)
			return
		}
		if d == inner && c.Mark() == nil { // not audited
			if known := recall(c, v.Auth); known != nil && known.token.Good(s.clock.read(s.c.Now, c)) {
				inline(c)
				return
			}
		}
		who := s.credentialOf(c)
		noteCaller(c, who)
		if who.token == "" || d == open || d == streamed {
			enter(c, who)
			return
		}
		known, err := s.judge(v.Auth, who, false)
		switch {
		case errors.Is(err, errBehind):
			s.afterBarrier(c, func() { enter(c, who) })
		case err != nil:
			fail(c, err)
		case d == inner: // the token's user is one
			know(c, known)
			inline(c)
		default:
			know(c, known)
			who.known = known
			enter(c, who)
		}
	}
}

// early says that a request which err refuses may have been given its right in a state
// to which this member has not come yet: it is to be judged behind a barrier. caughtUp
// says that it was.
func (s *Service) early(err error, caughtUp bool) bool {
	return !caughtUp && errors.Is(err, errs.PermissionDenied) && !s.c.Replica.Alone()
}

// judged is what judge says, for callers that may wait: where it refuses what may have
// been allowed in a state to which this member has not come yet, it is asked again in
// that state.
func (s *Service) judged(ctx context.Context, judge func() error) error {
	err := judge()
	if !s.early(err, false) {
		return err
	}
	if err := s.waitApplied(ctx); err != nil {
		return err
	}
	return judge()
}

// barredBytes bounds what the requests of all connections take that wait behind a barrier
// to be let in.
const barredBytes = 16 << 20

// afterBarrier has do answer a call when this member is as late as the call is. A call
// that is over by then is begun no more.
func (s *Service) afterBarrier(c *rpc.Call, do func()) {
	if s.c.Replica.Alone() {
		do()
		return
	}
	n := int64(c.Held())
	if s.barred.Add(n) > barredBytes {
		s.barred.Add(-n)
		fail(c, errs.TooManyRequests)
		return
	}
	c.KeepPayload()
	s.linearizable(c, func() {
		if !s.workers.do(c, func() {
			defer s.barred.Add(-n)
			if !c.Over() {
				do()
				s.Kick()
			}
		}) {
			s.barred.Add(-n)
		}
	}, func(error) { s.barred.Add(-n) })
}

// barredStream is a stream behind its door.
func (s *Service) barredStream(d door, path string, stream rpc.StreamHandler) rpc.StreamHandler {
	refuse := toStatus
	if strings.HasPrefix(path, "/v3") {
		refuse = unknownError
	}
	return func(ctx context.Context, st *rpc.Stream) error {
		if d == agreed && !s.c.Replica.Alone() {
			if err := s.waitBarrier(ctx); err != nil {
				return refuse(err)
			}
		}
		v := s.c.Machine.View()
		if !v.Auth.Enabled {
			return stream(ctx, st)
		}
		who := s.credentialOf(st)
		noteCaller(st, who)
		if !s.knows(d, v.Auth, who) {
			if err := s.waitBarrier(ctx); err != nil {
				return refuse(err)
			}
		}
		v = s.c.Machine.View()
		if by, err := s.identify(v.Auth, who, true); err == nil {
			noteUser(st, by.User)
		}
		if err := s.pass(d, v, who); err != nil {
			return refuse(err)
		}
		if known, err := s.judge(v.Auth, who, true); err == nil && who.token != "" && v.Auth.Enabled {
			know(st, known)
		}
		return stream(ctx, st)
	}
}
