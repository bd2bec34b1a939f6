package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
)

const (
	fileBytes  = 16 << 20 // written once, so that a sync has no metadata to write
	groupBytes = 512
)

// syncer makes groups durable: whoever comes while one write and fdatasync are
// on their way waits for the next.
type syncer struct {
	file  *os.File
	wake  chan struct{} // holds one token while somebody waits
	mu    sync.Mutex
	group *group // being gathered
}

type group struct {
	done chan struct{} // closed when the group is durable, or err is set
	err  error
}

func newSyncer(path string) (*syncer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, fileBytes)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	s := &syncer{file: f, wake: make(chan struct{}, 1), group: &group{done: make(chan struct{})}}
	go s.run()
	return s, nil
}

// wait returns when a group that the caller belongs to is durable.
func (s *syncer) wait(ctx context.Context) error {
	s.mu.Lock()
	g := s.group
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *syncer) run() {
	block := make([]byte, groupBytes)
	for offset := int64(0); ; offset = (offset + groupBytes) % fileBytes {
		<-s.wake
		s.mu.Lock()
		g := s.group
		s.group = &group{done: make(chan struct{})}
		s.mu.Unlock()
		block[0]++
		_, err := s.file.WriteAt(block, offset)
		if err == nil {
			err = syscall.Fdatasync(int(s.file.Fd()))
		}
		if err != nil {
			g.err = fmt.Errorf("sync: %w", err)
		}
		close(g.done)
	}
}
