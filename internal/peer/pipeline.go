package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// pipelineWorkers is how many posts to one member are under way at once.
const pipelineWorkers = 4

// pipeline posts messages one by one. Its goroutines live while there is
// something to post.
type pipeline struct {
	link  *link
	queue *queue

	mu struct {
		sync.Mutex
		workers int
	}
}

func newPipeline(l *link) *pipeline {
	return &pipeline{link: l, queue: newQueue(pipelineMessages, l.t.cfg.queueBytes())}
}

// send queues the message, and returns false if there is no room.
func (p *pipeline) send(m *raftpb.Message) bool {
	if !p.queue.push(m) {
		return false
	}
	p.mu.Lock()
	more := p.mu.workers < pipelineWorkers
	if more {
		p.mu.workers++
	}
	p.mu.Unlock()
	if more && !p.link.t.spawn(p.routinePost) {
		p.mu.Lock()
		p.mu.workers--
		p.mu.Unlock()
	}
	return true
}

func (p *pipeline) close() { p.link.lost(len(p.queue.close())) }

// routinePost posts until nothing waits.
func (p *pipeline) routinePost() {
	for {
		// The queue is looked at under the lock that send counts workers with, so
		// that no message is left behind by the last of them.
		p.mu.Lock()
		it, ok := p.queue.takeOne()
		if !ok {
			p.mu.workers--
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		if err := p.post(it.m); err != nil {
			p.link.lost(1)
			if errors.Is(err, errRemoved) {
				p.link.t.cfg.Gone(p.link.id)
			}
			if p.link.ctx.Err() == nil && p.link.saidLost.now() {
				p.link.log.Info("could not post a message to a peer", zap.Error(err))
			}
		}
		p.queue.done([]item{it})
	}
}

func (p *pipeline) post(m *raftpb.Message) error {
	l := p.link
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.posting, l.t.timing.post)
	defer cancel()
	url := l.urls.get()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/raft", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/protobuf")
	l.t.stamp(req.Header)
	resp, err := l.t.posts.Do(req)
	if err != nil {
		l.urls.failed(url)
		return err
	}
	defer discard(resp.Body)
	switch resp.StatusCode {
	case http.StatusNoContent:
		l.counts.sentBytes.Add(uint64(len(body)))
		return nil
	case http.StatusForbidden:
		return errRemoved
	}
	l.urls.failed(url)
	return fmt.Errorf("answered %s", resp.Status)
}
