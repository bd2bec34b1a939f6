package member

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"etcd.alt/api/etcdserverpb"
)

// Member is a process on a data directory of the test's. It belongs to one
// goroutine, but for Dial.
type Member struct {
	t       testing.TB
	binary  string
	dir     string
	args    []string
	logFile string
	address string

	cmd    *exec.Cmd     // nil while it is down
	exited chan struct{} // closed when cmd has ended
	err    error         // what it ended with; set before exited is closed
}

// New builds etcd and returns a member that is down, as Of does.
func New(t testing.TB) *Member {
	t.Helper()
	return Of(t, Build(t))
}

// Build builds etcd and returns where it lies.
func Build(t testing.TB) string {
	t.Helper()
	binary, err := BuildIn(t.TempDir())
	require.NoError(t, err)
	return binary
}

// BuildIn builds etcd in a directory and returns where it lies. It takes seconds, also
// when nothing has changed.
func BuildIn(dir string) (binary string, err error) {
	binary = filepath.Join(dir, "etcd")
	out, err := exec.Command("go", "build", "-o", binary, "etcd.alt/cmd/etcd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build etcd: %w: %s", err, out)
	}
	return binary, nil
}

// Of returns a member that is down and runs what Build has built. It serves
// clients without TLS on a free port of 127.0.0.1. What is left of it at the end
// of the test is killed.
func Of(t testing.TB, binary string) *Member {
	t.Helper()
	dir := t.TempDir()
	m := &Member{t: t, binary: binary, dir: filepath.Join(dir, "data"), logFile: filepath.Join(dir, "log"), address: FreeAddress(t)}
	t.Cleanup(func() {
		if m.cmd != nil {
			m.Kill()
		}
	})
	return m
}

// lowestPort and ports are the ports that FreeAddress gives: below those that systems
// take for the near end of connections, of which one would stand in the way of a member
// that is down for a moment.
const (
	lowestPort = 10_000
	ports      = 22_000
)

// lastPort counts what FreeAddress has given, from one that is drawn: tests that run
// beside each other get different ones.
var lastPort = func() *atomic.Uint32 {
	n := &atomic.Uint32{}
	n.Store(rand.Uint32N(ports))
	return n
}()

// FreeAddress is an address of the loopback that nobody listened on a moment ago, and
// that it has given to nobody else.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowestPort+lastPort.Add(1)%ports))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	require.Fail(t, "no port is free")
	return ""
}

// Args adds to the command line of the next Start; a flag given twice counts
// as it was given last.
func (m *Member) Args(args ...string) { m.args = append(m.args, args...) }

// Address is where it serves clients without TLS, as host:port.
func (m *Member) Address() string { return m.address }

// PID is the process's, while it is up.
func (m *Member) PID() int { return m.cmd.Process.Pid }

// Start runs the process and returns when it serves.
func (m *Member) Start() {
	m.t.Helper()
	m.Launch()
	conn := m.Dial()
	defer conn.Close()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	err := conn.Invoke(ctx, "/etcdserverpb.KV/Range", &etcdserverpb.RangeRequest{Key: []byte("x")}, &etcdserverpb.RangeResponse{}, grpc.WaitForReady(true))
	require.NoError(m.t, err, "the member does not serve; its log:\n%s", m.Log())
}

// Launch runs the process and does not wait for anything: it may need others to
// serve.
func (m *Member) Launch() {
	m.t.Helper()
	url := "http://" + m.address
	log, err := os.OpenFile(m.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(m.t, err)
	defer log.Close()
	args := append([]string{"--data-dir", m.dir, "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:0"}, m.args...)
	m.cmd = exec.Command(m.binary, args...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(m.t, m.cmd.Start())
	cmd, exited := m.cmd, make(chan struct{})
	m.exited = exited
	go func() {
		m.err = cmd.Wait()
		close(exited)
	}()
}

// Exited is closed when the process has ended, for whatever reason. It is of the
// last Start or Launch.
func (m *Member) Exited() <-chan struct{} { return m.exited }

// Err is what the process has ended with: nil where it has ended in order. It may
// be called when Exited is closed.
func (m *Member) Err() error { return m.err }

// Pause has the process stand still, until Resume.
func (m *Member) Pause() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume has a process go on that stands still.
func (m *Member) Resume() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Signal(syscall.SIGCONT))
}

// Dial returns a connection, the caller's to close, that is made again quickly
// when the member comes back.
func (m *Member) Dial() *grpc.ClientConn {
	m.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+m.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}, MinConnectTimeout: time.Second}))
	require.NoError(m.t, err)
	return conn
}

// Kill ends the process as a power cut would.
func (m *Member) Kill() {
	_ = m.cmd.Process.Kill() // it may have ended by itself
	<-m.exited
	m.cmd = nil
}

// Stop ends the process as an operator would, and in order.
func (m *Member) Stop() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Signal(syscall.SIGTERM))
	<-m.exited
	m.cmd = nil // before a failure ends the test: there is nothing to kill
	require.NoError(m.t, m.err, "the member's log:\n%s", m.Log())
}

// Log is what all runs of the process have printed so far.
func (m *Member) Log() string {
	text, err := os.ReadFile(m.logFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
