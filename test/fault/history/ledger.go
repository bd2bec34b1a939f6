package history

import (
	"fmt"
	"slices"
	"strings"
)

// Ledger has what each revision changed, and what every key was at each. It
// belongs to one goroutine.
type Ledger struct {
	changes []Change        // of the revisions from 2 on
	keys    map[string][]KV // every version; one of Version 0 is a tombstone
	// puts and deletes are the writes that may yet have an effect, by what they
	// do: puts by their value, which is theirs alone, deletes by their key.
	puts    map[string]*Op
	deletes map[string][]*Op
	Late    int // effects of operations whose end nobody saw
}

// NewLedger is that of an empty keyspace.
func NewLedger() *Ledger {
	return &Ledger{keys: map[string][]KV{}, puts: map[string]*Op{}, deletes: map[string][]*Op{}}
}

// Revision is the last one that is known.
func (l *Ledger) Revision() int64 { return int64(len(l.changes)) + 1 }

// At is what a revision has changed, from 2 to Revision.
func (l *Ledger) At(revision int64) Change { return l.changes[revision-2] }

// Settle takes the operations of an epoch, all over by now, and finds what every
// revision up to the given one has changed. look asks the cluster what it was.
// It returns the operations whose end nobody saw and that had an effect, with
// their Revision; those of earlier epochs have a Call of 0.
func (l *Ledger) Settle(ops []*Op, to int64, look func(revision int64) (Change, error)) (late []*Op, err error) {
	from := l.Revision()
	known := make([]*Op, max(0, to-from))
	refused := map[string]*Op{}
	for _, o := range ops {
		switch {
		case o.changes():
			if o.Revision <= from {
				return nil, fmt.Errorf("a write was answered with a revision of the past, %d was reached before: %v", from, o)
			}
			if o.Revision > to {
				return nil, fmt.Errorf("an acknowledged write is lost, the cluster is at revision %d: %v", to, o)
			}
			if other := known[o.Revision-from-1]; other != nil {
				return nil, fmt.Errorf("two writes have one revision: %v; %v", other, o)
			}
			known[o.Revision-from-1] = o
		case o.Outcome == Refused && o.Kind != Delete:
			refused[o.Value] = o
		case o.Outcome == Unknown && o.Kind == Delete:
			l.deletes[o.Key] = append(l.deletes[o.Key], o)
		case o.Outcome == Unknown && !o.reads():
			l.puts[o.Value] = o
		}
	}
	for _, waiting := range l.deletes {
		slices.SortStableFunc(waiting, func(a, b *Op) int { return int(a.Call - b.Call) })
	}
	for i, o := range known {
		revision := from + int64(i) + 1
		if o == nil {
			c, err := look(revision)
			if err != nil {
				return nil, fmt.Errorf("ask for revision %d: %w", revision, err)
			}
			if o = l.claim(c); o == nil {
				return nil, fmt.Errorf("revision %d is of nobody, or of a write made twice: %v (refused: %v)", revision, c, refused[c.Value])
			}
			o.Revision = revision
			late = append(late, o)
			l.Late++
		}
		l.append(revision, o.change())
	}
	l.age()
	return late, nil
}

// claim finds the write that has made a change, and takes it away.
func (l *Ledger) claim(c Change) *Op {
	if !c.Deleted {
		o := l.puts[c.Value]
		if o == nil || o.Key != c.Key {
			return nil
		}
		delete(l.puts, c.Value)
		return o
	}
	waiting := l.deletes[c.Key]
	if len(waiting) == 0 {
		return nil
	}
	// Any of them may have been the one. That which was called first fits if one
	// does.
	l.deletes[c.Key] = waiting[1:]
	return waiting[0]
}

// age has what is left be of an earlier epoch.
func (l *Ledger) age() {
	for _, o := range l.puts {
		o.Call = 0
	}
	for _, waiting := range l.deletes {
		for _, o := range waiting {
			o.Call = 0
		}
	}
}

// append makes the next revision.
func (l *Ledger) append(revision int64, c Change) {
	l.changes = append(l.changes, c)
	kv := KV{Key: c.Key, Mod: revision}
	if !c.Deleted {
		kv.Value, kv.Create, kv.Version = c.Value, revision, 1
		if before, ok := l.Find(c.Key, revision-1); ok {
			kv.Create, kv.Version = before.Create, before.Version+1
		}
	}
	l.keys[c.Key] = append(l.keys[c.Key], kv)
}

// Find is a key at a revision, and whether it was there.
func (l *Ledger) Find(key string, revision int64) (KV, bool) {
	versions := l.keys[key]
	i, found := slices.BinarySearchFunc(versions, revision, func(kv KV, r int64) int { return int(kv.Mod - r) })
	if !found {
		i--
	}
	if i < 0 || versions[i].Version == 0 {
		return KV{}, false
	}
	return versions[i], true
}

// List is what there was at a revision under a prefix, in the order of the keys.
func (l *Ledger) List(prefix string, revision int64) []KV {
	var out []KV
	for key := range l.keys {
		if kv, ok := l.Find(key, revision); ok && strings.HasPrefix(key, prefix) {
			out = append(out, kv)
		}
	}
	slices.SortFunc(out, func(a, b KV) int { return strings.Compare(a.Key, b.Key) })
	return out
}
