package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
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
	out   io.WriteCloser
	ended sync.WaitGroup
	mu    struct {
		sync.Mutex
		waiting map[int64]chan *outside.Reply // nil when the program has ended
		watches map[int64]func([]outside.Event, error)
		last    int64
	}
}

// launchProgram starts the program at path for these lists of endpoints. It ends
// with the test.
func launchProgram(t *testing.T, path string, endpoints [][]string) *program {
	t.Helper()
	p := &program{}
	p.mu.waiting, p.mu.watches = map[int64]chan *outside.Reply{}, map[int64]func([]outside.Event, error){}
	var args []string
	for _, list := range endpoints {
		args = append(args, strings.Join(list, ","))
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p.out, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p.ended.Go(func() { p.routineRead(in) })
	t.Cleanup(func() {
		require.NoError(t, p.out.Close())
		p.ended.Wait()
		require.NoError(t, cmd.Wait(), "the client's program")
	})
	return p
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
		c, tell := p.mu.waiting[r.ID], p.mu.watches[r.ID]
		delete(p.mu.waiting, r.ID)
		p.mu.Unlock()
		switch {
		case c != nil:
			c <- r
		case tell != nil:
			tell(r.Events, failure(r))
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
	deadline, _ := ctx.Deadline()
	r := &outside.Request{To: o.list, Op: *op, Patience: time.Until(deadline)}
	if op.Kind == history.Put {
		r.Value = op.Value + padding(op.Value)
	}
	c, err := o.p.send(r)
	if err != nil {
		return err
	}
	reply := <-c // the program keeps the deadline
	if reply == nil {
		return errEnded
	}
	if err := failure(reply); err != nil {
		return err
	}
	op.Revision, op.Member, op.Succeeded, op.Found = reply.Op.Revision, reply.Op.Member, reply.Op.Succeeded, reply.Op.Found
	for i := range op.Found {
		op.Found[i].Value, _, _ = strings.Cut(op.Found[i].Value, " ")
	}
	return nil
}

// errEnded is the error of a program that is gone.
var errEnded = errors.New("the client's program has ended")

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

// watch is asker's.
func (o outsider) watch(ctx context.Context, from int64, tell func([]outside.Event, error)) {
	p := o.p
	p.mu.Lock()
	p.mu.last++
	id := p.mu.last
	p.mu.watches[id] = tell
	err := p.writeLocked(&outside.Request{ID: id, To: o.list, Watch: from})
	p.mu.Unlock()
	if err != nil {
		tell(nil, err)
		return
	}
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.watches, id)
	_ = p.writeLocked(&outside.Request{ID: id, Stop: true}) // one that has ended watches no more
}

// writeLocked writes a request as a line.
func (p *program) writeLocked(r *outside.Request) error {
	if p.mu.waiting == nil {
		return errEnded
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = p.out.Write(append(line, '\n'))
	}
	return err
}

// send writes a request, and returns where its reply will come.
func (p *program) send(r *outside.Request) (<-chan *outside.Reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.last++
	r.ID = p.mu.last
	if err := p.writeLocked(r); err != nil {
		return nil, err
	}
	c := make(chan *outside.Reply, 1)
	p.mu.waiting[r.ID] = c
	return c, nil
}
