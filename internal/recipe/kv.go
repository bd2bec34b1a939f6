package recipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// KV is what the recipes need of a cluster. Its errors are passed on as they are.
type KV interface {
	Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error)
	// Txn may send a transaction again whose answer was lost, and so make it twice, the
	// second time whenever it arrives: each that the recipes ask for says what must be as
	// it was, so that it changes nothing then. The one exception is a key that stands in a
	// queue for the first time, since its absence has no revision: see Ticket.Late.
	Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error)
	// Watch watches key, or the range up to end, from the revision start on. Whoever
	// asked closes it.
	Watch(ctx context.Context, key, end []byte, start int64) (Watch, error)
}

// Watch is a watch that is under way.
type Watch interface {
	// Next waits for events, in order and without a gap. errs.Compacted: those that
	// come next are gone.
	Next(ctx context.Context) (*etcdserverpb.WatchResponse, error)
	Close()
}

// prefix is what the keys of all who want a name begin with.
func prefix(name []byte) []byte { return append(append([]byte(nil), name...), '/') }

// keyOf is the key with which whoever has the lease wants a name.
func keyOf(name []byte, lease int64) []byte { return fmt.Appendf(prefix(name), "%x", lease) }

// prefixEnd is the end of the range of all that begins with p, which ends in a
// slash.
func prefixEnd(p []byte) []byte {
	end := append([]byte(nil), p...)
	end[len(end)-1]++
	return end
}

// created is the condition that a key was created at a revision, or does not
// exist, for 0.
func created(key []byte, revision int64) []*etcdserverpb.Compare {
	return []*etcdserverpb.Compare{{
		Key: key, Target: etcdserverpb.Compare_CREATE, Result: etcdserverpb.Compare_EQUAL,
		TargetUnion: &etcdserverpb.Compare_CreateRevision{CreateRevision: revision},
	}}
}

// modified is the condition that a key was put last at a revision, or does not
// exist, for 0.
func modified(key []byte, revision int64) []*etcdserverpb.Compare {
	return []*etcdserverpb.Compare{{
		Key: key, Target: etcdserverpb.Compare_MOD, Result: etcdserverpb.Compare_EQUAL,
		TargetUnion: &etcdserverpb.Compare_ModRevision{ModRevision: revision},
	}}
}

func put(key, value []byte, lease int64) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: key, Value: value, Lease: lease}}}
}

func get(r *etcdserverpb.RangeRequest) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: r}}
}

func remove(key []byte) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: key}}}
}

// first asks for the key below p that was created first.
func first(p []byte) *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{Key: p, RangeEnd: prefixEnd(p), SortOrder: etcdserverpb.RangeRequest_ASCEND, SortTarget: etcdserverpb.RangeRequest_CREATE, Limit: 1}
}

// Ticket is what a call wants: a name, with a lease.
type Ticket struct {
	Name  []byte
	Lease int64
	// Value is what the key says: who leads, say.
	Value []byte
	// Late, unless it is nil, has the key stay where the call gives up: the caller takes
	// it away, who knows what else the lease is used for. It is called if the key was put
	// when the call had ended. A caller whose KV may have left a transaction on its way
	// watches the key for as long as it holds the lease. Without it others that have asked with the lease are
	// guessed at, and where that is not certain the key stays until its lease ends.
	Late func()
	// Go, unless it is nil, starts the goroutine that hears of the answer to the put, which
	// outlives a call that gives up before: whoever sets it can wait for its end. It comes
	// within leaveTimeout for each of the put and the farewell.
	Go func(func())
}

// start starts what may outlive the call.
func (t *Ticket) start(do func()) {
	if t.Go == nil {
		go do()
		return
	}
	t.Go(do)
}

// place is a key that stands in the queue for a name.
type place struct {
	prefix, key []byte
	// created is the key's creation revision, asked the revision at which this call
	// has put it: whoever asks with the same lease puts it again.
	created, asked int64
	// modified is when the key was put last, as far as this call knows.
	modified int64
	// head says that nobody stood before it, held that it stood there already, before
	// this call.
	head, held bool
	header     *etcdserverpb.ResponseHeader
}

