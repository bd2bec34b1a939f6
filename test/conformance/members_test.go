package conformance

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"etcd.alt/conformance/member"
)

// TestTokensOfThreeMembers has one member's tokens shown at the others, and has
// members restart.
func TestTokensOfThreeMembers(t *testing.T) {
	for _, kind := range tokenKinds(t)[:2] { // simple, and a JWT
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			flags := append([]string{"--unsafe-no-fsync", "--bcrypt-cost", "4"}, kind.flags(10*time.Minute)...)
			members, err := member.Cluster(member.Ours(os.Getenv(binaryVariable), flags...), 3)
			require.NoError(t, err)
			for _, m := range members {
				t.Cleanup(m.Close)
			}
			nobody := login(t, nil, "", "", members[0])
			enableAuth(t, nobody.Client)
			root := login(t, nil, "root", "rootpw", members[1])
			addRole(t, root.Client, "a", "a/", "a0")
			addUser(t, root, "alice", "alicepw", "a")

			// At once: there is nothing between the login and the put.
			for i := range 12 {
				token := tokenOf(t, members[i%3], "alice", "alicepw")
				for j := range members {
					require.NoError(t, putWith(t, members[(i+1+j)%3], token, "a/k"), "the token of member %d", i%3)
				}
			}

			// A restart of one member.
			old, late := tokenOf(t, members[0], "alice", "alicepw"), members[2]
			alice := login(t, nil, "alice", "alicepw", late)
			put(t, alice.Client, "a/k", "1")
			require.NoError(t, putWith(t, late, old, "a/k"))
			require.NoError(t, late.Stop())
			require.NoError(t, late.Up())
			after := putWith(t, late, old, "a/k")
			before := alice.logins.Load()
			put(t, alice.Client, "a/k", "2")
			require.NoError(t, putWith(t, members[0], old, "a/k"), "where no restart was, it is good")
			if kind.name == "simple" {
				require.ErrorIs(t, after, rpctypes.ErrInvalidAuthToken)
				require.Greater(t, alice.logins.Load(), before, "the client logged in again")
			} else {
				require.NoError(t, after)
				require.Equal(t, before, alice.logins.Load(), "the client has not logged in again")
			}

			// A restart of all: what is known of users is on disk.
			for _, m := range members {
				require.NoError(t, m.Stop())
			}
			require.NoError(t, member.Up(members...))
			put(t, alice.Client, "a/k", "3")
			put(t, root.Client, "b", "1")
			for i, m := range members {
				if err := putWith(t, m, old, "a/k"); kind.name == "simple" {
					require.ErrorIs(t, err, rpctypes.ErrInvalidAuthToken, "member %d", i)
				} else {
					require.NoError(t, err, "member %d", i)
				}
			}
			_, err = alice.Put(within(t), "b", "v")
			refused(t, err, "a key of somebody else")
		})
	}
}

// A simple token that has ended is not good again because its login is read from the
// log again.
func TestSimpleTokensStayDeadAfterACrash(t *testing.T) {
	simple := tokenKinds(t)[0]
	flags := append([]string{"--bcrypt-cost", "4"}, simple.flags(time.Second)...)
	m, err := member.Start(member.Ours(os.Getenv(binaryVariable), flags...))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	nobody := login(t, nil, "", "", m)
	enableAuth(t, nobody.Client)
	token := tokenOf(t, m, "root", "rootpw")
	require.NoError(t, putWith(t, m, token, "k"))
	expire(t, m, token, "k", simple.look(time.Second))
	m.Kill()
	require.NoError(t, m.Up())
	require.ErrorIs(t, putWith(t, m, token, "k"), rpctypes.ErrInvalidAuthToken)
}
