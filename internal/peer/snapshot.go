package peer

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// sendSnapshot sends a MsgSnap and what goes with it, on a goroutine and a
// connection of their own. Raft hears what came of it, whatever came.
func (l *link) sendSnapshot(m *raftpb.Message) {
	if !l.takesSnapshots() || !l.snapshot.CompareAndSwap(false, true) {
		l.snapshotSent(false)
		return
	}
	if !l.t.spawn(func() { l.routineSnapshot(m) }) {
		l.snapshotSent(false)
	}
}

// takesSnapshots tells whether the member understands what we would send. As
// long as it has not been talked to nobody knows; raft asks again.
func (l *link) takesSnapshots() bool {
	if l.origin.Load() == originUpstream && !l.saidOrigin.Swap(true) {
		l.log.Error("the peer needs a snapshot, but it runs upstream's program: a snapshot for an upstream member cannot be written yet")
	}
	return !l.remote && l.origin.Load() == originOurs
}

func (l *link) snapshotSent(ok bool) {
	if !ok {
		l.counts.sentFailures.Add(1)
	}
	l.t.cfg.SnapshotSent(l.id, ok)
}

func (l *link) routineSnapshot(m *raftpb.Message) {
	end := l.counts.send.begin()
	index := zap.Uint64("index", m.GetSnapshot().GetMetadata().GetIndex())
	l.log.Info("sending a snapshot", index)
	err := l.postSnapshot(m)
	end(err == nil)
	if err != nil {
		l.log.Warn("could not send a snapshot", index, zap.Error(err))
	} else {
		l.log.Info("sent a snapshot", index)
	}
	l.snapshot.Store(false)
	l.snapshotSent(err == nil)
}

// postSnapshot waits for the answer without limit: the receiver may need long to
// make durable what it got, and a dead one is noticed by TCP's keep-alive.
func (l *link) postSnapshot(m *raftpb.Message) error {
	envelope, err := appendEnvelope(nil, m)
	if err != nil {
		return err
	}
	if len(envelope) > maxEnvelope+8 {
		return fmt.Errorf("the message has %d bytes, more than the receiver takes", len(envelope))
	}
	content, err := l.t.cfg.OpenSnapshot(m)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	body := &attachment{r: io.MultiReader(bytes.NewReader(envelope), content), content: content, sent: &l.counts.sentBytes, closed: make(chan struct{})}
	defer body.Close()
	url := l.urls.get()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/raft/snapshot", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	l.t.stamp(req.Header)
	resp, err := l.t.bulk.Do(req)
	if err != nil {
		l.urls.failed(url)
		return err
	}
	defer discard(resp.Body)
	if resp.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return fmt.Errorf("answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// attachment is the body of a snapshot's post. HTTP's client may close it while
// it reads, from another goroutine, and more than once.
type attachment struct {
	mu      sync.Mutex
	r       io.Reader
	content io.Closer
	sent    interface{ Add(uint64) uint64 }
	closed  chan struct{}
}

func (a *attachment) Read(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.closed:
		return 0, io.ErrClosedPipe
	default:
	}
	n, err := a.r.Read(b)
	a.sent.Add(uint64(n))
	return n, err
}

func (a *attachment) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.closed:
		return nil
	default:
		close(a.closed)
		return a.content.Close()
	}
}
