package machine

import (
	"slices"
	"strings"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/lease"
)

// What a request needs, operation by operation. The same functions judge at the
// door, where a member takes a request in and asks in its own view, and here, where
// the verdict counts: by replicated state alone, in the same order at every member.

// Leases are the keys on leases: a lease.View, or a lease.State.
type Leases interface {
	Get(id int64) (lease.Lease, bool)
	EachKey(id int64, fn func(key string) bool)
}

// Rights judges what a subject may do.
type Rights struct {
	Auth    *auth.View
	Leases  Leases
	Subject auth.Subject
	// Known are the subject's rights in Auth, which the subject was authorised in; nil
	// where they are to be looked up.
	Known *auth.Rights

	leases []int64 // whose keys may be written, as was found before
}

// forbidden says why a request may not be applied: nil if it may. What is not named
// here is judged at the door alone.
func (m *Machine) forbidden(r *etcdserverpb.InternalRaftRequest) error {
	users := m.auth.View()
	if !users.Enabled {
		return nil
	}
	by := m.judge(users, auth.Subject{User: r.Header.GetUsername(), Revision: r.Header.GetAuthRevision()})
	switch {
	case r.Put != nil:
		return by.Put(r.Put)
	case r.DeleteRange != nil:
		return by.DeleteRange(r.DeleteRange)
	case r.Txn != nil:
		return by.Txn(r.Txn)
	case r.Range != nil:
		return by.Range(r.Range)
	case r.LeaseRevoke != nil:
		return by.Lease(auth.Write, r.LeaseRevoke.ID)
	case r.AuthEnable != nil, r.AuthDisable != nil, r.AuthUserAdd != nil, r.AuthUserDelete != nil, r.AuthUserChangePassword != nil,
		r.AuthUserGrantRole != nil, r.AuthUserRevokeRole != nil, r.AuthUserList != nil, r.AuthRoleList != nil, r.AuthRoleAdd != nil,
		r.AuthRoleDelete != nil, r.AuthRoleGrantPermission != nil, r.AuthRoleRevokePermission != nil:
		return by.Root()
	case r.AuthUserGet != nil:
		return users.CheckSelf(by.Subject, r.AuthUserGet.Name)
	case r.AuthRoleGet != nil:
		return users.CheckHolder(by.Subject, r.AuthRoleGet.Role)
	}
	return nil
}

// judge is the rights of a subject, which hold until the next request. Entries of one
// user come in rows, so that his rights are looked up once.
func (m *Machine) judge(users *auth.View, by auth.Subject) *Rights {
	j := &m.judged
	if j.by.Auth != users || j.user != by.User {
		j.user, j.rights = strings.Clone(by.User), users.Rights(by.User)
	}
	j.by = Rights{Auth: users, Leases: m.leases, Subject: by, leases: j.by.leases[:0]}
	if by.Revision >= users.Revision && j.rights != nil {
		j.by.Known = j.rights // what else there is to check is checked
	}
	return &j.by
}

// judged is what the request before was judged by.
type judged struct {
	user   string
	rights *auth.Rights // nil: there is no such user
	by     Rights
}

// Root is what administration needs.
func (by *Rights) Root() error { return by.Auth.CheckRoot(by.Subject) }

// Keys is a right to a range of keys; see auth.View.Check.
func (by *Rights) Keys(right auth.Right, key, end []byte) error {
	if by.Known != nil {
		if by.Known.May(right, key, end) {
			return nil
		}
		return errs.PermissionDenied
	}
	return by.Auth.Check(by.Subject, right, key, end)
}

// Range is what a range needs: to read it.
func (by *Rights) Range(r *etcdserverpb.RangeRequest) error {
	return by.Keys(auth.Read, r.Key, r.RangeEnd)
}

// Put is what a put needs: to write the key; to write all other keys on the lease
// that it is put on, since they share their end; to read the key that it returns.
func (by *Rights) Put(r *etcdserverpb.PutRequest) error {
	if err := by.Keys(auth.Write, r.Key, nil); err != nil {
		return err
	}
	if err := by.Lease(auth.Write, r.Lease); err != nil {
		return err
	}
	if r.PrevKv {
		return by.Keys(auth.Read, r.Key, nil)
	}
	return nil
}

// DeleteRange is what a delete needs: to write the range, and to read it where it
// returns it.
func (by *Rights) DeleteRange(r *etcdserverpb.DeleteRangeRequest) error {
	if err := by.Keys(auth.Write, r.Key, r.RangeEnd); err != nil {
		return err
	}
	if r.PrevKv {
		return by.Keys(auth.Read, r.Key, r.RangeEnd)
	}
	return nil
}

// Lease is what touching a lease with all its keys needs: the right to each of them,
// or root's. There is nothing to guard where there is no such lease.
func (by *Rights) Lease(right auth.Right, id int64) error {
	if id == 0 {
		return nil
	}
	if _, ok := by.Leases.Get(id); !ok || by.Root() == nil {
		return nil
	}
	if right == auth.Write && slices.Contains(by.leases, id) {
		return nil
	}
	var err error
	by.Leases.EachKey(id, func(key string) bool {
		err = by.Keys(right, []byte(key), nil)
		return err == nil
	})
	if err == nil && right == auth.Write {
		by.leases = append(by.leases, id)
	}
	return err
}

// Txn is what a transaction needs: to read what it compares, and what the operations
// of both branches need, whichever is taken, at any depth.
func (by *Rights) Txn(r *etcdserverpb.TxnRequest) error {
	for _, c := range r.Compare {
		if err := by.Keys(auth.Read, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, branch := range [][]*etcdserverpb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := by.operation(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (by *Rights) operation(op *etcdserverpb.RequestOp) error {
	switch op := op.GetRequest().(type) {
	case *etcdserverpb.RequestOp_RequestRange:
		return by.Range(op.RequestRange)
	case *etcdserverpb.RequestOp_RequestPut:
		return by.Put(op.RequestPut)
	case *etcdserverpb.RequestOp_RequestDeleteRange:
		// Reading comes first within a transaction: so it has always been.
		r := op.RequestDeleteRange
		if r.PrevKv {
			if err := by.Keys(auth.Read, r.Key, r.RangeEnd); err != nil {
				return err
			}
		}
		return by.Keys(auth.Write, r.Key, r.RangeEnd)
	case *etcdserverpb.RequestOp_RequestTxn:
		return by.Txn(op.RequestTxn)
	}
	return nil // says nothing, and does nothing
}
