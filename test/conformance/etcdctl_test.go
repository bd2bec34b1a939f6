package conformance

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/conformance/member"
)

// ctl is Debian's etcdctl 3.4, pointed at a member.
type ctl struct {
	t        *testing.T
	endpoint string
}

func newCtl(t *testing.T, m *member.Member) *ctl {
	t.Helper()
	_, err := exec.LookPath("etcdctl")
	require.NoError(t, err, "Debian's package etcd-client")
	return &ctl{t: t, endpoint: m.Address()}
}

// run returns what etcdctl writes and how it ends.
func (c *ctl) run(stdin string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	cmd := exec.CommandContext(within(c.t), "etcdctl", append([]string{"--endpoints", c.endpoint, "--command-timeout", "30s"}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	cmd.Stdin = strings.NewReader(stdin)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(c.t, err, &exit)
	}
	return out.String(), bad.String(), cmd.ProcessState.ExitCode()
}

// says holds that a command succeeds with exactly this output.
func (c *ctl) says(want string, args ...string) {
	c.t.Helper()
	out, bad, code := c.run("", args...)
	require.Zero(c.t, code, "%v: %s", args, bad)
	require.Equal(c.t, want, out, "%v", args)
}

// json returns the output of a command with -w json.
func (c *ctl) json(stdin string, args ...string) map[string]any {
	c.t.Helper()
	out, bad, code := c.run(stdin, append(args, "-w", "json")...)
	require.Zero(c.t, code, "%v: %s", args, bad)
	var v any
	require.NoError(c.t, json.Unmarshal([]byte(out), &v), out)
	if list, ok := v.([]any); ok { // one for each endpoint
		require.Len(c.t, list, 1)
		v = list[0]
	}
	return v.(map[string]any)
}

func TestEtcdctlKeys(t *testing.T) {
	c := newCtl(t, start(t))
	c.says("OK\n", "put", "k", "one")
	c.says("OK\nk\none\n", "put", "k", "two", "--prev-kv")
	c.says("OK\n", "put", "k/1", "x")
	c.says("OK\n", "put", "k/2", "y")
	c.says("k\ntwo\n", "get", "k")
	c.says("k\none\n", "get", "k", "--rev", "2")
	c.says("", "get", "missing")
	c.says("k/1\nx\nk/2\ny\n", "get", "k/", "--prefix")
	c.says("k/2\n\nk/1\n\nk\n\n", "get", "k", "--prefix", "--keys-only", "--order", "DESCEND", "--sort-by", "KEY")
	c.says("two\n", "get", "k", "--print-value-only")
	c.says("k\ntwo\nk/1\nx\n", "get", "", "--from-key", "--limit", "2")
	c.says("\\x6b\n\\x74\\x77\\x6f\n", "get", "k", "--hex")
	c.says("2\nk/1\nx\nk/2\ny\n", "del", "k/", "--prefix", "--prev-kv")
	c.says("0\n", "del", "missing")

	got := c.json("", "get", "k")
	require.EqualValues(t, 1, got["count"])
	kv := got["kvs"].([]any)[0].(map[string]any)
	require.Equal(t, map[string]any{"key": "aw==", "create_revision": 2.0, "mod_revision": 3.0, "version": 2.0, "value": "dHdv"}, kv)
	header := got["header"].(map[string]any)
	require.EqualValues(t, 6, header["revision"])
	require.NotZero(t, header["cluster_id"])
	require.NotZero(t, header["member_id"])
	require.NotZero(t, header["raft_term"])
	require.EqualValues(t, 7, c.json("", "put", "k", "three")["header"].(map[string]any)["revision"])
	require.EqualValues(t, 1, c.json("", "del", "k")["deleted"])

	_, bad, code := c.run("", "get", "k", "--rev", "100")
	require.Equal(t, 1, code)
	require.Contains(t, bad, "Error: etcdserver: mvcc: required revision is a future revision")
}

func TestEtcdctlTxn(t *testing.T) {
	c := newCtl(t, start(t))
	c.says("OK\n", "put", "k", "v")
	const script = "value(\"k\") = \"v\"\nversion(\"k\") > \"0\"\n\nput k w\nget k\ndel other\n\nget k\n\n"
	out, bad, code := c.run(script, "txn")
	require.Zero(t, code, bad)
	require.Equal(t, "SUCCESS\n\nOK\n\nk\nw\n\n0\n", out)
	out, bad, code = c.run(script, "txn")
	require.Zero(t, code, bad)
	require.Equal(t, "FAILURE\n\nk\nw\n", out)
	got := c.json(script, "txn")
	require.Nil(t, got["succeeded"])
	response := got["responses"].([]any)[0].(map[string]any)["Response"].(map[string]any)
	require.EqualValues(t, 1, response["ResponseRange"].(map[string]any)["count"])
}

func TestEtcdctlCluster(t *testing.T) {
	m := start(t)
	c := newCtl(t, m)
	out, bad, code := c.run("", "member", "list")
	require.Zero(t, code, bad)
	require.Regexp(t, `^[0-9a-f]+, started, default, http://localhost:2380, `+m.URL()+`, false\n$`, out)
	list := c.json("", "member", "list")
	require.Equal(t, "default", list["members"].([]any)[0].(map[string]any)["name"])

	out, bad, code = c.run("", "endpoint", "status")
	require.Zero(t, code, bad)
	require.Regexp(t, `^`+m.Address()+`, [0-9a-f]+, 3\.7\.\d+, [0-9.]+ [kMG]?B, true, false, \d+, \d+, \d+, \n$`, out)
	status := c.json("", "endpoint", "status")
	require.Equal(t, m.Address(), status["Endpoint"])
	require.Regexp(t, `^3\.7\.`, status["Status"].(map[string]any)["version"])

	out, bad, code = c.run("", "endpoint", "health")
	require.Zero(t, code, bad)
	require.Contains(t, out+bad, m.Address()+" is healthy: successfully committed proposal")
	health := c.json("", "endpoint", "health")
	require.Equal(t, true, health["health"])

	c.says("OK\n", "put", "k", "v")
	c.says("compacted revision 2\n", "compact", "2")
	out, bad, code = c.run("", "endpoint", "hashkv")
	require.Zero(t, code, bad)
	require.Regexp(t, `^`+m.Address()+`, \d+\n$`, out)
}
