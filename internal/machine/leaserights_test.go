package machine

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"etcd.alt/api/authpb"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/lease"
	"etcd.alt/internal/store"
)

// crowded is one lease with many keys, and counts how many were shown.
type crowded struct{ keys, shown int }

func (c *crowded) Get(id int64) (lease.Lease, bool) { return lease.Lease{ID: id}, true }

func (c *crowded) EachKey(_ int64, fn func(string) bool) {
	for i := range c.keys {
		c.shown++
		if !fn(fmt.Sprint("a/", i)) {
			return
		}
	}
}

// The rights to all keys on a lease are judged once for a transaction, however many puts
// hang on it: that is done on the goroutine that applies entries.
func TestATransactionJudgesALeaseOnce(t *testing.T) {
	st, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	defer st.Close()
	users, err := auth.Load(st)
	require.NoError(t, err)
	b := st.NewBatch()
	defer b.Discard()
	for _, err := range []error{
		users.AddUser(b, &etcdserverpb.AuthUserAddRequest{Name: "root", HashedPassword: "aGFzaA=="}),
		users.GrantRole(b, "root", "root"),
		users.AddUser(b, &etcdserverpb.AuthUserAddRequest{Name: "alice", HashedPassword: "aGFzaA=="}),
		users.AddRole(b, "r"),
		users.GrantPermission(b, "r", &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a/"), RangeEnd: []byte("a0")}),
		users.GrantRole(b, "alice", "r"),
		users.Enable(b),
	} {
		require.NoError(t, err)
	}
	v := users.View()
	leases := &crowded{keys: 1000}
	by := Rights{Auth: v, Leases: leases, Subject: auth.Subject{User: "alice", Revision: v.Revision}}
	r := &etcdserverpb.TxnRequest{}
	for i := range 100 {
		r.Success = append(r.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{
			RequestPut: &etcdserverpb.PutRequest{Key: fmt.Append(nil, "a/", i), Lease: 7},
		}})
	}
	require.NoError(t, by.Txn(r))
	require.LessOrEqual(t, leases.shown, 2*leases.keys, "rights judged for one transaction")
}
