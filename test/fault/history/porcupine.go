package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// patience is how long the search for an order may take. One that gives up is a
// failure.
const patience = time.Minute

// linearizable has Porcupine look for an order.
func (l *Ledger) linearizable(answered, late []*Op) error {
	all := slices.Clone(late)
	for _, o := range answered {
		if o.Kind != Stale {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, inOrder)
	start := content{revision: all[0].Revision}
	if all[0].writes() {
		start.revision--
	}
	start.kvs = slices.DeleteFunc(l.List("", start.revision), func(kv KV) bool {
		return !slices.ContainsFunc(all, func(o *Op) bool { return o.covers(kv.Key) })
	})
	model := keyspace
	model.Init = func() any { return start }
	switch porcupine.CheckOperationsTimeout(model, sharpen(all), patience) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("the history of %d operations is not linearizable", len(all))
	}
	return fmt.Errorf("no order of %d operations was found within %v", len(all), patience)
}

// inOrder compares by revision; who has made it comes first.
func inOrder(a, b *Op) int {
	switch {
	case a.Revision != b.Revision:
		return cmp.Compare(a.Revision, b.Revision)
	case a.writes() != b.writes():
		return cmp.Compare(b.rank(), a.rank())
	}
	return cmp.Compare(a.Call, b.Call)
}

func (o *Op) rank() int {
	if o.writes() {
		return 1
	}
	return 0
}

// sharpen makes operations for Porcupine of those that are in order. A call is
// moved to where the search would find out that it stands: whoever was answered
// at a revision comes after the write that has made it, which comes after all
// that was answered at lower ones, and so after their calls. Thereby calls come
// in the order of revisions, and the search, which tries them in the order in
// which they were called, need not turn back. Where that would leave nothing of
// an operation's time, it stays as it is, for the search to refuse. Ties are
// broken by counting each nanosecond as many.
func sharpen(all []*Op) []porcupine.Operation {
	n := int64(len(all))
	var ops []porcupine.Operation
	var written, latest int64 // calls of the last write, and of all so far
	for i, o := range all {
		if o.writes() {
			written = max(written, latest, o.Call)
		}
		call, ret := max(o.Call, written), o.Return
		latest = max(latest, call)
		if o.Outcome == Unknown {
			ret = Never / n
		}
		if call > ret {
			call = o.Call
		}
		ops = append(ops, porcupine.Operation{ClientId: o.Client, Input: o, Call: call*n + int64(i), Return: ret*n + n})
	}
	return ops
}

// writes says that the operation has made its revision.
func (o *Op) writes() bool { return o.Outcome == Unknown || o.changes() }

// content is the keyspace at a revision.
type content struct {
	revision int64
	kvs      []KV // in the order of their keys
}

// keyspace is the model of a keyspace, without its beginning.
var keyspace = porcupine.Model{
	Step: func(state, input, _ any) (bool, any) {
		next, ok := state.(content).step(input.(*Op))
		return ok, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(content), b.(content)
		return x.revision == y.revision && slices.Equal(x.kvs, y.kvs)
	},
}

// step makes an operation, and says whether it may be made here.
func (c content) step(o *Op) (content, bool) {
	i, there := slices.BinarySearchFunc(c.kvs, o.Key, func(kv KV, key string) int { return strings.Compare(kv.Key, key) })
	var before []KV
	if there {
		before = c.kvs[i : i+1]
	}
	next := c
	if o.writes() {
		next = c.apply(o, i, there)
	}
	if next.revision != o.Revision {
		return c, false
	}
	if o.Outcome == Unknown {
		return next, o.Kind != Swap || o.Expected == modification(before)
	}
	switch o.Kind {
	case Swap:
		if o.Succeeded {
			return next, o.Expected == modification(before)
		}
		return c, o.Expected != modification(before) && slices.Equal(before, o.Found)
	case Delete:
		return next, o.Succeeded == there && slices.Equal(before, o.Found)
	}
	if o.Prefix {
		before = nil
		for _, kv := range c.kvs {
			if strings.HasPrefix(kv.Key, o.Key) {
				before = append(before, kv)
			}
		}
	}
	return next, slices.Equal(before, o.Found)
}

func modification(before []KV) int64 {
	if len(before) == 0 {
		return 0
	}
	return before[0].Mod
}

// apply makes the next revision; the key stands at i, or would.
func (c content) apply(o *Op, i int, there bool) content {
	next := content{c.revision + 1, slices.Clone(c.kvs)}
	switch {
	case o.Kind == Delete && there:
		next.kvs = slices.Delete(next.kvs, i, i+1)
	case o.Kind == Delete:
		return c
	case there:
		next.kvs[i].Value, next.kvs[i].Mod = o.Value, next.revision
		next.kvs[i].Version++
	default:
		next.kvs = slices.Insert(next.kvs, i, KV{o.Key, o.Value, next.revision, next.revision, 1})
	}
	return next
}
