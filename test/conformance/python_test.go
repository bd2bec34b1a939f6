package conformance

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "testdata/python_etcd3.py", host, port).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}
