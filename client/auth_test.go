package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// Every call of the service, as the server gets it, and whether it is sent again when
// the connection is lost while the server has it.
func TestCallsAboutUsers(t *testing.T) {
	perm := &Permission{PermType: PermReadWrite, Key: []byte("a"), RangeEnd: []byte("b")}
	for _, tc := range []struct {
		method  string
		again   bool
		request proto.Message // as it must come
		blank   proto.Message
		call    func(context.Context, *Client) (any, error)
	}{
		{"AuthEnable", false, &etcdserverpb.AuthEnableRequest{}, &etcdserverpb.AuthEnableRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.AuthEnable(ctx) }},
		{"AuthDisable", false, &etcdserverpb.AuthDisableRequest{}, &etcdserverpb.AuthDisableRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.AuthDisable(ctx) }},
		{"AuthStatus", true, &etcdserverpb.AuthStatusRequest{}, &etcdserverpb.AuthStatusRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.AuthStatus(ctx) }},
		{"Authenticate", true, &etcdserverpb.AuthenticateRequest{Name: "u", Password: "p"}, &etcdserverpb.AuthenticateRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.Authenticate(ctx, "u", "p") }},
		{"UserAdd", false, &etcdserverpb.AuthUserAddRequest{Name: "u", Password: "p"}, &etcdserverpb.AuthUserAddRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserAdd(ctx, "u", "p") }},
		{"UserAdd", false, &etcdserverpb.AuthUserAddRequest{Name: "u", Options: &UserAddOptions{NoPassword: true}}, &etcdserverpb.AuthUserAddRequest{},
			func(ctx context.Context, c *Client) (any, error) {
				return c.UserAddWithOptions(ctx, "u", "", &UserAddOptions{NoPassword: true})
			}},
		{"UserDelete", false, &etcdserverpb.AuthUserDeleteRequest{Name: "u"}, &etcdserverpb.AuthUserDeleteRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserDelete(ctx, "u") }},
		{"UserGet", true, &etcdserverpb.AuthUserGetRequest{Name: "u"}, &etcdserverpb.AuthUserGetRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserGet(ctx, "u") }},
		{"UserList", true, &etcdserverpb.AuthUserListRequest{}, &etcdserverpb.AuthUserListRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserList(ctx) }},
		{"UserChangePassword", false, &etcdserverpb.AuthUserChangePasswordRequest{Name: "u", Password: "p"}, &etcdserverpb.AuthUserChangePasswordRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserChangePassword(ctx, "u", "p") }},
		{"UserGrantRole", false, &etcdserverpb.AuthUserGrantRoleRequest{User: "u", Role: "r"}, &etcdserverpb.AuthUserGrantRoleRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserGrantRole(ctx, "u", "r") }},
		{"UserRevokeRole", false, &etcdserverpb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"}, &etcdserverpb.AuthUserRevokeRoleRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.UserRevokeRole(ctx, "u", "r") }},
		{"RoleAdd", false, &etcdserverpb.AuthRoleAddRequest{Name: "r"}, &etcdserverpb.AuthRoleAddRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.RoleAdd(ctx, "r") }},
		{"RoleGrantPermission", false, &etcdserverpb.AuthRoleGrantPermissionRequest{Name: "r", Perm: perm}, &etcdserverpb.AuthRoleGrantPermissionRequest{},
			func(ctx context.Context, c *Client) (any, error) {
				return c.RoleGrantPermission(ctx, "r", "a", "b", PermReadWrite)
			}},
		{"RoleGet", true, &etcdserverpb.AuthRoleGetRequest{Role: "r"}, &etcdserverpb.AuthRoleGetRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.RoleGet(ctx, "r") }},
		{"RoleList", true, &etcdserverpb.AuthRoleListRequest{}, &etcdserverpb.AuthRoleListRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.RoleList(ctx) }},
		{"RoleRevokePermission", false, &etcdserverpb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a"), RangeEnd: []byte("b")}, &etcdserverpb.AuthRoleRevokePermissionRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.RoleRevokePermission(ctx, "r", "a", "b") }},
		{"RoleDelete", false, &etcdserverpb.AuthRoleDeleteRequest{Role: "r"}, &etcdserverpb.AuthRoleDeleteRequest{},
			func(ctx context.Context, c *Client) (any, error) { return c.RoleDelete(ctx, "r") }},
	} {
		t.Run(tc.method, func(t *testing.T) {
			path := "/etcdserverpb.Auth/" + tc.method
			f := startFake(t, func(c *received) error {
				if c.method != path {
					return answer(codes.Internal, "another call: "+c.method)
				}
				got := proto.Clone(tc.blank)
				c.request(got)
				if !proto.Equal(tc.request, got) {
					return answer(codes.Internal, fmt.Sprintf("the request is %v", got))
				}
				if c.nth == 1 {
					return c.cutOff()
				}
				// All answers have their header in the same place.
				return c.stream.SendMsg(&etcdserverpb.AuthEnableResponse{Header: &ResponseHeader{Revision: 7}})
			})
			c := connectTo(t, Config{Endpoints: []string{f.address}})
			res, err := tc.call(within(t, 20*time.Second), c)
			if !tc.again {
				require.Error(t, err, "whether it was made is not known")
				require.Equal(t, 1, f.count(method{path: path}))
				res, err = tc.call(within(t, 20*time.Second), c)
			}
			require.NoError(t, err)
			require.Equal(t, int64(7), res.(interface{ GetHeader() *ResponseHeader }).GetHeader().Revision)
		})
	}
}

