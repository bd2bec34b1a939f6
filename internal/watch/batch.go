package watch

import (
	"etcd.alt/internal/mvcc"
)

// batch is what is handed out in one go: events, and who is to be told which of
// them. It is reused.
type batch struct {
	number   uint64
	events   []event
	matches  []match // lists of events, one for each watcher
	watchers []*watcher
	streams  []*Stream // of the watchers; not used by CatchUp
	arena    []byte    // where the events are encoded
	out      []byte    // and the responses; CatchUp's
}

// event is an encoded event, with and without what it has replaced.
type event struct {
	change *mvcc.Change // not kept by CatchUp
	plain  []byte
	full   []byte // nil where nobody wants it
	wanted bool   // somebody does
}

// match is an entry of a watcher's list of events.
type match struct{ event, next int32 }

// keepArena is the largest arena that is kept for the next batch.
const keepArena = 1 << 20

func (b *batch) reset(number uint64) {
	b.number = number
	clear(b.events)
	clear(b.watchers)
	clear(b.streams)
	b.events, b.matches, b.watchers, b.streams, b.arena = b.events[:0], b.matches[:0], b.watchers[:0], b.streams[:0], b.arena[:0]
	if cap(b.arena)+cap(b.out)+8*cap(b.matches) > keepArena {
		*b = batch{number: number}
	}
}

// event takes a change in as the last event.
func (b *batch) event(c *mvcc.Change) {
	start := len(b.arena)
	b.arena = appendEvent(b.arena, c, nil)
	b.events = append(b.events, event{change: c, plain: b.arena[start:len(b.arena):len(b.arena)]})
}

// complete gives event i what its change has replaced.
func (b *batch) complete(i int, c *mvcc.Change, prev []byte) {
	e := &b.events[i]
	if e.full = e.plain; prev == nil {
		return
	}
	start := len(b.arena)
	b.arena = appendEvent(b.arena, c, prev)
	e.full = b.arena[start:len(b.arena):len(b.arena)]
}

// add has w told the last event. It says whether that is its first of the batch.
func (b *batch) add(w *watcher, revision int64) (first bool) {
	i := int32(len(b.matches))
	at := int32(len(b.events) - 1)
	b.matches = append(b.matches, match{event: at, next: -1})
	e := &b.events[at]
	e.wanted = e.wanted || w.prev
	w.revision = revision
	if w.batch == b.number {
		b.matches[w.last].next = i
		w.last = i
		return false
	}
	w.batch, w.first, w.last = b.number, i, i
	b.watchers = append(b.watchers, w)
	return true
}

// of is event i as w is told it.
func (b *batch) of(w *watcher, i int32) []byte {
	if w.prev {
		return b.events[i].full
	}
	return b.events[i].plain
}

// size is the bytes of a watcher's events.
func (b *batch) size(w *watcher) (n int) {
	for m := w.first; m >= 0; m = b.matches[m].next {
		n += len(b.of(w, b.matches[m].event))
	}
	return n
}

// appendResponse appends a watcher's events as one response, or as several if it
// allows that and there are more bytes than fragment. It says how many messages and
// events that is.
func (b *batch) appendResponse(to []byte, w *watcher, h Header, revision int64, size, fragment int) (out []byte, messages, events int) {
	split := w.fragment && size+maxResponseOverhead >= fragment
	start := len(to)
	to = begin(to, h, revision, w.id)
	mark := len(to) // where "fragment" goes, should this be one
	pieces := 0
	for m := w.first; m >= 0; m = b.matches[m].next {
		e := b.of(w, b.matches[m].event)
		if split && pieces > 0 && len(to)-start-prefixBytes+2+len(e) >= fragment {
			to = append(to, 0, 0)
			copy(to[mark+2:], to[mark:])
			to[mark], to[mark+1] = byte(fieldFragment<<3), 1
			to = end(to, start)
			start, pieces, messages = len(to), 0, messages+1
			to = begin(to, h, revision, w.id)
			mark = len(to)
		}
		to = append(to, e...)
		pieces++
		events++
	}
	return end(to, start), messages + 1, events
}
