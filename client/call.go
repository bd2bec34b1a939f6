package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/version"
)

// The time between two attempts of one call doubles from the first to the last
// of these.
const (
	firstPause = 25 * time.Millisecond
	lastPause  = time.Second
)

// method is one RPC. reads says that it changes nothing, or nothing more the second
// time, so that it may be sent any number of times.
type method struct {
	path  string
	reads bool
}

var (
	methodRange             = method{"/etcdserverpb.KV/Range", true}
	methodRangeStream       = method{"/etcdserverpb.KV/RangeStream", true}
	methodPut               = method{"/etcdserverpb.KV/Put", false}
	methodDeleteRange       = method{"/etcdserverpb.KV/DeleteRange", false}
	methodTxn               = method{"/etcdserverpb.KV/Txn", false}
	methodReadTxn           = method{"/etcdserverpb.KV/Txn", true}
	methodGuardedTxn        = method{"/etcdserverpb.KV/Txn", true} // one that may be made twice
	methodCompact           = method{"/etcdserverpb.KV/Compact", false}
	methodMemberList        = method{"/etcdserverpb.Cluster/MemberList", true}
	methodMemberAdd         = method{"/etcdserverpb.Cluster/MemberAdd", false}
	methodMemberRemove      = method{"/etcdserverpb.Cluster/MemberRemove", false}
	methodMemberUpdate      = method{"/etcdserverpb.Cluster/MemberUpdate", false}
	methodMemberPromote     = method{"/etcdserverpb.Cluster/MemberPromote", false}
	methodAlarmList         = method{"/etcdserverpb.Maintenance/Alarm", true}
	methodAlarmDisarm       = method{"/etcdserverpb.Maintenance/Alarm", false}
	methodStatus            = method{"/etcdserverpb.Maintenance/Status", true}
	methodHashKV            = method{"/etcdserverpb.Maintenance/HashKV", true}
	methodDefragment        = method{"/etcdserverpb.Maintenance/Defragment", false}
	methodMoveLeader        = method{"/etcdserverpb.Maintenance/MoveLeader", false}
	methodDowngrade         = method{"/etcdserverpb.Maintenance/Downgrade", false}
	methodDowngradeValidate = method{"/etcdserverpb.Maintenance/Downgrade", true}
	methodWatch             = method{"/etcdserverpb.Watch/Watch", true}
	methodLeaseGrant        = method{"/etcdserverpb.Lease/LeaseGrant", false}
	methodLeaseRevoke       = method{"/etcdserverpb.Lease/LeaseRevoke", false}
	methodLeaseKeepAlive    = method{"/etcdserverpb.Lease/LeaseKeepAlive", true}
	methodLeaseTimeToLive   = method{"/etcdserverpb.Lease/LeaseTimeToLive", true}
	methodLeaseLeases       = method{"/etcdserverpb.Lease/LeaseLeases", true}
	methodSnapshot          = method{"/etcdserverpb.Maintenance/Snapshot", true}
	methodAuthenticate      = method{"/etcdserverpb.Auth/Authenticate", true}

	methodAuthEnable           = method{"/etcdserverpb.Auth/AuthEnable", false}
	methodAuthDisable          = method{"/etcdserverpb.Auth/AuthDisable", false}
	methodAuthStatus           = method{"/etcdserverpb.Auth/AuthStatus", true}
	methodUserAdd              = method{"/etcdserverpb.Auth/UserAdd", false}
	methodUserDelete           = method{"/etcdserverpb.Auth/UserDelete", false}
	methodUserGet              = method{"/etcdserverpb.Auth/UserGet", true}
	methodUserList             = method{"/etcdserverpb.Auth/UserList", true}
	methodUserChangePassword   = method{"/etcdserverpb.Auth/UserChangePassword", false}
	methodUserGrantRole        = method{"/etcdserverpb.Auth/UserGrantRole", false}
	methodUserRevokeRole       = method{"/etcdserverpb.Auth/UserRevokeRole", false}
	methodRoleAdd              = method{"/etcdserverpb.Auth/RoleAdd", false}
	methodRoleGrantPermission  = method{"/etcdserverpb.Auth/RoleGrantPermission", false}
	methodRoleGet              = method{"/etcdserverpb.Auth/RoleGet", true}
	methodRoleList             = method{"/etcdserverpb.Auth/RoleList", true}
	methodRoleRevokePermission = method{"/etcdserverpb.Auth/RoleRevokePermission", false}
	methodRoleDelete           = method{"/etcdserverpb.Auth/RoleDelete", false}
)

