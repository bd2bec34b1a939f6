package service

import (
	"sync"
	"sync/atomic"

	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/machine"
)

// Users takes what becomes of users to where it has effects beside the state: to the
// tokens, and to the watches that stand on rights. The state tells it, so it is there
// before the service is.
type Users struct {
	// Tokens makes tokens and knows them again. It is set once, before anything is
	// applied.
	Tokens token.Provider

	// now is the state of the users as it is published, or is about to be: no watch
	// begins on the rights of an earlier one.
	now atomic.Pointer[auth.View]
	// Replayed is the last entry of the log that the member was started with, set before
	// anything is applied: logins up to there have ended with the member that had
	// applied them.
	Replayed uint64

	mu struct {
		sync.Mutex
		standing map[*stands]struct{}
	}
}

// NewUsers returns Users; their Tokens are set later.
func NewUsers() *Users {
	u := &Users{}
	u.mu.standing = map[*stands]struct{}{}
	return u
}

// Authorised hears of each new state before it is published.
func (u *Users) Authorised(v *auth.View) {
	before := u.now.Swap(v)
	if before != nil && before.Disabled != v.Disabled {
		u.Tokens.Disabled()
	}
	if !v.Enabled {
		return
	}
	u.mu.Lock()
	standing := make([]*stands, 0, len(u.mu.standing))
	for r := range u.mu.standing {
		standing = append(standing, r)
	}
	u.mu.Unlock()
	for _, r := range standing {
		r.recheck(v)
	}
}

// LoggedIn hears of logins, after they were published and before anybody is told.
func (u *Users) LoggedIn(logins []machine.Login) {
	all := make([]token.Login, 0, len(logins))
	for _, l := range logins {
		if l.Index > u.Replayed {
			all = append(all, tokenLogin(&l))
		}
	}
	u.Tokens.Applied(all)
}

// tokenLogin is a login as those see it who make tokens. A token says how far a member
// must have come to know it: to the entry before the login's.
func tokenLogin(l *machine.Login) token.Login {
	return token.Login{User: l.User, Hash: l.Hash, Revision: l.Revision, Draft: l.Token, Index: l.Index - 1}
}
