package server

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
)

// gateFS is a disk of which the tables cannot be read while the gate is closed.
type gateFS struct {
	vfs.FS
	mu     sync.RWMutex  // held for writing while the gate is closed
	waited chan struct{} // of capacity 1: somebody has come to it
}

type gateFile struct {
	vfs.File
	fs *gateFS
}

func (fs *gateFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &gateFile{f, fs}, nil
}

// Unwrap is vfs.FS's.
func (fs *gateFS) Unwrap() vfs.FS { return fs.FS }

func (f *gateFile) ReadAt(p []byte, off int64) (int, error) {
	if !f.fs.mu.TryRLock() {
		select {
		case f.fs.waited <- struct{}{}:
		default:
		}
		f.fs.mu.RLock()
	}
	defer f.fs.mu.RUnlock()
	return f.File.ReadAt(p, off)
}

// While one key's value cannot be had from the disk, the other calls of its
// connection go on: keys that are in memory, counts, and writes.
func TestADiskThatStandsStillHoldsUpNoOtherCall(t *testing.T) {
	c := testConfig(t)
	m := start(t, c)
	conn := dial(t, m)
	const n = 500
	key := func(i int) []byte { return fmt.Appendf(nil, "k%03d", i) }
	value := make([]byte, 4<<10)
	for i := range n { // far enough from each other not to share a block
		for j := range value {
			value[j] = byte(rand.Uint32())
		}
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: key(i), Value: value})
		require.NoError(t, err)
	}
	require.NoError(t, m.Close())

	fs := &gateFS{FS: vfs.Default, waited: make(chan struct{}, 1)}
	m, err := startOn(t.Context(), c, zap.NewNop(), fs)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	conn = dial(t, m)
	get := func(i int) error {
		res, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: key(i)})
		if err == nil && len(res.Kvs) != 1 {
			err = fmt.Errorf("%d keys", len(res.Kvs))
		}
		return err
	}
	require.NoError(t, get(0)) // it is in memory from now on
	fs.mu.Lock()
	cold := make(chan error, 1)
	go func() { cold <- get(n - 1) }()
	<-fs.waited
	for i := range 100 {
		require.NoError(t, get(0))
		require.NoError(t, put(t, conn, fmt.Sprint("new", i), 10))
		_, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true})
		require.NoError(t, err)
	}
	require.Empty(t, cold)
	fs.mu.Unlock()
	require.NoError(t, <-cold)
}
