package peer

import (
	"sync"
	"sync/atomic"
	"time"
)

// PeerStats is what a Transport has counted about one other member since it was
// added. Times are in seconds.
type PeerStats struct {
	Active             bool   // a stream of its messages is connected
	Remote             bool   // it is not known as a member (yet)
	SentBytes          uint64 // messages with their frames, not HTTP's part
	ReceivedBytes      uint64
	SentFailures       uint64 // messages dropped
	ReceivedFailures   uint64 // messages refused, or not taken by Config.Deliver
	Refused            uint64 // of those, the ones that would have made raft panic
	Disconnects        uint64 // how often the last of its streams was lost
	RoundTrip          Durations
	SnapshotsSent      uint64
	SnapshotSendErrors uint64
	SnapshotSending    int64 // now
	SnapshotSendTime   Durations
	SnapshotsReceived  uint64
	SnapshotRecvErrors uint64
	SnapshotReceiving  int64 // now
	SnapshotRecvTime   Durations
}

// Durations is a histogram. Counts[i] is the number of those not longer than
// Bounds[i], and longer than the bound before; the last, which has no bound, are
// all others.
type Durations struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// Stats is what a Transport has counted.
type Stats struct {
	Peers map[uint64]PeerStats
	// HeartbeatBytes are the received link heartbeats of all members.
	HeartbeatBytes uint64
	// Unidentified counts posts in which no message, or no sender, could be read.
	Unidentified uint64
}

// counts is what is counted about one link.
type counts struct {
	sentBytes, receivedBytes, sentFailures, receivedFailures, refused, disconnects atomic.Uint64
	roundTrip                                                                      durations
	send, receive                                                                  transfers
}

// transfers counts snapshots in one direction.
type transfers struct {
	done, failed atomic.Uint64
	running      atomic.Int64
	took         durations
}

// begin counts a transfer; the function it returns, its end.
func (t *transfers) begin() (end func(ok bool)) {
	t.running.Add(1)
	began := time.Now()
	return func(ok bool) {
		t.running.Add(-1)
		t.took.observe(time.Since(began))
		if ok {
			t.done.Add(1)
		} else {
			t.failed.Add(1)
		}
	}
}

// durations counts rare events in doubling buckets.
type durations struct {
	first   float64
	buckets int

	mu     sync.Mutex
	counts []uint64
	sum    float64
}

func (d *durations) observe(took time.Duration) {
	s := took.Seconds()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = make([]uint64, d.buckets+1)
	}
	i, bound := 0, d.first
	for i < d.buckets && s > bound {
		i, bound = i+1, bound*2
	}
	d.counts[i]++
	d.sum += s
}

func (d *durations) read() Durations {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := Durations{Sum: d.sum, Bounds: make([]float64, d.buckets), Counts: make([]uint64, d.buckets+1)}
	bound := d.first
	for i := range out.Bounds {
		out.Bounds[i] = bound
		bound *= 2
	}
	copy(out.Counts, d.counts)
	return out
}

func newCounts() *counts {
	c := &counts{}
	c.roundTrip.first, c.roundTrip.buckets = 0.0001, 16
	for _, t := range []*transfers{&c.send, &c.receive} {
		t.took.first, t.took.buckets = 0.1, 10
	}
	return c
}

func (c *counts) read() PeerStats {
	return PeerStats{
		SentBytes: c.sentBytes.Load(), ReceivedBytes: c.receivedBytes.Load(),
		SentFailures: c.sentFailures.Load(), ReceivedFailures: c.receivedFailures.Load(),
		Refused: c.refused.Load(), Disconnects: c.disconnects.Load(),
		RoundTrip:     c.roundTrip.read(),
		SnapshotsSent: c.send.done.Load(), SnapshotSendErrors: c.send.failed.Load(),
		SnapshotSending: c.send.running.Load(), SnapshotSendTime: c.send.took.read(),
		SnapshotsReceived: c.receive.done.Load(), SnapshotRecvErrors: c.receive.failed.Load(),
		SnapshotReceiving: c.receive.running.Load(), SnapshotRecvTime: c.receive.took.read(),
	}
}
