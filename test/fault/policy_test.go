package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/test/fault/rights"
)

const (
	// areas are the prefixes that there are rights to.
	areas = 4
	// staff is how many users an administrator has at a time.
	staff = 3
	// withinAdministration is how long a change of users may take until it is given up,
	// or made again.
	withinAdministration = 2 * time.Second
)

func area(n int) string { return fmt.Sprintf("area%d/", n) }

// person is a user. It is guarded by the stage, but for what only its administrator
// looks at.
type person struct {
	name      string
	passwords []*rights.Password // the present one is the last
	rights    []*rights.Right    // all that it was given at one time
	grants    []*grant           // its administrator's
}

// grant is a right by way of a role that nobody else has.
type grant struct {
	role  string
	right *rights.Right
	// loose says that it is not known whether the role was granted: that may yet be
	// done, and be undone by what becomes of the role alone.
	loose bool
}

// news is who has just got or lost something, and where; "" for everywhere.
type news struct {
	who   *person
	where string
}

// administrator changes users of his own, one thing after the other, at any member.
type administrator struct {
	s      *stage
	number int
	rng    *rand.Rand
	people []*person
}

// routineAdminister goes on until ctx ends.
func (a *administrator) routineAdminister(ctx context.Context) {
	for ctx.Err() == nil {
		a.act()
		pause(ctx, below(a.rng, 40*time.Millisecond))
	}
}

func (a *administrator) act() {
	if len(a.people) < staff {
		a.hire()
		return
	}
	p := a.people[a.rng.IntN(len(a.people))]
	switch n := a.rng.IntN(16); {
	case n < 8:
		a.grant(p)
	case n < 13:
		a.withdraw(p)
	case n < 15:
		a.changePassword(p)
	default:
		a.dismiss(p)
	}
}

// lock has something done with what all look at.
func (a *administrator) lock(do func(now int64)) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	do(a.s.now())
}

// fresh is a name, or a password, that was never used.
func (a *administrator) fresh(kind string) (name string) {
	a.lock(func(int64) {
		a.s.mu.named++
		name = fmt.Sprintf("%s%d", kind, a.s.mu.named)
	})
	return name
}

// settled are the refusals of a change that was made before.
var settled = []error{errs.UserNotFound, errs.RoleNotFound, errs.RoleNotGranted, errs.PermissionNotGranted}

// try makes a change at a member that is drawn. What comes of one that fails is not
// known, unless the error is one of settled.
func (a *administrator) try(change func(context.Context, *client.Client) error) error {
	c := a.s.r.c
	ctx, cancel := context.WithTimeout(c.t.Context(), withinAdministration)
	defer cancel()
	at := c.anywhere
	if i := a.rng.IntN(size + 1); i < size {
		at = c.at[i]
	}
	err := change(ctx, at)
	a.lock(func(int64) {
		switch {
		case err == nil:
			a.s.mu.changed++
		case !isSettled(err):
			a.s.mu.unsure++
		}
	})
	return err
}

func isSettled(err error) bool {
	return slices.ContainsFunc(settled, func(one error) bool { return errors.Is(err, one) })
}

// insist makes a change until it is known that it was made. sure says that what it ends
// is known to be there.
func (a *administrator) insist(sure bool, change func(context.Context, *client.Client) error) {
	t := a.s.r.c.t
	for first := true; t.Context().Err() == nil; first = false {
		err := a.try(change)
		if first && sure && isSettled(err) {
			t.Errorf("an acknowledged change of users is lost: %v", err)
		}
		if err == nil || isSettled(err) {
			return
		}
		pause(t.Context(), 20*time.Millisecond)
	}
}

// hire adds a user. Whether one exists whose addition was not acknowledged is nobody's
// concern.
func (a *administrator) hire() {
	p := &person{name: a.fresh("user")}
	w := &rights.Password{User: p.name, Text: a.fresh("password"), Span: rights.Open(a.s.now())}
	if a.try(func(ctx context.Context, at *client.Client) error {
		_, err := at.UserAdd(ctx, p.name, w.Text)
		return err
	}) != nil {
		return
	}
	p.passwords = []*rights.Password{w}
	a.people = append(a.people, p)
	a.lock(func(now int64) {
		w.Given = now
		a.s.mu.policy.Passwords = append(a.s.mu.policy.Passwords, w)
		a.s.mu.people = append(a.s.mu.people, p)
	})
}

