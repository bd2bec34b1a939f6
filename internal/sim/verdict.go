package sim

import (
	"errors"
	"fmt"
	"slices"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/sim/policy"
)

// What must hold of rights: whatever is answered, or refused, is so under the policy
// in force where it stands.

// denials are what a verdict about rights may be.
var denials = []error{errs.UserEmpty, errs.AuthOldRevision, errs.PermissionDenied, errs.UserNotFound}

// isDenial says whether an error may be a verdict about rights.
func isDenial(err error) bool { return slices.Contains(denials, err) }

// attached lists the keys on a lease, and says whether it is there.
func (m *Model) attached(id int64) ([]string, bool) {
	_, there := m.Leases[id]
	return m.On(id), there
}

// usersAt is the policy after an entry that was applied.
func (m *Model) usersAt(index uint64) *policy.State {
	if index == 0 {
		return m.nobody
	}
	return m.entries[index-1].users
}

// judge is a member's verdict, in a state of the users, over what somebody asks.
func (m *Model) judge(users *policy.State, user string, r *etcdserverpb.InternalRaftRequest) error {
	_, known := users.Users[user]
	switch {
	case !users.Enabled:
		return nil
	case r.Compaction != nil: // it needs what administration does
		r = &etcdserverpb.InternalRaftRequest{AuthEnable: &etcdserverpb.AuthEnableRequest{}}
	case isAdministration(r):
	case user == "":
		return errs.UserEmpty
	case !known:
		return errs.PermissionDenied
	}
	header := r.Header
	defer func() { r.Header = header }()
	r.Header = &etcdserverpb.RequestHeader{Username: user, AuthRevision: users.Revision}
	return users.Verdict(r, m.attached)
}

// checkDoor holds the verdict at the door against the policy, where the member knows
// all there is.
func (c *Cluster) checkDoor(h *host, v *machine.View, op *operation, r *etcdserverpb.InternalRaftRequest, err error) {
	if v.Applied != c.model.Index {
		return
	}
	if op.ask.kind == renew { // it needs what ending the lease does
		r = &etcdserverpb.InternalRaftRequest{LeaseRevoke: &etcdserverpb.LeaseRevokeRequest{ID: op.ask.lease}}
	}
	if due := c.model.judge(c.model.users, op.user, r); err != due {
		c.fail(fmt.Errorf("host %d judges operation %d (%v) of %q at entry %d: %v, and it should be: %v; %v", h.id, op.id, op.ask, op.user, v.Applied, err, due, c.model.users))
	}
}

// checkVerdict holds what came of a request that was offered to the log against the
// policy at its place there.
func (c *Cluster) checkVerdict(h *host, op *operation, err error) {
	var known *errs.Error
	if err != nil && !errors.As(err, &known) || op.ask.kind.reads() {
		return
	}
	switch err {
	case errs.Timeout, errs.Stopped, errs.ProposalDropped, errs.TooManyRequests:
		return // nobody knows
	}
	index := c.model.byID[op.id]
	if index == 0 || index <= op.ruled {
		c.fail(fmt.Errorf("host %d answers operation %d (%v): %v, and it stands at entry %d; what was answered before is at %d", h.id, op.id, op.ask, err, index, op.ruled))
		return
	}
	e := &c.model.entries[index-1]
	if isDenial(e.due) {
		c.out.Users.Denied++
	}
	due := e.due
	if op.ask.kind != administer && due == nil && !isDenial(err) {
		return // the rest is about keys
	}
	if err != due {
		c.fail(fmt.Errorf("host %d answers operation %d (%v) of %q at entry %d: %v, and what is due: %v; %v", h.id, op.id, op.ask, op.user, index, err, due, c.model.usersAt(index-1)))
	}
}

// checkRead holds the verdict over a read against the policy in the view that it was
// judged in, which is no older than what was answered before.
func (c *Cluster) checkRead(h *host, v *machine.View, op *operation, err error) {
	users := c.model.usersAt(v.Applied)
	r := &etcdserverpb.InternalRaftRequest{Range: op.ask.rangeRequest()}
	if due := c.model.judge(users, op.user, r); err != due {
		c.fail(fmt.Errorf("host %d judges operation %d (%v) of %q at entry %d: %v, and it should be: %v; %v", h.id, op.id, op.ask, op.user, v.Applied, err, due, users))
	}
	if op.ask.kind != stale && (v.Applied < op.ruled || v.Keys.Revision < op.atLeast) {
		c.fail(fmt.Errorf("host %d judges operation %d (%v) of %q at entry %d, revision %d, and a change of users at entry %d and revision %d had been acknowledged", h.id, op.id, op.ask, op.user, v.Applied, v.Keys.Revision, op.ruled, op.atLeast))
	}
	if err != nil {
		c.out.Users.Unread++
	}
	if users != c.model.users {
		c.out.Users.Lagging++
	}
}

// checkUsers holds a member's users and roles against the model's at the same entry,
// and that they were announced before they were published.
func (c *Cluster) checkUsers(h *host) {
	v := h.machine.View()
	users := c.model.usersAt(v.Applied)
	if v.Auth != h.announced {
		c.fail(fmt.Errorf("host %d publishes users at entry %d that were not announced", h.id, v.Applied))
	}
	if h.compared.view == v.Auth && h.compared.state == users {
		return
	}
	if before := h.compared.view; before != nil {
		if err := h.compared.state.Differs(before); err != nil {
			c.fail(fmt.Errorf("host %d: a view that was published has changed: %w", h.id, err))
		}
	}
	h.compared.view, h.compared.state = v.Auth, users
	if err := users.Differs(v.Auth); err != nil {
		c.fail(fmt.Errorf("host %d, after entry %d: %w", h.id, v.Applied, err))
	}
}

// announce hears of users before they are published.
func (h *host) announce(v *auth.View) {
	if h.up && h.machine.View().Auth == v {
		h.c.fail(fmt.Errorf("host %d announces users that are published", h.id))
	}
	h.announced = v
	h.recheck(v)
}

// isAdministration says whether a request is about users and roles.
func isAdministration(r *etcdserverpb.InternalRaftRequest) bool {
	return r.AuthEnable != nil || r.AuthDisable != nil || r.AuthUserAdd != nil || r.AuthUserDelete != nil || r.AuthUserChangePassword != nil ||
		r.AuthUserGrantRole != nil || r.AuthUserRevokeRole != nil || r.AuthRoleAdd != nil || r.AuthRoleDelete != nil ||
		r.AuthRoleGrantPermission != nil || r.AuthRoleRevokePermission != nil
}
