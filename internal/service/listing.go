package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/rpc"
)

// Bounds of large replies.
const (
	// wholeReply is the size up to which a reply is built in memory.
	wholeReply = 256 << 10
	// listBudget is the memory that one listing may take beside its records:
	// a sorted or filtered one holds its keys, one sorted by value its values.
	listBudget = 64 << 20
	// stalledListing ends a listing of which the peer takes nothing for so long,
	// longestListing one that takes longer: each holds up the sweep.
	stalledListing = time.Minute
	longestListing = 10 * time.Minute
	// pieceBytes is what a listing gathers before it hands it to the engine.
	pieceBytes = 16 << 10
)

// tooLarge is how gRPC refuses to send what its length field cannot hold.
func tooLarge(size int) error {
	return status.Errorf(codes.ResourceExhausted, "grpc: trying to send message larger than max (%d vs. %d)", size, math.MaxInt32)
}

// answerRange answers a range of any size. A small one is built in memory; a
// large one is sent piece by piece as the peer takes it, from a pinned revision,
// and never held whole. Slow readers can use up the pins: there are many, and one that
// takes nothing for a minute loses its own.
//
// One that is sent in pieces counts as answered when the first can be sent.
func (s *Service) answerRange(c *rpc.Call, r *etcdserverpb.RangeRequest) {
	began, waits := c.Now(), false
	err := s.inView(func(view *machine.View) error {
		if err := s.mayRange(view, c, r); err != nil {
			return err
		}
		l, err := view.Keys.List(r, listBudget)
		if err != nil {
			return err
		}
		reply := &rangeReply{s.header(view.Keys.Revision), mvcc.Result{Count: l.Count, More: l.More}}
		size := reply.SizeVT() + l.Size
		switch {
		case size > math.MaxInt32:
			l.Close()
			return tooLarge(size)
		case size > wholeReply:
			if err := l.Pin(false); err != nil {
				l.Close()
				return err
			}
			s.streamRange(c, reply, l, size)
			return nil
		}
		defer l.Close()
		if waits = !s.mayAnswer(c, r, size); waits {
			return nil
		}
		err = l.Each(func(record []byte) error {
			reply.KVs = append(reply.KVs, record)
			return nil
		})
		if err == nil {
			c.Reply(reply)
		}
		return err
	})
	if waits {
		return
	}
	s.counts.ranged(c, began, err)
	if err != nil {
		c.FailStatus(status.Convert(toStatus(err)))
	}
}

// streamRange sends a listing on a goroutine of the engine's, and closes it.
func (s *Service) streamRange(c *rpc.Call, reply *rangeReply, l *mvcc.Listing, size int) {
	ok := c.Stream(func(ctx context.Context, stream *rpc.Stream) error {
		defer l.Close()
		w := newWatchdog(stream.Reset)
		defer w.stop()
		l.InTurn(ctx.Done(), w.moved)
		// Header, then records, then more and count: fields in their order.
		err := stream.SendSized(size, func(out io.Writer) error {
			p := &pieces{out: out, moved: w.moved}
			p.buf = reply.header.appendTo(p.buf)
			err := l.Each(func(record []byte) error {
				p.buf = protowire.AppendTag(p.buf, 2, protowire.BytesType)
				p.buf = protowire.AppendBytes(p.buf, record)
				return p.flushAbove(pieceBytes)
			})
			if err != nil {
				return err
			}
			p.buf = appendRange(p.buf, &mvcc.Result{Count: l.Count, More: l.More})
			return p.flushAbove(0)
		})
		if errors.Is(err, rpc.ErrSizeMismatch) {
			s.c.Logger.Error(fmt.Sprintf("a range reply of %d bytes did not come out as announced: %v", size, err))
		}
		return err
	})
	if !ok {
		l.Close()
	}
}

// pieces gathers small writes.
type pieces struct {
	out   io.Writer
	buf   []byte
	moved func()
}

func (p *pieces) flushAbove(n int) error {
	if len(p.buf) <= n {
		return nil
	}
	_, err := p.out.Write(p.buf)
	p.buf = p.buf[:0]
	p.moved()
	return err
}

// watchdog ends what makes no progress, or takes too long.
type watchdog struct {
	mu    sync.Mutex
	timer *time.Timer
	until time.Time
}

func newWatchdog(end func()) *watchdog {
	return &watchdog{timer: time.AfterFunc(stalledListing, end), until: time.Now().Add(longestListing)}
}

func (w *watchdog) moved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Once the timer has fired there is nothing to put off.
	if w.timer.Stop() {
		w.timer.Reset(min(stalledListing, time.Until(w.until)))
	}
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}
