package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
)

// calls are all that a Client can ask for, by method.
var calls = map[method]func(context.Context, *Client) error{
	methodRange: func(ctx context.Context, c *Client) error { _, err := c.Get(ctx, "k"); return err },
	methodRangeStream: func(ctx context.Context, c *Client) error {
		for _, err := range c.GetStream(ctx, "k") {
			return err
		}
		return errors.New("no parts")
	},
	methodPut:         func(ctx context.Context, c *Client) error { _, err := c.Put(ctx, "k", "v"); return err },
	methodDeleteRange: func(ctx context.Context, c *Client) error { _, err := c.Delete(ctx, "k"); return err },
	methodTxn: func(ctx context.Context, c *Client) error {
		_, err := c.Txn().Then(OpGet("k")).Else(OpTxn(nil, nil, []Op{OpPut("k", "v")})).Commit(ctx)
		return err
	},
	methodReadTxn: func(ctx context.Context, c *Client) error {
		_, err := c.Txn().Then(OpGet("k")).Else(OpTxn(nil, []Op{OpGet("k")}, nil)).Commit(ctx)
		return err
	},
	methodCompact:           func(ctx context.Context, c *Client) error { _, err := c.Compact(ctx, 5); return err },
	methodMemberList:        func(ctx context.Context, c *Client) error { _, err := c.MemberList(ctx); return err },
	methodMemberAdd:         func(ctx context.Context, c *Client) error { _, err := c.MemberAdd(ctx, nil); return err },
	methodMemberRemove:      func(ctx context.Context, c *Client) error { _, err := c.MemberRemove(ctx, 1); return err },
	methodMemberUpdate:      func(ctx context.Context, c *Client) error { _, err := c.MemberUpdate(ctx, 1, nil); return err },
	methodMemberPromote:     func(ctx context.Context, c *Client) error { _, err := c.MemberPromote(ctx, 1); return err },
	methodAlarmList:         func(ctx context.Context, c *Client) error { _, err := c.AlarmList(ctx); return err },
	methodAlarmDisarm:       func(ctx context.Context, c *Client) error { _, err := c.AlarmDisarm(ctx, &AlarmMember{}); return err },
	methodStatus:            func(ctx context.Context, c *Client) error { _, err := c.Status(ctx, c.Endpoints()[0]); return err },
	methodHashKV:            func(ctx context.Context, c *Client) error { _, err := c.HashKV(ctx, c.Endpoints()[0], 0); return err },
	methodDefragment:        func(ctx context.Context, c *Client) error { _, err := c.Defragment(ctx, c.Endpoints()[0]); return err },
	methodMoveLeader:        func(ctx context.Context, c *Client) error { _, err := c.MoveLeader(ctx, 1); return err },
	methodDowngrade:         func(ctx context.Context, c *Client) error { _, err := c.DowngradeEnable(ctx, "3.6"); return err },
	methodDowngradeValidate: func(ctx context.Context, c *Client) error { _, err := c.DowngradeValidate(ctx, "3.6"); return err },
	methodSnapshot: func(ctx context.Context, c *Client) error {
		s, err := c.Snapshot(ctx)
		if err == nil {
			s.Close()
		}
		return err
	},
}

// TestAWriteThatMayHaveHappenedIsNotRepeated has the connection cut when the
// server has the request. Reads come again, writes do not.
func TestAWriteThatMayHaveHappenedIsNotRepeated(t *testing.T) {
	for m, call := range calls {
		t.Run(m.path[1:], func(t *testing.T) {
			f := startFake(t, func(c *received) error {
				if c.nth == 1 {
					return c.cutOff()
				}
				return answer(codes.FailedPrecondition, "came again")
			})
			c := connectTo(t, Config{Endpoints: []string{f.address}})
			err := call(within(t, 20*time.Second), c)
			if m.reads {
				require.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
				require.Equal(t, 2, f.count(m))
			} else {
				require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
				require.Equal(t, 1, f.count(m))
				// The client goes on, and nothing comes late.
				_, err = c.Get(within(t, 20*time.Second), "k")
				require.NotNil(t, err)
				require.Equal(t, 1, f.count(m))
			}
		})
	}
}

