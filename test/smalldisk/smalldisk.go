// Package smalldisk gives a test a small disk in memory, for it to fill.
package smalldisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// inside says that this process has mounts of its own.
const inside = "TEST_WITH_OWN_MOUNTS"

// Run runs a test of the same name again in a process with mounts of its own,
// which go when it ends, and calls test there with the path of a file system of
// mib MiB in memory. It needs no rights but that of making user namespaces; where
// that is denied the test is skipped. It must be the first thing that the test
// does.
func Run(t *testing.T, mib int, test func(t *testing.T, disk string)) {
	t.Helper()
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			Pdeathsig:   syscall.SIGKILL,
		}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) {
			t.Skipf("This machine lets nobody make user namespaces, which mounting a small disk needs: %v", err)
		}
		t.Logf("%s", out)
		require.NoError(t, err, "in a process with mounts of its own")
		return
	}
	disk := t.TempDir()
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(disk, 0)) })
	test(t, disk)
}

// Resize makes the disk another size.
func Resize(t *testing.T, disk string, bytes int64) {
	t.Helper()
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)))
}

// Free is how many bytes are free on it.
func Free(t *testing.T, disk string) int64 {
	t.Helper()
	free, _ := sizes(t, disk)
	return free
}

// Used is how many bytes are in use on it.
func Used(t *testing.T, disk string) int64 {
	t.Helper()
	free, all := sizes(t, disk)
	return all - free
}

func sizes(t *testing.T, disk string) (free, all int64) {
	t.Helper()
	var s syscall.Statfs_t
	require.NoError(t, syscall.Statfs(disk, &s))
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize
}
