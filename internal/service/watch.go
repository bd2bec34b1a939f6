package service

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/watch"
)

// WatchConfig is how watches are served. Zero fields have their defaults.
type WatchConfig struct {
	// ProgressInterval is how often watchers who have asked for that are told how far
	// they are. Default ten minutes.
	ProgressInterval time.Duration
	// ElectionTimeout is the time after which it is looked whether there is a leader,
	// for streams that need one. Default one second.
	ElectionTimeout time.Duration
	// Budget is how many bytes of responses may wait in a stream, or less where there
	// are very many streams. Default 256 KiB.
	Budget int
	// Fragment is the size below which responses are cut where watchers allow it.
	// Default 2 MiB.
	Fragment int
}

func (c WatchConfig) withDefaults() WatchConfig {
	if c.ProgressInterval == 0 {
		c.ProgressInterval = 10 * time.Minute
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = time.Second
	}
	if c.Budget == 0 {
		c.Budget = 256 << 10
	}
	if c.Fragment == 0 {
		c.Fragment = 2 << 20
	}
	return c
}

// controlBytes is what answers to requests may have waiting in a stream beyond its
// budget before its next request is read.
const controlBytes = 64 << 10

// watches are the streams of watchers, and what gives them their time.
type watches struct {
	c      WatchConfig
	hub    *watch.Hub
	runner *watch.Runner
	stop   chan struct{}
	wg     sync.WaitGroup

	open atomic.Int64 // streams
	mu   struct {
		sync.Mutex
		streams map[*watchStream]struct{}
		ended   error // why no stream goes on
	}
}

// All streams together may have budgets of allBudgets, and each has leastBudget in
// any case: where there are very many, each has less, and lags sooner.
const (
	allBudgets  = 8 << 20
	leastBudget = 16 << 10
)

// budget is how many bytes of responses may wait in a stream now.
func (w *watches) budget() int {
	share := allBudgets / max(int(w.open.Load()), 1)
	return min(w.c.Budget, max(share, leastBudget))
}

func (s *Service) startWatches() *watches {
	w := &watches{c: s.c.Watch.withDefaults(), hub: s.c.Machine.Watch, runner: watch.Run(s.c.Machine.Watch, stepAndRest), stop: make(chan struct{})}
	w.mu.streams = map[*watchStream]struct{}{}
	w.wg.Go(func() { w.routineKeep(s) })
	return w
}

// close ends what startWatches has started. The streams have ended.
func (w *watches) close() {
	close(w.stop)
	w.wg.Wait()
	w.runner.Close()
}

// leaderlessLooks is how many looks in a row may find no leader.
const leaderlessLooks = 3

// routineKeep gives the hub its ticks, and ends the streams that must end.
func (w *watches) routineKeep(s *Service) {
	began := time.Now()
	progress := time.NewTicker(min(max(w.c.ProgressInterval/20, 10*time.Millisecond), time.Second))
	defer progress.Stop()
	leader := time.NewTicker(w.c.ElectionTimeout)
	defer leader.Stop()
	drain, leaderless := s.drain, 0
	for {
		select {
		case <-progress.C:
			w.hub.Tick(time.Since(began), w.c.ProgressInterval, func(most time.Duration) time.Duration { return rand.N(most) })
		case <-leader.C:
			if leaderless++; s.HasLeader() {
				leaderless = 0
			}
			if leaderless >= leaderlessLooks {
				w.end(errs.NoLeader, func(ws *watchStream) bool { return ws.needsLeader })
			}
		case <-drain:
			drain = nil
			w.mu.Lock()
			w.mu.ended = errs.Stopped
			w.mu.Unlock()
			w.end(errs.Stopped, func(*watchStream) bool { return true })
		case <-w.stop:
			return
		}
	}
}

// Handing out takes a write for each connection that it concerns, whether one event or
// ten: where it has cost something, the next one waits for more. It takes a tenth of the
// time at most that way, up to a rest that nobody notices; a short one would last longer
// than it should, since timers are not that exact, and is left out.
const (
	restShare    = 10
	shortestRest = 500 * time.Microsecond
	longestRest  = 2 * time.Millisecond
)

