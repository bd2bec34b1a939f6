package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/test/fault/history"
	"etcd.alt/test/fault/outside"
)

const (
	// workers are the clients of an epoch, keys what they share.
	workers = 10
	keys    = 5
	// maxOps bounds an epoch, and with it the search for an order.
	maxOps = 20_000
)

// record is what the clients of an epoch have done so far.
type record struct {
	c      *cluster
	began  time.Time // of the run
	prefix string    // of the epoch's keys
	mu     struct {
		sync.Mutex
		ops []*history.Op
	}
	count atomic.Int64 // of operations, and what makes values differ
}

func (r *record) now() int64 { return time.Since(r.began).Nanoseconds() }

func (r *record) value() string { return fmt.Sprintf("%s%d", r.prefix, r.count.Add(1)) }

// asker is a client of one member, or of all.
type asker interface {
	// ask sends an operation, and takes down the answer.
	ask(ctx context.Context, o *history.Op) error
	// watch tells tell what all keys go through from a revision on, until ctx ends.
	watch(ctx context.Context, from int64, tell func([]outside.Event, error))
	// lease does what is to be done with a lease, and takes down the answer.
	lease(ctx context.Context, l *outside.Lease) error
	// contend takes part in a contest until ctx ends, or it cannot.
	contend(ctx context.Context, contest *outside.Contest, tell func(outside.Turn)) error
}

// worker is one client. It talks to one member for a while, or to whichever the
// client library takes.
type worker struct {
	r      *record
	number int
	rng    *rand.Rand
	client asker
	seen   map[string]int64 // the last modification it knows of
}

