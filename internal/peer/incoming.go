package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// errRemoved is what a member says to one that was removed.
var errRemoved = errors.New("this member was removed")

// routineRead keeps one stream of the member's messages connected.
func (l *link) routineRead(k kind) {
	pause := l.t.timing.redial
	for l.ctx.Err() == nil {
		url := l.urls.get()
		body, err := l.dial(url, k)
		if err == nil {
			pause = l.t.timing.redial
			err = l.read(k, body)
		} else {
			l.urls.failed(url)
		}
		if l.ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRemoved) {
			l.t.cfg.Gone(l.id)
		}
		if l.saidLost.now() {
			l.log.Info("no stream from a peer", zap.Stringer("stream", k), zap.String("url", url), zap.Error(err))
		}
		if !sleep(l.ctx, pause) {
			return
		}
		pause = min(pause*5/4, l.t.timing.redialMax)
	}
}

// sleep returns false when the context has ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// dial asks for a stream.
func (l *link) dial(url string, k kind) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, strings.TrimSuffix(url, "/")+streamPaths[k]+"/"+formatID(l.t.cfg.ID), nil)
	if err != nil {
		return nil, err
	}
	l.t.stamp(req.Header)
	req.Header.Set(headerTo, formatID(l.id))
	resp, err := l.t.streams.Do(req)
	if err != nil {
		return nil, err
	}
	if err := l.answered(resp); err != nil {
		discard(resp.Body)
		return nil, err
	}
	return resp.Body, nil
}

// answered says what the head of the answer to a stream's request means.
func (l *link) answered(resp *http.Response) error {
	if resp.StatusCode == http.StatusGone {
		return errRemoved
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 256))
		return fmt.Errorf("answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	theirs, ok := parseRelease(resp.Header.Get(headerVersion))
	oldest, _ := parseRelease(minVersion)
	if !ok || theirs.before(oldest) {
		return fmt.Errorf("version %q has no such stream", resp.Header.Get(headerVersion))
	}
	if c := resp.Header.Get(headerCluster); c != "" && c != l.t.cluster {
		return fmt.Errorf("belongs to cluster %.16q", c)
	}
	l.is(resp.Header.Get(Ours))
	return nil
}

// read delivers what the stream brings until it is lost, or brings what it must
// not.
func (l *link) read(k kind, body io.ReadCloser) error {
	defer body.Close()
	if l.status.up() {
		l.log.Info("peer is connected", zap.Stringer("stream", k))
	}
	defer func() {
		if l.status.down() {
			l.counts.disconnects.Add(1)
			l.log.Info("peer is not connected", zap.Stringer("stream", k))
		}
	}()
	var d decoder
	if r := bufio.NewReaderSize(body, eager); k == streamMsgApp {
		d = &msgappDecoder{r: r, from: l.id, to: l.t.cfg.ID}
	} else {
		d = &messageDecoder{r: r}
	}
	for {
		m, n, err := d.decode()
		if err != nil {
			return err
		}
		if m == nil {
			l.t.heartbeatBytes.Add(uint64(n))
			continue
		}
		l.counts.receivedBytes.Add(uint64(n))
		if err := l.t.admit(l, l.id, m); err != nil {
			return err
		}
		l.deliver(m)
	}
}

// deliver hands over an admitted message; if it is not taken, raft lives
// with its loss.
func (l *link) deliver(m *raftpb.Message) {
	if err := l.t.cfg.Deliver(m); err != nil {
		l.counts.receivedFailures.Add(1)
	}
}
