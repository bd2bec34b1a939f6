package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/test/fault/history"
	"etcd.alt/test/fault/outside"
)

// program is a client that is a program of its own.
type program struct {
	cmd   *exec.Cmd
	grace time.Duration
	ended sync.WaitGroup
	// in has room for the one who writes a request; nobody who reads waits for him.
	in  chan struct{}
	out *os.File
	mu  struct {
		sync.Mutex
		waiting map[int64]chan *outside.Reply // nil when the program has ended
		lasting map[int64]func(*outside.Reply)
		last    int64
	}
}

// launchProgram starts the program at path for these lists of endpoints. It ends
// with the test.
func launchProgram(t *testing.T, path string, endpoints [][]string) *program {
	t.Helper()
	p, err := newProgram(path, endpoints, 30*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.end()) })
	return p
}

// newProgram starts a program. grace is how long it may take to read a request, to reply
// to one beyond its patience, and to end.
func newProgram(path string, endpoints [][]string, grace time.Duration) (*program, error) {
	var args []string
	for _, list := range endpoints {
		args = append(args, strings.Join(list, ","))
	}
	p := &program{cmd: exec.Command(path, args...), grace: grace, in: make(chan struct{}, 1)}
	p.mu.waiting, p.mu.lasting = map[int64]chan *outside.Reply{}, map[int64]func(*outside.Reply){}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	requests, out, err := os.Pipe() // writes to a pipe of our own can be bounded
	if err != nil {
		return nil, err
	}
	defer requests.Close() // the program has it
	p.cmd.Stdin, p.out = requests, out
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	p.ended.Go(func() { p.routineRead(in) })
	return p, nil
}

// end has the program end, and says how it did.
func (p *program) end() error {
	err := p.out.Close()
	kill := time.AfterFunc(p.grace, func() { _ = p.cmd.Process.Kill() })
	p.ended.Wait()
	ended := p.cmd.Wait()
	if !kill.Stop() {
		ended = fmt.Errorf("the client's program does not end within %v", p.grace)
	}
	return errors.Join(err, ended)
}

// routineRead hands out replies until the program ends.
func (p *program) routineRead(in io.Reader) {
	lines := json.NewDecoder(bufio.NewReader(in))
	for {
		r := &outside.Reply{}
		err := lines.Decode(r)
		p.mu.Lock()
		if err != nil {
			for _, c := range p.mu.waiting {
				close(c)
			}
			p.mu.waiting = nil
			p.mu.Unlock()
			return
		}
		c, tell := p.mu.waiting[r.ID], p.mu.lasting[r.ID]
		delete(p.mu.waiting, r.ID)
		p.mu.Unlock()
		switch {
		case c != nil:
			c <- r
		case tell != nil:
			tell(r)
		}
	}
}

// at is the program as the client of one list of endpoints.
func (p *program) at(list int) asker { return outsider{p, list} }

type outsider struct {
	p    *program
	list int
}

// ask is asker's.
func (o outsider) ask(ctx context.Context, op *history.Op) error {
	r := &outside.Request{To: o.list, Op: *op}
	if op.Kind == history.Put {
		r.Value = op.Value + padding(op.Value)
	}
	reply, err := o.p.call(ctx, r)
	if err != nil {
		return err
	}
	op.Revision, op.Member, op.Succeeded, op.Found = reply.Op.Revision, reply.Op.Member, reply.Op.Succeeded, reply.Op.Found
	for i := range op.Found {
		op.Found[i].Value, _, _ = strings.Cut(op.Found[i].Value, " ")
	}
	return nil
}

// lease is asker's.
func (o outsider) lease(ctx context.Context, l *outside.Lease) error {
	reply, err := o.p.call(ctx, &outside.Request{To: o.list, Lease: l})
	if err == nil {
		*l = *reply.Lease
	}
	return err
}

// watch is asker's.
func (o outsider) watch(ctx context.Context, from int64, tell func([]outside.Event, error)) {
	err := o.p.last(ctx, &outside.Request{To: o.list, Watch: from}, func(r *outside.Reply) { tell(r.Events, failure(r)) })
	if err != nil {
		tell(nil, err)
	}
}

// contend is asker's.
func (o outsider) contend(ctx context.Context, contest *outside.Contest, tell func(outside.Turn)) error {
	return o.p.last(ctx, &outside.Request{To: o.list, Contest: contest}, func(r *outside.Reply) { tell(*r.Turn) })
}

var (
	// errEnded is the error of a program that is gone.
	errEnded = errors.New("the client's program has ended")
	// errStill is the error of one that does nothing.
	errStill = errors.New("the client's program stands still")
)

// failure is the error that a reply tells of, nil if it was answered.
func failure(r *outside.Reply) error {
	if r.Code == int(codes.OK) {
		return nil
	}
	if row, ok := errs.Find(codes.Code(r.Code), r.Text); ok {
		return row
	}
	return status.Error(codes.Code(r.Code), r.Text)
}

// call makes a request that has one reply. The context has a deadline, which the
// program keeps.
func (p *program) call(ctx context.Context, r *outside.Request) (*outside.Reply, error) {
	deadline, _ := ctx.Deadline()
	r.Patience = time.Until(deadline)
	c := make(chan *outside.Reply, 1)
	if err := p.expect(r, func() { p.mu.waiting[r.ID] = c }); err != nil {
		return nil, err
	}
	if err := p.write(r); err != nil {
		return nil, err
	}
	timer := time.NewTimer(r.Patience + p.grace)
	defer timer.Stop()
	select {
	case reply := <-c:
		if reply == nil {
			return nil, errEnded
		}
		return reply, failure(reply)
	case <-timer.C:
		return nil, errStill
	}
}

// last makes a request that has replies until the context ends.
func (p *program) last(ctx context.Context, r *outside.Request, tell func(*outside.Reply)) error {
	if err := p.expect(r, func() { p.mu.lasting[r.ID] = tell }); err != nil {
		return err
	}
	if err := p.write(r); err != nil {
		return err
	}
	<-ctx.Done()
	p.mu.Lock()
	delete(p.mu.lasting, r.ID)
	p.mu.Unlock()
	_ = p.write(&outside.Request{ID: r.ID, Stop: true}) // one that has ended does nothing more
	return nil
}

// expect numbers a request, and has its replies be waited for.
func (p *program) expect(r *outside.Request, wait func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.waiting == nil {
		return errEnded
	}
	p.mu.last++
	r.ID = p.mu.last
	wait()
	return nil
}

// write writes a request as a line.
func (p *program) write(r *outside.Request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	p.in <- struct{}{}
	defer func() { <-p.in }()
	if err := p.out.SetWriteDeadline(time.Now().Add(p.grace)); err != nil {
		return err
	}
	_, err = p.out.Write(append(line, '\n'))
	return err
}

// A program that stands still holds nobody up for long: neither who waits for a reply,
// nor who asks for more, nor the end of the test.
func TestAProgramThatStandsStill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "still")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700))
	p, err := newProgram(path, nil, 200*time.Millisecond)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = p.call(ctx, &outside.Request{})
	require.ErrorIs(t, err, errStill)
	_, err = p.call(ctx, &outside.Request{Value: strings.Repeat("x", 1<<20)})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "its input is full")
	require.ErrorContains(t, p.end(), "does not end")
	_, err = p.call(ctx, &outside.Request{})
	require.ErrorIs(t, err, errEnded)
}
