package client

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
)

// answered is an error of the table that a member has answered. It is the row
// to errors.Is and a status to package status.
type answered struct{ row *errs.Error }

func (a *answered) Error() string              { return a.row.Error() }
func (a *answered) Unwrap() error              { return a.row }
func (a *answered) GRPCStatus() *status.Status { return status.New(a.row.Code(), a.row.Error()) }

// ended is a call that its context has ended, with what it was waiting for, if
// that is known.
type ended struct {
	why  error // context.Canceled or context.DeadlineExceeded
	last string
}

func (e *ended) Error() string {
	if e.last == "" || e.last == e.why.Error() {
		return e.why.Error()
	}
	return e.why.Error() + ": " + e.last
}

func (e *ended) Unwrap() error { return e.why }

// closing is the text by which gRPC says that the connection was closed from
// this side.
const closing = "grpc: the client connection is closing"

// translate makes gRPC's error the one that callers see: a row of the table, an
// ended context, ErrClosed, or a status as it came.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	if row, ok := errs.Find(s.Code(), s.Message()); ok {
		return &answered{row}
	}
	switch s.Code() {
	case codes.DeadlineExceeded:
		return &ended{context.DeadlineExceeded, s.Message()}
	case codes.Canceled:
		if s.Message() == closing {
			return ErrClosed
		}
		if ctx.Err() != nil {
			return &ended{ctx.Err(), s.Message()}
		}
	}
	return err
}
