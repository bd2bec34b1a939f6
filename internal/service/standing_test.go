package service

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/store"
	"etcd.alt/internal/watch"
)

// rig is watchers and users without a member around them.
type rig struct {
	t     *testing.T
	st    *store.Store
	state *auth.State
	users *Users
	s     *Service
	hub   *watch.Hub
}

func newRig(t *testing.T) *rig {
	st, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	state, err := auth.Load(st)
	require.NoError(t, err)
	r := &rig{t: t, st: st, state: state, users: NewUsers()}
	r.users.Tokens = disabling{}
	r.s = &Service{c: Config{Users: r.users, Now: time.Now}}
	ks, err := mvcc.Load(st, 1, 0)
	require.NoError(t, err)
	view := ks.Publish()
	r.hub = watch.New(watch.Options{View: func() *mvcc.View { return view }})
	return r
}

func (r *rig) do(change func(*store.Batch) error) {
	b := r.st.NewBatch()
	defer b.Discard()
	require.NoError(r.t, change(b))
	require.NoError(r.t, b.Commit())
}

func (r *rig) user(name string, roles ...string) {
	r.do(func(b *store.Batch) error {
		return r.state.AddUser(b, &etcdserverpb.AuthUserAddRequest{Name: name, HashedPassword: "aGFzaA=="})
	})
	for _, role := range roles {
		r.do(func(b *store.Batch) error { return r.state.GrantRole(b, name, role) })
	}
}
func (r *rig) grant(role, key, end string) {
	r.do(func(b *store.Batch) error {
		return r.state.GrantPermission(b, role, &authpb.Permission{PermType: authpb.Permission_READ, Key: []byte(key), RangeEnd: []byte(end)})
	})
}

// enable has rights judged from now on.
func (r *rig) enable() {
	r.do(func(b *store.Batch) error { return r.state.Enable(b) })
	r.users.Authorised(r.state.View())
}

// create makes a watcher of a key, which ends as said.
func (r *rig) create(st *stands, key string, want error) {
	r.t.Helper()
	refused, err := st.create(watch.Request{Key: []byte(key)})
	require.NoError(r.t, refused)
	require.ErrorIs(r.t, err, want)
}

// begin has root, and alice, who has the role r.
func (r *rig) begin() {
	r.do(func(b *store.Batch) error { return r.state.AddRole(b, "r") })
	r.user("root", "root")
	r.user("alice", "r")
}

// alive are the keys of the watchers that a stream has.
func alive(s *watch.Stream) (keys []string) {
	s.Review(func(key, _ []byte) string { keys = append(keys, string(key)); return "" })
	return keys
}

// A watcher that was made while authentication was off is looked at when it is on again,
// though its stream's user may do what he might before.
func TestAWatchMadeWhileNobodyWasJudged(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.grant("r", "a", "")
	r.enable()
	hub := r.hub.Open(silent{}, 0)
	st := r.s.stand(credential{name: "alice"}, hub)
	r.create(st, "a", nil)
	r.create(st, "secret", errs.PermissionDenied)
	r.do(func(b *store.Batch) error { r.state.Disable(b); return nil })
	r.users.Authorised(r.state.View())
	r.create(st, "secret", nil)
	r.enable()
	require.Equal(t, []string{"a"}, alive(hub), "watchers that alice has, who may read a alone")
}

// A watcher that is made between the announcement of a state and the look at its stream
// does not have the look passed over.
func TestAWatcherMadeBetweenAChangeAndItsLook(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.grant("r", "a", "")
	r.grant("r", "b", "")
	r.enable()
	hub := r.hub.Open(silent{}, 0)
	st := r.s.stand(credential{name: "alice"}, hub)
	r.create(st, "a", nil)
	r.do(func(b *store.Batch) error { return r.state.RevokePermission(b, "r", []byte("a"), nil) })
	v := r.state.View()
	// What Authorised does, with a request of the client's in the middle.
	r.users.now.Swap(v)
	r.create(st, "b", nil)
	st.recheck(v)
	require.Equal(t, []string{"b"}, alive(hub), "alice may read b alone")
}

// A user who was deleted and made again, between two looks, is another.
func TestANamesakeIsNotTheUser(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.grant("r", "a", "")
	r.enable()
	hub := r.hub.Open(silent{}, 0)
	st := r.s.stand(credential{name: "alice"}, hub)
	r.create(st, "a", nil)
	r.do(func(b *store.Batch) error { return r.state.DeleteUser(b, "alice") })
	r.user("alice", "r")
	r.users.Authorised(r.state.View())
	require.Empty(t, alive(hub))
	r.create(st, "a", nil)
	require.Equal(t, []string{"a"}, alive(hub))
}

// Whoever holds many roles has the same rights as long as they are the same, and the
// change of one is no reason to look at the watches of another.
func TestOnlyThoseConcernedAreReviewed(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.grant("r", "a", "")
	r.do(func(b *store.Batch) error { return r.state.Enable(b) })
	before := r.state.View()
	r.do(func(b *store.Batch) error { return r.state.AddRole(b, "other") })
	r.grant("other", "z", "")
	other := r.state.View()
	require.True(t, before.Rights("alice").Equal(other.Rights("alice")))
	require.False(t, before.Rights("alice").Equal(other.Rights("root")))
	r.grant("r", "b", "")
	require.False(t, before.Rights("alice").Equal(r.state.View().Rights("alice")))
}

// disabling is tokens that nobody has.
type disabling struct{ token.Provider }

func (disabling) Disabled() {}
