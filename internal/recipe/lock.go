package recipe

import (
	"bytes"
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
	p, key := prefix(name), keyOf(name, lease)
	own, owner, header, err := queue(ctx, kv, p, key, nil, lease)
	if err != nil {
		return nil, err
	}
	o := &Ownership{Key: key, Revision: own.CreateRevision, Header: header}
	if bytes.Equal(owner.Key, key) {
		return o, nil
	}
	if err := awaitTurn(ctx, kv, p, o.Revision); err != nil {
		leave(ctx, kv, key, o.Revision)
		return nil, err
	}
	res, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: key})
	if err != nil {
		leave(ctx, kv, key, o.Revision)
		return nil, err
	}
	if len(res.Kvs) == 0 || res.Kvs[0].CreateRevision != o.Revision {
		return nil, ErrSessionExpired
	}
	o.Header = res.Header
	return o, nil
}

// TryLock is Lock for a caller that does not wait: ErrLocked.
func TryLock(ctx context.Context, kv KV, name []byte, lease int64) (*Ownership, error) {
	p, key := prefix(name), keyOf(name, lease)
	own, owner, header, err := queue(ctx, kv, p, key, nil, lease)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(owner.Key, key) {
		leave(ctx, kv, key, own.CreateRevision)
		return nil, ErrLocked
	}
	return &Ownership{Key: key, Revision: own.CreateRevision, Header: header}, nil
}

// Unlock gives up the lock that a key stands for. One that is not held is given up
// already.
func Unlock(ctx context.Context, kv KV, key []byte) (*etcdserverpb.ResponseHeader, error) {
	res, err := kv.Txn(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{remove(key)}})
	if err != nil {
		return nil, err
	}
	return res.Header, nil
}