func TestWhatTheServerSaysDecidesWhetherAWriteIsRepeated(t *testing.T) {
	for _, tc := range []struct {
		row   *errs.Error
		again bool
	}{
		{errs.NoLeader, true},
		{errs.ProposalDropped, true},
		{errs.NotSupportedForLearner, false}, // there is no other endpoint
		{errs.LeaderChanged, false},
		{errs.Stopped, false},
		{errs.Timeout, false},
		{errs.TimeoutDueToLeaderFail, false},
		{errs.TimeoutDueToConnectionLost, false},
		{errs.TimeoutWaitAppliedIndex, false},
		{errs.Unhealthy, false},
		{errs.TooManyRequests, false},
		{errs.NoSpace, false},
		{errs.InvalidAuthToken, false}, // there is no user to log in
		{errs.UserEmpty, false},
		{errs.AuthOldRevision, false},
	} {
		t.Run(tc.row.Name(), func(t *testing.T) {
			f := startFake(t, func(c *received) error {
				if c.nth < 3 {
					return answer(tc.row.Code(), tc.row.Error())
				}
				return answer(codes.FailedPrecondition, "the third")
			})
			c := connectTo(t, Config{Endpoints: []string{f.address}})
			_, err := c.Put(within(t, 20*time.Second), "k", "v")
			if tc.again {
				require.ErrorContains(t, err, "the third")
				require.Equal(t, 3, f.count(methodPut))
				return
			}
			require.ErrorIs(t, err, tc.row)
			require.Equal(t, tc.row.Error(), err.Error())
			require.Equal(t, tc.row.Code(), status.Code(err))
			require.Equal(t, 1, f.count(methodPut))
		})
	}
}

func TestReadsAreRepeatedWhileTheServerIsUnavailable(t *testing.T) {
	f := startFake(t, func(c *received) error {
		if c.nth < 4 {
			return answer(errs.Timeout.Code(), errs.Timeout.Error())
		}
		return answer(errs.Compacted.Code(), errs.Compacted.Error())
	})
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	_, err := c.Get(within(t, 20*time.Second), "k")
	require.ErrorIs(t, err, errs.Compacted)
	require.Equal(t, 4, f.count(methodRange))
}

func TestARepeatedReadEndsWithItsContext(t *testing.T) {
	f := startFake(t, func(*received) error { return answer(errs.Timeout.Code(), errs.Timeout.Error()) })
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	_, err := c.Get(within(t, 300*time.Millisecond), "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualError(t, err, "context deadline exceeded: "+errs.Timeout.Error(), "the reason is not lost")
	require.Greater(t, f.count(methodRange), 1)
}

func TestRequireLeaderReturnsAtOnce(t *testing.T) {
	f := startFake(t, func(c *received) error { return answer(errs.NoLeader.Code(), errs.NoLeader.Error()) })
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	ctx := WithRequireLeader(within(t, 20*time.Second))
	_, err := c.Put(ctx, "k", "v")
	require.ErrorIs(t, err, errs.NoLeader)
	_, err = c.Get(ctx, "k")
	require.ErrorIs(t, err, errs.NoLeader)
	require.Equal(t, 1, f.count(methodPut))
	require.Equal(t, 1, f.count(methodRange))
}

func TestALearnerIsPassedOver(t *testing.T) {
	refuse := func(*received) error {
		return answer(errs.NotSupportedForLearner.Code(), errs.NotSupportedForLearner.Error())
	}
	learner := startFake(t, refuse)
	voter := startFake(t, func(*received) error { return answer(codes.FailedPrecondition, "the voter") })
	c := connectTo(t, Config{Endpoints: []string{learner.address, voter.address}})
	for range 4 {
		_, err := c.Put(within(t, 20*time.Second), "k", "v")
		require.ErrorContains(t, err, "the voter")
	}
	require.Equal(t, 4, voter.count(methodPut))
}

// TestACallWaitsForAConnection begins calls before anybody listens: they have
// not left the process, so they are sent when somebody does, once.
func TestACallWaitsForAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	c := connectTo(t, Config{Endpoints: []string{address}})
	done := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), "k", "v")
		done <- err
	}()
	require.Eventually(t, func() bool { return c.conn.GetState().String() == "TRANSIENT_FAILURE" }, 10*time.Second, time.Millisecond)
	l, err = net.Listen("tcp", address)
	require.NoError(t, err)
	f := startFakeOn(t, l, func(*received) error { return answer(codes.FailedPrecondition, "here") })
	require.ErrorContains(t, <-done, "here")
	require.Equal(t, 1, f.count(methodPut))
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	c := connectTo(t, Config{Endpoints: []string{address}})
	_, err = c.Put(within(t, 300*time.Millisecond), "k", "v")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Get(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
}

