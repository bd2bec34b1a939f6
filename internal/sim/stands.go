package sim

import (
	"fmt"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/watch"
)

// Where there are users, listeners watch in somebody's name. Rights that are withdrawn
// end the watches that stand on them, before anything that is written since is told.

// as draws in whose name a listener calls: often in that of who may do everything.
func (l *listener) as() string {
	if !hasUsers(l.c.seed) {
		return ""
	}
	return userNames[max(0, l.c.dice.IntN(len(userNames)+1)-1)]
}

// mayWatch says why the line's user may not watch keys in a state of the users; nil if
// he may. One who has gone takes his rights along, also if another of his name comes.
func (n *line) mayWatch(users *auth.View, key, end []byte) error {
	if !users.Enabled {
		return nil
	}
	u, there := users.User(n.user)
	switch {
	case !there, n.made != 0 && n.made != u.Made:
		return errs.PermissionDenied
	case len(key) == 0:
		key = []byte{0}
	}
	n.made = u.Made
	return users.Check(auth.Subject{User: n.user, Revision: users.Revision}, auth.Read, key, end)
}

// admit has the member make a watch, if the line's user may have it.
func (n *line) admit(w *watching, r watch.Request) {
	if n.mayWatch(n.h.announced, r.Key, r.End) == nil {
		n.stream.Create(r)
		return
	}
	w.denied = true
	n.stream.Refuse(errs.PermissionDenied.Error())
}

// recheck ends the watches on a host that a state of the users does not allow.
func (h *host) recheck(users *auth.View) {
	if !users.Enabled {
		return
	}
	for _, l := range h.c.listeners {
		n := l.line
		if n == nil || n.h != h || n.life != h.life {
			continue
		}
		n.stream.Review(func(key, end []byte) string {
			if n.mayWatch(users, key, end) == nil {
				return ""
			}
			n.withdrawn++
			return errs.PermissionDenied.Error()
		})
	}
}

// checkEvents holds events that a member hands over against the policy in the state
// that it has published: the line's user may read what he is told of.
func (n *line) checkEvents(m *etcdserverpb.WatchResponse) {
	v := n.h.machine.View()
	users := n.l.c.model.usersAt(v.Applied)
	if n.dead || !users.Enabled || users.Users[n.user].Roles[auth.Root] {
		return
	}
	for _, e := range m.Events {
		if !users.May(n.user, authpb.Permission_READ, string(e.Kv.Key)) {
			n.l.c.fail(fmt.Errorf("host %d, at entry %d, tells listener %d, who is %q, of %s at revision %d; %v", n.h.id, v.Applied, n.l.id, n.user, e.Kv.Key, e.Kv.ModRevision, users))
		}
	}
}

// revoked takes the end of a watch whose rights were withdrawn.
func (n *line) revoked(w *watching) error {
	if n.withdrawn--; n.withdrawn < 0 {
		return fmt.Errorf("%v: nobody has withdrawn a right", w)
	}
	n.l.c.out.Users.Withdrawn++
	delete(n.watches, w.id)
	n.l.lose(w)
	return nil
}
