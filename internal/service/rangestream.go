package service

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/rpc"
)

// firstPart is how many keys the first part of a streamed range has.
const firstPart = 10

// rangeStream serves KV.RangeStream: a range in parts, all of one revision. The
// last part has the header, more and count.
func (s *Service) rangeStream(ctx context.Context, stream *rpc.Stream) error {
	payload, err := stream.Recv()
	if err != nil {
		return err
	}
	r := &etcdserverpb.RangeRequest{}
	if err := r.UnmarshalVTUnsafe(payload); err != nil {
		return status.Error(codes.Internal, fmt.Sprintf("grpc: error unmarshalling request: %v", err))
	}
	audited(stream, r)
	if err := checkRangeStream(r); err != nil {
		return toStatus(err)
	}
	if !r.Serializable {
		if err := s.waitBarrier(ctx); err != nil {
			return toStatus(err)
		}
	}
	s.counts.otherRanges.Add(1)
	return toStatus(s.inView(func(view *machine.View) error {
		if err := s.mayRange(view, stream, r); err != nil {
			return err
		}
		return s.sendParts(ctx, stream, view.Keys, r)
	}))
}

func checkRangeStream(r *etcdserverpb.RangeRequest) error {
	switch {
	case len(r.Key) == 0:
		return errs.EmptyKey
	case r.SortOrder != etcdserverpb.RangeRequest_NONE || r.SortTarget != etcdserverpb.RangeRequest_KEY:
		return errs.StreamSortOrder
	case r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0:
		return errs.StreamRevisionFilter
	}
	return nil
}

// errStreamReplaced ends a stream whose state was replaced by that of a snapshot
// when a part of it had been sent.
var errStreamReplaced = status.Error(codes.Unavailable, "etcdserver: the member has taken in a snapshot, and cannot go on with a stream from before")

// sendParts sends a listing. Nothing has been sent when it returns an error that
// says that the view is outdated.
func (s *Service) sendParts(ctx context.Context, stream *rpc.Stream, view *mvcc.View, r *etcdserverpb.RangeRequest) error {
	l, err := view.List(r, listBudget)
	if err != nil {
		return err
	}
	defer l.Close()
	if !r.CountOnly {
		if err := l.Pin(true); err != nil {
			return err
		}
	}
	w := newWatchdog(stream.Reset)
	defer w.stop()
	l.InTurn(ctx.Done(), w.moved)
	var part []byte // the fields of a RangeResponse
	keys, want, begun := 0, firstPart, false
	if !r.CountOnly {
		err = l.Each(func(record []byte) error {
			if keys == want {
				begun = true
				if err := stream.Send(encoded(appendPart(nil, part))); err != nil {
					return err
				}
				w.moved()
				want = nextPart(want, len(part), s.c.MaxRequestBytes)
				part, keys = part[:0], 0
			}
			part = protowire.AppendTag(part, 2, protowire.BytesType)
			part = protowire.AppendBytes(part, record)
			keys++
			return nil
		})
		if begun && outdated(err) {
			return errStreamReplaced
		}
		if err != nil {
			return err
		}
	}
	h := s.header(view.Revision)
	last := append(h.appendTo(nil), part...)
	return stream.Send(encoded(appendPart(nil, appendRange(last, &mvcc.Result{Count: l.Count, More: l.More}))))
}

// nextPart sizes the next part by the one that was sent: towards the size of a
// large request.
func nextPart(keys, bytes, most int) int {
	switch {
	case bytes < most/2:
		return keys * 2
	case bytes > 2*most && keys > 1:
		return keys / 2
	}
	return keys
}

// appendPart appends a RangeStreamResponse around the fields of a
// RangeResponse.
func appendPart(b, fields []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendBytes(b, fields)
}

// toStatus is err as a stream's handler returns it.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(errs.Status(err))
}