// refusal is what a raw server does with a request, instead of answering it. It
// says whether the connection goes on.
type refusal func(fr *http2.Framer, stream uint32) bool

func reset(code http2.ErrCode) refusal {
	return func(fr *http2.Framer, stream uint32) bool {
		fr.WriteRSTStream(stream, code)
		return true
	}
}

// goAway says which stream was the last that it looked at, and hangs up.
func goAway(last func(stream uint32) uint32) refusal {
	return func(fr *http2.Framer, stream uint32) bool {
		fr.WriteGoAway(last(stream), http2.ErrCodeNo, nil)
		return false
	}
}

// rawServer speaks HTTP/2 to one connection after the other. It refuses the
// first request, answers the others with FailedPrecondition "looked at", and
// reports how many it has got.
func rawServer(t *testing.T, refuse refusal) (address string, seen func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var count atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serveRaw(conn, func(fr *http2.Framer, stream uint32) bool {
				if count.Add(1) == 1 {
					return refuse(fr, stream)
				}
				fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: trailersOnly(), EndHeaders: true, EndStream: true})
				return true
			})
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String(), func() int { return int(count.Load()) }
}

// serveRaw calls request when one is complete, until that is false.
func serveRaw(conn net.Conn, request func(fr *http2.Framer, stream uint32) bool) {
	defer conn.Close()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	fr := http2.NewFramer(conn, conn)
	if fr.WriteSettings() != nil {
		return
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				fr.WritePing(true, f.Data)
			}
		case *http2.DataFrame:
			if f.StreamEnded() && !request(fr, f.StreamID) {
				return
			}
		}
	}
}

// trailersOnly is an answer with the status FailedPrecondition "looked at".
func trailersOnly() []byte {
	var block writer
	e := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":status", Value: "200"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "grpc-status", Value: "9"},
		{Name: "grpc-message", Value: "looked at"},
	} {
		e.WriteField(f)
	}
	return block
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func TestWhatThePeerDidNotLookAtIsRepeated(t *testing.T) {
	for name, refuse := range map[string]refusal{
		"REFUSED_STREAM":                      reset(http2.ErrCodeRefusedStream),
		"GOAWAY that names an earlier stream": goAway(func(stream uint32) uint32 { return 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			address, seen := rawServer(t, refuse)
			c := connectTo(t, Config{Endpoints: []string{address}})
			_, err := c.Put(within(t, 20*time.Second), "k", "v")
			require.ErrorContains(t, err, "looked at")
			require.Equal(t, 2, seen())
		})
	}
}

func TestWhatThePeerMayHaveLookedAtIsNotRepeated(t *testing.T) {
	for name, refuse := range map[string]refusal{
		"NO_ERROR":                         reset(http2.ErrCodeNo),
		"INTERNAL_ERROR":                   reset(http2.ErrCodeInternal),
		"CANCEL":                           reset(http2.ErrCodeCancel),
		"ENHANCE_YOUR_CALM":                reset(http2.ErrCodeEnhanceYourCalm),
		"GOAWAY that names this stream":    goAway(func(stream uint32) uint32 { return stream }),
		"GOAWAY that names a later stream": goAway(func(uint32) uint32 { return 1<<31 - 1 }),
	} {
		t.Run(name, func(t *testing.T) {
			address, seen := rawServer(t, refuse)
			c := connectTo(t, Config{Endpoints: []string{address}})
			_, err := c.Put(within(t, 20*time.Second), "k", "v")
			require.Error(t, err)
			require.NotContains(t, err.Error(), "looked at")
			require.Equal(t, 1, seen())
		})
	}
}
