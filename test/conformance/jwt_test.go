package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"etcd.alt/conformance/member"
)

// The three steps, as they are typed.
const (
	makeKey       = "openssl genrsa -out app.rsa 1024"
	makePublicKey = "openssl rsa -in app.rsa -pubout > app.rsa.pub"
	olderSpelling = "etcd --auth-token-type jwt --auth-jwt-pub-key app.rsa.pub --auth-jwt-priv-key app.rsa --auth-jwt-sign-method RS512"
	laterSpelling = "etcd --auth-token jwt,pub-key=app.rsa.pub,priv-key=app.rsa,sign-method=RS512,ttl=10m"
)

// TestJWTInThreeSteps has a shell do what a user types, and the official client log in.
func TestJWTInThreeSteps(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink(os.Getenv(binaryVariable), filepath.Join(dir, "etcd")))
	// what is typed is typed here, and etcd is ours
	here := "cd " + dir + "\nPATH=" + dir + ":$PATH\n"
	for _, step := range []string{makeKey, makePublicKey} {
		out, err := exec.CommandContext(within(t), "/bin/sh", "-ec", here+step).CombinedOutput()
		require.NoError(t, err, "%s\n%s", step, out)
	}

	for name, spelling := range map[string]string{"older": olderSpelling, "later": laterSpelling} {
		t.Run(name, func(t *testing.T) {
			m, err := member.Start(member.Script(here + "exec " + spelling + ` "$@"`))
			require.NoError(t, err)
			t.Cleanup(m.Close)
			anybody := login(t, nil, "", "", m)
			enableAuth(t, anybody.Client)
			_, err = anybody.Put(within(t), "k", "v")
			require.ErrorIs(t, err, rpctypes.ErrUserEmpty)

			root := login(t, nil, "root", "rootpw", m)
			addRole(t, root.Client, "r", "a/", clientv3.GetPrefixRangeEnd("a/"))
			addUser(t, root, "alice", "alicepw", "r")
			alice := login(t, nil, "alice", "alicepw", m)
			put(t, alice.Client, "a/k", "v")
			require.Equal(t, "v", string(get(t, alice.Client, "a/k").Kvs[0].Value))
			_, err = alice.Put(within(t), "b", "v")
			refused(t, err, "a key of somebody else")
			require.EqualValues(t, 1, alice.logins.Load())

			token := tokenOf(t, m, "alice", "alicepw")
			require.Equal(t, 2, strings.Count(token, "."), "it is a JWT")
			require.NoError(t, putWith(t, m, token, "a/k"))
			require.ErrorIs(t, putWith(t, m, token[:len(token)-8]+"AAAAAAAA", "a/k"), rpctypes.ErrInvalidAuthToken)
			_, err = clientv3.New(clientv3.Config{Endpoints: []string{m.URL()}, Username: "alice", Password: "wrong", Context: within(t), Logger: zap.NewNop()})
			require.ErrorIs(t, err, rpctypes.ErrAuthFailed)
		})
	}

	_, older, _ := strings.Cut(olderSpelling, " ")
	flags := strings.Fields(older)
	for i := 0; i < len(flags); i += 2 {
		t.Run("both spellings/"+flags[i], func(t *testing.T) {
			line := laterSpelling + " " + flags[i] + " " + flags[i+1] + " --data-dir never --listen-client-urls http://127.0.0.1:0 --listen-peer-urls http://127.0.0.1:0"
			out, err := exec.CommandContext(within(t), "/bin/sh", "-ec", here+line).CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), flags[i])
			require.Contains(t, string(out), "--auth-token ")
			require.NoDirExists(t, filepath.Join(dir, "never"))
		})
	}
}
