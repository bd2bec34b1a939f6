package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

// Event is a change of a key.
type Event = mvccpb.Event

// What an Event has done.
const (
	EventPut    = mvccpb.Event_PUT
	EventDelete = mvccpb.Event_DELETE
)

// WatchResponse is what a watch tells: events, of whole revisions and in their
// order; or, without any, how far it is, or that it has ended.
type WatchResponse struct {
	Header *ResponseHeader
	Events []*Event
	// Created says that the watch has begun, for WithCreatedNotify.
	Created bool
	// Canceled says that the watch has ended, and that this is the last response.
	Canceled bool
	// CompactRevision is, where a watch has ended because what it was to tell next is
	// gone, the first revision that is not.
	CompactRevision int64
	// CancelReason is what the server has said of the end, if it has said anything. It
	// is for people; Err is for programs.
	CancelReason string

	err error
}

// Err is why the watch has ended; nil if it has not.
func (r *WatchResponse) Err() error { return r.err }

// IsProgressNotify says that the response tells nothing but that all events up to
// the header's revision were told.
func (r *WatchResponse) IsProgressNotify() bool {
	return len(r.Events) == 0 && !r.Canceled && !r.Created && r.Header.GetRevision() != 0
}

// WatchChan delivers the responses of a watch.
type WatchChan <-chan WatchResponse

// Watch watches key, or the range that an option spans from it, from WithRev on, or
// else from when a member hears of the watch. Each event is told once, in the order
// of revisions, and none is left out, whatever becomes of connections and members:
// the watch goes on elsewhere, behind the last revision that was told. Where that
// cannot be, because the history was compacted (errs.Compacted), or may not be, the
// last response is Canceled and has the error. When ctx ends the channel is closed.
//
// Each watch has a stream of its own, so that one that is not listened to holds up
// no other and takes a bounded amount of memory here and there.
func (c *Client) Watch(ctx context.Context, key string, options ...OpOption) WatchChan {
	op := newOp(kindWatch, key, options)
	if op.err != nil {
		return refusedWatch(op.err)
	}
	return c.watch(ctx, op.toWatch(), op.has(optCreated))
}

// refusedWatch is a watch that ends before it begins.
func refusedWatch(err error) WatchChan {
	out := make(chan WatchResponse, 1)
	out <- WatchResponse{Canceled: true, err: err}
	close(out)
	return out
}

// RequestProgress has all watches of the client say how far they are. It does not
// wait for that.
func (c *Client) RequestProgress() {
	c.watches.mu.Lock()
	defer c.watches.mu.Unlock()
	for w := range c.watches.mu.all {
		select {
		case w.ask <- struct{}{}:
		default: // it was asked, and has not asked yet
		}
	}
}

// watches are those that are under way.
type watches struct {
	mu struct {
		sync.Mutex
		all map[*watcher]struct{}
	}
}

func (ws *watches) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.mu.all == nil {
		ws.mu.all = map[*watcher]struct{}{}
	}
	ws.mu.all[w] = struct{}{}
}

func (ws *watches) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.mu.all, w)
}

// watcher is one watch, on one stream after the other.
type watcher struct {
	c       *Client
	request *etcdserverpb.WatchCreateRequest
	created bool          // wanted
	ask     chan struct{} // for progress
	out     chan WatchResponse

	taken time.Time // when a member has taken it on, on the present stream; zero before
	next  int64     // the first revision that was not told; 0 while that is not known
	shown bool      // that it was created
	parts []*Event
}

func (c *Client) watch(ctx context.Context, r *etcdserverpb.WatchCreateRequest, created bool) WatchChan {
	w := &watcher{c: c, request: r, created: created, ask: make(chan struct{}, 1), out: make(chan WatchResponse), next: r.StartRevision}
	c.watches.add(w)
	go w.routineWatch(ctx)
	return w.out
}

