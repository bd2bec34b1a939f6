package peer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// link is what a Transport has for one other member.
type link struct {
	t      *Transport
	id     uint64
	remote bool // only its pipeline is used

	ctx      context.Context // ends when the link does, or is retired
	cancel   context.CancelFunc
	posting  context.Context // ends when the link does
	stop     context.CancelFunc
	urls     addresses
	out      [kindsOfStreams]atomic.Pointer[outgoing]
	pipeline *pipeline
	origin   atomic.Int32 // whose program it runs
	status   status
	counts   *counts
	log      *zap.Logger

	snapshot   atomic.Bool // one is on its way
	saidOrigin atomic.Bool // that upstream's members cannot get one
	saidLost   sometimes
	saidSkew   sometimes

	mu struct {
		sync.Mutex // held while out changes
		closed     bool
	}
}

// Whose program a member runs.
const (
	originUnknown = iota
	originOurs
	originUpstream
)

func newLink(t *Transport, id uint64, urls []string, remote bool) *link {
	l := &link{t: t, id: id, remote: remote, counts: newCounts(), log: t.log.With(zap.String("peer", formatID(id)))}
	l.posting, l.stop = context.WithCancel(t.stopped)
	l.ctx, l.cancel = context.WithCancel(l.posting)
	l.urls.set(urls)
	l.pipeline = newPipeline(l)
	return l
}

// start begins to dial the member's streams, and to probe it.
func (l *link) start() {
	for k := range kindsOfStreams {
		l.t.spawn(func() { l.routineRead(k) })
	}
	l.t.spawn(l.routineProbe)
}

// retire ends the link to a member that was removed. Nothing more is read or taken, but
// what waits may still leave for a while: the last word to that member is how far the log
// is committed, its removal included, for which somebody may wait there.
func (l *link) retire() {
	l.cancel()
	l.mu.Lock()
	l.mu.closed = true
	for k := range l.out {
		if o := l.out[k].Load(); o != nil {
			o.queue.seal()
		}
	}
	l.mu.Unlock()
	l.pipeline.queue.seal()
	if !l.t.spawn(l.routineRetire) {
		l.close()
	}
}

// routineRetire cuts off what has not left in time.
func (l *link) routineRetire() {
	sleep(l.posting, l.t.timing.farewell)
	l.close()
}

// close ends the link; its goroutines end soon after.
func (l *link) close() {
	l.stop()
	l.mu.Lock()
	l.mu.closed = true
	for k := range l.out {
		if o := l.out[k].Swap(nil); o != nil {
			o.close()
		}
	}
	l.mu.Unlock()
	l.pipeline.close()
}

// attach makes o the stream on which messages of its kind leave, in place of
// the one before. It returns false when the link is closed.
func (l *link) attach(k kind, o *outgoing) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return false
	}
	if old := l.out[k].Swap(o); old != nil {
		old.close()
	}
	return true
}

// detach ends o's being in use, if it still is.
func (l *link) detach(k kind, o *outgoing) { l.out[k].CompareAndSwap(o, nil) }

// send puts the message into the queue that it belongs in, and returns false if
// there is no room.
func (l *link) send(m *raftpb.Message) bool {
	k := streamMessage
	if m.GetType() == raftpb.MsgApp {
		k = streamMsgApp
	}
	for range 2 {
		o := l.out[k].Load()
		if o == nil && k == streamMsgApp {
			// What fits nowhere better goes with the other messages, if they have a
			// stream.
			o = l.out[streamMessage].Load()
		}
		if o == nil {
			return l.pipeline.send(m)
		}
		if o.queue.push(m) {
			return true
		}
		if !o.queue.isClosed() {
			return false
		}
	}
	return l.pipeline.send(m)
}

// lost is told of messages that were taken and did not leave.
func (l *link) lost(n int) {
	if n > 0 {
		l.counts.sentFailures.Add(uint64(n))
		l.t.cfg.Unreachable(l.id)
	}
}

// is remembers whose program the member runs, from the header Ours of what it
// sent.
func (l *link) is(ours string) {
	if ours == oursVersion {
		l.origin.Store(originOurs)
	} else {
		l.origin.Store(originUpstream)
	}
}

// addresses are where a member can be reached. One is used until it fails.
type addresses struct {
	mu   sync.Mutex
	urls []string
	use  int
}

func (a *addresses) set(urls []string) {
	a.mu.Lock()
	a.urls, a.use = slices.Clone(urls), 0
	a.mu.Unlock()
}

func (a *addresses) get() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.urls[a.use]
}

func (a *addresses) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.urls
}

// failed moves on to the next address, unless somebody has already.
func (a *addresses) failed(url string) {
	a.mu.Lock()
	if a.urls[a.use] == url {
		a.use = (a.use + 1) % len(a.urls)
	}
	a.mu.Unlock()
}

// status is how many streams of the member's messages are connected.
type status struct {
	mu        sync.Mutex
	connected int
	since     time.Time
}

// up counts one that is connected, and returns whether it is the first.
func (s *status) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected++
	if s.connected == 1 {
		s.since = time.Now()
	}
	return s.connected == 1
}

// down counts one that is lost, and returns whether it was the last.
func (s *status) down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected--
	if s.connected == 0 {
		s.since = time.Time{}
	}
	return s.connected == 0
}

func (s *status) activeSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}
