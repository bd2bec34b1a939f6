package oracle

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/conformance/member"
)

// longRun is the number of operations after which every allowed difference
// must have been met.
const longRun = 20_000

// Config says what a walk is.
type Config struct {
	Ours, Theirs member.Kind
	Operations   int
	Seed         uint64
	// Restarts is the average number of operations between two kill -9 of our
	// member; 0 for none.
	Restarts int
	// Rows is the table of allowed differences; none if it is nil.
	Rows []difference
}

// Report is what a walk has met.
type Report struct {
	Operations int
	Took       time.Duration
	Revision   int64
	Served     string         // what our member serves beyond the key space
	Kinds      map[string]int // operations by kind
	Errors     map[string]int // answers by text of error
	Allowed    map[string]int // differences by row
	Missing    []string       // rows that should have occurred
}

// Mismatch is a difference that is not allowed.
type Mismatch struct {
	Index        int
	History      []Operation // up to and with the one that differs
	Ours, Theirs Answer
	Err          error // instead of answers: a side did not answer, or lied about itself
}

func (m *Mismatch) Error() string {
	op := m.History[len(m.History)-1]
	if m.Err != nil {
		return fmt.Sprintf("operation %d\n  %v\n  %v", m.Index, op, m.Err)
	}
	return fmt.Sprintf("operation %d\n  %v\n  ours %v\n  3.4  %v", m.Index, op, m.Ours, m.Theirs)
}

// pair is both sides on one history.
type pair struct {
	ours, theirs *side
	rows         []difference
	state        *state
	history      []Operation
}

// newPair starts two fresh members. Its callers close it.
func newPair(c Config) (*pair, error) {
	type started struct {
		s   *side
		err error
	}
	other := make(chan started, 1)
	go func() {
		s, err := newSide(c.Theirs)
		other <- started{s, err}
	}()
	ours, err := newSide(c.Ours)
	theirs := <-other
	p := &pair{ours: ours, theirs: theirs.s, rows: c.Rows, state: newState()}
	if err == nil {
		err = theirs.err
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pair) close() {
	for _, s := range []*side{p.ours, p.theirs} {
		if s != nil {
			s.close()
		}
	}
}

// step does an operation on both sides. It returns both answers and the rows of
// the table that were needed, or a *Mismatch.
func (p *pair) step(op Operation) (theirs Answer, took []string, err error) {
	p.history = append(p.history, op)
	if op.isRestart() {
		if err := p.ours.restart(); err != nil {
			return Answer{}, nil, p.broken(err)
		}
		p.state.observe(op, Answer{})
		return Answer{}, nil, nil
	}
	if lethal(op.Request) {
		panic("oracle: 3.4 does not survive " + op.String())
	}
	ours, theirs, err := p.ask(op.Request)
	if err != nil {
		return Answer{}, nil, p.broken(err)
	}
	c := &circumstances{request: op.Request, state: p.state, all: p.all}
	took, equal := c.settle(p.rows, ours, theirs)
	if c.err != nil {
		return Answer{}, nil, p.broken(c.err)
	}
	if !equal {
		return Answer{}, nil, &Mismatch{Index: len(p.history) - 1, History: p.history, Ours: ours, Theirs: theirs}
	}
	p.state.observe(op, theirs)
	return theirs, took, nil
}

func (p *pair) broken(err error) *Mismatch {
	return &Mismatch{Index: len(p.history) - 1, History: p.history, Err: err}
}

// ask sends one request to both sides at once.
func (p *pair) ask(request proto.Message) (ours, theirs Answer, err error) {
	done := make(chan error, 1)
	go func() {
		var err error
		ours, err = p.ours.call(request)
		done <- err
	}()
	theirs, err = p.theirs.call(request)
	if e := <-done; e != nil {
		err = e
	}
	return ours, theirs, err
}

// all asks the peer for every key of a range.
func (p *pair) all(r *pb.RangeRequest) (map[string]*mvccpb.KeyValue, error) {
	answer, err := p.theirs.call(&pb.RangeRequest{Key: r.Key, RangeEnd: r.RangeEnd, Revision: r.Revision})
	if err != nil {
		return nil, err
	}
	all := map[string]*mvccpb.KeyValue{}
	if !answer.failed() {
		for _, kv := range answer.Message.(*pb.RangeResponse).Kvs {
			all[string(kv.Key)] = kv
		}
	}
	return all, nil
}

// Walk sends c.Operations random operations to two fresh members. The error is
// a *Mismatch if they differ.
func Walk(c Config) (*Report, error) {
	begin := time.Now()
	p, err := newPair(c)
	if err != nil {
		return nil, err
	}
	defer p.close()
	can, err := probe(p.ours)
	if err != nil {
		return nil, err
	}
	report := &Report{Served: fmt.Sprintf("%+v", can), Kinds: map[string]int{}, Errors: map[string]int{}, Allowed: map[string]int{}}
	do := func(op Operation) error {
		answer, took, err := p.step(op)
		if err == nil {
			report.add(op, answer, took)
		}
		return err
	}
	g := newGenerator(c.Seed, can, p.state, c.Restarts)
	for range c.Operations {
		if err := do(g.Next()); err != nil {
			return report, err
		}
	}
	if err := g.Finish(do); err != nil {
		return report, err
	}
	report.Took, report.Revision = time.Since(begin), p.state.revision
	for _, row := range p.rows {
		if c.Operations >= longRun && row.occurs(can) && report.Allowed[row.name] == 0 {
			report.Missing = append(report.Missing, row.name)
		}
	}
	return report, nil
}

func (r *Report) add(op Operation, answer Answer, took []string) {
	r.Operations++
	kind := "restart"
	if !op.isRestart() {
		kind = string(op.Request.ProtoReflect().Descriptor().Name())
	}
	r.Kinds[kind]++
	if !op.isRestart() && answer.failed() {
		r.Errors[answer.Code.String()+" "+answer.Text]++
	}
	for _, name := range took {
		r.Allowed[name]++
	}
}
