package conformance

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"etcd.alt/conformance/member"
)

// binaryVariable names the binary under test; without it, one is built from
// this tree.
const binaryVariable = "CONFORMANCE_BINARY"

func TestMain(m *testing.M) {
	os.Exit(withBinary(m.Run))
}

func withBinary(run func() int) int {
	if os.Getenv(binaryVariable) == "" {
		dir, err := os.MkdirTemp("", "etcd-binary-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary, err := member.Build(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv(binaryVariable, binary)
	}
	return run()
}

// start runs a member of ours with an empty key space, for as long as the test.
func start(t *testing.T, flags ...string) *member.Member {
	t.Helper()
	m, err := member.Start(member.Ours(os.Getenv(binaryVariable), append([]string{"--unsafe-no-fsync"}, flags...)...))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// connect returns the official client of a member.
func connect(t *testing.T, m *member.Member) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Address()}, DialTimeout: 20 * time.Second, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// open is start and connect.
func open(t *testing.T, flags ...string) *clientv3.Client {
	t.Helper()
	return connect(t, start(t, flags...))
}

// within is a context that ends long after anything should have been answered.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// put puts a key and returns the revision.
func put(t *testing.T, c *clientv3.Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	res, err := c.Put(within(t), key, value, opts...)
	require.NoError(t, err)
	return res.Header.Revision
}

// get gets keys.
func get(t *testing.T, c *clientv3.Client, key string, opts ...clientv3.OpOption) *clientv3.GetResponse {
	t.Helper()
	res, err := c.Get(within(t), key, opts...)
	require.NoError(t, err)
	return res
}

// keysOf are the keys of an answer, in its order.
func keysOf(res *clientv3.GetResponse) []string {
	keys := []string{}
	for _, kv := range res.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}
