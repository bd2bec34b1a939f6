package auth

import (
	"encoding/base64"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/store"
)

// A View is immutable, and read by everybody without a lock while the State goes on: for
// -race.
func TestChangingAPasswordLeavesPublishedViewsAlone(t *testing.T) {
	b := newBook(t)
	require.NoError(t, b.addUser("alice"))
	require.NoError(t, b.addRole("root role of the house"))
	require.NoError(t, b.do(func(w *store.Batch) error { return b.GrantRole(w, "alice", "root role of the house") }))
	v := b.View()
	u, _ := v.User("alice")
	before := unsafe.StringData(u.Roles[0])
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = u.Is(Root) || u.Is("other")
			}
		}
	})
	for range 100 {
		require.NoError(t, b.do(func(w *store.Batch) error {
			return b.ChangePassword(w, &etcdserverpb.AuthUserChangePasswordRequest{Name: "alice", HashedPassword: base64.StdEncoding.EncodeToString([]byte("other"))})
		}))
	}
	close(stop)
	wg.Wait()
	require.True(t, before == unsafe.StringData(u.Roles[0]), "a published user has changed")
}
