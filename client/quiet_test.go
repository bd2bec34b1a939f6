package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// A watch over quiet keys outlives any number of restarts of a member that forgets its
// tokens with each: every new login has worked.
func TestAQuietWatchOutlivesTokens(t *testing.T) {
	const restarts = 6
	tokens, valid := 0, ""
	watches := 0
	f := startFake(t, func(c *received) error {
		if c.method == methodAuthenticate.path {
			var r etcdserverpb.AuthenticateRequest
			c.request(&r)
			tokens++
			valid = string(rune('a' + tokens))
			return c.stream.SendMsg(&etcdserverpb.AuthenticateResponse{Header: header(1), Token: valid})
		}
		c.create()
		if c.token() != valid {
			return answer(codes.Unauthenticated, errs.InvalidAuthToken.Error())
		}
		watches++
		c.send(&etcdserverpb.WatchResponse{Header: header(10), Created: true})
		if watches <= restarts {
			valid = "" // the member has restarted
			return answer(codes.Unavailable, "etcdserver: server stopped")
		}
		c.send(&etcdserverpb.WatchResponse{Header: header(11), Events: []*mvccpb.Event{putAt("k", 11)}})
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}, Username: "u", Password: "p"})
	res, ok := <-c.Watch(within(t, 20*time.Second), "k")
	require.True(t, ok)
	require.NoError(t, res.Err(), "after %d logins, each of which was followed by a watcher that was created", tokens)
	require.Len(t, res.Events, 1)
}