// queue puts the key of a lease behind all others that want a name, or again in its
// place. A caller whose context ends before it is known whether it stands there does
// not wait for that; then the key is taken away when it is.
func queue(ctx context.Context, kv KV, t Ticket) (*place, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type outcome struct {
		place *place
		err   error
	}
	done := make(chan outcome)
	t.start(func() {
		detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		stop := context.AfterFunc(ctx, func() { time.AfterFunc(leaveTimeout, cancel) })
		defer stop()
		var o outcome
		o.place, o.err = ask(detached, kv, t, ctx.Err)
		select {
		case done <- o:
		case <-ctx.Done():
			switch {
			case t.Late != nil:
				t.Late()
			case o.err == nil:
				leave(ctx, kv, o.place)
			}
		}
	})
	select {
	case o := <-done:
		return o.place, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ask puts the key, where it is not there, or else over what is there: only over what it
// has seen, lest one that arrives late overwrites what was said since. gone says that the
// caller has given up: what is there then may be said later than that.
func ask(ctx context.Context, kv KV, t Ticket, gone func() error) (*place, error) {
	p, key := prefix(t.Name), keyOf(t.Name, t.Lease)
	seen := &mvccpb.KeyValue{} // nothing
	for {
		res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{
			Compare: modified(key, seen.ModRevision),
			Success: []*etcdserverpb.RequestOp{put(key, t.Value, t.Lease), get(first(p))},
			Failure: []*etcdserverpb.RequestOp{get(&etcdserverpb.RangeRequest{Key: key})},
		})
		switch {
		case err != nil:
			return nil, err
		case !res.Succeeded && gone() != nil:
			return nil, gone()
		case !res.Succeeded:
			seen = the(res.Responses[0].GetResponseRange())
			continue
		}
		at := &place{prefix: p, key: key, created: res.Header.Revision, asked: res.Header.Revision, modified: res.Header.Revision, header: res.Header}
		at.head = bytes.Equal(res.Responses[1].GetResponseRange().Kvs[0].Key, key) // there is at least our own
		if seen.ModRevision != 0 {
			at.created, at.held = seen.CreateRevision, at.head
		}
		return at, nil
	}
}

// the is the only record of an answer, or an empty one.
func the(res *etcdserverpb.RangeResponse) *mvccpb.KeyValue {
	if len(res.Kvs) == 0 {
		return &mvccpb.KeyValue{}
	}
	return res.Kvs[0]
}

// stands says whether a key is where it was put, or where it went from there, and
// what it says.
func stands(ctx context.Context, kv KV, at *place) (says []byte, ok bool, err error) {
	res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: at.key})
	if err != nil {
		return nil, false, err
	}
	now := the(res)
	if now.CreateRevision != at.created {
		return nil, false, nil
	}
	at.header, at.modified = res.Header, now.ModRevision
	return now.Value, true, nil
}

// turn waits until a ticket has its turn, and returns its place. expired is the error
// for a lease that has ended meanwhile.
func turn(ctx context.Context, kv KV, t Ticket, expired error) (*place, error) {
	for waited := false; ; waited = true {
		at, err := queue(ctx, kv, t)
		switch {
		case waited && errors.Is(err, errs.LeaseNotFound):
			return nil, expired
		case err != nil:
			return nil, err
		case at.head:
			return at, nil
		}
		err = awaitTurn(ctx, kv, at.prefix, at.created)
		var says []byte
		there := false
		if err == nil {
			says, there, err = stands(ctx, kv, at)
		}
		switch {
		case err != nil:
			if t.Late == nil {
				leave(ctx, kv, at)
			}
			return nil, err
		case there && bytes.Equal(says, t.Value):
			return at, nil
		}
		// The lease has ended; or another call with it has given up, and taken the key
		// away that they shared, or says something else.
	}
}

// awaitTurn waits until no key below p is older than the one that was created at
// revision.
func awaitTurn(ctx context.Context, kv KV, p []byte, revision int64) error {
	for {
		res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{
			Key: p, RangeEnd: prefixEnd(p), MaxCreateRevision: revision - 1, Limit: 1, KeysOnly: true,
			SortOrder: etcdserverpb.RangeRequest_DESCEND, SortTarget: etcdserverpb.RangeRequest_CREATE,
		})
		if err != nil || len(res.Kvs) == 0 {
			return err
		}
		if err := awaitEvent(ctx, kv, res.Kvs[0].Key, res.Header.Revision+1, mvccpb.Event_DELETE); err != nil {
			return err
		}
	}
}

// awaitEvent waits until a key was put, or deleted, at the revision start or later, or
// nobody can tell any more.
func awaitEvent(ctx context.Context, kv KV, key []byte, start int64, what mvccpb.Event_EventType) error {
	w, err := kv.Watch(ctx, key, nil, start)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		res, err := w.Next(ctx)
		if errors.Is(err, errs.Compacted) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range res.Events {
			if e.Type == what {
				return nil
			}
		}
	}
}

// leaveTimeout bounds what is done for a caller that has gone.
const leaveTimeout = 5 * time.Second

// leave takes a key out of the queue for a call that waits no longer, whose context
// may have ended. Others that have asked with the same lease since share the key, and
// keep it; where others had asked before, it stays if it has the turn, which they may
// know by now. What cannot be done now the end of the lease does.
func leave(ctx context.Context, kv KV, at *place) {
	if at.held {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	gone := remove(at.key)
	if at.asked != at.created {
		gone = &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestTxn{RequestTxn: &etcdserverpb.TxnRequest{
			Compare: []*etcdserverpb.Compare{{
				Key: at.prefix, RangeEnd: prefixEnd(at.prefix), Target: etcdserverpb.Compare_CREATE, Result: etcdserverpb.Compare_GREATER,
				TargetUnion: &etcdserverpb.Compare_CreateRevision{CreateRevision: at.created - 1},
			}},
			Failure: []*etcdserverpb.RequestOp{gone},
		}}}
	}
	_, _ = kv.Txn(ctx, &etcdserverpb.TxnRequest{
		Compare: modified(at.key, at.asked),
		Success: []*etcdserverpb.RequestOp{gone},
	})
}
