package watch

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
)

// pipe is a sink that a goroutine reads from.
type pipe struct {
	mu      sync.Mutex
	more    sync.Cond
	bytes   int
	queue   []*etcdserverpb.WatchResponse
	waiting []func()
	ended   bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.more.L = &p.mu
	return p
}

func (p *pipe) Header() Header { return Header{Cluster: 1, Member: 2, Term: 3} }

func (p *pipe) Offer(messages []byte, _ int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes >= 2000 {
		return false
	}
	p.takeLocked(messages)
	return true
}

func (p *pipe) Push(message []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takeLocked(message)
}

func (p *pipe) takeLocked(b []byte) {
	for len(b) > 0 {
		size := 5 + binary.BigEndian.Uint32(b[1:])
		m := &etcdserverpb.WatchResponse{}
		if err := m.UnmarshalVT(append([]byte(nil), b[5:size]...)); err != nil {
			panic(err)
		}
		p.queue = append(p.queue, m)
		p.bytes += int(size)
		b = b[size:]
	}
	p.more.Signal()
}

func (p *pipe) Room(ready func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes <= 1000 || p.ended {
		return true
	}
	p.waiting = append(p.waiting, ready)
	return false
}

func (p *pipe) Flush() {}

func (p *pipe) End(error) {}

// read takes all there is, waiting for something.
func (p *pipe) read() []*etcdserverpb.WatchResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 {
		p.more.Wait()
	}
	all, waiting := p.queue, p.waiting
	p.queue, p.bytes, p.waiting = nil, 0, nil
	for _, ready := range waiting {
		ready()
	}
	return all
}

// With its goroutines the hub does as it does without: streams come and go, clients
// read and cancel, while keys change and history is given up.
func TestRunning(t *testing.T) {
	r := newRig(t)
	var view atomic.Pointer[mvcc.View]
	view.Store(r.view)
	r.hub = New(Options{View: view.Load, InboxBytes: 10 << 10})
	runner := Run(r.hub, func(step func(), _ <-chan struct{}) { step() })
	const last = 3000
	var clients sync.WaitGroup
	failed := make(chan error, 100)
	for i := range 8 {
		clients.Go(func() {
			for round := 0; ; round++ {
				p := newPipe()
				s := r.hub.Open(p, 1<<20)
				s.Create(Request{Key: []byte("k"), End: []byte("l"), Prev: i%2 == 0, Start: max(1, view.Load().Revision-int64(50*i)*int64(round%2))})
				s.Create(key("k1"))
				s.Create(Request{Key: []byte("k2"), Start: max(1, view.Load().Revision-20)})
				s.Ask()
				at, done := int64(0), false
				for n := 0; n < 200*(1+i) && !done; n++ {
					for _, m := range p.read() {
						if m.WatchId != 0 {
							continue
						}
						for _, e := range m.Events {
							// Each revision changes one key of the range.
							if at != 0 && e.Kv.ModRevision != at+1 {
								failed <- fmt.Errorf("revision %d after %d", e.Kv.ModRevision, at)
							}
							at = e.Kv.ModRevision
						}
						done = done || m.Canceled || at == last
					}
					if n == 20 {
						s.Cancel(1)
					}
					if at == 0 && view.Load().Revision >= last {
						done = true
					}
				}
				p.mu.Lock()
				p.ended = true
				p.mu.Unlock()
				s.Close()
				if at == last || view.Load().Revision >= last {
					return
				}
			}
		})
	}
	for revision := r.view.Revision; revision < last; {
		for range 1 + revision%3 {
			if revision < last {
				revision = r.put(fmt.Sprintf("k%d", revision%5), fmt.Sprint(revision))
			}
		}
		if revision%97 == 0 && revision-30 > r.view.Compacted && revision > 100 {
			require.NoError(t, r.update.Compact(revision-30))
		}
		b := r.store.NewBatch()
		r.update.Save(b)
		require.NoError(t, b.Commit())
		r.view = r.update.Publish()
		view.Store(r.view)
		r.hub.Take(r.update.Changes())
		b = r.store.NewBatch()
		_, err := r.update.Sweep(b, 20)
		require.NoError(t, err)
		require.NoError(t, b.Commit())
	}
	// Those who wait for more than there is are told something.
	stop := make(chan struct{})
	var feed sync.WaitGroup
	feed.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				for _, s := range r.hub.open() {
					s.Ask()
				}
			}
		}
	})
	clients.Wait()
	close(stop)
	feed.Wait()
	runner.Close()
	require.Zero(t, r.hub.Stats().Streams)
	require.Zero(t, r.hub.Stats().Slow)
	close(failed)
	for err := range failed {
		t.Error(err)
	}
}

// open are the streams that are open.
func (h *Hub) open() []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Stream(nil), h.mu.streams.list...)
}