// grant gives a user a right.
func (a *administrator) grant(p *person) {
	g := &grant{role: a.fresh("role")}
	where, what := area(a.rng.IntN(areas)), []client.PermissionType{client.PermRead, client.PermWrite, client.PermReadWrite}[a.rng.IntN(3)]
	if a.try(func(ctx context.Context, at *client.Client) error { _, err := at.RoleAdd(ctx, g.role); return err }) != nil {
		return
	}
	err := a.try(func(ctx context.Context, at *client.Client) error {
		_, err := at.RoleGrantPermission(ctx, g.role, where, client.PrefixEnd(where), what)
		return err
	})
	if err != nil {
		return
	}
	a.lock(func(now int64) {
		g.right = &rights.Right{User: p.name, Area: where, Read: what != client.PermWrite, Write: what != client.PermRead, Span: rights.Open(now)}
		a.s.mu.policy.Rights = append(a.s.mu.policy.Rights, g.right)
		p.rights = append(p.rights, g.right)
	})
	err = a.try(func(ctx context.Context, at *client.Client) error {
		_, err := at.UserGrantRole(ctx, p.name, g.role)
		return err
	})
	if isSettled(err) {
		a.s.r.c.t.Errorf("a user or role that was acknowledged is lost: %s, %s: %v", p.name, g.role, err)
	}
	g.loose = err != nil
	a.lock(func(now int64) {
		if err == nil {
			g.right.Given = now
		}
		a.s.mu.news = news{p, where}
	})
	p.grants = append(p.grants, g)
}

// withdraw takes a right from a user, in one of the ways in which that can be done.
func (a *administrator) withdraw(p *person) {
	if len(p.grants) == 0 {
		return
	}
	i := a.rng.IntN(len(p.grants))
	g := p.grants[i]
	p.grants = slices.Delete(p.grants, i, i+1)
	way := a.rng.IntN(3)
	if g.loose {
		way = 1 + a.rng.IntN(2)
	}
	a.lock(func(now int64) { g.right.Taken = now })
	a.insist(true, func(ctx context.Context, at *client.Client) (err error) {
		switch way {
		case 0:
			_, err = at.UserRevokeRole(ctx, p.name, g.role)
		case 1:
			_, err = at.RoleRevokePermission(ctx, g.role, g.right.Area, client.PrefixEnd(g.right.Area))
		default:
			_, err = at.RoleDelete(ctx, g.role)
		}
		return err
	})
	a.lock(func(now int64) {
		g.right.Gone = now
		a.s.mu.news = news{p, g.right.Area}
	})
}

// changePassword gives a user another password. If it is not known whether he has it he
// is dismissed.
func (a *administrator) changePassword(p *person) {
	before := p.passwords[len(p.passwords)-1]
	w := &rights.Password{User: p.name, Text: a.fresh("password")}
	a.lock(func(now int64) {
		before.Taken, w.Span = now, rights.Open(now)
		a.s.mu.policy.Passwords = append(a.s.mu.policy.Passwords, w)
		p.passwords = append(p.passwords, w)
	})
	err := a.try(func(ctx context.Context, at *client.Client) error {
		_, err := at.UserChangePassword(ctx, p.name, w.Text)
		return err
	})
	if isSettled(err) {
		a.s.r.c.t.Errorf("a user who was acknowledged is lost: %s: %v", p.name, err)
	}
	if err != nil {
		a.dismiss(p)
		return
	}
	a.lock(func(now int64) {
		before.Gone, w.Given = now, now
		a.s.mu.news = news{p, ""}
	})
}

// dismiss deletes a user.
func (a *administrator) dismiss(p *person) {
	a.people = slices.DeleteFunc(a.people, func(one *person) bool { return one == p })
	a.lock(func(now int64) {
		for _, w := range p.passwords {
			w.Taken = min(w.Taken, now)
		}
	})
	a.insist(true, func(ctx context.Context, at *client.Client) error { _, err := at.UserDelete(ctx, p.name); return err })
	a.lock(func(now int64) {
		for _, w := range p.passwords {
			w.Gone = min(w.Gone, now)
		}
	})
}
