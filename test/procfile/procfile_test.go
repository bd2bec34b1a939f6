package procfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
	"etcd.alt/test/member"
)

// foreman is where scripts/deps puts npm's.
const foreman = "../../bin/npm/node_modules/.bin/nf"

func TestProcfile(t *testing.T) {
	runner, err := filepath.Abs(foreman)
	require.NoError(t, err)
	if _, err := os.Stat(runner); err != nil {
		t.Skipf("npm's foreman is not there (make deps): %v", err)
	}
	text, err := os.ReadFile("../../Procfile")
	require.NoError(t, err)
	dir := t.TempDir()

	// The same words, but for the ports and the program.
	ports := map[string]string{}
	procfile := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(string(text), func(address string) string {
		if ports[address] == "" {
			ports[address] = member.FreeAddress(t)
		}
		return ports[address]
	})
	procfile = strings.ReplaceAll(procfile, "bin/etcd", member.Build(t))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Procfile"), []byte(procfile), 0o600))
	var endpoints []string
	for _, address := range []string{"127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"} {
		require.NotEmpty(t, ports[address], "the Procfile has a member at %s", address)
		endpoints = append(endpoints, ports[address])
	}

	var out strings.Builder
	cmd := exec.Command(runner, "start")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // whatever is left

	for i, at := range endpoints {
		c, err := client.New(t.Context(), client.Config{Endpoints: []string{at}})
		require.NoError(t, err)
		defer c.Close()
		require.Eventually(t, func() bool {
			_, err := c.Put(t.Context(), fmt.Sprintf("from/%d", i), "v")
			return err == nil
		}, time.Minute, 100*time.Millisecond, "the member at %s takes a put", at)
		got, err := c.Get(t.Context(), "from/", client.WithPrefix())
		require.NoError(t, err)
		require.Len(t, got.Kvs, i+1)
		list, err := c.MemberList(t.Context())
		require.NoError(t, err)
		require.Len(t, list.Members, 3)
	}

	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)) // as a terminal does
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		require.Fail(t, "the members do not stop")
	}
	for _, name := range []string{"infra1", "infra2", "infra3"} {
		require.Regexp(t, name+`\S* .*"msg":"stopped"`, out.String(), "%s ends in order", name)
	}
}
