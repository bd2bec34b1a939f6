package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 20 * time.Second
	// portTries bounds how often a start is tried again because somebody has
	// taken the port that was free a moment ago.
	portTries = 5
	logTail   = 4 << 10
)

// Member is one member and its process. It is not for concurrent use, but for
// Dial and what is only read.
type Member struct {
	kind                 Kind
	dir                  string
	address, peerAddress string
	process              *process // nil while it is down
}

// Start begins a member with an empty data directory and returns when it
// serves.
func Start(kind Kind) (*Member, error) {
	var last error
	for range portTries {
		dir, err := os.MkdirTemp("", "etcd-"+kind.Name+"-")
		if err != nil {
			return nil, err
		}
		m := &Member{kind: kind, dir: dir}
		if m.address, m.peerAddress, err = freeAddresses(); err == nil {
			err = m.Up()
		}
		if err == nil {
			return m, nil
		}
		last = err
		m.Close()
		if !taken(err) {
			break
		}
	}
	return nil, last
}

// taken says that somebody else was quicker at a port.
func taken(err error) bool { return strings.Contains(err.Error(), "address already in use") }

// freeAddresses returns two addresses of the loopback that nobody listens on.
func freeAddresses() (client, peer string, err error) {
	a, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer a.Close()
	b, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer b.Close()
	return a.Addr().String(), b.Addr().String(), nil
}

// Name says which kind of member it is.
func (m *Member) Name() string { return m.kind.Name }

// Address is where it serves clients, as host:port.
func (m *Member) Address() string { return m.address }

// URL is where it serves clients, as a URL.
func (m *Member) URL() string {
	if m.kind.dial != nil {
		return "https://" + m.address
	}
	return "http://" + m.address
}

func (m *Member) dataDir() string { return filepath.Join(m.dir, "data") }
func (m *Member) logFile() string { return filepath.Join(m.dir, "log") }

// Up starts the process of a member that is down, on the data it has, and
// returns when it serves.
func (m *Member) Up() error {
	if err := m.launch(); err != nil {
		return err
	}
	return m.serves()
}

// launch starts the process, and waits for nothing.
func (m *Member) launch() (err error) {
	m.process, err = startProcess(m.kind.Binary, m.kind.args(m), m.logFile())
	return err
}

// serves returns when the process does.
func (m *Member) serves() error {
	if err := m.ready(); err != nil {
		return fmt.Errorf("member: %s does not serve: %w; its log ends:\n%s", m.kind.Name, err, m.Log())
	}
	return nil
}

// ready waits until a get is answered, be it that who asks must have a name.
func (m *Member) ready() error {
	conn, err := m.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- conn.Invoke(ctx, "/etcdserverpb.KV/Range", &etcdserverpb.RangeRequest{Key: []byte("x")}, &etcdserverpb.RangeResponse{}, grpc.WaitForReady(true))
	}()
	select {
	case err := <-done:
		if errors.Is(rpctypes.Error(err), rpctypes.ErrUserEmpty) {
			return nil
		}
		return err
	case <-m.process.exited:
		cancel()
		<-done
		return fmt.Errorf("exited: %w", m.process.err)
	}
}

// Dial returns a raw connection: no retries, no limit on what is received.
func (m *Member) Dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+m.address,
		grpc.WithTransportCredentials(m.transport()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
}

func (m *Member) transport() credentials.TransportCredentials {
	if m.kind.dial != nil {
		return credentials.NewTLS(m.kind.dial)
	}
	return insecure.NewCredentials()
}

// Kill ends the process as a power cut would.
func (m *Member) Kill() {
	if m.process != nil {
		m.process.kill()
		m.process = nil
	}
}

// Stop ends the process as an operator would, and returns an error unless it
// went in order.
func (m *Member) Stop() error {
	if m.process == nil {
		return errors.New("member: not running")
	}
	p := m.process
	m.process = nil
	return p.terminate()
}

// Running says whether the process is there.
func (m *Member) Running() bool {
	if m.process == nil {
		return false
	}
	select {
	case <-m.process.exited:
		return false
	default:
		return true
	}
}

// Close kills the process and removes everything the member has written.
func (m *Member) Close() {
	m.Kill()
	os.RemoveAll(m.dir)
}

// Log returns the end of what the process has logged.
func (m *Member) Log() string {
	text, _ := os.ReadFile(m.logFile())
	return string(text[max(0, len(text)-logTail):])
}

// process is a child that dies with its parent. exited is closed when it is
// gone; err may be read then.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

func startProcess(binary string, args []string, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Env = withoutSettings(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		if p.err == nil {
			p.err = errors.New("status 0")
		}
		close(p.exited)
	}()
	return p, nil
}

// withoutSettings leaves out the variables that would configure a member.
func withoutSettings(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "ETCD") {
			out = append(out, v)
		}
	}
	return out
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		p.kill()
		return fmt.Errorf("member: still there %v after SIGTERM", stopWithin)
	}
	if s := p.cmd.ProcessState; !s.Success() {
		// A member that ends itself with the signal it got went in order too.
		if w, ok := s.Sys().(syscall.WaitStatus); !ok || w.Signal() != syscall.SIGTERM {
			return fmt.Errorf("member: ended with %v", s)
		}
	}
	return nil
}
