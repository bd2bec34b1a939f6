package oracle

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Generator makes operations. The same seed and the same answers give the same
// operations.
type Generator struct {
	rng    *rand.Rand
	can    capabilities
	state  *state
	keys   []string
	values []string
	queue  []Operation // to come before anything new
	// restarts is how many operations lie, on average, between two restarts of
	// our member; 0 for none.
	restarts int
	// sweeping is for how many operations a compaction may still be under way in
	// the background of either side. Until then no hash is asked for: where nothing
	// that lives is as old as the compaction, 3.4 also counts what its sweep has
	// not yet taken away. That can take it some 100 ms.
	sweeping int
	// waits: every compaction is waited for.
	waits bool
}

// sweptAfter is the number of operations after which a compaction that was not
// waited for has long ended.
const sweptAfter = 500

func newGenerator(seed uint64, can capabilities, s *state, restarts int) *Generator {
	return &Generator{rng: rand.New(rand.NewPCG(seed, 0)), can: can, state: s, keys: keys(), values: values(), restarts: restarts}
}

// keys are few, so that operations meet; they share prefixes, and the lowest
// and the highest are among them.
func keys() []string {
	k := []string{"\x00", "\x00\x00", "a", "a\x00", "a\xff", "b", "b/", "z", "\xfe", "\xff", "\xff\x00", "\xff\xff"}
	for _, dir := range []string{"a/", "b/", "c/"} {
		for _, name := range []string{"0", "1", "2", "3", "4", "5", "6", "7"} {
			k = append(k, dir+name)
		}
	}
	return k
}

// values are few too, so that sorting by them has ties.
func values() []string {
	return []string{"", "\x00", "a", "b", "ba", "c", "value", "\xff\xfe", "a value of some length", strings.Repeat("x", 2000)}
}

// Next makes the next operation.
func (g *Generator) Next() Operation {
	if len(g.queue) == 0 {
		g.queue = g.make()
	}
	op := g.queue[0]
	g.queue = g.queue[1:]
	return op
}

func (g *Generator) make() []Operation {
	g.sweeping = max(0, g.sweeping-1)
	if g.restarts > 0 && g.rng.IntN(g.restarts) == 0 {
		return []Operation{restart()}
	}
	switch n := g.rng.IntN(1000); {
	case n < 360:
		return one(Operation{g.txn()})
	case n < 580:
		return one(Operation{g.put()})
	case n < 640:
		return one(Operation{g.deleteRange()})
	case n < 680:
		return one(g.invalid())
	case n < 681:
		return one(g.large())
	case n < 682 && g.sweeping == 0:
		return g.wipe()
	case n < 685 && g.can.compact && g.sweeping == 0:
		return g.compaction()
	case n < 710 && g.can.hashKV && g.sweeping == 0:
		return one(g.hashKV())
	case n < 740 && g.can.lease:
		return one(g.lease())
	}
	return one(Operation{g.rangeKeys(anyRange)})
}

func one(op Operation) []Operation { return []Operation{op} }

// chance is true in percent of all cases.
func (g *Generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func pick[T any](g *Generator, of ...T) T { return of[g.rng.IntN(len(of))] }

func (g *Generator) key() []byte   { return []byte(pick(g, g.keys...)) }
func (g *Generator) value() []byte { return []byte(pick(g, g.values...)) }

// end makes a range_end for key: none, prefix, from-key, next, any, inverted.
func (g *Generator) end(key []byte) []byte {
	switch n := g.rng.IntN(100); {
	case n < 35:
		return nil
	case n < 55:
		return prefixEnd(key[:1+g.rng.IntN(len(key))])
	case n < 70:
		return []byte{0}
	case n < 75:
		return append(bytes.Clone(key), 0)
	}
	return g.key() // inverted half of the time
}

// prefixEnd is the range_end of a prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

// rangeKind is where a range stands, which bounds what may be asked there.
type rangeKind struct {
	// stable: nothing is written in the same request, so that the same range
	// can be asked again, which comparing sorted answers may need.
	stable bool
	// strange: a sort order outside the enum may be asked for. 3.4 accepts
	// that, so it may only be where nothing is written.
	strange bool
}

var (
	anyRange   = rangeKind{stable: true, strange: true}
	amongWrite = rangeKind{}
)

func (g *Generator) rangeKeys(kind rangeKind) *pb.RangeRequest {
	r := &pb.RangeRequest{Key: g.key(), Revision: g.readRevision()}
	r.RangeEnd = g.end(r.Key)
	if g.chance(10) { // everything, which is what sorting needs
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
	}
	r.Serializable = g.chance(30)
	r.KeysOnly = g.chance(20)
	r.CountOnly = g.chance(10)
	switch n := g.rng.IntN(100); {
	case n < 30:
		r.Limit = 1 + g.rng.Int64N(12)
	case n < 33:
		r.Limit = pick[int64](g, -1, -5, math.MinInt64, math.MaxInt64, 1000)
	}
	if g.chance(50) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.rng.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.rng.IntN(5))
	}
	if kind.strange && g.chance(1) {
		r.SortOrder = pick[pb.RangeRequest_SortOrder](g, 3, -1, 77)
	}
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.chance(7) {
			*bound = g.bound()
		}
	}
	if r.SortTarget != pb.RangeRequest_KEY && !kind.stable {
		r.Limit, r.KeysOnly = 0, false
	}
	return r
}

