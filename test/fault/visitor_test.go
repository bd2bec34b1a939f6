package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/metadata"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/test/fault/rights"
)

// lately is how many of the users that were added last visit: some are gone already.
const lately = 4 * administrators * staff

// token is what a login has got, and when it was called.
type token struct {
	text  string
	since int64
}

// visitor logs in as one user or another, and uses the token at any member.
type visitor struct {
	s      *stage
	rng    *rand.Rand
	tokens map[*rights.Password]token
}

// routineVisit goes on until ctx ends.
func (v *visitor) routineVisit(ctx context.Context) {
	for ctx.Err() == nil {
		if w, where := v.draw(); w != nil {
			v.visit(w, where)
		}
		pause(ctx, below(v.rng, 10*time.Millisecond))
	}
}

// draw draws a user by a password, mostly his present one, and an area, mostly one that
// he has a right to. Often it is somebody of whom there is news. There may be nobody.
func (v *visitor) draw() (w *rights.Password, where string) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	people := v.s.mu.people[max(0, len(v.s.mu.people)-lately):]
	if len(people) == 0 {
		return nil, ""
	}
	p := people[v.rng.IntN(len(people))]
	hot := v.s.mu.news.who != nil && v.rng.IntN(2) == 0
	if hot {
		p, where = v.s.mu.news.who, v.s.mu.news.where
	}
	w = p.passwords[len(p.passwords)-1]
	if v.rng.IntN(6) == 0 {
		w = p.passwords[v.rng.IntN(len(p.passwords))]
	}
	if where != "" {
		return w, where
	}
	var held []*rights.Right
	for _, r := range p.rights {
		if r.Gone == rights.Never {
			held = append(held, r)
		}
	}
	if len(held) == 0 || v.rng.IntN(5) == 0 {
		return w, area(v.rng.IntN(areas))
	}
	return w, held[v.rng.IntN(len(held))].Area
}

// visit does something in the name of a user, who logs in if need be.
func (v *visitor) visit(w *rights.Password, where string) {
	shown, ok := v.tokens[w]
	if !ok {
		call := v.do(&rights.Call{Kind: rights.Login, User: w.User, Password: w.Text}, func(ctx context.Context, at *client.Client, _ *rights.Call) error {
			res, err := at.Authenticate(ctx, w.User, w.Text)
			if err == nil {
				shown.text = res.Token
			}
			return err
		})
		if call.Outcome != rights.Answered {
			return
		}
		shown.since = call.Call
		v.tokens[w] = shown
	}
	kind := []rights.Kind{rights.Put, rights.Put, rights.Put, rights.Get, rights.Get, rights.Stale}[v.rng.IntN(6)]
	call := &rights.Call{Kind: kind, User: w.User, Password: w.Text, Area: where, Since: shown.since, Lasting: v.s.lasting}
	if kind == rights.Put {
		call.Value = v.s.r.record.value()
	}
	key, inTxn := fmt.Sprint(where, v.rng.IntN(3)), v.rng.IntN(4) == 0
	v.do(call, func(ctx context.Context, at *client.Client, call *rights.Call) error {
		return ask(metadata.AppendToOutgoingContext(ctx, "token", shown.text), at, call, key, inTxn)
	})
	if call.Outcome == rights.Stranger {
		delete(v.tokens, w)
	}
}

// ask makes a call about a key.
func ask(ctx context.Context, at *client.Client, call *rights.Call, key string, inTxn bool) error {
	switch {
	case call.Kind == rights.Get:
		_, err := at.Get(ctx, key)
		return err
	case call.Kind == rights.Stale:
		_, err := at.Get(ctx, key, client.WithSerializable())
		return err
	case inTxn:
		res, err := at.Txn().Then(client.OpPut(key, call.Value)).Commit(ctx)
		if err == nil {
			call.Revision = res.Header.Revision
		}
		return err
	}
	res, err := at.Put(ctx, key, call.Value)
	if err == nil {
		call.Revision = res.Header.Revision
	}
	return err
}

// do makes a call at a member that is drawn, and takes down what came of it.
func (v *visitor) do(call *rights.Call, make func(context.Context, *client.Client, *rights.Call) error) *rights.Call {
	patience := 2 * time.Second
	if v.rng.IntN(2) == 0 {
		patience = 50*time.Millisecond + below(v.rng, 500*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(v.s.r.c.t.Context(), patience)
	defer cancel()
	i := v.rng.IntN(size)
	call.At, call.Call = name(i), v.s.now()
	err := make(ctx, v.s.doors[i], call)
	call.Return = v.s.now()
	switch {
	case err == nil:
		call.Outcome = rights.Answered
	case errors.Is(err, errs.PermissionDenied):
		call.Outcome = rights.Denied
	case errors.Is(err, errs.InvalidAuthToken), errors.Is(err, errs.AuthFailed):
		call.Outcome = rights.Stranger
	default:
		call.Outcome, call.Return = rights.Unknown, rights.Never
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.mu.calls = append(v.s.mu.calls, call)
	return call
}
