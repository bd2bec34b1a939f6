package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

// probed is the answer to a probe.
type probed struct {
	OK  bool
	Now time.Time
}

// maxSkew is how far a peer's clock may be off before the log says so.
const maxSkew = time.Second

// routineProbe measures how long the way to the member takes.
func (l *link) routineProbe() {
	tick := time.NewTicker(l.t.timing.probe)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		for _, url := range l.urls.all() {
			// A failure is not news: the streams have failed too.
			if took, skew, err := l.probe(url); err == nil {
				l.counts.roundTrip.observe(took)
				if skew.Abs() > maxSkew && l.saidSkew.now() {
					l.log.Warn("the peer's clock differs", zap.Duration("ahead", skew))
				}
			}
		}
	}
}

// probe returns how long an answer took, and how far the member's clock is ahead.
func (l *link) probe(url string) (took, skew time.Duration, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.t.timing.post)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/raft/probing", nil)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	resp, err := l.t.posts.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer discard(resp.Body)
	var p probed
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("answered %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1024)).Decode(&p); err != nil {
		return 0, 0, err
	}
	took = time.Since(began)
	return took, p.Now.Sub(began.Add(took / 2)), nil
}

func serveProbe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = json.NewEncoder(w).Encode(probed{OK: true, Now: time.Now().UTC()})
}
