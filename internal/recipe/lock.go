package recipe

import (
	"context"
	"errors"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// ErrSessionExpired is the error of a lock whose lease ended before it was held.
var ErrSessionExpired = errors.New("mutex: session is expired")

// ErrLocked is TryLock's where somebody else holds the lock.
var ErrLocked = errors.New("mutex: Locked by another session")

// Ownership is a lock that is held.
type Ownership struct {
	// Key is the key that stands for it: it is held while the key exists.
	Key []byte
	// Revision is when the key was created: a fencing token.
	Revision int64
	// Header is that of the last answer that was needed.
	Header *etcdserverpb.ResponseHeader
}

// Lock waits until the lock of the ticket's name is held with its lease, and returns the
// ownership. Whoever holds it with the same lease holds it again. It is still held
// when Lock has looked last, which is after the wait: a lease that has ended
// meanwhile is ErrSessionExpired. A caller whose context ends leaves the queue.
func Lock(ctx context.Context, kv KV, t Ticket) (*Ownership, error) {
	at, err := turn(ctx, kv, t, ErrSessionExpired)
	if err != nil {
		return nil, err
	}
	return at.ownership(), nil
}

// TryLock is Lock for a caller that does not wait: ErrLocked.
func TryLock(ctx context.Context, kv KV, t Ticket) (*Ownership, error) {
	at, err := queue(ctx, kv, t)
	if err != nil {
		return nil, err
	}
	if !at.head {
		if t.Late == nil {
			leave(ctx, kv, at)
		}
		return nil, ErrLocked
	}
	return at.ownership(), nil
}

func (at *place) ownership() *Ownership {
	return &Ownership{Key: at.key, Revision: at.created, Header: at.header}
}

// Abandon takes the key of a lease for a name away, unless somebody uses it, or begins to
// meanwhile: used is asked when it is known which key goes, and whoever asks for the name
// after that puts another. A deletion that comes late takes nothing from them.
func Abandon(ctx context.Context, kv KV, name []byte, lease int64, used func() bool) error {
	_, err := abandon(ctx, kv, keyOf(name, lease), used)
	return err
}

// Sweep abandons the key of a lease for a name whenever it is there and nobody uses it,
// until ctx ends or something cannot be done, which it returns. It is for whoever has lost
// sight of a transaction that puts the key when it arrives, whenever that is; once the
// lease has ended it puts nothing.
func Sweep(ctx context.Context, kv KV, name []byte, lease int64, used func() bool) error {
	key := keyOf(name, lease)
	for {
		revision, err := abandon(ctx, kv, key, used)
		if err != nil {
			return err
		}
		if err := awaitEvent(ctx, kv, key, revision+1, mvccpb.Event_PUT); err != nil {
			return err
		}
	}
}

// abandon returns the revision at which it has looked.
func abandon(ctx context.Context, kv KV, key []byte, used func() bool) (int64, error) {
	res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: key, KeysOnly: true})
	if err != nil {
		return 0, err
	}
	if len(res.Kvs) > 0 && !used() {
		_, err = kv.Txn(ctx, &etcdserverpb.TxnRequest{Compare: modified(key, res.Kvs[0].ModRevision), Success: []*etcdserverpb.RequestOp{remove(key)}})
	}
	return res.Header.Revision, err
}

// Unlock gives up the lock that a key stands for, whoever has got it with the key's
// lease, and however often. One that is not held is given up already.
func Unlock(ctx context.Context, kv KV, key []byte) (*etcdserverpb.ResponseHeader, error) {
	res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{remove(key)}})
	if err != nil {
		return nil, err
	}
	return res.Header, nil
}
