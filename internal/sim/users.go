package sim

import (
	"fmt"
	"maps"
	"slices"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/sim/policy"
)

// Clusters of every other four seeds have users: their clients act as somebody, and
// rulers change all the time who may do what. All that is drawn for that comes from a
// stream of its own, and the other seeds go as if there were no users.

// hasUsers says whether the cluster of a seed has users.
func hasUsers(seed uint64) bool { return seed/4%2 == 1 }

// rulers is how many clients change users and roles at the same time.
const rulers = 2

// The users and roles that come and go.
var (
	userNames = []string{auth.Root, "ann", "bob", "cyd"}
	roleNames = []string{"r1", "r2", "r3"}
)

// UserTally is what a seed with users has to show.
type UserTally struct {
	Changes   int // of users and roles, and of whether rights are judged
	Barred    int // requests that were refused at the door
	Denied    int // requests that were refused at the last verdict
	Overtaken int // requests that a change of users has overtaken, and that began again
	Unread    int // reads that were refused
	Withdrawn int // watches that ended for want of rights
	Lagging   int // reads judged by a member that did not know the newest users
}

// populate has rulers begin.
func (c *Cluster) populate() {
	if !hasUsers(c.seed) {
		return
	}
	for i := range rulers {
		cl := &client{c: c, id: clients + 1 + i, rules: true}
		c.clients = append(c.clients, cl)
		cl.think()
	}
}

// actor draws in whose name a client asks: mostly in that of its own user, who is root
// for every other, so that much is done.
func (cl *client) actor() string {
	if !hasUsers(cl.c.seed) {
		return ""
	}
	own := auth.Root
	if cl.id%2 == 1 {
		own = userNames[1+cl.id/2%(len(userNames)-1)]
	}
	if cl.rules { // any of those who may
		own = auth.Root
		for _, name := range userNames {
			if cl.c.model.users.Users[name].Roles[auth.Root] && cl.c.lots.IntN(2) == 0 {
				own = name
			}
		}
	}
	switch cl.c.lots.IntN(30) {
	case 0:
		return ""
	case 1, 2:
		return userNames[cl.c.lots.IntN(len(userNames))]
	}
	return own
}

// rule draws a change of users and roles.
func (c *Cluster) rule() question {
	r := &etcdserverpb.InternalRaftRequest{}
	words := c.decree(r)
	return question{kind: administer, request: r, value: words}
}

// decree draws it into a request, and puts it in words.
func (c *Cluster) decree(r *etcdserverpb.InternalRaftRequest) string {
	of := func(names []string) string { return names[c.lots.IntN(len(names))] }
	known, user, role := c.model.users, of(userNames), of(roleNames)
	if !known.Enabled && c.lots.IntN(3) > 0 {
		root, there := known.Users[auth.Root]
		switch {
		case !there:
			return addUser(r, auth.Root)
		case !root.Roles[auth.Root]:
			return grantRole(r, auth.Root, auth.Root)
		}
		r.AuthEnable = &etcdserverpb.AuthEnableRequest{}
		return "enable"
	}
	switch n := c.lots.IntN(100); {
	case n < 2:
		r.AuthDisable = &etcdserverpb.AuthDisableRequest{}
		return "disable"
	case n < 3:
		r.AuthEnable = &etcdserverpb.AuthEnableRequest{}
		return "enable"
	case n < 15:
		// At times it is there already.
		return addUser(r, of(append(missing(userNames, known.Users), user)))
	case n < 18:
		r.AuthUserDelete = &etcdserverpb.AuthUserDeleteRequest{Name: user}
		return "delete user " + user
	case n < 24:
		r.AuthUserChangePassword = &etcdserverpb.AuthUserChangePasswordRequest{Name: user, HashedPassword: "eQ=="}
		return "change the password of " + user
	case n < 48:
		if c.lots.IntN(6) == 0 {
			role = auth.Root
		}
		return grantRole(r, user, role)
	case n < 55:
		if roles := slices.Sorted(maps.Keys(known.Users[user].Roles)); len(roles) > 0 {
			role = of(roles)
		}
		if known.Users[user].Roles[auth.Root] && user != auth.Root && c.lots.IntN(2) == 0 {
			role = auth.Root
		}
		r.AuthUserRevokeRole = &etcdserverpb.AuthUserRevokeRoleRequest{Name: user, Role: role}
		return fmt.Sprintf("take role %s from %s", role, user)
	case n < 65:
		role = of(append(missing(roleNames, known.Roles), role))
		r.AuthRoleAdd = &etcdserverpb.AuthRoleAddRequest{Name: role}
		return "add role " + role
	case n < 67:
		r.AuthRoleDelete = &etcdserverpb.AuthRoleDeleteRequest{Role: role}
		return "delete role " + role
	case n < 90:
		return c.permit(r, role)
	}
	p := c.span()
	if all := slices.SortedFunc(maps.Keys(known.Roles[role]), policy.Range.Compare); len(all) > 0 {
		p = all[c.lots.IntN(len(all))]
	}
	r.AuthRoleRevokePermission = &etcdserverpb.AuthRoleRevokePermissionRequest{Role: role, Key: []byte(p.Key), RangeEnd: bytesOrNil(p.End)}
	return fmt.Sprintf("take [%q, %q) from role %s", p.Key, p.End, role)
}

