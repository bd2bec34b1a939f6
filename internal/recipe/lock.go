package recipe

import (
	"context"
	"errors"

	"etcd.alt/api/etcdserverpb"
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

// Abandon takes the key of a lease for a name away, if nobody asks with the lease
// meanwhile or later: a deletion that comes late takes nothing from them. It is for the
// only one who uses the lease for the name.
func Abandon(ctx context.Context, kv KV, name []byte, lease int64) error {
	key := keyOf(name, lease)
	res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: key, KeysOnly: true})
	if err != nil || len(res.Kvs) == 0 {
		return err
	}
	_, err = kv.Txn(ctx, &etcdserverpb.TxnRequest{Compare: modified(key, res.Kvs[0].ModRevision), Success: []*etcdserverpb.RequestOp{remove(key)}})
	return err
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
