package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
)

// client asks one thing after the other, of a member that it stays with for a
// while.
type client struct {
	c    *Cluster
	id   int
	host *host
	open *operation // nil while it thinks
	// rules says that it changes users and roles.
	rules bool
}

// name says in whose name an operation is.
func (o *operation) name() string {
	if o.user == "" {
		return ""
	}
	return ", as " + o.user
}

// outcome is what a client knows of an operation.
type outcome int

const (
	unknown outcome = iota // it may have taken effect, or may yet
	refused                // it never takes effect
	answered
)

// operation is one entry of the history.
type operation struct {
	client int
	id     uint64 // of its request; of the last, where that was overtaken
	ask    question
	user   string        // in whose name
	at     time.Duration // when it was asked
	// called and returned order the history; returned is math.MaxInt64 for an
	// operation whose end nobody saw.
	called, returned int64
	outcome          outcome
	answer           answer

	atLeast int64  // what was acknowledged when it was asked
	ruled   uint64 // the last entry with a change of users that was acknowledged then
	denied  bool   // for want of rights
	told    bool   // the member has answered, if only after the client gave up
}

// think has the client wait, and then ask.
func (cl *client) think() {
	pause := cl.between(5*time.Millisecond, 100*time.Millisecond)
	if cl.dice().IntN(3) == 0 {
		pause = cl.between(200*time.Millisecond, 3*time.Second)
	}
	cl.c.clock.after(pause, cl.next)
}

// dice is the stream that the client draws from.
func (cl *client) dice() *rand.Rand {
	if cl.rules {
		return cl.c.lots
	}
	return cl.c.rng
}

// between draws a time.
func (cl *client) between(least, most time.Duration) time.Duration {
	return least + time.Duration(cl.dice().Int64N(int64(most-least)))
}

// question draws what it asks next.
func (cl *client) question() question {
	if cl.rules {
		return cl.c.rule()
	}
	return cl.c.draw()
}

// next asks something.
func (cl *client) next() {
	c := cl.c
	if c.closing {
		return
	}
	if cl.host == nil || cl.dice().IntN(10) == 0 {
		cl.host = c.hosts[cl.dice().IntN(len(c.hosts))]
	}
	h := cl.host
	if !h.up || !h.served {
		c.out.Refused++
		cl.host = nil
		cl.think()
		return
	}
	c.nextID++
	op := &operation{
		client: cl.id, id: c.nextID, ask: cl.question(), user: cl.actor(), at: c.clock.now,
		called: c.stamp(), returned: math.MaxInt64, atLeast: c.acknowledged, ruled: c.ruled,
	}
	cl.open = op
	c.history = append(c.history, op)
	c.say("client %d asks host %d: %d: %v%s", cl.id, h.id, op.id, op.ask, op.name())
	life := h.life
	h.after(cl.between(20*time.Microsecond, 500*time.Microsecond), func() { h.take(cl, op) })
	patience := 10 * time.Second
	if cl.dice().IntN(4) == 0 {
		patience = cl.between(500*time.Millisecond, 2*time.Second)
	}
	c.clock.after(patience, func() {
		if cl.open == op {
			c.say("client %d does not wait for %d any longer", cl.id, op.id)
			if h.life != life {
				cl.host = nil
			}
			cl.free(op)
		}
	})
}

// free has the client go on to its next operation.
func (cl *client) free(op *operation) {
	if cl.open == op {
		cl.open = nil
		cl.think()
	}
}

// take is what a member's service does with a request.
func (h *host) take(cl *client, op *operation) {
	q := op.ask
	caller := &call{h: h, client: cl, op: op}
	h.c.calls++
	var err error
	switch {
	case q.kind == renew || !q.kind.reads():
		err = caller.offer()
	case q.kind == stale || h.core.Alone():
		caller.Done(nil, nil)
	default:
		err = h.core.Read(caller)
	}
	if err != nil {
		caller.Done(nil, err)
		return
	}
	h.wake()
}

// call is the caller of an operation.
type call struct {
	h      *host
	client *client
	op     *operation
	by     auth.Subject // whose name the door has stamped into it
	barred bool         // it was not offered to the log
}

// Done is replica.Caller's.
func (k *call) Done(result any, err error) {
	c, op := k.h.c, k.op
	if op.told {
		c.fail(fmt.Errorf("operation %d was answered twice", op.id))
		return
	}
	if !k.barred {
		c.checkVerdict(k.h, op, err)
		if !op.ask.kind.reads() && k.overtaken(err) {
			k.again()
			return
		}
	}
	op.told = true
	c.calls--
	a, known := k.answer(result, err)
	if k.client.open != op {
		c.say("host %d answers %d, and nobody waits: %v", k.h.id, op.id, k.words(a, known, err))
		return
	}
	switch {
	case known == refused:
		op.outcome = refused
	case known == answered:
		op.outcome, op.answer, op.returned, op.denied = answered, a, c.stamp(), isDenial(err)
		if op.ask.kind == administer && err == nil {
			c.ruled = max(c.ruled, c.model.byID[op.id])
			c.out.Users.Changes++
		}
		if op.ask.kind != renew {
			c.checkAnswer(k.h, op)
		}
	}
	c.say("host %d answers %d: %v", k.h.id, op.id, k.words(a, known, err))
	k.client.free(op)
}

// answer is what the client is told.
func (k *call) answer(result any, err error) (answer, outcome) {
	var e *errs.Error
	switch {
	case k.barred, errors.Is(err, errs.ProposalDropped), errors.Is(err, errs.TooManyRequests):
		return answer{}, refused
	case errors.Is(err, errs.Timeout), errors.Is(err, errs.Stopped):
		if k.op.ask.kind.reads() {
			return answer{}, refused // it has no effect
		}
		return answer{}, unknown
	case errors.As(err, &e):
		return answer{err: e.Name()}, answered
	case err != nil:
		k.h.c.fail(fmt.Errorf("operation %d: %w", k.op.id, err))
		return answer{}, unknown
	}
	switch {
	case k.op.ask.kind == renew:
		return answer{}, answered
	case k.op.ask.kind.reads():
		return k.read()
	}
	return answerOf(result.(*machine.Result), k.op.ask)
}

// read reads in the published view.
func (k *call) read() (answer, outcome) {
	v := k.h.machine.View()
	view := v.Keys
	by := rights(v, k.op.user)
	denied := v.Auth.CheckUser(by.Subject)
	if denied == nil {
		denied = by.Range(k.op.ask.rangeRequest())
	}
	k.h.c.checkRead(k.h, v, k.op, denied)
	if denied != nil {
		return answer{}, refused
	}
	r, err := view.Range(k.op.ask.rangeRequest())
	var e *errs.Error
	switch {
	case errors.As(err, &e):
		return answer{revision: view.Revision, err: e.Name()}, answered
	case errors.Is(err, mvcc.ErrStale):
		return answer{}, refused
	case err != nil:
		k.h.c.fail(fmt.Errorf("operation %d: %w", k.op.id, err))
		return answer{}, refused
	}
	a := answer{revision: view.Revision}
	a.setRange(r)
	return a, answered
}

func (k *call) words(a answer, known outcome, err error) any {
	if known != answered {
		return err
	}
	return a
}
