package machine

import "etcd.alt/api/etcdserverpb"

// Kind is what a request asks for.
type Kind int

// The kinds of request that this version applies.
const (
	ClusterVersionSet Kind = iota
	ClusterMemberAttrSet
	DowngradeInfoSet
	DowngradeVersionTest
	Range
	Put
	DeleteRange
	Txn
	Compaction
	Alarm
	LeaseGrant
	LeaseRevoke
	LeaseCheckpoint
	AuthEnable
	AuthDisable
	Authenticate
	AuthStatus
	AuthUserAdd
	AuthUserDelete
	AuthUserGet
	AuthUserChangePassword
	AuthUserGrantRole
	AuthUserRevokeRole
	AuthUserList
	AuthRoleList
	AuthRoleAdd
	AuthRoleDelete
	AuthRoleGet
	AuthRoleGrantPermission
	AuthRoleRevokePermission
	// Kinds is how many there are.
	Kinds
)

// kindOf is the kind of a request that was applied.
func kindOf(r *etcdserverpb.InternalRaftRequest) Kind {
	switch {
	case r.Put != nil:
		return Put
	case r.Txn != nil:
		return Txn
	case r.DeleteRange != nil:
		return DeleteRange
	case r.Range != nil:
		return Range
	case r.Compaction != nil:
		return Compaction
	case r.Alarm != nil:
		return Alarm
	case r.LeaseGrant != nil:
		return LeaseGrant
	case r.LeaseRevoke != nil:
		return LeaseRevoke
	case r.LeaseCheckpoint != nil:
		return LeaseCheckpoint
	case r.ClusterVersionSet != nil:
		return ClusterVersionSet
	case r.DowngradeInfoSet != nil:
		return DowngradeInfoSet
	case r.DowngradeVersionTest != nil:
		return DowngradeVersionTest
	case r.ClusterMemberAttrSet != nil:
		return ClusterMemberAttrSet
	}
	return kindOfAuth(r)
}

// String is the name that requests of a kind have in the log.
func (k Kind) String() string {
	return [Kinds]string{
		"ClusterVersionSet", "ClusterMemberAttrSet", "DowngradeInfoSet", "DowngradeVersionTest",
		"Range", "Put", "DeleteRange", "Txn", "Compaction", "Alarm", "LeaseGrant", "LeaseRevoke", "LeaseCheckpoint",
		"AuthEnable", "AuthDisable", "Authenticate", "AuthStatus",
		"AuthUserAdd", "AuthUserDelete", "AuthUserGet", "AuthUserChangePassword", "AuthUserGrantRole", "AuthUserRevokeRole", "AuthUserList",
		"AuthRoleList", "AuthRoleAdd", "AuthRoleDelete", "AuthRoleGet", "AuthRoleGrantPermission", "AuthRoleRevokePermission",
	}[k]
}

// Tally is what was done since it was taken last. It is written as entries are
// applied and never read for that.
type Tally struct {
	// Done are the requests that were applied, Refused those answered with an
	// error, by Kind. Not all of the latter have changed nothing; see errs.NoSpace.
	Done, Refused [Kinds]uint64
	// Ranges, Puts and Deletes are operations that were carried out, those in
	// transactions too, Txns the transactions that came to more than one. A delete
	// is one operation however many keys it takes.
	Ranges, Puts, Deletes, Txns uint64
	// PutBytes are the keys and values put.
	PutBytes uint64
	// SweptRecords were taken out of the store by sweeps, which have ended
	// SweptCompactions.
	SweptRecords, SweptCompactions uint64
}

// operations is how many were carried out.
func (t *Tally) operations() uint64 { return t.Ranges + t.Puts + t.Deletes }

// note counts a request that was applied.
func (t *Tally) note(k Kind, err error) {
	if err != nil {
		t.Refused[k]++
	} else {
		t.Done[k]++
	}
}

// TakeTally returns what was done and begins anew. It belongs to whoever calls
// Apply and Sweep.
func (m *Machine) TakeTally() Tally {
	t := m.tally
	m.tally = Tally{}
	return t
}
