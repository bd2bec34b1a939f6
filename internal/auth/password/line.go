package password

import "slices"

// line is who waits. It is short, Options.Queue at most, so it is searched from end
// to end.
type line struct {
	addresses []*address // in the order of their turns
	waiting   int
}

// address is where some of the waiting come from; it has one at least.
type address struct {
	name    string
	users   []*user // in the order of their turns
	waiting int
}

// user is a name that is used from an address; at least one waits.
type user struct {
	name    string
	waiters []*waiter // in the order they came
}

type waiter struct {
	address, user string
	turn          chan error // has room for the one answer
}

func (l *line) len() int { return l.waiting }

// push puts a newcomer in. An address, and within it a user, that nobody waits for
// yet comes after all others.
func (l *line) push(name, from string) *waiter {
	a := l.address(from)
	if a == nil {
		a = &address{name: from}
		l.addresses = append(l.addresses, a)
	}
	u := a.user(name)
	if u == nil {
		u = &user{name: name}
		a.users = append(a.users, u)
	}
	w := &waiter{address: from, user: name, turn: make(chan error, 1)}
	u.waiters = append(u.waiters, w)
	a.waiting++
	l.waiting++
	return w
}

// pop takes out whose turn it is. Its address comes last from now on, and its user
// last of that. The line must not be empty.
func (l *line) pop() *waiter {
	a := l.addresses[0]
	u := a.users[0]
	w := u.waiters[0]
	l.addresses = append(l.addresses[1:], a)
	a.users = append(a.users[1:], u)
	l.remove(w)
	return w
}

// remove takes w out and says whether it was in.
func (l *line) remove(w *waiter) bool {
	a := l.address(w.address)
	if a == nil {
		return false
	}
	u := a.user(w.user)
	if u == nil {
		return false
	}
	i := slices.Index(u.waiters, w)
	if i < 0 {
		return false
	}
	u.waiters = slices.Delete(u.waiters, i, i+1)
	if len(u.waiters) == 0 {
		a.users = slices.DeleteFunc(a.users, func(other *user) bool { return other == u })
	}
	if a.waiting--; a.waiting == 0 {
		l.addresses = slices.DeleteFunc(l.addresses, func(other *address) bool { return other == a })
	}
	l.waiting--
	return true
}

// displaced says who has to go if somebody enters a full line: the last of the
// busiest user of the busiest address, if that is busier than the newcomer's even
// with the newcomer in it. Nil: the newcomer.
func (l *line) displaced(name, from string) *waiter {
	if len(l.addresses) == 0 {
		return nil // there is no line at all
	}
	busiest := last(l.addresses, func(a *address) int { return a.waiting })
	own := l.address(from)
	switch {
	case own == nil && busiest.waiting > 1, own != nil && busiest.waiting > own.waiting+1:
		return busiest.busiest().last()
	case own == nil:
		return nil
	}
	// Of the newcomer's own address, then.
	u, waiting := own.busiest(), 0
	if n := own.user(name); n != nil {
		waiting = len(n.waiters)
	}
	if len(u.waiters) > waiting+1 {
		return u.last()
	}
	return nil
}

func (l *line) address(name string) *address {
	for _, a := range l.addresses {
		if a.name == name {
			return a
		}
	}
	return nil
}

func (a *address) user(name string) *user {
	for _, u := range a.users {
		if u.name == name {
			return u
		}
	}
	return nil
}

func (a *address) busiest() *user {
	return last(a.users, func(u *user) int { return len(u.waiters) })
}

func (u *user) last() *waiter { return u.waiters[len(u.waiters)-1] }

// last returns the one with the most waiting; of several, whose turn is last.
func last[T any](all []T, waiting func(T) int) T {
	most := all[0]
	for _, x := range all[1:] {
		if waiting(x) >= waiting(most) {
			most = x
		}
	}
	return most
}