// requireLeader is the metadata by which WithRequireLeader is known.
const requireLeader = "hasleader"

// WithRequireLeader has a member that knows no leader refuse the calls made
// with the context, with errs.NoLeader, and has that error returned at once.
func WithRequireLeader(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, requireLeader, "true")
}

// outgoing is the context of one attempt.
func outgoing(ctx context.Context, token string) context.Context {
	if token == "" {
		return metadata.AppendToOutgoingContext(ctx, "client-api-version", version.API)
	}
	return metadata.AppendToOutgoingContext(ctx, "client-api-version", version.API, "token", token)
}

// message is a pointer to an R that is a message.
type message[R any] interface {
	*R
	proto.Message
}

// call makes an RPC on any endpoint.
func call[R any, M message[R]](ctx context.Context, c *Client, m method, req proto.Message) (*R, error) {
	return callOn[R, M](ctx, c, c.conn, m, req)
}

// callAt makes an RPC on one endpoint, over a connection of its own.
func callAt[R any, M message[R]](ctx context.Context, c *Client, at string, m method, req proto.Message) (*R, error) {
	endpoints, err := parseEndpoints([]string{at}, c.config.TLS)
	if err != nil {
		return nil, err
	}
	conn, err := c.connect(endpoints)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return callOn[R, M](ctx, c, conn, m, req)
}

func callOn[R any, M message[R]](ctx context.Context, c *Client, conn *grpc.ClientConn, m method, req proto.Message) (*R, error) {
	res := new(R)
	err := c.repeat(ctx, m, func(token string) error {
		return translate(ctx, conn.Invoke(outgoing(ctx, token), m.path, req, M(res)))
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// repeat runs attempts, each with the token of its time, until one succeeds,
// fails for good, or ctx ends. The package's documentation says what is sent
// again.
func (c *Client) repeat(ctx context.Context, m method, attempt func(token string) error) error {
	pause, logins := firstPause, 0
	reason := "" // why the attempt before came to nothing
	for {
		token, began := c.auth.current(), time.Now()
		err := attempt(token)
		if e := c.logger.Check(zap.DebugLevel, "call"); e != nil {
			e.Write(zap.String("method", m.path), zap.Duration("took", time.Since(began)), zap.Error(err))
		}
		switch {
		case err == nil:
			return nil
		case m != methodAuthenticate && tokenRefused(err) && c.auth.renewable() && logins < maxLogins:
			logins++
			if failed := c.logIn(ctx, token); failed != nil {
				return failed
			}
			continue
		case reason != "" && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return &ended{ctx.Err(), reason}
		case !c.mayRepeat(ctx, m, err):
			return err
		}
		reason = err.Error()
		c.logger.Warn("a call is sent again", zap.String("method", m.path), zap.Error(err), zap.Duration("pause", pause))
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return &ended{ctx.Err(), reason}
		}
		pause = min(2*pause, lastPause)
	}
}

// mayRepeat says whether a call that failed with err may be sent once more.
// That a connection was never made is no error here: gRPC waits for one.
func (c *Client) mayRepeat(ctx context.Context, m method, err error) bool {
	switch {
	case errors.Is(err, errs.NoLeader):
		return !leaderRequired(ctx)
	case errors.Is(err, errs.ProposalDropped):
		return true
	case errors.Is(err, errs.NotSupportedForLearner):
		return len(c.endpoints) > 1
	}
	return m.reads && ctx.Err() == nil && status.Code(err) == codes.Unavailable
}

func leaderRequired(ctx context.Context) bool {
	md, _ := metadata.FromOutgoingContext(ctx)
	return len(md.Get(requireLeader)) > 0
}
