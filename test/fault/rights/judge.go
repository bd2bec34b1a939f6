package rights

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Policy is all that users may have been able to do. It belongs to one goroutine.
type Policy struct {
	Rights    []*Right
	Passwords []*Password
}

// Event is a write that was made.
type Event struct {
	Revision int64
	Value    string
}

// Tally is what was judged.
type Tally struct {
	Answered int // calls of users that were answered
	Sure     int // of these, calls that had to be
	Refused  int // calls that were refused
	Rightly  int // of these, calls that had to be
	Late     int // effects of calls whose end nobody saw
}

func (t Tally) String() string {
	return fmt.Sprintf("%d calls were answered, %d of them had to be; %d were refused, %d of them had to be; %d writes of unknown end were made", t.Answered, t.Sure, t.Refused, t.Rightly, t.Late)
}

// Judge looks at calls and at all writes that were made. The error says what cannot
// be.
func (p *Policy) Judge(calls []*Call, events []Event) (Tally, error) {
	var t Tally
	moments, err := place(calls, events, &t)
	if err != nil {
		return t, err
	}
	x := p.index()
	for _, c := range calls {
		from, to := c.Call, c.Return
		if m, ok := moments[c]; ok {
			from, to = m.from, m.to
		} else if c.Outcome == Unknown {
			continue // it had no effect
		}
		if err := x.judge(c, from, to, &t); err != nil {
			return t, err
		}
	}
	return t, nil
}

// interval is when a write was made.
type interval struct{ from, to int64 }

// place finds the writes that were made, and when: after all with a lower revision
// were called, before any with a higher one had returned.
func place(calls []*Call, events []Event, t *Tally) (map[*Call]interval, error) {
	byValue := map[string]*Call{}
	for _, c := range calls {
		if c.Kind == Put {
			byValue[c.Value] = c
		}
	}
	events = slices.SortedFunc(slices.Values(events), func(a, b Event) int { return cmp.Compare(a.Revision, b.Revision) })
	moments := map[*Call]interval{}
	order := make([]*Call, len(events))
	from := int64(0)
	for i, e := range events {
		c := byValue[e.Value]
		_, twice := moments[c]
		switch {
		case c == nil:
			return nil, fmt.Errorf("revision %d is of nobody: %s", e.Revision, e.Value)
		case twice:
			return nil, fmt.Errorf("a write was made twice, at revision %d too: %v", e.Revision, c)
		case c.Outcome == Denied || c.Outcome == Stranger:
			return nil, fmt.Errorf("a write that was refused was made at revision %d: %v", e.Revision, c)
		case c.Outcome == Answered && c.Revision != e.Revision:
			return nil, fmt.Errorf("a write was made at revision %d: %v", e.Revision, c)
		case c.Outcome == Unknown:
			t.Late++
		}
		from = max(from, c.Call)
		moments[c], order[i] = interval{from: from}, c
	}
	to := int64(Never)
	for _, c := range slices.Backward(order) {
		to = min(to, c.Return)
		moments[c] = interval{moments[c].from, to}
	}
	for _, c := range calls {
		if _, made := moments[c]; c.Kind == Put && c.Outcome == Answered && !made {
			return nil, fmt.Errorf("an acknowledged write is lost: %v", c)
		}
	}
	return moments, nil
}

// index finds rights and passwords.
type index struct {
	rights    map[[2]string][]*Right
	passwords map[[2]string]*Password
}

func (p *Policy) index() *index {
	x := &index{map[[2]string][]*Right{}, map[[2]string]*Password{}}
	for _, r := range p.Rights {
		at := [2]string{r.User, r.Area}
		x.rights[at] = append(x.rights[at], r)
	}
	for _, w := range p.Passwords {
		x.passwords[[2]string{w.User, w.Text}] = w
	}
	return x
}

var (
	errNoRight   = errors.New("a call was answered without a right to it")
	errRefused   = errors.New("a call was refused that had a right to an answer")
	errStranger  = errors.New("a user was taken for a stranger")
	errLost      = errors.New("a user's token was lost")
	errNobody    = errors.New("a call is of a user, or with a password, that there never was")
	errBackwards = errors.New("a write was answered before writes of lower revisions were called")
)

// judge looks at a call that took effect, or was refused, between two moments.
func (x *index) judge(c *Call, from, to int64, t *Tally) error {
	if from > to {
		return fmt.Errorf("%w: %v", errBackwards, c)
	}
	w := x.passwords[[2]string{c.User, c.Password}]
	if w == nil {
		return fmt.Errorf("%w: %v", errNobody, c)
	}
	var why error
	switch c.Outcome {
	case Answered, Unknown:
		t.Answered++
		if c.Kind == Stale {
			from = 0 // its member may lag
		}
		if !x.may(c, w, from, to) {
			why = errNoRight
		}
		if x.must(c, w, c.Call, c.Return) {
			t.Sure++
		}
	case Denied:
		t.Refused++
		if c.Kind != Stale && x.must(c, w, c.Call, c.Return) {
			why = errRefused
		}
	case Stranger:
		t.Refused++
		switch {
		case c.Kind == Login && w.must(c.Call, c.Return):
			why = errStranger
		case c.Kind != Login && c.Lasting && w.must(c.Since, c.Return):
			why = errLost
		}
	}
	if (c.Outcome == Denied || c.Outcome == Stranger) && !x.may(c, w, c.Call, c.Return) {
		t.Rightly++
	}
	if why != nil {
		return fmt.Errorf("%w: %v; the password: %v; the rights: %v", why, c, w, x.rights[[2]string{c.User, c.Area}])
	}
	return nil
}

// may says whether there may be a moment between two at which a call was lawful.
func (x *index) may(c *Call, w *Password, from, to int64) bool {
	from, to = max(from, w.Asked), min(to, w.Gone)
	if c.Kind == Login {
		return from <= to
	}
	return slices.ContainsFunc(x.rights[[2]string{c.User, c.Area}], func(r *Right) bool {
		return r.covers(c) && max(from, r.Asked) <= min(to, r.Gone)
	})
}

// must says whether a call was surely lawful all the time between two moments.
func (x *index) must(c *Call, w *Password, from, to int64) bool {
	if !w.must(from, to) {
		return false
	}
	return c.Kind == Login || slices.ContainsFunc(x.rights[[2]string{c.User, c.Area}], func(r *Right) bool {
		return r.covers(c) && r.must(from, to)
	})
}

// covers says whether the right, while it holds, is to what a call does.
func (r *Right) covers(c *Call) bool {
	if c.writes() {
		return r.Write
	}
	return r.Read
}
