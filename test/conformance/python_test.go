package conformance

import (
	"context"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/conformance/member"
	testmember "etcd.alt/test/member"
)

// python is the interpreter that Debian's packages are for.
const python = "/usr/bin/python3"

// TestPython runs testdata/python_etcd3.py, which asserts by itself, with python3-etcd3.
func TestPython(t *testing.T) {
	if err := exec.Command(python, "-c", "import etcd3").Run(); err != nil {
		t.Skipf("python3-etcd3 is not there: %v", err)
	}
	host, port, err := net.SplitHostPort(start(t).Address())
	require.NoError(t, err)
	runPython(t, "testdata/python_etcd3.py", host, port)
}

// TestPythonLogsIn is the same client, with users and passwords. It
// shows a token over TLS only.
func TestPythonLogsIn(t *testing.T) {
	if err := exec.Command(python, "-c", "import etcd3").Run(); err != nil {
		t.Skipf("python3-etcd3 is not there: %v", err)
	}
	ca := testmember.NewAuthority(t, "ca")
	cert, key := ca.Issue("member")
	for _, kind := range tokenKinds(t)[:2] {
		t.Run(kind.name, func(t *testing.T) {
			flags := append(kind.flags(10*time.Minute), "--unsafe-no-fsync", "--bcrypt-cost", "4")
			m, err := member.Start(member.Ours(os.Getenv(binaryVariable), flags...).OverTLS(ca.Client("", ""), "--cert-file", cert, "--key-file", key))
			require.NoError(t, err)
			t.Cleanup(m.Close)
			enableAuth(t, login(t, ca.Client("", ""), "", "", m).Client)
			root := login(t, ca.Client("", ""), "root", "rootpw", m)
			addRole(t, root.Client, "a", "a/", "a0")
			addUser(t, root, "alice", "alicepw", "a")
			host, port, err := net.SplitHostPort(m.Address())
			require.NoError(t, err)
			runPython(t, "testdata/python_login.py", host, port, "alice", "alicepw", ca.File())
		})
	}
}

func runPython(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}