// routineWatch ends with the watch: when ctx or the client does, or a member will
// not go on.
func (w *watcher) routineWatch(ctx context.Context) {
	defer close(w.out)
	defer w.c.watches.remove(w)
	pause, logins := firstPause, 0
	for {
		token, told := w.c.auth.current(), w.next
		w.taken = time.Time{}
		err := w.follow(ctx, token)
		if w.next != told {
			pause = firstPause
		}
		if !w.taken.IsZero() {
			logins = 0 // the token was good
		}
		switch {
		case ctx.Err() != nil:
			return
		case tokenRefused(err) && w.c.auth.renewable() && logins < maxLogins:
			logins++
			switch err = w.c.logIn(ctx, token); {
			case err == nil && w.taken.IsZero():
				continue
			case err == nil:
				err = errs.WatchCanceled // goes on, but not faster and faster
			}
		}
		if !w.mayGoOn(ctx, err) {
			w.end(ctx, w.last(err))
			return
		}
		w.c.logger.Debug("a watch goes on", zap.ByteString("key", w.request.Key), zap.Int64("revision", w.next), zap.Error(err), zap.Duration("pause", pause))
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// mayGoOn says whether a watch may go on that a stream's end has broken off.
func (w *watcher) mayGoOn(ctx context.Context, err error) bool {
	switch {
	case errors.Is(err, errs.NoLeader):
		return !leaderRequired(ctx)
	case errors.Is(err, errs.NotSupportedForLearner):
		return len(w.c.endpoints) > 1
	case errors.Is(err, errs.WatchCanceled), errors.Is(err, io.EOF):
		return true // the server has let go of the stream, not of the watch
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Internal
}

// last is the response with which the watch ends.
func (w *watcher) last(err error) WatchResponse {
	var c *canceled
	if errors.As(err, &c) {
		return WatchResponse{Header: c.header, Canceled: true, CompactRevision: c.compacted, CancelReason: c.reason, err: c.why}
	}
	return WatchResponse{Canceled: true, err: err}
}

// canceled is a watch that the server has ended.
type canceled struct {
	header    *ResponseHeader
	compacted int64
	reason    string
	why       error
}

func (c *canceled) Error() string { return c.why.Error() }

func (c *canceled) Unwrap() error { return c.why }

// follow goes on with the watch on a new stream, until that ends.
func (w *watcher) follow(ctx context.Context, token string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.c.conn.NewStream(outgoing(ctx, token), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, methodWatch.path)
	if err != nil {
		return translate(ctx, err)
	}
	create := proto.Clone(w.request).(*etcdserverpb.WatchCreateRequest)
	create.StartRevision, w.parts = w.next, nil
	if err := sendTo(ctx, stream, &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return err
	}
	asking := w.routineAsk(ctx, stream)
	defer func() {
		cancel()
		<-asking
	}()
	for {
		res, err := receive[etcdserverpb.WatchResponse](ctx, stream)
		if err != nil {
			return err
		}
		if err := w.take(ctx, res); err != nil {
			return err
		}
	}
}

// sendTo sends a message. If the stream has ended the reason is what can be received
// from it.
func sendTo(ctx context.Context, stream grpc.ClientStream, m any) error {
	if err := stream.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
		return translate(ctx, err)
	}
	return nil
}

// routineAsk passes on who asks for progress, until ctx ends; the channel is closed
// then.
func (w *watcher) routineAsk(ctx context.Context, stream grpc.ClientStream) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-w.ask:
				// An error is what Recv returns, too.
				_ = sendTo(ctx, stream, &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{ProgressRequest: &etcdserverpb.WatchProgressRequest{}}})
			case <-ctx.Done():
				return
			}
		}
	}()
	return done
}

// take makes of a response what the caller is told.
func (w *watcher) take(ctx context.Context, res *etcdserverpb.WatchResponse) error {
	switch {
	case res.Canceled:
		return w.canceledBy(res)
	case res.Created:
		w.taken = time.Now()
		if w.next == 0 {
			w.next = res.Header.GetRevision() + 1
		}
		if w.created && !w.shown {
			w.shown = true
			return w.tell(ctx, WatchResponse{Header: res.Header, Created: true})
		}
		return nil
	case len(res.Events) == 0:
		// All up to the revision was told. (A server says so of watches that begin later,
		// too.)
		w.next = max(w.next, res.Header.GetRevision()+1)
		return w.tell(ctx, WatchResponse{Header: res.Header})
	}
	w.parts = append(w.parts, res.Events...)
	if res.Fragment {
		return nil // a revision that is not whole is not told: the stream may end here
	}
	events := w.parts
	w.parts = nil
	w.next = events[len(events)-1].Kv.GetModRevision() + 1
	return w.tell(ctx, WatchResponse{Header: res.Header, Events: events})
}

// canceledBy is why the server has ended the watch.
func (w *watcher) canceledBy(res *etcdserverpb.WatchResponse) error {
	c := &canceled{header: res.Header, compacted: res.CompactRevision, reason: res.CancelReason, why: errs.Compacted}
	if res.CompactRevision == 0 {
		c.why = errors.New("client: the server has canceled the watch")
		if res.CancelReason != "" {
			c.why = reasonError(res.CancelReason)
		}
	}
	return c
}

// reasonError is a reason that came as a text: a row of the table, if there is one
// that says it, be it as a status of gRPC in words.
func reasonError(reason string) error {
	text := reason
	if words, ok := strings.CutPrefix(reason, "rpc error: code = "); ok {
		if _, desc, ok := strings.Cut(words, " desc = "); ok {
			text = desc
		}
	}
	for _, row := range [...]*errs.Error{errs.PermissionDenied, errs.InvalidAuthToken, errs.AuthOldRevision, errs.UserEmpty, errs.Compacted} {
		if row.Error() == text {
			return row
		}
	}
	return errors.New(reason)
}

// end hands over the last response. Of a client that was closed there may be nobody who
// takes it.
func (w *watcher) end(ctx context.Context, res WatchResponse) {
	select {
	case w.out <- res:
		return
	case <-ctx.Done():
		return
	case <-w.c.closed:
	}
	patience := time.NewTimer(farewell)
	defer patience.Stop()
	select {
	case w.out <- res:
	case <-ctx.Done():
	case <-patience.C:
	}
}

// farewell is how long the last response of a watch waits to be taken when the client
// was closed.
const farewell = time.Second

// tell hands a response to the caller.
func (w *watcher) tell(ctx context.Context, res WatchResponse) error {
	select {
	case w.out <- res:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.c.closed:
		return ErrClosed
	}
}
