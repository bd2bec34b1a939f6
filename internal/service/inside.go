package service

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/recipe"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/watch"
)

// inside is the cluster to the recipes that this member runs in the name of its
// clients, with their rights.
type inside struct {
	s   *Service
	who credential
}

// insideFor is for the recipe of a call that has just passed its door. It may take longer
// than the caller's token lives: a lock that is waited for must be had, or left, all the
// same.
func (s *Service) insideFor(stream *rpc.Stream) inside {
	who := s.credentialOf(stream)
	if v := s.c.Machine.View().Auth; v.Enabled && who.token != "" {
		if known, err := s.judge(v, who, true); err == nil {
			who.lasting = known.token
		}
	}
	return inside{s, who}
}

// Range is recipe.KV's.
func (k inside) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if !k.s.c.Replica.Alone() {
		if err := k.s.waitBarrier(ctx); err != nil {
			return nil, err
		}
	}
	res := &etcdserverpb.RangeResponse{}
	err := k.s.inView(func(view *machine.View) error {
		by, err := k.s.rights(view, k.who)
		if err == nil {
			err = by.Range(r)
		}
		if err != nil {
			return err
		}
		found, err := view.Keys.Range(r)
		if err != nil {
			return err
		}
		res.Header, res.Count, res.More, res.Kvs = k.s.protoHeader(view.Keys.Revision), found.Count, found.More, nil
		for _, record := range found.KVs {
			kv := &mvccpb.KeyValue{}
			if err := kv.UnmarshalVT(record); err != nil {
				return err
			}
			res.Kvs = append(res.Kvs, kv)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Txn is recipe.KV's.
func (k inside) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if err := checkTxn(r, k.s.c.MaxTxnOps); err != nil {
		return nil, err
	}
	if proto.Size(r) > k.s.c.MaxRequestBytes {
		return nil, errs.RequestTooLarge
	}
	applied, err := k.apply(ctx, r)
	if err != nil {
		return nil, err
	}
	h := k.s.header(applied.Revision)
	res := &etcdserverpb.TxnResponse{}
	if err := res.UnmarshalVT(appendTxn(h.appendTo(nil), applied.Txn)); err != nil {
		return nil, err
	}
	return res, nil
}

// apply sends a transaction through the log, again where the users have changed
// meanwhile.
func (k inside) apply(ctx context.Context, r *etcdserverpb.TxnRequest) (*machine.Result, error) {
	for caughtUp := false; ; {
		by, err := k.s.rightsNow(ctx, k.who)
		if err == nil {
			err = by.Txn(r)
		}
		if k.s.early(err, caughtUp) {
			if err := k.s.waitBarrier(ctx); err != nil {
				return nil, err
			}
			caughtUp = true
			continue
		}
		if err == nil && !k.s.hasRoom(machine.CostOfTxn(r)) {
			err = errs.NoSpace
		}
		if err != nil {
			return nil, err
		}
		res, err := k.s.proposeBy(ctx, by.Subject, &etcdserverpb.InternalRaftRequest{Txn: r})
		if !k.s.overtaken(err, by.Subject) || by.Auth.Enabled && by.Subject.Revision == 0 {
			return res, err
		}
	}
}

// Watch is recipe.KV's.
func (k inside) Watch(_ context.Context, key, end []byte, start int64) (recipe.Watch, error) {
	w := &insideWatch{s: k.s, some: make(chan struct{}, 1)}
	w.hub = k.s.watches.hub.Open(w, k.s.watches.c.Fragment)
	w.stands = k.s.stand(k.who, w.hub)
	if _, err := w.stands.create(watch.Request{Key: key, End: end, Start: start}); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// insideWatch is a watch of the member's own, and the hub's sink for it.
type insideWatch struct {
	s      *Service
	hub    *watch.Stream
	stands *stands
	some   chan struct{} // there may be something to take
	mu     struct {
		sync.Mutex
		waiting [][]byte // encoded responses
		bytes   int      // of them
		ready   func()   // to call when there is room again
		ended   error
	}
}

// insideBudget is how many bytes may wait in a watch of the member's own.
const insideBudget = 64 << 10

// Next is recipe.Watch's.
func (w *insideWatch) Next(ctx context.Context) (*etcdserverpb.WatchResponse, error) {
	for {
		message, err := w.take()
		if err != nil {
			return nil, err
		}
		if message == nil {
			select {
			case <-w.some:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		res := &etcdserverpb.WatchResponse{}
		if err := res.UnmarshalVT(message); err != nil {
			return nil, err
		}
		switch {
		case res.Canceled && res.CompactRevision != 0:
			return nil, errs.Compacted
		case res.Canceled && res.CancelReason == reasonOf(errs.PermissionDenied):
			return nil, errs.PermissionDenied
		case res.Canceled:
			return nil, errors.New(res.CancelReason)
		case len(res.Events) > 0:
			return res, nil
		}
	}
}

// take takes the first response that waits; nil if there is none.
func (w *insideWatch) take() ([]byte, error) {
	w.mu.Lock()
	if len(w.mu.waiting) == 0 {
		defer w.mu.Unlock()
		return nil, w.mu.ended
	}
	message := w.mu.waiting[0]
	w.mu.waiting = w.mu.waiting[1:]
	w.mu.bytes -= len(message)
	var ready func()
	if w.mu.bytes <= insideBudget/2 {
		ready, w.mu.ready = w.mu.ready, nil
	}
	w.mu.Unlock()
	if ready != nil {
		ready()
	}
	return message, nil
}

// Close is recipe.Watch's.
func (w *insideWatch) Close() {
	w.stands.end()
	w.hub.Close()
}

// Header is watch.Sink's.
func (w *insideWatch) Header() watch.Header { return w.s.watchHeader() }

// Offer is watch.Sink's.
func (w *insideWatch) Offer(messages []byte, _ int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.bytes > insideBudget {
		return false
	}
	w.putLocked(messages)
	return true
}

// Push is watch.Sink's.
func (w *insideWatch) Push(message []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.putLocked(message)
}

func (w *insideWatch) putLocked(messages []byte) {
	const prefix = 5
	for len(messages) > 0 {
		n := prefix + int(binary.BigEndian.Uint32(messages[1:prefix]))
		w.mu.waiting = append(w.mu.waiting, append([]byte(nil), messages[prefix:n]...))
		w.mu.bytes += n - prefix
		messages = messages[n:]
	}
	select {
	case w.some <- struct{}{}:
	default:
	}
}

// Room is watch.Sink's.
func (w *insideWatch) Room(ready func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.bytes <= insideBudget/2 {
		return true
	}
	w.mu.ready = ready
	return false
}

// Flush is watch.Sink's.
func (w *insideWatch) Flush() {}

// End is watch.Sink's.
func (w *insideWatch) End(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.ended = err
	select {
	case w.some <- struct{}{}:
	default:
	}
}