// missing are the names that nothing has.
func missing[V any](names []string, taken map[string]V) (free []string) {
	for _, name := range names {
		if _, is := taken[name]; !is {
			free = append(free, name)
		}
	}
	return free
}

func addUser(r *etcdserverpb.InternalRaftRequest, name string) string {
	r.AuthUserAdd = &etcdserverpb.AuthUserAddRequest{Name: name, HashedPassword: "eA=="}
	return "add user " + name
}

func grantRole(r *etcdserverpb.InternalRaftRequest, user, role string) string {
	r.AuthUserGrantRole = &etcdserverpb.AuthUserGrantRoleRequest{User: user, Role: role}
	return fmt.Sprintf("give role %s to %s", role, user)
}

func (c *Cluster) permit(r *etcdserverpb.InternalRaftRequest, role string) string {
	t, p := authpb.Permission_Type(c.lots.IntN(3)), c.span()
	r.AuthRoleGrantPermission = &etcdserverpb.AuthRoleGrantPermissionRequest{Name: role,
		Perm: &authpb.Permission{PermType: t, Key: []byte(p.Key), RangeEnd: bytesOrNil(p.End)}}
	return fmt.Sprintf("have role %s %v [%q, %q)", role, t, p.Key, p.End)
}

// span draws keys that something may be done with.
func (c *Cluster) span() policy.Range {
	key := fmt.Sprintf("k%d", c.lots.IntN(clientKeys))
	switch c.lots.IntN(8) {
	case 0, 1:
		return policy.Range{Key: "k", End: "l"}
	case 2, 3:
		return policy.Range{Key: key, End: "\x00"}
	case 4:
		return policy.Range{Key: key, End: "k3"} // at times inverted, and refused
	}
	return policy.Range{Key: key}
}

// points are the keys that clients and rulers name; see policy.New.
func points() (all []string) {
	all = []string{"k", "l"}
	for i := range clientKeys {
		all = append(all, fmt.Sprintf("k%d", i))
	}
	return all
}

// rights are what somebody may do in a view, as a member's service finds them.
func rights(v *machine.View, user string) *machine.Rights {
	by := &machine.Rights{Auth: v.Auth, Leases: v.Leases}
	if v.Auth.Enabled {
		by.Subject, by.Known = auth.Subject{User: user, Revision: v.Auth.Revision}, v.Auth.Rights(user)
	}
	return by
}

// door is a member's first verdict over what is to be logged, or renewed.
func door(by *machine.Rights, q question, r *etcdserverpb.InternalRaftRequest) error {
	if !by.Auth.Enabled {
		return nil
	}
	if q.kind == compaction || q.kind == administer {
		return by.Root()
	}
	if err := by.Auth.CheckUser(by.Subject); err != nil {
		return err
	}
	switch q.kind {
	case put:
		return by.Put(r.Put)
	case remove:
		return by.DeleteRange(r.DeleteRange)
	case compareAndSet:
		return by.Txn(r.Txn)
	case revoke, renew:
		return by.Lease(auth.Write, q.lease)
	}
	return nil
}

// offer has a request logged in the name of whoever has asked, if the door lets it
// pass.
func (k *call) offer() error {
	v := k.h.machine.View()
	by := rights(v, k.op.user)
	r := k.op.ask.inLog(k.op.id, by.Subject)
	err := door(by, k.op.ask, r)
	k.h.c.checkDoor(k.h, v, k.op, r, err)
	if err != nil {
		k.barred = true
		k.h.c.out.Users.Barred++
		return err
	}
	k.by = by.Subject
	if k.op.ask.kind == renew {
		k.h.renew(k.op.ask.lease, k)
		return nil
	}
	if err := k.h.core.Propose(k.op.id, encode(r), k); err != nil {
		return err
	}
	k.op.outcome = unknown
	return nil
}

// overtaken says that a request was refused since the users have changed between
// the verdict at the door and the last one.
func (k *call) overtaken(err error) bool {
	return err == errs.AuthOldRevision || k.by.Revision == 0 && err == errs.UserEmpty
}

// again starts a request over that was overtaken, under another id.
func (k *call) again() {
	c := k.h.c
	c.out.Users.Overtaken++
	c.nextID++
	c.say("operation %d was overtaken, and begins again as %d", k.op.id, c.nextID)
	k.op.id = c.nextID
	err := error(errs.Timeout)
	if c.clock.now-k.op.at < requestTime {
		err = k.offer()
	} else {
		k.barred = true
	}
	if err != nil {
		k.Done(nil, err)
		return
	}
	k.h.wake()
}
