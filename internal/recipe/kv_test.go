package recipe

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// naive is a cluster that keeps everything, as far as the recipes need one.
type naive struct {
	t         *testing.T
	mu        sync.Mutex
	changed   *sync.Cond
	revision  int64
	compacted int64
	keys      map[string]*mvccpb.KeyValue
	history   []*mvccpb.Event
	watches   int            // that are under way
	dead      map[int64]bool // leases that have ended
}

func newNaive(t *testing.T) *naive {
	n := &naive{t: t, revision: 1, keys: map[string]*mvccpb.KeyValue{}, dead: map[int64]bool{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

func (n *naive) header() *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{Revision: n.revision}
}

func (n *naive) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.find(r), ctx.Err()
}

func (n *naive) find(r *etcdserverpb.RangeRequest) *etcdserverpb.RangeResponse {
	res := &etcdserverpb.RangeResponse{Header: n.header()}
	for key, kv := range n.keys {
		in := key == string(r.Key) || len(r.RangeEnd) > 0 && key >= string(r.Key) && key < string(r.RangeEnd)
		if in && (r.MaxCreateRevision == 0 || kv.CreateRevision <= r.MaxCreateRevision) {
			res.Kvs = append(res.Kvs, kv)
		}
	}
	slices.SortFunc(res.Kvs, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	if r.SortOrder == etcdserverpb.RangeRequest_DESCEND {
		slices.Reverse(res.Kvs)
	}
	if r.Limit > 0 && int64(len(res.Kvs)) > r.Limit {
		res.Kvs = res.Kvs[:r.Limit]
	}
	return res
}

func (n *naive) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var events []*mvccpb.Event
	res, err := n.run(r, &events)
	if err != nil {
		return nil, err
	}
	n.publish(events)
	res.Header = n.header()
	return res, nil
}

// holds says whether a comparison does, for all of its range.
func (n *naive) holds(c *etcdserverpb.Compare) bool {
	kvs := n.find(&etcdserverpb.RangeRequest{Key: c.Key, RangeEnd: c.RangeEnd}).Kvs
	if len(kvs) == 0 {
		kvs = []*mvccpb.KeyValue{{}}
	}
	for _, kv := range kvs {
		have, want := kv.CreateRevision, c.GetCreateRevision()
		if c.Target == etcdserverpb.Compare_MOD {
			have, want = kv.ModRevision, c.GetModRevision()
		}
		if c.Result == etcdserverpb.Compare_GREATER && have <= want || c.Result == etcdserverpb.Compare_EQUAL && have != want {
			return false
		}
	}
	return true
}

func (n *naive) run(r *etcdserverpb.TxnRequest, events *[]*mvccpb.Event) (*etcdserverpb.TxnResponse, error) {
	res := &etcdserverpb.TxnResponse{Succeeded: true}
	for _, c := range r.Compare {
		res.Succeeded = res.Succeeded && n.holds(c)
	}
	ops := r.Success
	if !res.Succeeded {
		ops = r.Failure
	}
	next := n.revision + 1
	for _, op := range ops {
		one := &etcdserverpb.ResponseOp{}
		switch op := op.Request.(type) {
		case *etcdserverpb.RequestOp_RequestPut:
			p := op.RequestPut
			if n.dead[p.Lease] {
				return nil, errs.LeaseNotFound
			}
			old := n.keys[string(p.Key)]
			kv := &mvccpb.KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, CreateRevision: next, ModRevision: next, Version: 1}
			if old != nil {
				kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
			}
			n.keys[string(p.Key)] = kv
			*events = append(*events, &mvccpb.Event{Kv: kv})
			one.Response = &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: &etcdserverpb.PutResponse{PrevKv: old}}
		case *etcdserverpb.RequestOp_RequestDeleteRange:
			*events = append(*events, n.remove(string(op.RequestDeleteRange.Key), next)...)
		case *etcdserverpb.RequestOp_RequestRange:
			one.Response = &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: n.find(op.RequestRange)}
		case *etcdserverpb.RequestOp_RequestTxn:
			if _, err := n.run(op.RequestTxn, events); err != nil {
				return nil, err
			}
		}
		res.Responses = append(res.Responses, one)
	}
	return res, nil
}

func (n *naive) remove(key string, revision int64) []*mvccpb.Event {
	if n.keys[key] == nil {
		return nil
	}
	delete(n.keys, key)
	return []*mvccpb.Event{{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: revision}}}
}

func (n *naive) publish(events []*mvccpb.Event) {
	if len(events) > 0 {
		n.revision++
		n.history = append(n.history, events...)
		n.changed.Broadcast()
	}
}

// expire ends a lease.
func (n *naive) expire(lease int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead[lease] = true
	var events []*mvccpb.Event
	for key, kv := range n.keys {
		if kv.Lease == lease {
			events = append(events, n.remove(key, n.revision+1)...)
		}
	}
	n.publish(events)
}

// compact gives up all history, and stops watches that are behind.
func (n *naive) compact() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.compacted = n.revision
	n.changed.Broadcast()
}

// below is the keys that begin with p, the oldest first.
func (n *naive) below(p string) (keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, kv := range n.find(&etcdserverpb.RangeRequest{Key: []byte(p), RangeEnd: prefixEnd([]byte(p))}).Kvs {
		keys = append(keys, strings.TrimPrefix(string(kv.Key), p))
	}
	return keys
}

func (n *naive) Watch(_ context.Context, key, end []byte, start int64) (Watch, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watches++
	return &naiveWatch{n, key, end, start}, nil
}

type naiveWatch struct {
	n        *naive
	key, end []byte
	next     int64
}

func (w *naiveWatch) Close() {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	w.n.watches--
}

func (w *naiveWatch) Next(ctx context.Context) (*etcdserverpb.WatchResponse, error) {
	stop := context.AfterFunc(ctx, func() {
		w.n.mu.Lock()
		defer w.n.mu.Unlock()
		w.n.changed.Broadcast()
	})
	defer stop()
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if w.next < w.n.compacted {
			return nil, errs.Compacted
		}
		res := &etcdserverpb.WatchResponse{Header: w.n.header()}
		for _, e := range w.n.history {
			in := bytes.Equal(e.Kv.Key, w.key) || len(w.end) > 0 && bytes.Compare(e.Kv.Key, w.key) >= 0 && bytes.Compare(e.Kv.Key, w.end) < 0
			if in && e.Kv.ModRevision >= w.next {
				res.Events = append(res.Events, e)
			}
		}
		if len(res.Events) > 0 {
			w.next = w.n.revision + 1
			return res, nil
		}
		w.n.changed.Wait()
	}
}
