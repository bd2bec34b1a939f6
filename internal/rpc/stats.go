package rpc

import (
	"time"

	"google.golang.org/grpc/codes"
)

const numCodes = int(codes.Unauthenticated) + 1

// MethodStats are the counts of one method since the server was made.
type MethodStats struct {
	Path                        string
	Started                     uint64
	Handled                     [numCodes]uint64 // by status code
	ReceivedMsgs, ReceivedBytes uint64           // request messages, without the 5-byte prefix
	SentMsgs, SentBytes         uint64
	Took                        Latency // with Options.Latency
}

// Latency is how long the calls of a method took, from their headers to their
// end.
type Latency struct {
	// Counts has the calls by duration: Counts[i] those of at most LatencyBounds[i]
	// seconds and more than the bound before, the last all others.
	Counts [len(LatencyBounds) + 1]uint64
	Sum    time.Duration
}

// LatencyBounds are the upper bounds of Latency.Counts, in seconds.
var LatencyBounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func (l *Latency) observe(d time.Duration) {
	i := 0
	for i < len(LatencyBounds) && d.Seconds() > LatencyBounds[i] {
		i++
	}
	l.Counts[i]++
	l.Sum += d
}

// Stats is a snapshot of a server's counters.
type Stats struct {
	Connections int // open HTTP/2 connections
	Methods     []MethodStats
	Unknown     uint64 // calls refused before a method was known
}

// counters are kept per connection, under its lock, so that counting a call
// costs an addition; a snapshot sums over the connections.
type counters struct {
	methods []*MethodStats // by method.index; nil: not called yet
	unknown uint64
}

func newCounters(methods int) counters { return counters{methods: make([]*MethodStats, methods)} }

func (c *counters) of(m *method) *MethodStats {
	if c.methods[m.index] == nil {
		c.methods[m.index] = &MethodStats{}
	}
	return c.methods[m.index]
}

func (c *counters) add(o counters) {
	c.unknown += o.unknown
	for i, m := range o.methods {
		if m == nil {
			continue
		}
		if c.methods[i] == nil {
			c.methods[i] = &MethodStats{}
		}
		d := c.methods[i]
		d.Started += m.Started
		d.ReceivedMsgs += m.ReceivedMsgs
		d.ReceivedBytes += m.ReceivedBytes
		d.SentMsgs += m.SentMsgs
		d.SentBytes += m.SentBytes
		for j, n := range m.Handled {
			d.Handled[j] += n
		}
		for j, n := range m.Took.Counts {
			d.Took.Counts[j] += n
		}
		d.Took.Sum += m.Took.Sum
	}
}

// takeCounters hands the counters over and leaves empty ones: calls that end
// after their connection are counted by nobody twice.
func (c *Conn) takeCounters() counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.counters
	c.mu.counters = newCounters(len(c.s.methods))
	return t
}

// Stats sums the counters of all connections, gone and open. Methods stand in
// the order of Options.Methods.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := newCounters(len(s.methods))
	sum.add(s.mu.done)
	for _, conns := range [...]map[*Conn]bool{s.mu.conns, s.mu.locals} {
		for c := range conns {
			c.mu.Lock()
			sum.add(c.mu.counters)
			c.mu.Unlock()
		}
	}
	st := Stats{Connections: len(s.mu.conns), Unknown: sum.unknown, Methods: make([]MethodStats, len(s.methods))}
	for i, m := range s.methods {
		if sum.methods[i] != nil {
			st.Methods[i] = *sum.methods[i]
		}
		st.Methods[i].Path = m.Path
	}
	return st
}
