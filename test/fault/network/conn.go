package network

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	// pieceBytes are read at a time.
	pieceBytes = 32 << 10
	// underWay pieces of one direction of a connection may be; then it is not
	// read any further, as with a full window.
	underWay = 64
)

// conn is a connection through a door: one that was accepted, one to the member
// behind it.
type conn struct {
	near, far net.Conn
	done      chan struct{} // closed when it is over
	once      sync.Once
}

// reset ends the connection at once, on both sides.
func (c *conn) reset() {
	c.once.Do(func() {
		close(c.done)
		for _, side := range []net.Conn{c.near, c.far} {
			if tcp, ok := side.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = side.Close()
		}
	})
}

// close ends it in order.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.near.Close()
		_ = c.far.Close()
	})
}

// piece is what was read at once, and when it may arrive.
type piece struct {
	data []byte
	due  time.Time
}

// carry brings bytes from one side to the other over the link until the
// connection is over. first was read before.
func (c *conn) carry(l *link, from, to net.Conn, first []byte) {
	l.add(c)
	defer l.remove(c)
	pieces := make(chan piece, underWay)
	var wg sync.WaitGroup
	wg.Go(func() { c.routineArrive(l, to, pieces) })
	defer wg.Wait()
	defer close(pieces)
	data := first
	for {
		if len(data) > 0 && !l.swallows(c) {
			rule, _ := l.now()
			due := time.Now().Add(rule.Delay)
			if rule.Jitter > 0 {
				due = due.Add(rand.N(rule.Jitter))
			}
			select {
			case pieces <- piece{data, due}:
			case <-c.done:
				return
			}
		}
		data = make([]byte, pieceBytes)
		n, err := from.Read(data)
		if err != nil {
			return
		}
		data = data[:n]
	}
}

// routineArrive writes pieces when they are due and the link lets them through.
// After the last one the connection is over.
func (c *conn) routineArrive(l *link, to net.Conn, pieces <-chan piece) {
	defer c.close()
	for p := range pieces {
		if !c.wait(time.Until(p.due)) || !c.passes(l) {
			return
		}
		if l.swallows(c) {
			continue
		}
		if _, err := to.Write(p.data); err != nil {
			return
		}
	}
}

// passes waits while the link holds bytes back.
func (c *conn) passes(l *link) bool {
	for {
		rule, changed := l.now()
		if rule.Loss != Hold {
			return true
		}
		select {
		case <-changed:
		case <-c.done:
			return false
		}
	}
}

// wait returns false when the connection is over before.
func (c *conn) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done:
		return false
	}
}
