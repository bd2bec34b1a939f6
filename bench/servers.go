package main

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

	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// kind is a sort of server: its name in the tables, and how it is started with
// its data in dir.
type kind struct {
	Name string
	argv func(dir, client, peer string) []string
}

// etcdKind is a member that takes upstream's flags; ours does, too.
func etcdKind(name, binary string, more ...string) kind {
	return kind{name, func(dir, client, peer string) []string {
		return append([]string{binary,
			"--data-dir", filepath.Join(dir, "data"),
			"--listen-client-urls", "http://" + client, "--advertise-client-urls", "http://" + client,
			"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer,
			"--initial-cluster", "default=http://" + peer}, more...)
	}}
}

func echoKind(name, binary string) kind {
	return kind{name, func(dir, client, _ string) []string {
		return []string{binary, "-listen", client, "-sync", filepath.Join(dir, "sync")}
	}}
}

// server is a child process that can be started again over the same data.
type server struct {
	kind
	dir    string
	addr   string // of clients
	peer   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	peak   int64         // most memory that any of its processes has had
	absent error         // set when it cannot be measured at all
}

// newServer makes a directory of its own in dir, and starts nothing.
func newServer(dir string, k kind) (*server, error) {
	own, err := os.MkdirTemp(dir, strings.ReplaceAll(k.Name, " ", "-")+"-")
	if err != nil {
		return nil, err
	}
	s := &server{kind: k, dir: own}
	for _, addr := range []*string{&s.addr, &s.peer} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // kept until both ports are known, so that they differ
		*addr = l.Addr().String()
	}
	return s, nil
}

// childAttr keeps a terminal's interrupt from the children, which we end
// ourselves, and has the kernel end them should we die. The kernel looks at the
// thread that made the child; Go's threads live as long as the process.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// start returns the time from exec to the first answered linearizable get.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	out, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	argv := s.argv(s.dir, s.addr, s.peer)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, childAttr()
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() { cmd.Wait(); close(exited) }()
	if err := s.firstGet(ctx); err != nil {
		s.kill()
		return 0, fmt.Errorf("%s does not serve: %w; its log ends %q", s.Name, err, s.logTail())
	}
	return time.Since(begin), nil
}

// firstGet returns when a linearizable get has been answered.
func (s *server) firstGet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			break
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return err
	}
	defer d.close()
	for {
		req := &etcdserverpb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Limit: 1}
		err := d.conns[0].Invoke(ctx, pathRange, req, &etcdserverpb.RangeResponse{}, grpc.WaitForReady(true))
		if err == nil {
			return nil
		}
		if p := s.pause(ctx); p != nil {
			return errors.Join(p, err)
		}
	}
}

// pause waits a little, unless there is nothing to wait for.
func (s *server) pause(ctx context.Context) error {
	select {
	case <-s.exited:
		return errors.New("it has ended")
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Millisecond):
		return nil
	}
}

func (s *server) logPath() string { return filepath.Join(s.dir, "log") }

func (s *server) logTail() string {
	b, _ := os.ReadFile(s.logPath())
	return string(b[max(0, len(b)-400):])
}

// running is nil when s, which was started, can be measured, and else the reason.
func (s *server) running() error {
	if s.absent != nil {
		return s.absent
	}
	select {
	case <-s.exited:
		return fmt.Errorf("it has ended; its log ends %q", s.logTail())
	default:
		return nil
	}
}

func (s *server) cpu() (time.Duration, error) { return processCPU(s.cmd.Process.Pid) }

// memory also keeps the peak.
func (s *server) memory() (memory, error) {
	m, err := processMemory(s.cmd.Process.Pid)
	s.peak = max(s.peak, m.Peak)
	return m, err
}

// stop ends the server as its operator would.
func (s *server) stop() error {
	if err := s.running(); err != nil {
		return err
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return nil
	case <-time.After(time.Minute):
		s.kill()
		return fmt.Errorf("%s did not stop within a minute", s.Name)
	}
}

// kill is kill -9.
func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.exited
	}
}
