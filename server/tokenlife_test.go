package server

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/status"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth/token"
)

// island is a cluster whose members can be cut off, and whose tokens go by a clock
// that can be set.
type island struct {
	t       *testing.T
	members []*Member
	configs []*Config
	later   atomic.Int64 // nanoseconds
	cut     atomic.Uint64
	keys    string // the directory of the keys of JWTs
}

// writeKeys makes a pair of keys for JWTs in the place of the one there is.
func (c *island) writeKeys() {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(c.t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(c.t, err)
	for name, block := range map[string]*pem.Block{
		"app.rsa":     {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)},
		"app.rsa.pub": {Type: "PUBLIC KEY", Bytes: public},
	} {
		path := filepath.Join(c.keys, name)
		require.NoError(c.t, os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600))
		require.NoError(c.t, os.Rename(path+".new", path))
	}
}

// newIsland starts n members with tokens of a kind.
func newIsland(t *testing.T, kind string, n int) *island {
	c := &island{t: t, keys: t.TempDir()}
	c.writeKeys()
	spec := kind
	if kind == "jwt" {
		spec = fmt.Sprintf("jwt,sign-method=RS512,ttl=10m,priv-key=%s/app.rsa,pub-key=%[1]s/app.rsa.pub", c.keys)
	}
	config, err := token.Parse(spec)
	require.NoError(t, err)
	c.configs = []*Config{authConfig(t)}
	if n > 1 {
		c.configs = clusterOf(t, n)
	}
	for _, one := range c.configs {
		one.BcryptCost, one.AuthToken = 4, config
		one.now = func() time.Time { return time.Now().Add(time.Duration(c.later.Load())) }
		one.sending = func(send func([]*raftpb.Message)) func([]*raftpb.Message) {
			return func(all []*raftpb.Message) {
				if cut := c.cut.Load(); cut != 0 {
					all = slices.DeleteFunc(slices.Clone(all), func(m *raftpb.Message) bool { return m.GetTo() == cut || m.GetFrom() == cut })
				}
				send(all)
			}
		}
	}
	c.members = startAll(t, c.configs)
	return c
}

// TestTheEndOfATokenThatIsRemembered has a token be good, often enough to be
// remembered everywhere, and refused at once after what must end it.
func TestTheEndOfATokenThatIsRemembered(t *testing.T) {
	for _, kind := range []string{"simple", "jwt"} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s at %d members", kind, n), func(t *testing.T) { endsOfTokens(newIsland(t, kind, n), kind) })
		}
	}
}

func endsOfTokens(c *island, kind string) {
	t := c.t
	at := 0
	if len(c.members) > 1 {
		at = (leaderOf(t, c.members) + 1) % 3 // a follower
	}
	here := somebody{t, dial(t, c.members[at]), ""}
	there := somebody{t, dial(t, c.members[(at+1)%len(c.members)]), ""}
	here.addRole("r", permission(authpb.Permission_READ, "k", ""))
	here.addUser("alice", "pw", "r")
	root := there.enable()
	require.NoError(t, root.put("k", "v"))
	// reads is how alice fares with a linearizable and two serializable reads. The second
	// of these has the same headers each time, since it has no deadline.
	reads := func(alice somebody) error {
		_, err := alice.get("k")
		local := &pb.RangeRequest{Key: []byte("k"), Serializable: true}
		_, dated := ask[pb.RangeResponse](alice, "KV/Range", local)
		undated := alice.conn.Invoke(alice.with(t.Context()), "/etcdserverpb.KV/Range", local, &pb.RangeResponse{})
		if err == nil {
			err = dated
		}
		require.Equal(t, status.Convert(err), status.Convert(undated))
		return err
	}
	// remembered is a new token of alice's that this member knows well.
	remembered := func() somebody {
		t.Helper()
		alice := there.login("alice", "pw")
		alice.conn = here.conn
		for range 3 {
			require.NoError(t, reads(alice))
		}
		return alice
	}
	again := func() { root = there.login("root", "r") }

	// Others change, and so does what she may do: the token stays.
	alice := remembered()
	root.addUser("other", "pw")
	root.addRole("s")
	require.NoError(t, reads(alice))
	must[pb.AuthUserRevokeRoleResponse](root, "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "r"})
	require.EqualError(t, reads(alice), permissionDenied, "the right goes at once")
	must[pb.AuthUserGrantRoleResponse](root, "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "alice", Role: "r"})
	require.NoError(t, reads(alice))

	// Its time is over.
	c.later.Add(int64(4 * time.Minute))
	require.NoError(t, reads(alice))
	again()
	if kind == "simple" {
		c.later.Add(int64(4 * time.Minute)) // use puts the end off
		require.NoError(t, reads(alice))
	}
	c.later.Add(int64(7 * time.Minute))
	require.EqualError(t, reads(alice), invalidToken)
	again()

	password := func(name string) {
		t.Helper()
		must[pb.AuthUserChangePasswordResponse](root, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: name, Password: "pw"})
	}
	gone := func(name string) {
		t.Helper()
		must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: name})
	}
	alice = remembered()
	password("alice")
	require.EqualError(t, reads(alice), invalidToken, "the same password, set again, is another")
	alice = remembered()
	gone("alice")
	require.EqualError(t, reads(alice), invalidToken)
	root.addUser("alice", "pw", "r")
	require.EqualError(t, reads(alice), invalidToken, "it is another alice")

	if len(c.members) > 1 {
		alice, bob := remembered(), there
		root.addUser("bob", "pw", "r")
		bob = there.login("bob", "pw")
		bob.conn = here.conn
		require.NoError(t, reads(bob))
		c.bySnapshot(at, root, func() {
			gone("alice")
			password("bob")
		})
		require.EqualError(t, reads(alice), invalidToken, "the snapshot has no alice")
		require.EqualError(t, reads(bob), invalidToken, "the snapshot has another bob")
		again()
		root.addUser("alice", "pw", "r")
	}

	alice = remembered()
	if kind == "jwt" {
		c.writeKeys()
		// One call is asked until then: of several, some may still meet the old key.
		require.Eventually(t, func() bool {
			_, err := alice.get("k")
			return err != nil
		}, 10*time.Second, 20*time.Millisecond, "another key is in force")
		require.EqualError(t, reads(alice), invalidToken)
		return
	}
	// A member forgets simple tokens when it stops.
	require.NoError(t, c.members[at].Close())
	c.members[at] = start(t, c.configs[at])
	t.Cleanup(func() { c.members[at].Close() })
	alice.conn = dial(t, c.members[at])
	require.EqualError(t, reads(alice), invalidToken)
}

// bySnapshot cuts a member off while the users change, and so much else that it can
// only hear of it by a snapshot.
func (c *island) bySnapshot(at int, root somebody, change func()) {
	t := c.t
	m := c.members[at]
	before := m.state.View()
	c.cut.Store(m.state.Data.Identity.MemberID)
	change()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 700 {
				if err := root.put("filler", strings.Repeat(fmt.Sprint(i), 1500)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, before.Applied, m.state.View().Applied, "it is cut off")
	store := m.state.Data.Store()
	c.cut.Store(0)
	require.Eventually(t, func() bool { return m.state.View().Auth.Revision > before.Auth.Revision }, 30*time.Second, 10*time.Millisecond)
	require.NotSame(t, store, m.state.Data.Store(), "it came by snapshot")
}
