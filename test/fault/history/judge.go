package history

import (
	"cmp"
	"fmt"
	"slices"
)

// Judge looks at the operations of an epoch, and at those that Settle has
// returned for it. The error says which operations cannot be.
func (l *Ledger) Judge(ops, late []*Op) error {
	var answered []*Op
	for _, o := range ops {
		if o.Outcome != Answered {
			continue
		}
		if err := l.checkAnswer(o); err != nil {
			return err
		}
		answered = append(answered, o)
	}
	if err := checkOrder(answered, late); err != nil {
		return err
	}
	if err := checkLives(answered); err != nil {
		return err
	}
	return l.linearizable(answered, late)
}

// checkAnswer holds an answer against what was there at its revision.
func (l *Ledger) checkAnswer(o *Op) error {
	if o.Revision > l.Revision() {
		return fmt.Errorf("an answer is of revision %d, and the cluster has reached %d: %v", o.Revision, l.Revision(), o)
	}
	seen := o.Revision
	if o.changes() {
		seen--
	}
	before, there := l.Find(o.Key, seen)
	var want []KV
	switch {
	case o.Prefix:
		want = l.List(o.Key, seen)
	case o.Kind == Swap && o.Succeeded != (before.Mod == o.Expected):
		return fmt.Errorf("the modification was %d: %v", before.Mod, o)
	case o.Kind == Delete && o.Succeeded != there:
		return fmt.Errorf("the key was there: %t: %v", there, o)
	case there && (o.Kind != Swap || !o.Succeeded):
		want = []KV{before}
	}
	if !slices.Equal(want, o.Found) {
		return fmt.Errorf("what was there is %+v: %v", want, o)
	}
	return nil
}

// checkOrder looks whether an operation has seen what was known to anybody when
// it was called.
func checkOrder(answered, late []*Op) error {
	byReturn := slices.DeleteFunc(slices.Clone(answered), func(o *Op) bool { return o.Kind == Stale })
	byCall := append(slices.Clone(byReturn), late...)
	slices.SortFunc(byReturn, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	slices.SortFunc(byCall, func(a, b *Op) int { return cmp.Compare(a.Call, b.Call) })
	var newest *Op
	i := 0
	for _, o := range byCall {
		for ; i < len(byReturn) && byReturn[i].Return < o.Call; i++ {
			if newest == nil || byReturn[i].Revision > newest.Revision {
				newest = byReturn[i]
			}
		}
		writes := o.Outcome == Unknown || o.changes()
		if newest != nil && (o.Revision < newest.Revision || writes && o.Revision == newest.Revision) {
			return fmt.Errorf("the answer is older than one that was known when it was asked: %v (revision %d); %v", o, o.Revision, newest)
		}
	}
	return nil
}

// checkLives looks whether a member goes back to a revision while it lives.
func checkLives(answered []*Op) error {
	type life struct {
		member uint64
		number int
	}
	lives := map[life][]*Op{}
	for _, o := range answered {
		if o.Life > 0 {
			at := life{o.Member, o.Life}
			lives[at] = append(lives[at], o)
		}
	}
	for _, byReturn := range lives {
		byCall := slices.Clone(byReturn)
		slices.SortFunc(byReturn, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
		slices.SortFunc(byCall, func(a, b *Op) int { return cmp.Compare(a.Call, b.Call) })
		var newest *Op
		i := 0
		for _, o := range byCall {
			for ; byReturn[i].Return < o.Call; i++ {
				if newest == nil || byReturn[i].Revision > newest.Revision {
					newest = byReturn[i]
				}
			}
			if newest != nil && o.Revision < newest.Revision {
				return fmt.Errorf("a member has gone back: %v; %v", newest, o)
			}
		}
	}
	return nil
}
