package sim

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// judge looks at the whole history of a run.
func (c *Cluster) judge() error {
	c.count()
	if err := c.checkRefused(); err != nil {
		return err
	}
	return c.linearizable()
}

// count counts what the log and the model tell.
func (c *Cluster) count() {
	for _, e := range c.model.entries {
		if e.compaction {
			c.out.Compactions++
		}
	}
	for t := range c.tails {
		if t.Index > 0 && t.Index <= c.model.Index && c.model.entries[t.Index-1].term != t.Term {
			c.out.Truncations++
		}
	}
}

// checkRefused holds what was refused for good against the log.
func (c *Cluster) checkRefused() error {
	for _, op := range c.history {
		if index := c.model.byID[op.id]; op.outcome == refused && index != 0 {
			return fmt.Errorf("operation %d (%v) was refused and stands at entry %d", op.id, op.ask, index)
		}
	}
	return nil
}

// patience is how long the search for an order may take. It takes milliseconds;
// one that gives up is a failure.
const patience = time.Minute

// linearizable looks for an order of the operations in which each one gives the
// answer that it was given, and stands between its call and its return.
func (c *Cluster) linearizable() error {
	var ops []porcupine.Operation
	for _, op := range c.history {
		if answer, ok := c.testimony(op); ok {
			if op.ask.kind == old {
				answer.kvs, answer.count = nil, 0 // see content.old
			}
			ops = append(ops, porcupine.Operation{ClientId: op.client, Input: op.ask, Call: op.called, Output: answer, Return: op.returned})
		}
	}
	switch porcupine.CheckOperationsTimeout(keyspace, ops, patience) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("the history of %d operations is not linearizable", len(ops))
	}
	return fmt.Errorf("no order of %d operations was found within %v", len(ops), patience)
}

// testimony is what is known of an operation's effect, and whether it counts.
//
// A write whose end nobody saw may have taken effect at any time after its call,
// or never. To try all of that out would take for ever; so the log is asked, of
// which it is known by now that all members have the same. If the write stands
// there and changed something, it has had an effect that left just that
// revision, and the search may put it at any time after its call. If it does
// not, it had none, and is left out. That an order is found is proof all the
// same: the log can only bring the wrong order, and then none is found.
func (c *Cluster) testimony(op *operation) (testimony, bool) {
	switch {
	case op.denied, op.ask.kind == administer:
		return testimony{}, false // see checkVerdict
	case op.ask.kind == renew:
		return testimony{}, false // see checkDecision
	case op.ask.kind == stale:
		return testimony{}, false // they may be of the past; see checkAnswer
	case op.outcome == answered:
		return testimony{answer: op.answer, whole: true}, true
	case op.outcome == refused || op.ask.kind.reads():
		return testimony{}, false
	}
	index := c.model.byID[op.id]
	if index == 0 {
		return testimony{}, false
	}
	e := &c.model.entries[index-1]
	if e.revision == c.model.RevisionAt(index-1) && !e.compaction && !e.leased {
		return testimony{}, false
	}
	op.returned = math.MaxInt64
	return testimony{answer: answer{revision: e.revision}}, true
}

// testimony is an answer, or if it is not whole the revision in it.
type testimony struct {
	answer
	whole bool
}

// keyspace is what clients may believe that they talk to: one after the other.
var keyspace = porcupine.Model{
	Init: func() any { return &content{revision: 1, compacted: -1} },
	Step: func(s, input, output any) (bool, any) {
		t := output.(testimony)
		next, a := s.(*content).step(input.(question))
		if t.whole {
			return a.equal(t.answer), next
		}
		return a.err == "" && a.revision == t.revision, next
	},
	Equal: func(a, b any) bool { return a.(*content).equal(b.(*content)) },
}

// content is the keyspace between two operations. It is not changed.
type content struct {
	revision, compacted int64
	kvs                 []kv // ascending by key
	leases              [clientLeases + 1]bool
}

func (s *content) equal(o *content) bool {
	return s == o || s.revision == o.revision && s.compacted == o.compacted && s.leases == o.leases && slices.Equal(s.kvs, o.kvs)
}