// watching is a server of watches with a user. Each watch is answered by end once it
// is created, until the server has done so for times.
func watching(t *testing.T, times int64, end func(c *received, id int64) error) (*fake, *atomic.Int64) {
	var ended atomic.Int64
	return startFake(t, func(c *received) error {
		if c.method == methodAuthenticate.path {
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Token: fmt.Sprint("token ", c.nth)})
		}
		req := &etcdserverpb.WatchRequest{}
		c.request(req)
		n := ended.Add(1)
		if n <= times {
			return end(c, 0)
		}
		from := max(req.GetCreateRequest().StartRevision, 1)
		for _, res := range []*etcdserverpb.WatchResponse{
			{Header: &ResponseHeader{Revision: from}, Created: true},
			{Header: &ResponseHeader{Revision: from}, Events: []*mvccpb.Event{{Kv: &mvccpb.KeyValue{Key: []byte(c.token()), ModRevision: from}}}},
		} {
			if err := c.stream.SendMsg(res); err != nil {
				return err
			}
		}
		<-c.ctx.Done()
		return nil
	}), &ended
}

// A token that has run out ends no watch, however the server says so.
func TestAWatchWithATokenThatIsRefused(t *testing.T) {
	for name, end := range map[string]func(c *received, id int64) error{
		"the stream": func(*received, int64) error { return answer(codes.Unauthenticated, "etcdserver: invalid auth token") },
		"a reason": func(c *received, id int64) error {
			err := c.stream.SendMsg(&etcdserverpb.WatchResponse{WatchId: -1, Created: true, Canceled: true, CancelReason: "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"})
			<-c.ctx.Done()
			return err
		},
		"a bare reason": func(c *received, id int64) error {
			err := c.stream.SendMsg(&etcdserverpb.WatchResponse{WatchId: -1, Created: true, Canceled: true, CancelReason: "etcdserver: user name is empty"})
			<-c.ctx.Done()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := watching(t, 2, end)
			c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "u", Password: "p"})
			ctx, cancel := context.WithCancel(within(t, 20*time.Second))
			defer cancel()
			res := <-c.Watch(ctx, "k", WithRev(9))
			require.NoError(t, res.Err())
			require.Equal(t, int64(9), res.Events[0].Kv.ModRevision)
			require.Equal(t, "token 3", string(res.Events[0].Kv.Key))
		})
	}
}

