package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// Answers, as they travel. A caller may keep and change them.
type (
	ResponseHeader  = etcdserverpb.ResponseHeader
	KeyValue        = mvccpb.KeyValue
	GetResponse     = etcdserverpb.RangeResponse
	PutResponse     = etcdserverpb.PutResponse
	DeleteResponse  = etcdserverpb.DeleteRangeResponse
	TxnResponse     = etcdserverpb.TxnResponse
	CompactResponse = etcdserverpb.CompactionResponse
)

// OpResponse is the answer to an Op: one of its fields is set.
type OpResponse struct {
	Get    *GetResponse
	Put    *PutResponse
	Delete *DeleteResponse
	Txn    *TxnResponse
}

// Get returns key, or the keys of the range that an option spans from it. A key
// that is not there is not an error.
func (c *Client) Get(ctx context.Context, key string, options ...OpOption) (*GetResponse, error) {
	res, err := c.Do(ctx, OpGet(key, options...))
	return res.Get, err
}

// Put writes a key.
func (c *Client) Put(ctx context.Context, key, value string, options ...OpOption) (*PutResponse, error) {
	res, err := c.Do(ctx, OpPut(key, value, options...))
	return res.Put, err
}

// Delete deletes key, or the keys of the range that an option spans from it.
func (c *Client) Delete(ctx context.Context, key string, options ...OpOption) (*DeleteResponse, error) {
	res, err := c.Do(ctx, OpDelete(key, options...))
	return res.Delete, err
}

// Do runs one operation.
func (c *Client) Do(ctx context.Context, op Op) (OpResponse, error) {
	if err := op.Err(); err != nil {
		return OpResponse{}, err
	}
	var res OpResponse
	var err error
	switch op.kind {
	case kindGet:
		res.Get, err = call[GetResponse](ctx, c, methodRange, op.toRange())
	case kindPut:
		res.Put, err = call[PutResponse](ctx, c, methodPut, op.toPut())
	case kindDelete:
		res.Delete, err = call[DeleteResponse](ctx, c, methodDeleteRange, op.toDelete())
	case kindTxn:
		m := methodTxn
		if op.reads() {
			m = methodReadTxn
		}
		res.Txn, err = call[TxnResponse](ctx, c, m, op.toTxn())
	}
	return res, err
}

// CompactOption changes a compaction.
type CompactOption func(*etcdserverpb.CompactionRequest)

// WithCompactPhysical has the compaction wait until the space is free.
func WithCompactPhysical() CompactOption {
	return func(r *etcdserverpb.CompactionRequest) { r.Physical = true }
}

// Compact gives up the history before a revision.
func (c *Client) Compact(ctx context.Context, rev int64, options ...CompactOption) (*CompactResponse, error) {
	req := &etcdserverpb.CompactionRequest{Revision: rev}
	for _, o := range options {
		o(req)
	}
	return call[CompactResponse](ctx, c, methodCompact, req)
}

// GetStream is Get in parts, so that a long list needs no memory in one piece;
// all parts are of one revision. Only the last has Header, More and Count. It
// takes neither a sort order nor filters by revision. The call begins when the
// sequence is ranged over, and ends with the loop; an error is the last element.
func (c *Client) GetStream(ctx context.Context, key string, options ...OpOption) iter.Seq2[*GetResponse, error] {
	return func(yield func(*GetResponse, error) bool) {
		op := OpGet(key, options...)
		if op.err != nil {
			yield(nil, op.err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, part, err := openStream[etcdserverpb.RangeStreamResponse](ctx, c, methodRangeStream, op.toRange())
		for ; err == nil; part, err = receive[etcdserverpb.RangeStreamResponse](ctx, stream) {
			if !yield(part.GetRangeResponse(), nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// openStream starts a call that the server answers in parts, and returns the
// first of them. Up to there it is sent again like any read. io.EOF is no parts
// at all.
func openStream[T any](ctx context.Context, c *Client, m method, req any) (grpc.ClientStream, *T, error) {
	var stream grpc.ClientStream
	var first *T
	err := c.repeat(ctx, m, func(token string) error {
		var err error
		stream, err = c.conn.NewStream(outgoing(ctx, token), &grpc.StreamDesc{ServerStreams: true}, m.path)
		if err != nil {
			return translate(ctx, err)
		}
		if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) { // the reason comes with the first part
			return translate(ctx, err)
		}
		if err := stream.CloseSend(); err != nil {
			return translate(ctx, err)
		}
		first, err = receive[T](ctx, stream)
		return err
	})
	return stream, first, err
}

func receive[T any](ctx context.Context, stream grpc.ClientStream) (*T, error) {
	part := new(T)
	if err := stream.RecvMsg(part); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, translate(ctx, err)
	}
	return part, nil
}
