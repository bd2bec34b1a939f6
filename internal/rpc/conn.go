package rpc

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Conn is one HTTP/2 connection. Handlers meet it as Call.Conn: who the peer
// is, and a place for state of theirs.
type Conn struct {
	s     *Server
	nc    net.Conn             // nil where local is set
	tls   *tls.ConnectionState // nil on a plain connection
	state any
	local *local // set where the one call comes from inside; see local.go
	lane  uint32 // see Call.Lane

	// Owned by the connection's goroutine (routineConn).
	br         *bufio.Reader
	fr         *http2.Framer
	dec        *hpack.Decoder
	block      blockReader // the header block being received
	maxID      uint32      // the highest stream id the peer used
	held       []*Call     // complete, waiting for their handler's turn
	free       []*Call     // finished calls nobody else can hold
	sweepAt    int         // how many may be held before it is looked which are over
	ran        bool        // an inline handler ran since the last Settled
	burstAt    int64       // when the burst being handled began
	gotPreface bool        // the peer's first SETTINGS arrived
	control    bucket
	resets     bucket
	pings      pingPolice

	lastRead atomic.Int64
	raw      rawWriter

	mu struct {
		sync.Mutex
		calls     map[uint32]*Call
		deadlines deadlineHeap
		counters  counters
		out       outbox
		in        inbound
		rooms     rooms

		dead    bool  // nothing is read or written any more
		err     error // why
		closing bool  // GOAWAY went out for good: flush and end
		kicked  bool  // a read was interrupted on purpose
		kickOn  bool  // kick when there is room for held calls
		batch   *Batch

		drainPhase drainPhase
		lastID     uint32 // maxID, for those who are not the connection's goroutine
		drainAt    int64  // when to stop waiting for the drain PING's answer
		lastOK     uint32 // after the second GOAWAY: the last stream that counts

		timer   *time.Timer
		timerAt int64
		pingAt  int64 // when the keepalive PING in flight was sent; 0: none
		idleAt  int64 // when the last call ended
	}
	room   sync.Cond // on mu: the out-buffer shrank, or the end
	writer sync.Cond // on mu: work for routineWrite
}

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr {
	if c.local != nil {
		return c.local.remote
	}
	return c.nc.RemoteAddr()
}

// LocalAddr is the address the peer connected to.
func (c *Conn) LocalAddr() net.Addr {
	if c.local != nil {
		return c.local.at
	}
	return c.nc.LocalAddr()
}

// TLS is the state of the handshake; nil on a plain connection.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// State is the value Options.NewState made for this connection; nil without.
func (c *Conn) State() any { return c.state }

// longAgo as a read deadline interrupts a blocked read.
var longAgo = time.Unix(1, 0)

var errDrained = errors.New("rpc: connection drained")

// rawClose closes a connection without TLS's goodbye, which may block.
func rawClose(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	nc.Close()
}

// routineConn owns a connection from accept to close: handshake, protocol,
// frames. It is waited for by Server.Close.
func (s *Server) routineConn(nc net.Conn) {
	defer s.wg.Done()
	nc.SetDeadline(time.Now().Add(s.limits.HandshakeTimeout))
	br := bufio.NewReaderSize(nc, readBuffer)
	spoken, state := s.handshake(nc, br)
	switch spoken {
	case protoH1:
		if s.web != nil && s.web.hand(nc, br, state) {
			return // the web server closes it and calls forget
		}
	case protoH2:
		c := newConn(s, nc, br, state)
		if s.adopt(c) {
			if s.stopping() {
				c.drain()
			}
			c.serve()
			s.forget(nc, c)
			return
		}
	}
	rawClose(nc)
	s.forget(nc, nil)
}

func newConn(s *Server, nc net.Conn, br *bufio.Reader, state *tls.ConnectionState) *Conn {
	c := &Conn{s: s, nc: nc, tls: state, br: br, lane: s.lanes.Add(1)}
	c.room.L, c.writer.L = &c.mu, &c.mu
	c.mu.calls = map[uint32]*Call{}
	c.mu.counters = newCounters(len(s.methods))
	c.mu.out = newOutbox()
	c.mu.out.out = s.limits.greeting() // before anyone else can write, a drain say
	c.mu.in = inbound{window: int64(s.limits.ConnWindow)}
	now := s.now()
	c.control = newBucket(s.limits.ControlBurst, s.limits.ControlRate, now)
	c.resets = newBucket(s.limits.ResetBurst, s.limits.ResetRate, now)
	c.burstAt = now
	c.lastRead.Store(now)
	c.mu.idleAt = now
	c.raw.init(nc)
	nc.SetWriteDeadline(time.Time{})
	if s.opt.NewState != nil {
		c.state = s.opt.NewState(c)
	}
	// What bufio has read already (the preface, perhaps more) stays in front.
	ahead, _ := br.Peek(br.Buffered())
	ahead = append([]byte(nil), ahead...)
	br.Reset(&burstReader{c: c, ahead: ahead})
	c.fr = http2.NewFramer(nil, br)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(maxFrame)
	c.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) { c.block.h.add(f, s.limits.HeaderListBytes) })
	c.dec.SetMaxStringLength(s.limits.HeaderListBytes)
	return c
}

