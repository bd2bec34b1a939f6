package mvcc

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// maxPins bounds how many readers may hold the sweep up at a time, and what they take of
// memory: a portion each. Those who hold more, all keys of a list that is sorted or
// filtered, or large parts, are maxHeavy at most.
const (
	maxPins  = 1024
	maxHeavy = 64
)

// pins are the revisions that readers stand on for longer than a moment. The
// sweep stays below the oldest; a compaction does not wait for them.
type pins struct {
	mu struct {
		sync.Mutex
		at    map[*pin]struct{}
		heavy int // of them
	}
}

// pin is one reader's hold.
type pin struct {
	revision int64
	heavy    bool
}

// add returns nil if too many readers hold a revision.
func (p *pins) add(revision int64, heavy bool) *pin {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.at) >= maxPins || heavy && p.mu.heavy >= maxHeavy {
		return nil
	}
	if heavy {
		p.mu.heavy++
	}
	if p.mu.at == nil {
		p.mu.at = map[*pin]struct{}{}
	}
	one := &pin{revision, heavy}
	p.mu.at[one] = struct{}{}
	return one
}

func (p *pins) remove(one *pin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, held := p.mu.at[one]; held && one.heavy {
		p.mu.heavy--
	}
	delete(p.mu.at, one)
}

// below lowers c to the oldest pin.
func (p *pins) below(c int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.mu.at {
		c = min(c, one.revision)
	}
	return c
}

// Listing is the answer to a range request of which the size is known and the
// records are not read yet. One that takes longer to read than a moment is to Pin
// its revision. Close must be called.
type Listing struct {
	// Count and More are as in Result.
	Count int64
	More  bool
	// Size is how many bytes the records take as a repeated field of a message
	// (with a tag of one byte).
	Size int

	view     *View
	pin      *pin
	request  *etcdserverpb.RangeRequest
	revision int64
	span     span
	// list holds what was picked where keys are not wanted in their own order,
	// or are filtered; else the tree is walked a second time.
	list   []found
	walked bool

	done <-chan struct{} // of InTurn; nil for none
	turn func()
}

// foundBytes is about what an element of a list costs.
const foundBytes = 64