// bound is a revision for a filter, most often among those of living keys.
func (g *Generator) bound() int64 {
	if g.chance(10) {
		return pick(g, -1, 1, g.state.revision, g.state.revision+1, math.MaxInt64, math.MinInt64)
	}
	return max(0, g.state.revision-g.rng.Int64N(200))
}

// readRevision is current in half of all cases, else past, current, future,
// negative, at the compaction and below it.
func (g *Generator) readRevision() int64 {
	now, compacted := g.state.revision, g.state.compacted
	switch n := g.rng.IntN(100); {
	case n < 55:
		return 0
	case n < 75: // the near past
		return max(1, now-g.rng.Int64N(50))
	case n < 88: // all that is left
		low := max(1, compacted)
		return low + g.rng.Int64N(now-low+1)
	case n < 90:
		return now
	case n < 92:
		return max(0, compacted)
	case n < 94:
		return max(0, compacted-1-g.rng.Int64N(100))
	case n < 96:
		return now + 1 + g.rng.Int64N(3)
	case n < 97:
		return pick[int64](g, math.MaxInt64, math.MinInt64)
	}
	return -1 - g.rng.Int64N(3)
}

func (g *Generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(40)}
	switch n := g.rng.IntN(100); {
	case n < 8:
		r.IgnoreValue, r.Value = true, nil
	case n < 14:
		r.IgnoreLease = true
	case n < 16:
		r.IgnoreLease, r.IgnoreValue, r.Value = true, true, nil
	case n < 18:
		r.Lease = pick[int64](g, 999, -1, math.MaxInt64) // unknown
	case n < 35 && g.can.lease:
		r.Lease = g.leaseID()
	}
	return r
}

// deleteRange takes few keys, most of the time: an empty store is dull.
func (g *Generator) deleteRange() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: g.chance(40)}
	switch n := g.rng.IntN(100); {
	case n < 5:
		r.RangeEnd = g.end(r.Key)
	case n < 15:
		r.Key, r.RangeEnd = []byte(pick(g, "\xfe", "\xff", "z", "c/6")), []byte{0}
	case n < 30:
		r.Key, r.RangeEnd = []byte("c/"), []byte(pick(g, "c/2", "c/4", "b/", "c0"))
	case n < 40:
		r.RangeEnd = append(bytes.Clone(r.Key), 0)
	}
	return r
}

// wipe deletes every key, and looks at hashes of an empty key space.
func (g *Generator) wipe() []Operation {
	ops := []Operation{{&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: g.chance(50)}}}
	look := func(at int64) {
		ops = append(ops, Operation{&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: at}})
		if g.can.hashKV && g.comparable(at) {
			ops = append(ops, Operation{&pb.HashKVRequest{Revision: at}})
		}
	}
	last := g.state.revision // at which keys lived
	look(0)
	look(last)
	if g.can.compact && g.chance(50) {
		ops = append(ops, Operation{&pb.CompactionRequest{Revision: last + g.rng.Int64N(2), Physical: true}})
		look(0)
		look(last + 1)
		ops = append(ops, Operation{g.put()})
		look(0)
		look(last + 1)
	}
	return ops
}

// leaseID is one of few leases, each of which may be there or not.
func (g *Generator) leaseID() int64 { return 1 + g.rng.Int64N(4) }

// lease grants a lease for longer than any run, or revokes one.
func (g *Generator) lease() Operation {
	if g.chance(60) {
		return Operation{&pb.LeaseGrantRequest{ID: g.leaseID(), TTL: 100_000_000}}
	}
	return Operation{&pb.LeaseRevokeRequest{ID: g.leaseID()}}
}

// compaction is preceded by the hash of its revision: what the cached hash must
// be afterwards.
func (g *Generator) compaction() []Operation {
	now, compacted := g.state.revision, g.state.compacted
	r := &pb.CompactionRequest{Revision: now - g.rng.Int64N(200), Physical: g.waits || g.chance(85)}
	switch {
	case g.chance(25):
		r.Revision = pick(g, compacted, compacted-1, now, now+1, math.MaxInt64, math.MinInt64, -1, 0)
	case r.Revision <= compacted:
		r.Revision = now
	}
	if r.Revision == 0 && compacted < 0 {
		r.Revision = -1 // a fault of 3.7's, see versions.md
	}
	if !r.Physical {
		g.sweeping = sweptAfter
	}
	ops := []Operation{{r}}
	if g.can.hashKV {
		hash := Operation{&pb.HashKVRequest{Revision: r.Revision}}
		taken := r.Revision > compacted && r.Revision <= now
		if taken {
			ops = []Operation{hash, {r}}
		}
		if r.Physical {
			ops = append(ops, Operation{&pb.HashKVRequest{}})
		}
		if r.Physical && taken {
			ops = append(ops, hash)
		}
	}
	return ops
}

func (g *Generator) hashKV() Operation {
	r := &pb.HashKVRequest{Revision: g.readRevision()}
	if !g.comparable(r.Revision) {
		r.Revision = 0
	}
	return Operation{r}
}

// comparable says whether there is anything to hold a hash at a revision
// against: 3.4 refuses the one at the compaction itself.
func (g *Generator) comparable(revision int64) bool {
	return revision != g.state.compacted || g.state.atCompaction[revision] != nil
}
