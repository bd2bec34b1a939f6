package peer

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// maxRemotes is how many senders that are no members are remembered.
const maxRemotes = 64

// Transport connects a member with the others of its cluster. Any number of
// goroutines may use it.
type Transport struct {
	cfg     Config
	timing  timing
	cluster string // the cluster's ID as headers have it
	log     *zap.Logger

	stop           context.CancelFunc
	stopped        context.Context
	running        sync.WaitGroup
	streams, posts *http.Client
	bulk           *http.Client

	links                        atomic.Pointer[map[uint64]*link] // replaced, never changed
	heartbeatBytes, unidentified atomic.Uint64
	refusals                     sometimes

	mu struct {
		sync.Mutex // held while links is replaced
		closed     bool
	}
}

// New returns a Transport that knows no other member yet.
func New(cfg Config) (*Transport, error) { return newTransport(cfg, usual) }

func newTransport(cfg Config, timing timing) (*Transport, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	t := &Transport{cfg: cfg, timing: timing, cluster: formatID(cfg.ClusterID), log: cfg.Logger}
	t.stopped, t.stop = context.WithCancel(context.Background())
	t.links.Store(&map[uint64]*link{})
	dial := dialer{tls: cfg.TLS, timeout: cfg.DialTimeout}
	t.streams = dial.client(timing.idle, timing.idle)
	t.posts = dial.client(0, timing.post)
	t.bulk = dial.client(0, timing.bulk)
	t.bulk.Transport.(*http.Transport).MaxIdleConnsPerHost = -1 // each post has a connection of its own
	return t, nil
}

// Close stops everything and waits until it has stopped: streams of both
// directions, snapshots, and requests that Handler serves. Snapshots under way
// have failed.
func (t *Transport) Close() {
	t.mu.Lock()
	t.mu.closed = true
	links := t.links.Swap(&map[uint64]*link{})
	t.mu.Unlock()
	t.stop()
	for _, l := range *links {
		l.close()
	}
	t.running.Wait()
	for _, c := range []*http.Client{t.streams, t.posts, t.bulk} {
		c.CloseIdleConnections()
	}
}

// enter counts one goroutine that Close waits for, unless it is too late; the
// goroutine calls t.running.Done at its end.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.closed {
		t.running.Add(1)
	}
	return !t.mu.closed
}

// spawn runs f on a goroutine that Close waits for, unless it is too late.
func (t *Transport) spawn(f func()) bool {
	if !t.enter() {
		return false
	}
	go func() {
		defer t.running.Done()
		f()
	}()
	return true
}

// Add lets a member be talked to at these URLs. It does nothing if the member is
// there already, or is this one.
func (t *Transport) Add(id uint64, urls []string) error {
	if err := checkURLs(urls); err != nil {
		return fmt.Errorf("%w (of member %s)", err, formatID(id))
	}
	if id == t.cfg.ID {
		return nil
	}
	if l := t.join(id, urls, false); l != nil {
		l.start()
	}
	return nil
}

// AddRemote lets messages be sent to one that is not known as a member, until it
// is: it has asked for something, and what raft answers has to reach it. Only
// the pipeline is used, and of such senders no more than 64 are remembered.
func (t *Transport) AddRemote(id uint64, urls []string) error {
	if err := checkURLs(urls); err != nil {
		return err
	}
	if id != 0 && id != t.cfg.ID && !t.cfg.Removed(id) {
		t.join(id, urls, true)
	}
	return nil
}

// join makes a link, or returns nil if there is one. A member replaces a remote.
func (t *Transport) join(id uint64, urls []string, remote bool) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.links.Load()
	before := old[id]
	if t.mu.closed || before != nil && (remote || !before.remote) {
		return nil
	}
	if remote {
		n := 0
		for _, l := range old {
			if l.remote {
				n++
			}
		}
		if n >= maxRemotes {
			return nil
		}
	}
	l := newLink(t, id, urls, remote)
	links := maps.Clone(old)
	links[id] = l
	t.links.Store(&links)
	if before != nil {
		before.close()
	}
	return l
}

// Update changes where a member is reached. What is connected stays.
func (t *Transport) Update(id uint64, urls []string) error {
	if err := checkURLs(urls); err != nil {
		return fmt.Errorf("%w (of member %s)", err, formatID(id))
	}
	if l := t.link(id); l != nil {
		l.urls.set(urls)
	}
	return nil
}

// Remove ends all that goes on with a member that was removed; what was sent to it
// before may still leave for a second. It does not wait for it.
func (t *Transport) Remove(id uint64) {
	t.mu.Lock()
	links := maps.Clone(*t.links.Load())
	l := links[id]
	delete(links, id)
	t.links.Store(&links)
	t.mu.Unlock()
	if l != nil {
		l.retire()
	}
}

func (t *Transport) link(id uint64) *link { return (*t.links.Load())[id] }

// Send hands messages to the members they are for. It never blocks, and keeps
// the messages: nobody may change them any more. One for an unknown member is
// dropped, as is one for which there is no room; of the latter Config's
// Unreachable hears, and SnapshotSent of every MsgSnap.
func (t *Transport) Send(messages []*raftpb.Message) {
	var lost uint64 // of the last drop that was told
	for _, m := range messages {
		l := t.link(m.GetTo())
		switch {
		case m.GetType() == raftpb.MsgSnap:
			if l == nil {
				t.cfg.SnapshotSent(m.GetTo(), false)
			} else {
				l.sendSnapshot(m)
			}
		case l != nil && !l.send(m):
			l.counts.sentFailures.Add(1)
			if lost != l.id {
				lost = l.id
				t.cfg.Unreachable(l.id)
			}
		}
	}
}

// ActiveSince is since when the member's messages can arrive here: since one of
// the two streams of them has been connected. It is zero when none is.
func (t *Transport) ActiveSince(id uint64) time.Time {
	if l := t.link(id); l != nil {
		return l.status.activeSince()
	}
	return time.Time{}
}

// Members returns the IDs of those who were added, in ascending order, without
// remotes.
func (t *Transport) Members() []uint64 {
	var ids []uint64
	for id, l := range *t.links.Load() {
		if !l.remote {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Stats returns what has been counted, by member.
func (t *Transport) Stats() Stats {
	s := Stats{Peers: map[uint64]PeerStats{}, HeartbeatBytes: t.heartbeatBytes.Load(), Unidentified: t.unidentified.Load()}
	for id, l := range *t.links.Load() {
		p := l.counts.read()
		p.Active, p.Remote = !l.status.activeSince().IsZero(), l.remote
		s.Peers[id] = p
	}
	return s
}

// sometimes lets something be logged now and then.
type sometimes struct{ last atomic.Int64 }

// logPause is how long the same is not logged again.
const logPause = 30 * time.Second

func (s *sometimes) now() bool {
	now, last := time.Now().UnixNano(), s.last.Load()
	return (last == 0 || now-last >= int64(logPause)) && s.last.CompareAndSwap(last, now)
}