// What no login can mend ends the watch, with an error of the table, and soon.
func TestAWatchThatNoLoginMends(t *testing.T) {
	for _, tc := range []struct {
		reason string
		want   *errs.Error
		most   int64 // watches that are tried
	}{
		{"rpc error: code = PermissionDenied desc = etcdserver: permission denied", errs.PermissionDenied, 1},
		{"etcdserver: permission denied", errs.PermissionDenied, 1},
		{"rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", errs.InvalidAuthToken, 1 + maxLogins},
		{"rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old", errs.AuthOldRevision, 1 + maxLogins},
	} {
		f, ended := watching(t, 1<<30, func(c *received, _ int64) error {
			err := c.stream.SendMsg(&etcdserverpb.WatchResponse{WatchId: -1, Created: true, Canceled: true, CancelReason: tc.reason})
			<-c.ctx.Done()
			return err
		})
		c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "u", Password: "p"})
		var last WatchResponse
		for res := range c.Watch(within(t, 20*time.Second), "k") {
			last = res
		}
		require.True(t, last.Canceled)
		require.ErrorIs(t, last.Err(), tc.want)
		require.Equal(t, tc.reason, last.CancelReason)
		require.Equal(t, tc.most, ended.Load())
	}
	require.Equal(t, "rpc error: code = Unknown", reasonError("rpc error: code = Unknown").Error())
}

// A user who is gone gets no token any more: all that goes on by itself ends.
func TestAUserWhoIsGone(t *testing.T) {
	var gone atomic.Bool
	f := startFake(t, func(c *received) error {
		switch {
		case c.method == methodAuthenticate.path && gone.Load():
			return answer(codes.InvalidArgument, "etcdserver: authentication failed, invalid user ID or password")
		case c.method == methodAuthenticate.path:
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Token: "t"})
		}
		gone.Store(true)
		return answer(codes.Unauthenticated, "etcdserver: invalid auth token")
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "u", Password: "p"})
	ctx := within(t, 20*time.Second)
	_, err := c.Get(ctx, "k")
	require.ErrorIs(t, err, errs.AuthFailed)
	res := <-c.Watch(ctx, "k")
	require.ErrorIs(t, res.Err(), errs.AuthFailed)
	for _, err := range c.GetStream(ctx, "k") {
		require.ErrorIs(t, err, errs.AuthFailed)
	}
	_, err = c.KeepAliveOnce(ctx, 1)
	require.ErrorIs(t, err, errs.AuthFailed)
	_, err = c.Snapshot(ctx)
	require.ErrorIs(t, err, errs.AuthFailed)
	_, err = c.Status(ctx, f.address)
	require.ErrorIs(t, err, errs.AuthFailed)
	require.Equal(t, 1+6, f.count(methodAuthenticate))
}

// Every kind of call carries the token of its time, and a new one after it was refused.
func TestStreamsCarryTheToken(t *testing.T) {
	f := startFake(t, func(c *received) error {
		if c.method == methodAuthenticate.path {
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Token: fmt.Sprint(c.nth)})
		}
		if c.nth == 1 {
			return answer(codes.Unauthenticated, "etcdserver: invalid auth token")
		}
		switch c.method {
		case methodRangeStream.path:
			return c.stream.SendMsg(&etcdserverpb.RangeStreamResponse{RangeResponse: &GetResponse{Kvs: []*KeyValue{{Value: []byte(c.token())}}}})
		case methodLeaseKeepAlive.path:
			return c.stream.SendMsg(&LeaseKeepAliveResponse{ID: 1, TTL: 10})
		case methodSnapshot.path:
			return c.stream.SendMsg(&etcdserverpb.SnapshotResponse{Version: c.token()})
		}
		return c.stream.SendMsg(&StatusResponse{Version: c.token()})
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "u", Password: "p"})
	ctx := within(t, 20*time.Second)
	for part, err := range c.GetStream(ctx, "k") {
		require.NoError(t, err)
		require.Equal(t, "2", string(part.Kvs[0].Value))
	}
	_, err := c.KeepAliveOnce(ctx, 1)
	require.NoError(t, err)
	s, err := c.Snapshot(ctx)
	require.NoError(t, err)
	require.Equal(t, "4", s.Version)
	require.NoError(t, s.Close())
	status, err := c.Status(ctx, f.address)
	require.NoError(t, err)
	require.Equal(t, "5", status.Version)
	kept, err := c.KeepAlive(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, int64(10), (<-kept).TTL)
	require.False(t, errors.Is(ctx.Err(), context.DeadlineExceeded))
}
