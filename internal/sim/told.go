package sim

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"etcd.alt/api/mvccpb"
)

// What must hold of all that those are told who watch, held against the model,
// which knows what every revision has changed.

// concerns says whether a change is for the watch.
func (w *watching) concerns(c *change) bool {
	in := bytes.Equal(c.Key, w.Key)
	if len(w.End) > 0 {
		in = bytes.Compare(c.Key, w.Key) >= 0 && (string(w.End) == "\x00" || bytes.Compare(c.Key, w.End) < 0)
	}
	if c.Version == 0 {
		return in && !w.NoDelete
	}
	return in && !w.NoPut
}

// coming is the change that the watch is to be told next; nil if none is there yet.
func (w *watching) coming(m *Model) *change {
	for ; w.at < len(m.changes); w.at++ {
		if c := &m.changes[w.at]; c.ModRevision >= w.next && w.concerns(c) {
			return c
		}
	}
	return nil
}

// heard is what a listener does with a response.
func (n *line) heard(r response) {
	l := n.l
	if err := n.judge(r); err != nil {
		l.c.fail(fmt.Errorf("listener %d hears from host %d: %s: %w", l.id, n.h.id, r.words(), err))
	}
	l.c.note(noteTold, uint64(l.id), uint64(r.WatchId), uint64(r.Header.Revision), uint64(len(r.Events)), uint64(r.CompactRevision))
	if l.c.trace != nil {
		l.c.tell("listener %d hears from host %d: %s", l.id, n.h.id, r.words())
	}
}

// words puts a response in words.
func (r response) words() string {
	s := fmt.Sprintf("watch id %d, revision %d", r.WatchId, r.Header.Revision)
	if r.Created {
		s += ", created"
	}
	if r.Canceled {
		s += fmt.Sprintf(", canceled (%q, compacted %d)", r.CancelReason, r.CompactRevision)
	}
	for _, e := range r.Events {
		s += fmt.Sprintf(", %v %s %d", e.Type, e.Kv.Key, e.Kv.ModRevision)
		if e.PrevKv != nil {
			s += fmt.Sprintf(" after %d", e.PrevKv.ModRevision)
		}
	}
	if r.Fragment {
		s += ", and more"
	}
	return s
}

func (n *line) judge(r response) error {
	if h := r.Header; h.ClusterId != n.cluster || h.MemberId != n.h.id || h.Revision > r.revision {
		return fmt.Errorf("a wrong header: the member was at revision %d", r.revision)
	}
	if r.Created {
		return n.created(r)
	}
	if r.WatchId == -1 {
		n.l.all = r.Header.Revision
		n.l.c.out.Watch.Asked++
		for _, w := range n.l.watches {
			if err := n.progress(w, r.Header.Revision); err != nil {
				return err
			}
		}
		return nil
	}
	w := n.watches[r.WatchId]
	switch {
	case w == nil:
		return fmt.Errorf("there is no such watch")
	case r.CompactRevision != 0:
		return n.compacted(w, r)
	case r.Canceled:
		if r.CancelReason != "" {
			return n.revoked(w)
		}
		return n.canceled(w)
	case w.doomed, w.ended:
		return fmt.Errorf("%v has ended with a compaction", w)
	case len(r.Events) == 0:
		if !w.Notify {
			return fmt.Errorf("%v has not asked for progress", w)
		}
		n.l.c.out.Watch.Notified++
		return n.progress(w, r.Header.Revision)
	}
	return n.events(w, r)
}

// created takes the answer to the first watch that was not answered.
func (n *line) created(r response) error {
	if len(n.creating) == 0 {
		return fmt.Errorf("nothing was asked for")
	}
	w := n.creating[0]
	n.creating = n.creating[1:]
	switch {
	case r.Canceled != (w.refusal || w.denied):
		return fmt.Errorf("%v: to be refused is %v, and %v for want of rights", w, w.refusal, w.denied)
	case r.Canceled && (r.WatchId != -1 || r.CancelReason == "" || r.CompactRevision != 0):
		return fmt.Errorf("%v: a refusal without a reason", w)
	case r.Canceled:
		n.l.c.out.Watch.Refused++
		if w.denied {
			n.l.lose(w)
		}
		return nil
	case n.watches[r.WatchId] != nil, w.ID != 0 && w.ID != r.WatchId:
		return fmt.Errorf("%v: a wrong id", w)
	}
	n.l.c.out.Watch.Created++
	w.id, w.begun, n.watches[r.WatchId] = r.WatchId, true, w
	w.doomed = w.Start > 0 && w.Start < r.compacted
	if w.next == 0 {
		w.next = r.Header.Revision + 1
		w.at = n.l.c.model.changesFrom(w.next)
	}
	return nil
}

