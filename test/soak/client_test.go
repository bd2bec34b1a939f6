package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
)

// The clients live in a process of their own, so that what is measured is the
// server's alone. The test starts itself again with this variable set.
const clientVariable = "SOAK_CLIENT"

func TestMain(m *testing.M) {
	if text := os.Getenv(clientVariable); text != "" {
		if err := runClients(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work is what the clients do: Connections × Streams, each stream after its
// number.
type work struct {
	Address              string
	Connections, Streams int
	Unary                request // answered soon
	Cancelled            request // unary, cancelled under way
	Pour                 request // many messages come; one is read
	Open                 request // a stream that stays open; one message comes
	Hold                 request // unary, not answered before it is cancelled; Path "": none
}

type request struct {
	Path string
	Body []byte
}

// clients is the process of the clients, from the outside.
type clients struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	open bool
}

// startClients returns when every stream has done its part and those that stay
// open are.
func startClients(t *testing.T, w work) *clients {
	t.Helper()
	text, err := json.Marshal(w)
	require.NoError(t, err)
	c := &clients{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), clientVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewReader(out)
	require.NoError(t, c.cmd.Start())
	c.open = true
	t.Cleanup(func() {
		if c.open {
			c.cmd.Process.Kill()
			c.cmd.Wait()
		}
	})
	line, err := c.out.ReadString('\n')
	require.NoError(t, err, "the clients have failed")
	require.Equal(t, "open\n", line)
	return c
}

// finish lets the clients end: half of the streams in order, the others as
// their connections are closed under them.
func (c *clients) finish() {
	c.t.Helper()
	require.NoError(c.t, c.in.Close())
	c.open = false
	require.NoError(c.t, c.cmd.Wait())
}

// raw is a codec for messages that are bytes already.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }
func invoke(ctx context.Context, cc *grpc.ClientConn, r request) error {
	var reply []byte
	return cc.Invoke(ctx, r.Path, &r.Body, &reply)
}

// runClients is the process of the clients.
func runClients(text string) error {
	var w work
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	release := make(chan struct{})
	var conns []*grpc.ClientConn
	var ready, done sync.WaitGroup
	var failure atomic.Pointer[error]
	for range w.Connections {
		cc, err := grpc.NewClient("passthrough:///"+w.Address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		if err != nil {
			return err
		}
		conns = append(conns, cc)
		for i := range w.Streams {
			ready.Add(1)
			done.Go(func() {
				once := sync.OnceFunc(ready.Done)
				defer once()
				if err := w.stream(cc, i, once, release); err != nil {
					err = fmt.Errorf("stream %d: %w", i, err)
					failure.CompareAndSwap(nil, &err)
				}
			})
		}
	}
	ready.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
	close(release)
	finished := make(chan struct{})
	go func() { done.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(time.Minute):
		return errors.New("the streams do not end")
	}
	for _, cc := range conns {
		cc.Close()
	}
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}

// stream is one of a connection's. It calls ready when it has done its part and
// then waits, where it has something open.
func (w *work) stream(cc *grpc.ClientConn, i int, ready func(), release <-chan struct{}) error {
	ctx, cancel := context.WithCancel(context.Background())
	end := func() {
		if i%2 == 0 {
			cancel()
		} // else the end of the connection does
	}
	switch {
	case i%50 == 0:
		return w.keep(ctx, cc, w.Pour, ready, release, end)
	case i%5 == 1:
		return w.keep(ctx, cc, w.Open, ready, release, end)
	case i%5 == 2:
		for range 3 {
			soon, stop := context.WithTimeout(ctx, time.Duration(i)*time.Millisecond)
			if i%4 == 0 {
				stop() // before it begins, or as it does
			}
			err := invoke(soon, cc, w.Cancelled)
			stop()
			if c := status.Code(err); err != nil && c != codes.Canceled && c != codes.DeadlineExceeded {
				return err
			}
		}
	}
	for range 3 {
		if err := invoke(ctx, cc, w.Unary); err != nil {
			return err
		}
	}
	if w.Hold.Path == "" {
		cancel()
		return nil
	}
	held := make(chan error, 1)
	go func() { held <- invoke(ctx, cc, w.Hold) }()
	ready()
	<-release
	cancel()
	if err := <-held; status.Code(err) != codes.Canceled {
		return fmt.Errorf("%s was answered: %w", w.Hold.Path, err)
	}
	return nil
}

// keep opens a stream, reads one message and leaves the rest.
func (w *work) keep(ctx context.Context, cc *grpc.ClientConn, r request, ready func(), release <-chan struct{}, end func()) error {
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, r.Path)
	if err != nil {
		return err
	}
	if err := s.SendMsg(&r.Body); err != nil {
		return err
	}
	var m []byte
	switch err := s.RecvMsg(&m); {
	case err == nil:
	case status.Convert(err).Message() == errs.TooManyRequests.Error():
		ready() // a member bounds the lists that it sends at a time
		return nil
	default:
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	if r.Path == w.Pour.Path {
		if err := s.CloseSend(); err != nil {
			return err
		}
	}
	ready()
	<-release
	end()
	return nil
}