// step is the state after a question, and what has to be answered.
func (s *content) step(q question) (*content, answer) {
	switch q.kind {
	case put:
		if q.lease != 0 && !s.leases[q.lease] {
			return s, answer{err: "LeaseNotFound"}
		}
		next, before := s.put(q)
		a := answer{revision: next.revision}
		if q.prev && before != nil {
			a.kvs = []kv{*before}
		}
		return next, a
	case remove:
		next, gone := s.remove(q)
		a := answer{revision: next.revision, count: int64(len(gone))}
		if q.prev {
			a.kvs = gone
		}
		return next, a
	case compareAndSet:
		return s.compareAndSet(q)
	case compaction:
		return s.compact(q)
	case grant:
		return s.grant(q)
	case revoke:
		return s.revoke(q)
	case old:
		return s, s.old(q)
	}
	a := answer{revision: s.revision}
	for _, k := range s.kvs {
		if q.covers(k.key) {
			a.kvs = append(a.kvs, k)
			a.count++
		}
	}
	return s, a
}

// find is the place of a key, and whether it is there.
func (s *content) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.kvs, key, func(k kv, key string) int { return strings.Compare(k.key, key) })
}

func (s *content) put(q question) (next *content, before *kv) {
	next = &content{s.revision + 1, s.compacted, slices.Clone(s.kvs), s.leases}
	one := kv{q.key, q.value, next.revision, next.revision, 1, q.lease}
	i, ok := s.find(q.key)
	if !ok {
		next.kvs = slices.Insert(next.kvs, i, one)
		return next, nil
	}
	one.create, one.version = s.kvs[i].create, s.kvs[i].version+1
	next.kvs[i] = one
	return next, &s.kvs[i]
}

func (s *content) remove(q question) (next *content, gone []kv) {
	next = &content{revision: s.revision, compacted: s.compacted, leases: s.leases}
	for _, k := range s.kvs {
		if q.covers(k.key) {
			gone = append(gone, k)
		} else {
			next.kvs = append(next.kvs, k)
		}
	}
	if len(gone) == 0 {
		return s, nil
	}
	next.revision++
	return next, gone
}

func (s *content) compareAndSet(q question) (*content, answer) {
	var found kv
	i, ok := s.find(q.key)
	if ok {
		found = s.kvs[i]
	}
	is := found.version
	if q.byRevision {
		is = found.mod
	}
	if is != q.expected {
		a := answer{revision: s.revision}
		if ok {
			a.kvs, a.count = []kv{found}, 1
		}
		return s, a
	}
	next, _ := s.put(q)
	a := answer{succeeded: true, revision: next.revision}
	if q.also != "" {
		without, gone := next.remove(question{key: q.also})
		without.revision = next.revision // a transaction is one revision
		next, a.count = without, int64(len(gone))
	}
	return next, a
}

func (s *content) compact(q question) (*content, answer) {
	switch {
	case q.revision <= s.compacted:
		return s, answer{err: "Compacted"}
	case q.revision > s.revision:
		return s, answer{err: "FutureRev"}
	}
	return &content{s.revision, q.revision, s.kvs, s.leases}, answer{revision: s.revision}
}

func (s *content) grant(q question) (*content, answer) {
	if s.leases[q.lease] {
		return s, answer{err: "LeaseExist"}
	}
	next := *s
	next.leases[q.lease] = true
	return &next, answer{revision: s.revision}
}

// revoke takes the keys of a lease away with it.
func (s *content) revoke(q question) (*content, answer) {
	if !s.leases[q.lease] {
		return s, answer{err: "LeaseNotFound"}
	}
	next := *s
	next.leases[q.lease] = false
	next.kvs = slices.DeleteFunc(slices.Clone(s.kvs), func(k kv) bool { return k.lease == q.lease })
	if len(next.kvs) < len(s.kvs) {
		next.revision++
	}
	return &next, answer{revision: next.revision}
}

// old is the answer to a read of the past; what it has read was held against the
// model when it came.
func (s *content) old(q question) answer {
	a := answer{revision: s.revision}
	switch {
	case q.revision < s.compacted:
		a.err = "Compacted"
	case q.revision > s.revision:
		a.err = "FutureRev"
	}
	return a
}