// List begins to answer a request. It may read the disk where values are sorted
// by. What is to be held in memory for it is bounded by budget bytes, beyond
// which errs.TooManyRequests is returned; further errors as Range's. The request
// is kept until Close.
func (v *View) List(r *etcdserverpb.RangeRequest, budget int) (*Listing, error) {
	if err := checkSort(r); err != nil {
		return nil, err
	}
	rev, err := v.At(r.Revision)
	if err != nil {
		return nil, err
	}
	l := &Listing{view: v, request: r, revision: rev, span: newSpan(r.Key, r.RangeEnd)}
	err = l.measure(budget)
	if stale := v.fresh(r.Revision); stale != nil {
		return nil, stale
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Pin holds the sweep up, so that what was listed stays until Close. heavy says that the
// caller keeps more of it in memory than a record. Errors: errs.TooManyRequests where too
// many hold it up already; errs.Compacted or ErrStale where it has gone too far by now.
func (l *Listing) Pin(heavy bool) error {
	if l.pin = l.view.keyspace.pins.add(l.revision, heavy || !l.walked); l.pin == nil {
		return errs.TooManyRequests
	}
	// A sweep that began before the pin was set may have passed it.
	return l.view.fresh(l.request.Revision)
}

// InTurn has the Each of a pinned listing wait for its turns no longer than until done is
// closed, and call turn when it has one.
func (l *Listing) InTurn(done <-chan struct{}, turn func()) { l.done, l.turn = done, turn }

// Close lets go of the revision, if it is pinned.
func (l *Listing) Close() {
	if l.pin != nil {
		l.view.keyspace.pins.remove(l.pin)
	}
}

// measure finds count and size.
func (l *Listing) measure(budget int) error {
	v, r := l.view, l.request
	l.Count = int64(v.count(l.span, l.revision))
	if r.CountOnly {
		return nil
	}
	if natural(r) && r.SortTarget == etcdserverpb.RangeRequest_KEY {
		l.walked = true
		l.More = r.Limit > 0 && l.Count > r.Limit
		return l.walk(func(f found) error {
			l.Size += fieldSize(l.sizeOf(f))
			return nil
		})
	}
	byValue := r.SortTarget == etcdserverpb.RangeRequest_VALUE
	most := 0
	if natural(r) && r.Limit > 0 {
		most = int(min(r.Limit, 1<<31)) + 1
	}
	l.list = v.collect(l.span, l.revision, most)
	if len(l.list)*foundBytes > budget {
		return errs.TooManyRequests
	}
	l.list = filter(l.list, r)
	if byValue {
		for _, f := range l.list {
			budget -= int(f.version.size)
		}
		if budget < 0 {
			return errs.TooManyRequests
		}
		if _, err := fill(l.list, v.keyspace.load); err != nil {
			return err
		}
	}
	order(l.list, r)
	if r.Limit > 0 && int64(len(l.list)) > r.Limit {
		l.list, l.More = l.list[:r.Limit], true
	}
	if r.KeysOnly {
		stripValues(l.list, byValue)
	}
	for _, f := range l.list {
		l.Size += fieldSize(l.sizeOf(f))
	}
	return nil
}

// fieldSize is the size of a length-delimited field of n bytes.
func fieldSize(n int) int { return 1 + protowire.SizeBytes(n) }

// sizeOf is the size of the record that Each will give out for f.
func (l *Listing) sizeOf(f found) int {
	switch {
	case f.kv != nil:
		return len(f.kv)
	case l.request.KeysOnly:
		list := [1]found{f}
		stripValues(list[:], false)
		return len(list[0].kv)
	}
	return int(f.version.size)
}

// walk calls fn for what the request wants, in key order.
func (l *Listing) walk(fn func(found) error) error {
	if !l.span.ranged {
		for _, f := range l.view.collect(l.span, l.revision, 0) {
			return fn(f)
		}
		return nil
	}
	var err error
	left := l.request.Limit
	l.view.tree.ascend(l.span.lo, func(key string, head *version) bool {
		if !l.span.open && key >= l.span.hi {
			return false
		}
		ver := head.liveAt(l.revision)
		if ver == nil {
			return true
		}
		if err = fn(found{key: key, version: ver}); err != nil {
			return false
		}
		left--
		return left != 0 // a limit of 0 or less is none
	})
	return err
}

// Each reads the records, in the order of the answer. They are shared and must
// not be changed. It stops at the first error of fn, or at one of the store. Where
// the revision is not pinned it may end with errs.Compacted or ErrStale, and then
// what it has given is worth nothing.
func (l *Listing) Each(fn func(record []byte) error) error {
	err := l.each(fn)
	if l.pin == nil {
		if stale := l.view.fresh(l.request.Revision); stale != nil {
			return stale
		}
	}
	return err
}

func (l *Listing) each(fn func(record []byte) error) error {
	p := l.portion(fn)
	give := func(f found) error {
		if f.kv == nil && l.request.KeysOnly {
			list := [1]found{f}
			stripValues(list[:], false)
			f.kv = list[0].kv
		}
		return p.add(f)
	}
	if l.walked {
		if err := l.walk(give); err != nil {
			return err
		}
		return p.flush()
	}
	for _, f := range l.list {
		if err := give(f); err != nil {
			return err
		}
	}
	return p.flush()
}

func (l *Listing) portion(fn func(record []byte) error) *portion {
	if l.pin == nil {
		return &portion{most: portionBytes, load: l.view.keyspace.loadMany, fn: fn}
	}
	return &portion{most: firstPortion, load: func(list []found) error { return l.view.keyspace.loadInTurn(list, l.done, l.turn) }, fn: fn}
}

// Bounds of a portion. Those of pinned lists grow: one that nobody takes is to hold
// little.
const (
	portionKeys  = 512
	portionBytes = 256 << 10
	firstPortion = 16 << 10
)

// portion is a part of a long list whose records are read together: those that
// are not cached lie in the store in the order of their revisions.
type portion struct {
	load  func([]found) error
	fn    func(record []byte) error
	list  []found
	bytes int
	most  int
}

func (p *portion) add(f found) error {
	p.list = append(p.list, f)
	if f.kv == nil {
		p.bytes += int(f.version.size)
	}
	if len(p.list) < portionKeys && p.bytes < p.most {
		return nil
	}
	return p.flush()
}

func (p *portion) flush() error {
	if err := p.load(p.list); err != nil {
		return err
	}
	for _, f := range p.list {
		if err := p.fn(f.kv); err != nil {
			return err
		}
	}
	clear(p.list)
	p.list, p.bytes, p.most = p.list[:0], 0, min(2*p.most, portionBytes)
	return nil
}
