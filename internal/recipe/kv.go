package recipe

import (
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

// queue puts key, on a lease, behind all others that want a name, unless it stands
// there already. It returns the record that is there now, and who is first.
func queue(ctx context.Context, kv KV, p, key, value []byte, lease int64) (own, owner *mvccpb.KeyValue, header *etcdserverpb.ResponseHeader, err error) {
	res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{
		Compare: created(key, 0),
		Success: []*etcdserverpb.RequestOp{put(key, value, lease), get(first(p))},
		Failure: []*etcdserverpb.RequestOp{get(&etcdserverpb.RangeRequest{Key: key}), get(first(p))},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	owner = res.Responses[1].GetResponseRange().Kvs[0] // at least our own
	if res.Succeeded {
		revision := res.Header.Revision
		return &mvccpb.KeyValue{Key: key, Value: value, CreateRevision: revision, ModRevision: revision, Version: 1, Lease: lease}, owner, res.Header, nil
	}
	return res.Responses[0].GetResponseRange().Kvs[0], owner, res.Header, nil
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
		if err := awaitDeletion(ctx, kv, res.Kvs[0].Key, res.Header.Revision+1); err != nil {
			return err
		}
	}
}

// awaitDeletion waits until a key was deleted at the revision start or later, or
// nobody can tell any more.
func awaitDeletion(ctx context.Context, kv KV, key []byte, start int64) error {
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
			if e.Type == mvccpb.Event_DELETE {
				return nil
			}
		}
	}
}

// leaveTimeout bounds what is done for a caller that has gone.
const leaveTimeout = 5 * time.Second

// leave deletes a key that was created at revision, for a caller that waits no
// longer: its context may have ended.
func leave(ctx context.Context, kv KV, key []byte, revision int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	// If it cannot be done now, the lease will.
	_, _ = kv.Txn(ctx, &etcdserverpb.TxnRequest{Compare: created(key, revision), Success: []*etcdserverpb.RequestOp{remove(key)}})
}