// compacted takes the end of a watch whose next revision is not there any more. The
// client goes on with what there is.
func (n *line) compacted(w *watching, r response) error {
	switch {
	case !r.Canceled, w.ended, len(r.Events) > 0:
		return fmt.Errorf("%v: no proper end", w)
	case r.CompactRevision != r.compacted:
		return fmt.Errorf("%v: the member is compacted at %d", w, r.compacted)
	case w.next >= r.CompactRevision:
		return fmt.Errorf("%v is not below the compaction", w)
	case w.partial:
		return fmt.Errorf("%v: in the midst of a revision", w)
	}
	n.l.c.out.Watch.Compacted++
	w.ended = true
	l := n.l
	l.asked = 0 // there may be nobody left who is told
	l.watches = slices.DeleteFunc(l.watches, func(o *watching) bool { return o == w })
	if w.leaving {
		return nil
	}
	if l.c.dice.IntN(2) == 0 {
		l.leave(w) // its id is taken until then
	}
	l.numbers++
	next := &watching{Request: w.Request, number: l.numbers, next: r.CompactRevision}
	next.Start, next.ID, next.at = next.next, 0, l.c.model.changesFrom(next.next)
	l.watches = append(l.watches, next)
	l.create(next)
	return nil
}

// canceled takes the end of a watch that was asked to end.
func (n *line) canceled(w *watching) error {
	if !w.leaving || w.partial {
		return fmt.Errorf("nobody has asked %v to end, or it is in the midst of a revision", w)
	}
	n.l.c.out.Watch.Canceled++
	delete(n.watches, w.id)
	n.l.watches = slices.DeleteFunc(n.l.watches, func(o *watching) bool { return o == w })
	return nil
}

// progress holds that a watch was told everything up to a revision.
func (n *line) progress(w *watching, revision int64) error {
	if !w.begun || w.ended || w.doomed {
		return nil
	}
	switch c := w.coming(n.l.c.model); {
	case w.partial:
		return fmt.Errorf("%v is in the midst of a revision", w)
	case w.next > revision+1:
		return fmt.Errorf("%v is further than that", w)
	case c != nil && c.ModRevision <= revision:
		return fmt.Errorf("%v was not told of %v", w, c.KeyValue)
	}
	w.next = revision + 1
	return nil
}

// events holds a response against the changes that come next.
func (n *line) events(w *watching, r response) error {
	m, tally := n.l.c.model, &n.l.c.out.Watch
	if !w.partial {
		w.whole.next, w.whole.at = w.next, w.at
	}
	var last int64
	for _, e := range r.Events {
		c := w.coming(m)
		if c == nil {
			return fmt.Errorf("%v: nothing is to come", w)
		}
		if err := w.holds(c, e, r.compacted); err != nil {
			return fmt.Errorf("%v: %w", w, err)
		}
		if w.Prev && c.prev != nil && e.PrevKv == nil {
			tally.Forgotten++
		}
		last = c.ModRevision
		w.at++
		tally.Events++
	}
	tally.Responses++
	switch c := w.coming(m); {
	case r.Header.Revision < last:
		return fmt.Errorf("%v: an event of a revision to come", w)
	case r.Fragment && !w.Fragment:
		return fmt.Errorf("%v: a fragment", w)
	case !r.Fragment && c != nil && c.ModRevision == last:
		return fmt.Errorf("%v: %v is of the same revision and is missing", w, c.KeyValue)
	}
	if w.partial = r.Fragment; w.partial {
		tally.Fragments++
		return nil
	}
	w.next = last + 1
	return nil
}

// holds says whether an event is what a change is told as by a member that is
// compacted at a revision.
func (w *watching) holds(c *change, e *mvccpb.Event, compacted int64) error {
	var before *mvccpb.KeyValue
	if w.Prev && (e.PrevKv != nil || c.ModRevision-1 >= compacted) {
		before = c.prev
	}
	deleted := e.Type == mvccpb.Event_DELETE
	if deleted != (c.Version == 0) || !proto.Equal(e.Kv, c.KeyValue) || !proto.Equal(e.PrevKv, before) {
		return fmt.Errorf("it was to be told %v, before which there was %v", c.KeyValue, c.prev)
	}
	return nil
}
