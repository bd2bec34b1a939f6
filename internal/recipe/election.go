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
}

// Campaign waits until the election of a name is won with a lease, and proclaims
// value. Who has won it with the same lease has won it again. A lease that has
// ended while Campaign waited is ErrCampaignExpired. A caller whose context ends
// leaves the queue.
func Campaign(ctx context.Context, kv KV, name []byte, lease int64, value []byte) (*Leadership, *etcdserverpb.ResponseHeader, error) {
	p, key := prefix(name), keyOf(name, lease)
	own, owner, header, err := queue(ctx, kv, p, key, value, lease)
	if err != nil {
		return nil, nil, err
	}
	l := &Leadership{Name: name, Key: key, Revision: own.CreateRevision, Lease: lease}
	if !bytes.Equal(own.Value, value) {
		if header, err = Proclaim(ctx, kv, l, value); err != nil {
			leave(ctx, kv, key, l.Revision)
			return nil, nil, err
		}
	}
	if bytes.Equal(owner.Key, key) {
		return l, header, nil
	}
	if err := awaitTurn(ctx, kv, p, l.Revision); err != nil {
		leave(ctx, kv, key, l.Revision)
		return nil, nil, err
	}
	res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: key, KeysOnly: true})
	if err != nil {
		leave(ctx, kv, key, l.Revision)
		return nil, nil, err
	}
	if len(res.Kvs) == 0 || res.Kvs[0].CreateRevision != l.Revision {
		return nil, nil, ErrCampaignExpired
	}
	return l, res.Header, nil
}

// Proclaim changes what the leader says, without another election.
func Proclaim(ctx context.Context, kv KV, l *Leadership, value []byte) (*etcdserverpb.ResponseHeader, error) {
	res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{Compare: created(l.Key, l.Revision), Success: []*etcdserverpb.RequestOp{put(l.Key, value, l.Lease)}})
	if err != nil {
		return nil, err
	}
	if !res.Succeeded {
		return nil, ErrNotLeader
	}
	return res.Header, nil
}

// Resign gives up a leadership. One that has ended is given up already.
func Resign(ctx context.Context, kv KV, l *Leadership) (*etcdserverpb.ResponseHeader, error) {
	res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{Compare: created(l.Key, l.Revision), Success: []*etcdserverpb.RequestOp{remove(l.Key)}})
	if err != nil {
		return nil, err
	}
	return res.Header, nil
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

// follow follows the leader there is, or is to come, to its end.
func (o *observer) follow(ctx context.Context) error {
	res, err := o.kv.Range(ctx, first(o.prefix))
	if err != nil {
		return err
	}
	if len(res.Kvs) == 0 {
		return o.awaitAnyone(ctx, res.Header.Revision+1)
	}
	leader := res.Kvs[0]
	if err := o.show(leader, res.Header); err != nil {
		return err
	}
	w, err := o.kv.Watch(ctx, leader.Key, nil, res.Header.Revision+1)
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

// awaitAnyone waits until somebody may lead.
func (o *observer) awaitAnyone(ctx context.Context, start int64) error {
	w, err := o.kv.Watch(ctx, o.prefix, prefixEnd(o.prefix), start)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Next(ctx)
	return err
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
