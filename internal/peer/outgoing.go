package peer

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
)

const (
	// flushAt is how much is gathered before it is written.
	flushAt = 64 << 10
	// keepBuffer is the largest buffer that is kept for the next messages.
	keepBuffer = 256 << 10
	// chunkHead is room for the head of a chunk: a length of up to 8 digits.
	chunkHead = 10
)

// outgoing is a stream that another member has dialed to read our messages. It
// writes HTTP's chunks itself, each in one piece together with what is in it.
type outgoing struct {
	link  *link
	kind  kind
	conn  *impatient
	end   net.Conn // what is closed: not TLS, which would say goodbye first
	enc   encoder
	queue *queue
	buf   []byte // room for the head of a chunk, then what is in it
}

func newOutgoing(l *link, k kind, conn net.Conn) *outgoing {
	o := &outgoing{link: l, kind: k, conn: &impatient{Conn: conn, write: l.t.timing.idle}, end: conn, queue: newQueue(streamMessages, l.t.cfg.queueBytes())}
	if c, ok := conn.(*tls.Conn); ok {
		o.end = c.NetConn()
	}
	if k == streamMsgApp {
		o.enc = &msgappEncoder{}
	} else {
		o.enc = messageEncoder{}
	}
	o.reset()
	return o
}

// close ends the stream from any goroutine: routineWrite returns.
func (o *outgoing) close() {
	o.link.lost(len(o.queue.close()))
	_ = o.end.Close()
}

// routineWrite writes the head of the response, and then messages until the
// stream is closed, or lost.
func (o *outgoing) routineWrite(head []byte) {
	defer o.close()
	if _, err := o.conn.Write(head); err != nil {
		return
	}
	beat := time.NewTicker(o.link.t.timing.heartbeat)
	defer beat.Stop()
	var items []item
	for {
		left, err := 0, error(nil)
		select {
		case <-o.queue.wake:
			var open bool
			items, open = o.queue.take(items)
			left, err = o.write(items)
			o.queue.done(items)
			if err == nil && !open {
				return
			}
		case <-beat.C:
			o.buf = o.enc.appendHeartbeat(o.buf)
			err = o.flush()
		}
		if err != nil {
			o.link.lost(left)
			if o.link.ctx.Err() == nil && o.link.saidLost.now() {
				o.link.log.Info("lost a stream to a peer", zap.Stringer("stream", o.kind), zap.Error(err))
			}
			return
		}
	}
}

// write encodes the messages, and writes whenever there is enough. It returns
// how many certainly did not leave.
func (o *outgoing) write(items []item) (left int, err error) {
	for i, it := range items {
		before := len(o.buf)
		if o.buf, err = o.enc.append(o.buf, it.m); err != nil {
			return len(items) - i, err
		}
		o.link.counts.sentBytes.Add(uint64(len(o.buf) - before))
		if len(o.buf) >= flushAt {
			if err = o.flush(); err != nil {
				return len(items) - i, err
			}
		}
	}
	return 1, o.flush()
}

// flush writes what has gathered, as one chunk.
func (o *outgoing) flush() error {
	n := len(o.buf) - chunkHead
	if n == 0 {
		return nil
	}
	var digits [chunkHead]byte
	head := append(strconv.AppendInt(digits[:0], int64(n), 16), '\r', '\n')
	if len(head) > chunkHead {
		return fmt.Errorf("a chunk of %d bytes", n)
	}
	start := chunkHead - len(head)
	copy(o.buf[start:], head)
	o.buf = append(o.buf, '\r', '\n')
	_, err := o.conn.Write(o.buf[start:])
	o.reset()
	return err
}

func (o *outgoing) reset() {
	if cap(o.buf) > keepBuffer || o.buf == nil {
		o.buf = make([]byte, chunkHead, flushAt/4)
	}
	o.buf = o.buf[:chunkHead]
}

// head is the beginning of a response that never ends.
func head(h http.Header) []byte {
	b := []byte("HTTP/1.1 200 OK\r\n")
	for _, name := range []string{Ours, headerCluster, headerVersion} {
		b = fmt.Appendf(b, "%s: %s\r\n", name, h.Get(name))
	}
	b = fmt.Appendf(b, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
	return append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
}
