package recipe

import (
	"bytes"
	"context"
	"errors"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

var (
	// ErrNoLeader is Leader's where nobody is elected.
	ErrNoLeader = errors.New("election: no leader")
	// ErrNotLeader is the error of who was elected once, and is no more.
	ErrNotLeader = errors.New("election: not leader")
	// ErrCampaignExpired is the error of a campaign whose lease ended before it was
	// won.
	ErrCampaignExpired = errors.New("election: session is expired")
)

// Leadership is an election that is won.
type Leadership struct {
	Name []byte
	// Key stands for the leadership, which lasts while the key exists as it was
	// created at Revision: a fencing token.
	Key      []byte
	Revision int64
	Lease    int64
	// Modified is the revision at which the leader has said something last, as far as is
	// known, 0 if nothing is.
	Modified int64
}

// Campaign waits until the election of the ticket's name is won with its lease, and
// proclaims its value. Who has won it with the same lease has won it again. A lease that has
// ended while Campaign waited is ErrCampaignExpired. A caller whose context ends
// leaves the queue.
func Campaign(ctx context.Context, kv KV, t Ticket) (*Leadership, *etcdserverpb.ResponseHeader, error) {
	at, err := turn(ctx, kv, t, ErrCampaignExpired)
	if err != nil {
		return nil, nil, err
	}
	return &Leadership{Name: t.Name, Key: at.key, Revision: at.created, Lease: t.Lease, Modified: at.modified}, at.header, nil
}

// Recall learns what a leadership of which only the key is known has said last:
// ErrNotLeader where it has ended.
func Recall(ctx context.Context, kv KV, l *Leadership) error {
	if l.Modified != 0 {
		return nil
	}
	res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: l.Key, KeysOnly: true})
	if err != nil {
		return err
	}
	now := the(res)
	if now.CreateRevision != l.Revision {
		return ErrNotLeader
	}
	l.Modified = now.ModRevision
	return nil
}

// Proclaim changes what the leader says, without another election. It overwrites only
// what it knows of: of two proclamations of one leader the later one stays, whichever
// arrives last, but where nothing is known.
func Proclaim(ctx context.Context, kv KV, l *Leadership, value []byte) (*etcdserverpb.ResponseHeader, error) {
	header, led, err := l.change(ctx, kv, put(l.Key, value, l.Lease))
	switch {
	case err != nil:
		return nil, err
	case !led:
		return nil, ErrNotLeader
	}
	l.Modified = header.Revision
	return header, nil
}

// Resign gives up a leadership. One that has ended is given up already. As Proclaim, one
// that arrives late takes nothing that was won anew, but where nothing is known.
func Resign(ctx context.Context, kv KV, l *Leadership) (*etcdserverpb.ResponseHeader, error) {
	header, _, err := l.change(ctx, kv, remove(l.Key))
	return header, err
}

// change does something to the key of a leadership, if it has not ended.
func (l *Leadership) change(ctx context.Context, kv KV, do *etcdserverpb.RequestOp) (header *etcdserverpb.ResponseHeader, led bool, err error) {
	for {
		as := created(l.Key, l.Revision)
		if l.Modified != 0 {
			as = append(as, modified(l.Key, l.Modified)...)
		}
		res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{
			Compare: as,
			Success: []*etcdserverpb.RequestOp{do},
			Failure: []*etcdserverpb.RequestOp{get(&etcdserverpb.RangeRequest{Key: l.Key, KeysOnly: true})},
		})
		if err != nil || res.Succeeded {
			return res.GetHeader(), err == nil, err
		}
		now := the(res.Responses[0].GetResponseRange())
		if l.Modified == 0 || now.CreateRevision != l.Revision {
			return res.Header, false, nil
		}
		l.Modified = now.ModRevision
	}
}

// Leader is the record of who leads now, or ErrNoLeader.
func Leader(ctx context.Context, kv KV, name []byte) (*mvccpb.KeyValue, *etcdserverpb.ResponseHeader, error) {
	res, err := kv.Range(ctx, first(prefix(name)))
	if err != nil {
		return nil, nil, err
	}
	if len(res.Kvs) == 0 {
		return nil, nil, ErrNoLeader
	}
	return res.Kvs[0], res.Header, nil
}

// Observe calls see with who leads, and again for each leader after it and each
// change of what a leader says, until it returns an error or ctx ends.
func Observe(ctx context.Context, kv KV, name []byte, see func(*mvccpb.KeyValue, *etcdserverpb.ResponseHeader) error) error {
	o := observer{kv: kv, prefix: prefix(name), see: see}
	for {
		if err := o.follow(ctx); err != nil && !errors.Is(err, errs.Compacted) {
			return err
		}
	}
}

// observer follows one leader after the other.
type observer struct {
	kv     KV
	prefix []byte
	see    func(*mvccpb.KeyValue, *etcdserverpb.ResponseHeader) error
	last   *mvccpb.KeyValue // that was seen
}

// follow follows the leader there is, or the next, to its end.
func (o *observer) follow(ctx context.Context) error {
	res, err := o.kv.Range(ctx, first(o.prefix))
	if err != nil {
		return err
	}
	if len(res.Kvs) > 0 {
		if err := o.show(res.Kvs[0], res.Header); err != nil {
			return err
		}
		return o.listen(ctx, res.Kvs[0].Key, res.Header.Revision+1)
	}
	leader, header, err := o.awaitAnyone(ctx, res.Header.Revision+1)
	if err != nil {
		return err
	}
	if err := o.show(leader, header); err != nil {
		return err
	}
	return o.listen(ctx, leader.Key, leader.ModRevision+1)
}

// listen shows what a leader says from a revision on, until it leads no more.
func (o *observer) listen(ctx context.Context, key []byte, start int64) error {
	w, err := o.kv.Watch(ctx, key, nil, start)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		res, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range res.Events {
			if e.Type == mvccpb.Event_DELETE {
				return nil
			}
			if err := o.show(e.Kv, res.Header); err != nil {
				return err
			}
		}
	}
}

// awaitAnyone waits where nobody leads until somebody does.
func (o *observer) awaitAnyone(ctx context.Context, start int64) (*mvccpb.KeyValue, *etcdserverpb.ResponseHeader, error) {
	w, err := o.kv.Watch(ctx, o.prefix, prefixEnd(o.prefix), start)
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	for {
		res, err := w.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range res.Events {
			if e.Type == mvccpb.Event_PUT {
				return e.Kv, res.Header, nil
			}
		}
	}
}

// show passes on what was not seen last. (A leader's record may be older than that
// of the leader before: it was put when its campaign began.)
func (o *observer) show(kv *mvccpb.KeyValue, header *etcdserverpb.ResponseHeader) error {
	if o.last != nil && bytes.Equal(kv.Key, o.last.Key) && kv.ModRevision == o.last.ModRevision {
		return nil
	}
	o.last = kv
	return o.see(kv, header)
}
