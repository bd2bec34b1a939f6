package service

import (
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/internal/histogram"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/rpc"
)

// Bounds of the buckets.
var (
	requestBounds = histogram.Doubling(time.Millisecond, 14)
	rangeBounds   = histogram.Doubling(100*time.Microsecond, 20)
	hashBounds    = histogram.Doubling(10*time.Millisecond, 15)
)

// readLanes is over how many shares the counts are spread of what is answered on
// the goroutines of connections.
const readLanes = 8

// byOutcome is a histogram of failures and one of successes.
type byOutcome [2]*histogram.Histogram

func newByOutcome(lanes int, bounds []time.Duration) byOutcome {
	return byOutcome{histogram.New(lanes, bounds), histogram.New(lanes, bounds)}
}

// of picks one of the two.
func (b byOutcome) of(well bool) *histogram.Histogram {
	if well {
		return b[1]
	}
	return b[0]
}

// counts are what the service counts of the requests it has answered.
type counts struct {
	// direct are ranges that were carried out as they came: the time of that is
	// the time of the request, and is taken once, in buckets for both. Any other
	// range is among requests when it is answered, and among ranges if it came to
	// be carried out.
	direct, ranges, requests byOutcome
	readTxns                 byOutcome
	proposals                [machine.Kinds]byOutcome
	hash, hashKV             *histogram.Histogram

	otherRanges atomic.Uint64 // in transactions that only read, and in streams
	txns        atomic.Uint64 // of those that read more than once

	// Streams that have failed at a message. To a stream of watchers nothing fails to be
	// sent: what it does not take is not offered.
	watchReceive, keepAliveReceive, keepAliveSend atomic.Uint64
}

// noteFailed counts err if it is the failure of a stream, and not that its client has
// ended it or has gone.
func noteFailed(n *atomic.Uint64, err error) {
	switch status.Code(err) {
	case codes.OK, codes.Canceled, codes.DeadlineExceeded:
	default:
		n.Add(1)
	}
}

func newCounts() *counts {
	both := slices.Concat(requestBounds, rangeBounds)
	slices.Sort(both)
	c := &counts{
		direct:   newByOutcome(readLanes, both),
		ranges:   newByOutcome(1, rangeBounds),
		requests: newByOutcome(1, requestBounds),
		readTxns: newByOutcome(1, requestBounds),
		hash:     histogram.New(1, hashBounds),
		hashKV:   histogram.New(1, hashBounds),
	}
	for k := range c.proposals {
		c.proposals[k] = newByOutcome(1, requestBounds)
	}
	return c
}

// ranged counts a range that was begun to be carried out at this time of its
// call's, and has just ended with err.
func (c *counts) ranged(call *rpc.Call, began time.Duration, err error) {
	now, came := call.Now(), call.Turn()
	if came == began {
		c.direct.of(err == nil).Observe(call.Lane(), now-came)
		return
	}
	c.ranges.of(err == nil).Observe(0, now-began)
	c.requests.of(err == nil).Observe(0, now-came)
}

// readTxn counts a transaction that only reads, so many times, and has just ended
// with err.
func (c *counts) readTxn(call *rpc.Call, ranges int, err error) {
	c.readTxns.of(err == nil).Observe(0, call.Now()-call.Turn())
	c.otherRanges.Add(uint64(ranges))
	if ranges > 1 {
		c.txns.Add(1)
	}
}

// kindOfField are the kinds of the requests that are proposed for clients.
func kindOfField(field int) machine.Kind {
	switch field {
	case fieldPut:
		return machine.Put
	case fieldDeleteRange:
		return machine.DeleteRange
	case fieldTxn:
		return machine.Txn
	case fieldCompaction:
		return machine.Compaction
	case fieldLeaseGrant:
		return machine.LeaseGrant
	case fieldLeaseRevoke:
		return machine.LeaseRevoke
	case fieldAuthEnable:
		return machine.AuthEnable
	case fieldAuthDisable:
		return machine.AuthDisable
	case fieldAuthUserDelete:
		return machine.AuthUserDelete
	case fieldAuthUserGrantRole:
		return machine.AuthUserGrantRole
	case fieldAuthUserRevokeRole:
		return machine.AuthUserRevokeRole
	case fieldAuthRoleAdd:
		return machine.AuthRoleAdd
	case fieldAuthRoleDelete:
		return machine.AuthRoleDelete
	case fieldAuthRoleGrantPermission:
		return machine.AuthRoleGrantPermission
	case fieldAuthRoleRevokePermission:
		return machine.AuthRoleRevokePermission
	}
	return machine.Alarm
}

// Counts is what the service has answered since it was made.
type Counts struct {
	// Requests are by what they asked for and whether they came to something: a
	// request that was applied and refused then has. There are none without counts.
	Requests []RequestCounts
	// RangesWell and RangesFailed are how long it took to carry ranges out.
	RangesWell, RangesFailed histogram.Counts
	// Ranges were carried out beside the log, those of transactions and streams
	// too, and Txns transactions of more than one.
	Ranges, Txns uint64
	// StreamFailures are the streams that have failed while a message was received or
	// sent; those that clients have ended are none.
	StreamFailures []StreamFailures
	// Hash and HashKV are how long it took to hash everything, and the keyspace at
	// a revision.
	Hash, HashKV histogram.Counts
}

// RequestCounts are the requests of a kind.
type RequestCounts struct {
	Kind string
	Well bool
	Took histogram.Counts
}

// StreamFailures are those of a kind of streams, watch or lease-keepalive, at one thing,
// receive or send.
type StreamFailures struct {
	API, Type string
	Count     uint64
}

// Counts reads them.
func (s *Service) Counts() Counts {
	c := s.counts
	var n Counts
	add := func(kind string, well bool, took histogram.Counts) {
		if took.Count > 0 {
			n.Requests = append(n.Requests, RequestCounts{kind, well, took})
		}
	}
	for _, well := range [...]bool{true, false} {
		direct := c.direct.of(well).Counts()
		add(machine.Range.String(), well, c.requests.of(well).Counts().Add(direct))
		add("ReadonlyTxn", well, c.readTxns.of(well).Counts())
		for k, p := range c.proposals {
			add(machine.Kind(k).String(), well, p.of(well).Counts())
		}
		ranges := c.ranges.of(well).Counts().Add(direct)
		n.Ranges += ranges.Count
		if well {
			n.RangesWell = ranges
		} else {
			n.RangesFailed = ranges
		}
	}
	n.Ranges += c.otherRanges.Load()
	n.Txns = c.txns.Load()
	for _, f := range [...]StreamFailures{
		{"watch", "receive", c.watchReceive.Load()},
		{"lease-keepalive", "receive", c.keepAliveReceive.Load()},
		{"lease-keepalive", "send", c.keepAliveSend.Load()},
	} {
		if f.Count > 0 {
			n.StreamFailures = append(n.StreamFailures, f)
		}
	}
	n.Hash, n.HashKV = c.hash.Counts(), c.hashKV.Counts()
	return n
}