// stepAndRest is how fast watchers are told.
func stepAndRest(step func(), stop <-chan struct{}) {
	began := time.Now()
	step()
	rest := min(restShare*time.Since(began), longestRest)
	if rest < shortestRest {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}

// end ends streams.
func (w *watches) end(why error, which func(*watchStream) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ws := range w.mu.streams {
		if which(ws) {
			ws.End(why)
		}
	}
}

// watch serves Watch.Watch.
func (s *Service) watch(ctx context.Context, stream *rpc.Stream) error {
	w := s.watches
	ws := &watchStream{s: s, rpc: stream, who: s.credentialOf(stream), ended: make(chan struct{})}
	needs, _ := stream.Metadata(requireLeader)
	ws.needsLeader = needs == "true"
	w.mu.Lock()
	if err := w.mu.ended; err != nil {
		w.mu.Unlock()
		return toStatus(err)
	}
	w.mu.streams[ws] = struct{}{}
	w.mu.Unlock()
	w.open.Add(1)
	defer func() {
		w.open.Add(-1)
		w.mu.Lock()
		delete(w.mu.streams, ws)
		w.mu.Unlock()
	}()
	ws.hub = w.hub.Open(ws, w.c.Fragment)
	defer ws.hub.Close()
	ws.stands = s.stand(ws.who, ws.hub)
	defer ws.stands.end()
	return toStatus(ws.serve(ctx))
}

// watchStream is a client's stream, and the hub's sink for it.
type watchStream struct {
	s           *Service
	rpc         *rpc.Stream
	hub         *watch.Stream
	who         credential
	needsLeader bool
	stands      *stands

	once  sync.Once
	ended chan struct{} // closed by End
	why   error
}

// serve reads requests until there are no more, and then stays until the call ends:
// a client may close its half and go on listening.
func (ws *watchStream) serve(ctx context.Context) error {
	for {
		if err := ws.controlRoom(ctx); err != nil {
			return err
		}
		payload, err := ws.rpc.Recv()
		if errors.Is(err, io.EOF) {
			select {
			case <-ws.ended:
				return ws.why
			case <-ctx.Done():
				return errs.WatchCanceled
			}
		}
		var r etcdserverpb.WatchRequest
		if err == nil {
			err = unmarshal(&r, payload)
		}
		if err != nil {
			noteFailed(&ws.s.counts.watchReceive, err)
			return err
		}
		ws.handle(ctx, &r)
	}
}

// controlRoom waits until the answer to one more request may wait to be sent.
func (ws *watchStream) controlRoom(ctx context.Context) error {
	ready := make(chan struct{})
	if ws.rpc.Room(ws.s.watches.budget()+controlBytes, func() { close(ready) }) {
		return nil
	}
	select {
	case <-ready:
		return nil
	case <-ws.ended:
		return ws.why
	case <-ctx.Done():
		return errs.WatchCanceled
	}
}

func (ws *watchStream) handle(ctx context.Context, r *etcdserverpb.WatchRequest) {
	switch r := r.GetRequestUnion().(type) {
	case *etcdserverpb.WatchRequest_CreateRequest:
		if c := r.CreateRequest; c != nil {
			ws.create(ctx, c)
		}
	case *etcdserverpb.WatchRequest_CancelRequest:
		ws.hub.Cancel(r.CancelRequest.GetWatchId())
	case *etcdserverpb.WatchRequest_ProgressRequest:
		ws.hub.Ask()
	}
}

func (ws *watchStream) create(ctx context.Context, r *etcdserverpb.WatchCreateRequest) {
	var refused error
	err := ws.s.judged(ctx, func() (err error) {
		if _, err = ws.s.rightsNow(ctx, ws.who); err != nil { // in a state that knows the token
			return err
		}
		refused, err = ws.stands.create(watch.Request{
			Key: r.Key, End: r.RangeEnd, Start: r.StartRevision, ID: r.WatchId,
			NoPut:    slices.Contains(r.Filters, etcdserverpb.WatchCreateRequest_NOPUT),
			NoDelete: slices.Contains(r.Filters, etcdserverpb.WatchCreateRequest_NODELETE),
			Prev:     r.PrevKv, Notify: r.ProgressNotify, Fragment: r.Fragment,
		})
		return err
	})
	if err != nil {
		ws.hub.Refuse(reasonOf(err))
	}
	ws.s.auditWatch(ws.rpc, r, cmp.Or(err, refused))
}

// Header is watch.Sink's.
func (ws *watchStream) Header() watch.Header { return ws.s.watchHeader() }

func (s *Service) watchHeader() watch.Header {
	return watch.Header{Cluster: s.c.ClusterID, Member: s.c.MemberID, Term: s.c.Replica.Status().Term}
}

// Offer is watch.Sink's.
func (ws *watchStream) Offer(messages []byte, n int) bool {
	return ws.rpc.Offer(messages, n, ws.s.watches.budget())
}

// Push is watch.Sink's.
func (ws *watchStream) Push(message []byte) { ws.rpc.Offer(message, 1, 1<<62) }

// Room is watch.Sink's: there is room for a good deal when half of the budget is free.
func (ws *watchStream) Room(ready func()) bool { return ws.rpc.Room(ws.s.watches.budget()/2, ready) }

// Flush is watch.Sink's.
func (ws *watchStream) Flush() { ws.rpc.Flush() }

// End is watch.Sink's. The first reason stands.
func (ws *watchStream) End(why error) {
	ws.once.Do(func() {
		ws.why = why
		close(ws.ended)
		ws.rpc.StopRecv()
	})
}