// serve runs the connection to its end.
func (c *Conn) serve() {
	if !c.raw.ok {
		c.mu.Lock()
		c.startWriterLocked()
		c.mu.Unlock()
	}
	err := c.readFrames()
	c.finish(err)
}

// burstReader stands between bufio and the socket: a read that reaches it is
// the moment when all that was read before has been handled.
type burstReader struct {
	c     *Conn
	ahead []byte
}

func (r *burstReader) Read(p []byte) (int, error) {
	if len(r.ahead) > 0 {
		n := copy(p, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	c := r.c
	for {
		if err := c.settle(); err != nil {
			return 0, err
		}
		n, err := c.nc.Read(p)
		if n > 0 {
			c.burstAt = c.s.now()
			c.lastRead.Store(c.burstAt)
			return n, nil
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) && c.woken() {
			continue
		}
		return 0, err
	}
}

// kickLocked interrupts the connection goroutine's blocking read.
func (c *Conn) kickLocked() {
	if !c.mu.kicked {
		c.mu.kicked = true
		c.nc.SetReadDeadline(longAgo)
	}
}

// woken says whether a read that timed out was interrupted by kickLocked.
func (c *Conn) woken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.kicked {
		return false
	}
	c.mu.kicked = false
	if c.gotPreface {
		c.nc.SetReadDeadline(time.Time{})
	} else {
		c.nc.SetReadDeadline(time.Now().Add(c.s.limits.HandshakeTimeout))
	}
	return true
}

// settle is called when all frames read so far have been handled. It runs the
// calls that wait for their turn, tells the rooms above, sends the replies, and
// waits while the out-buffer is full. It returns when the connection should
// read again.
func (c *Conn) settle() error {
	for {
		c.runHeld()
		if c.ran {
			c.ran = false
			if c.s.opt.Settled != nil {
				c.s.opt.Settled()
			}
		}
		c.mu.Lock()
		c.flushLocked()
		for c.mu.out.backlog() > c.s.limits.WriteBuffer && !c.mu.dead {
			c.room.Wait()
		}
		if c.mu.dead || c.mu.closing {
			err := c.mu.err
			c.mu.Unlock()
			return err
		}
		runnable := len(c.held) > 0 && c.roomLocked()
		c.mu.kickOn = len(c.held) > 0 && !runnable
		c.mu.Unlock()
		if !runnable {
			return nil
		}
		c.burstAt = c.s.now()
		if c.readable() {
			return nil // frames first, handlers after
		}
	}
}

// roomLocked says whether another handler may run: replies waiting, for the
// socket or for the peer's windows, are below the limit.
func (c *Conn) roomLocked() bool {
	return c.mu.out.replies()+c.mu.rooms.promised <= c.s.limits.WriteBuffer
}

// readable looks, without blocking, whether the socket has something for us.
func (c *Conn) readable() bool {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	var peekErr error
	rc.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, peekErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return n > 0 && peekErr == nil
}

// dieLocked ends the connection now. The goroutines notice: the reader by a
// failing read, the writer and those who wait by the conditions.
func (c *Conn) dieLocked(err error) {
	if c.mu.dead {
		return
	}
	c.mu.dead = true
	if c.mu.err == nil {
		c.mu.err = err
	}
	c.room.Broadcast()
	c.writer.Broadcast()
	if c.local != nil {
		for _, call := range c.mu.calls {
			c.loseLocked(call)
		}
		return
	}
	rawClose(c.nc)
}

// cut ends the connection from outside.
func (c *Conn) cut(err error) {
	c.mu.Lock()
	c.dieLocked(err)
	c.mu.Unlock()
}

// finish is the connection's last act, on its own goroutine. If a GOAWAY is to
// be delivered it waits for the writer, half-closes, and reads on for a moment:
// closing with unread input would make the kernel drop what was just sent.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	if c.mu.closing && !c.mu.dead {
		c.flushLocked()
		for c.mu.out.backlog() > 0 && !c.mu.dead {
			c.room.Wait()
		}
	}
	linger := c.mu.closing && !c.mu.dead
	c.mu.Unlock()
	if linger {
		c.linger()
	}
	c.mu.Lock()
	c.dieLocked(err)
	for _, call := range c.mu.calls {
		c.loseLocked(call)
	}
	c.stopTimerLocked()
	c.mu.Unlock()
}

const (
	lingerTime  = time.Second
	lingerBytes = 4 << 20
)

func (c *Conn) linger() {
	deadline := time.Now().Add(lingerTime)
	c.nc.SetDeadline(deadline)
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	buf := make([]byte, 4096)
	for total := 0; total < lingerBytes; {
		n, err := c.nc.Read(buf)
		total += n
		if err != nil {
			// A kick may have moved the deadline; the end of the time is what counts.
			if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline) {
				c.nc.SetDeadline(deadline)
				continue
			}
			return
		}
	}
}
