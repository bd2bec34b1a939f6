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

// Lock waits until the lock of a name is held with a lease, and returns the
// ownership. Whoever holds it with the same lease holds it again. It is still held
// when Lock has looked last, which is after the wait: a lease that has ended
// meanwhile is ErrSessionExpired. A caller whose context ends leaves the queue.
func Lock(ctx context.Context, kv KV, name []byte, lease int64) (*Ownership, error) {
	at, err := turn(ctx, kv, name, nil, lease, ErrSessionExpired)
	if err != nil {
		return nil, err
	}
	return at.ownership(), nil
}

// TryLock is Lock for a caller that does not wait: ErrLocked.
func TryLock(ctx context.Context, kv KV, name []byte, lease int64) (*Ownership, error) {
	at, err := queue(ctx, kv, name, nil, lease)
	if err != nil {
		return nil, err
	}
	if !at.head {
		leave(ctx, kv, at)
		return nil, ErrLocked
	}
	return at.ownership(), nil
}

func (at *place) ownership() *Ownership {
	return &Ownership{Key: at.key, Revision: at.created, Header: at.header}
}

// Release gives up a lock. One that is not held any more, or was got anew since, is
// left as it is.
func Release(ctx context.Context, kv KV, o *Ownership) error {
	_, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{Compare: created(o.Key, o.Revision), Success: []*etcdserverpb.RequestOp{remove(o.Key)}})
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