// routineWork asks one thing after the other until the context ends.
func (w *worker) routineWork(ctx context.Context) {
	w.move()
	for ctx.Err() == nil && w.r.count.Load() < maxOps {
		o := w.draw()
		pause := time.Duration(w.rng.IntN(8)) * time.Millisecond
		if !w.r.do(w.client, o, w.patience()) {
			w.move()
			pause += 20 * time.Millisecond
		} else if w.rng.IntN(50) == 0 {
			w.move()
		}
		for _, kv := range o.Found {
			w.seen[kv.Key] = kv.Mod
		}
		if o.Kind == history.Put || o.Succeeded {
			w.seen[o.Key] = o.Revision
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// move has the worker talk to somebody else.
func (w *worker) move() {
	w.client = w.r.c.asks[size]
	if w.number%2 == 0 {
		w.client = w.r.c.asks[w.rng.IntN(size)]
	}
}

// patience is how long it waits for an answer.
func (w *worker) patience() time.Duration {
	if w.rng.IntN(5) == 0 {
		return time.Duration(50+w.rng.IntN(500)) * time.Millisecond
	}
	return 2 * time.Second
}

// draw draws an operation.
func (w *worker) draw() *history.Op {
	o := &history.Op{Client: w.number, Key: fmt.Sprintf("%s%d", w.r.prefix, w.rng.IntN(keys))}
	switch n := w.rng.IntN(100); {
	case n < 35:
		o.Kind, o.Value = history.Put, w.r.value()
	case n < 43:
		o.Kind = history.Delete
	case n < 60:
		o.Kind, o.Value = history.Swap, w.r.value()
		if w.rng.IntN(4) != 0 {
			o.Expected = w.seen[o.Key]
		}
	case n < 85:
		o.Kind = history.Get
	default:
		o.Kind = history.Stale
	}
	if (o.Kind == history.Get || o.Kind == history.Stale) && w.rng.IntN(4) == 0 {
		o.Key, o.Prefix = w.r.prefix, true
	}
	return o
}

// do makes an operation, records it, and says whether it was answered.
func (r *record) do(c asker, o *history.Op, patience time.Duration) bool {
	r.count.Add(1)
	ctx, cancel := context.WithTimeout(r.c.t.Context(), patience)
	defer cancel()
	var lives [size]int64
	for i, h := range r.c.hosts {
		lives[i] = h.life.Load()
	}
	o.Call = r.now()
	err := c.ask(ctx, o)
	o.Return = r.now()
	switch {
	case err == nil:
		o.Outcome = history.Answered
		if i := r.c.byID(o.Member); i >= 0 && r.c.hosts[i].life.Load() == lives[i] {
			o.Life = int(lives[i])
		}
	case errors.Is(err, errs.NoLeader), errors.Is(err, errs.ProposalDropped), errors.Is(err, errs.TooManyRequests), errors.Is(err, errs.NoSpace):
		// What the client library takes for a promise is held against what
		// was made.
		o.Outcome = history.Refused
	default:
		o.Outcome, o.Return = history.Unknown, history.Never
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.ops = append(r.mu.ops, o)
	return err == nil
}

// own is a client of this module.
type own struct{ *client.Client }

// ask is asker's.
func (c own) ask(ctx context.Context, o *history.Op) error {
	switch o.Kind {
	case history.Put:
		res, err := c.Put(ctx, o.Key, o.Value+padding(o.Value), client.WithPrevKV())
		if err != nil {
			return err
		}
		o.Revision, o.Member = res.Header.Revision, res.Header.MemberId
		if res.PrevKv != nil {
			o.Found = kvs(res.PrevKv)
		}
	case history.Delete:
		res, err := c.Delete(ctx, o.Key, client.WithPrevKV())
		if err != nil {
			return err
		}
		o.Revision, o.Member, o.Succeeded, o.Found = res.Header.Revision, res.Header.MemberId, res.Deleted > 0, kvs(res.PrevKvs...)
	case history.Swap:
		res, err := c.Txn().If(client.Compare(client.ModRevision(o.Key), "=", o.Expected)).
			Then(client.OpPut(o.Key, o.Value)).Else(client.OpGet(o.Key)).Commit(ctx)
		if err != nil {
			return err
		}
		o.Revision, o.Member, o.Succeeded = res.Header.Revision, res.Header.MemberId, res.Succeeded
		if !res.Succeeded {
			o.Found = kvs(res.Responses[0].GetResponseRange().Kvs...)
		}
	default:
		var options []client.OpOption
		if o.Prefix {
			options = append(options, client.WithPrefix())
		}
		if o.Kind == history.Stale {
			options = append(options, client.WithSerializable())
		}
		res, err := c.Get(ctx, o.Key, options...)
		if err != nil {
			return err
		}
		o.Revision, o.Member, o.Found = res.Header.Revision, res.Header.MemberId, kvs(res.Kvs...)
	}
	return nil
}

// watch is asker's.
func (c own) watch(ctx context.Context, from int64, tell func([]outside.Event, error)) {
	for res := range c.Watch(ctx, "", client.WithFromKey(), client.WithRev(from), client.WithPrevKV()) {
		var events []outside.Event
		for _, e := range res.Events {
			one := outside.Event{Revision: e.Kv.ModRevision, Created: e.Kv.CreateRevision, Change: history.Change{Key: string(e.Kv.Key), Value: string(e.Kv.Value), Deleted: e.Type == client.EventDelete}}
			if e.PrevKv != nil {
				one.Had, one.Before = true, string(e.PrevKv.Value)
			}
			events = append(events, one)
		}
		tell(events, res.Err())
	}
}

// noise cannot be compressed.
var noise = func() string {
	b := make([]byte, 2*bulkBytes)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(b) // it never fails
	return string(b)
}()

// padding makes values of different lengths. What is behind a space does not
// count.
func padding(value string) string {
	switch {
	case strings.HasPrefix(value, "bulk"):
		return " " + noise[rand.IntN(bulkBytes):][:bulkBytes]
	case value[len(value)-1] == '7':
		return " " + strings.Repeat("x", 100*int(value[len(value)-2]))
	}
	return ""
}

func kvs(all ...*client.KeyValue) []history.KV {
	var out []history.KV
	for _, kv := range all {
		value, _, _ := strings.Cut(string(kv.Value), " ")
		out = append(out, history.KV{Key: string(kv.Key), Value: value, Create: kv.CreateRevision, Mod: kv.ModRevision, Version: kv.Version})
	}
	return out
}
