package service

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/store"
	"etcd.alt/internal/watch"
)

// counting is a provider to whom every token is bad, and who counts how often he was
// asked: each time is a look-up, and for a JWT the verification of a signature.
type counting struct {
	token.Provider
	read int
}

func (c *counting) Read(string) (*token.Token, error) {
	c.read++
	return nil, token.ErrInvalid
}

// silent takes nothing.
type silent struct{}

func (silent) Header() watch.Header   { return watch.Header{} }
func (silent) Offer([]byte, int) bool { return true }
func (silent) Push([]byte)            {}
func (silent) Room(func()) bool       { return true }
func (silent) Flush()                 {}
func (silent) End(error)              {}

// The stream of Watch opens to anybody. As long as it has no watcher, a change of the
// users, which is applied meanwhile, costs no look at its token.
func TestStreamsWithoutWatchersCostNothingAtApply(t *testing.T) {
	st, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	defer st.Close()
	state, err := auth.Load(st)
	require.NoError(t, err)
	change := func(change func(*store.Batch) error) {
		b := st.NewBatch()
		defer b.Discard()
		require.NoError(t, change(b))
		require.NoError(t, b.Commit())
	}
	change(func(b *store.Batch) error {
		return state.AddUser(b, &etcdserverpb.AuthUserAddRequest{Name: "root", Options: nil, HashedPassword: "aGFzaA=="})
	})
	change(func(b *store.Batch) error { return state.GrantRole(b, "root", "root") })
	change(func(b *store.Batch) error { return state.Enable(b) })

	provider := &counting{}
	users := NewUsers()
	users.Tokens = provider
	users.Authorised(state.View())
	s := &Service{c: Config{Users: users, Now: time.Now}}
	hub := watch.New(watch.Options{View: func() *mvcc.View { return &mvcc.View{} }})
	const streams = 1000
	for range streams {
		s.stand(credential{token: "eyJ.bad.signature"}, hub.Open(silent{}, 0))
	}
	provider.read = 0
	change(func(b *store.Batch) error { return state.AddRole(b, "any") })
	users.Authorised(state.View())
	require.Zero(t, provider.read, "tokens judged while entries wait, of %d streams without a watcher", streams)
}
