package rpc

import (
	"time"

	"golang.org/x/net/http2"
)

// bucket is a token bucket; owned by the connection's goroutine.
type bucket struct {
	tokens, burst, rate int64
	at                  int64 // when it was last filled
}

func newBucket(burst, rate int, now int64) bucket {
	return bucket{tokens: int64(burst), burst: int64(burst), rate: int64(rate), at: now}
}

func (b *bucket) take(s *Server) bool {
	if b.tokens > 0 {
		b.tokens--
		return true
	}
	now := s.now()
	gain := (now - b.at) * b.rate / int64(time.Second)
	if now-b.at > int64(time.Hour) {
		gain = b.burst
	}
	b.at = now
	b.tokens = min(b.tokens+gain, b.burst)
	if b.tokens <= 0 {
		return false
	}
	b.tokens--
	return true
}

func (b *bucket) give(n int64) { b.tokens = min(b.tokens+n, b.burst) }

// flood counts a frame that brings no work forward.
func (c *Conn) flood() error {
	if !c.control.take(c.s) {
		return calmDown("too_many_control_frames")
	}
	return nil
}

// floodLocked is flood for frames that a peer sends because it took DATA: these
// are free.
func (c *Conn) floodLocked() error {
	if o := &c.mu.out; o.answers > 0 {
		o.answers--
		return nil
	}
	return c.flood()
}

// pingPolice counts PINGs that come too often; owned by the connection's
// goroutine.
type pingPolice struct {
	last    int64
	strikes int
}

const maxPingStrikes = 2

func (c *Conn) onPing(f *http2.PingFrame) error {
	if f.IsAck() {
		c.onPingAck(f.Data)
		return c.flood()
	}
	c.mu.Lock()
	if err := c.floodLocked(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.mu.out.ctl = appendPing(c.mu.out.ctl, true, f.Data)
	ok := c.controlLocked()
	// A client measuring the line pings after DATA of ours: no fault of its.
	wrote := c.mu.out.wrote
	c.mu.out.wrote = false
	idle := len(c.mu.calls) == 0
	c.mu.Unlock()
	if !ok {
		return errDead
	}
	p, now := &c.pings, c.s.now()
	least := c.s.limits.PingInterval
	if idle {
		least = c.s.limits.PingIdleInterval
	}
	last := p.last
	p.last = now
	switch {
	case wrote:
		p.strikes = 0
	case last != 0 && now-last < int64(least):
		if p.strikes++; p.strikes > maxPingStrikes {
			return calmDown("too_many_pings")
		}
	}
	return nil
}
