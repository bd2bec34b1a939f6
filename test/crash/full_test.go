package crash

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/test/member"
	"etcd.alt/test/smalldisk"
)

// wanted has the tests here run: they write some hundreds of MiB to memory and
// take half a minute.
const wanted = "CRASH_FULL_DISK"

// onSmallDisk runs a test that is wanted with a file system of mib MiB.
func onSmallDisk(t *testing.T, mib int, test func(t *testing.T, disk string)) {
	t.Helper()
	if os.Getenv(wanted) != "1" {
		t.Skipf("It fills a disk in memory, which takes a while, and runs only with %s=1 (make full).", wanted)
	}
	smalldisk.Run(t, mib, test)
}

// bulk is what the writers put: values that cannot be compressed.
type bulk struct {
	mu struct {
		sync.Mutex
		next int
		sums map[string][sha256.Size]byte // of what was acknowledged
	}
}

func newBulk() *bulk {
	b := &bulk{}
	b.mu.sums = map[string][sha256.Size]byte{}
	return b
}

const bulkValue = 64 << 10

// fill puts until every writer was refused for a second, with NoSpace.
func (b *bulk) fill(t *testing.T, m *member.Member) {
	t.Helper()
	conn := m.Dial()
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			source := rand.NewChaCha8([32]byte{byte(w)})
			value := make([]byte, bulkValue)
			for refusals := 0; refusals < 100; {
				b.mu.Lock()
				key := fmt.Sprintf("bulk/%06d", b.mu.next)
				b.mu.next++
				b.mu.Unlock()
				source.Read(value)
				_, err := put(ctx, conn, key, string(value))
				if status.Code(err) == codes.ResourceExhausted {
					refusals++
					time.Sleep(10 * time.Millisecond)
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", key, err)
					return
				}
				refusals = 0
				b.mu.Lock()
				b.mu.sums[key] = sha256.Sum256(value)
				b.mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.Logf("the member's log:\n%s", m.Log())
	}
}

// verify looks whether all that was acknowledged is there. All that was not was
// refused.
func (b *bulk) verify(t *testing.T, m *member.Member) (revision int64) {
	t.Helper()
	conn := m.Dial()
	defer conn.Close()
	res := &etcdserverpb.RangeResponse{}
	require.NoError(t, invoke(t.Context(), conn, "Range", &etcdserverpb.RangeRequest{Key: []byte("bulk/"), RangeEnd: []byte("bulk0")}, res))
	require.Len(t, res.Kvs, len(b.mu.sums))
	for _, kv := range res.Kvs {
		require.Equal(t, b.mu.sums[string(kv.Key)], sha256.Sum256(kv.Value), "%s", kv.Key)
	}
	return res.Header.Revision
}

// thin deletes every second key and gives up the history.
func (b *bulk) thin(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	var revision int64
	n := 0
	for key := range b.mu.sums {
		if n++; n%2 == 0 {
			continue
		}
		res := &etcdserverpb.DeleteRangeResponse{}
		require.NoError(t, invoke(t.Context(), conn, "DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte(key)}, res))
		require.EqualValues(t, 1, res.Deleted)
		delete(b.mu.sums, key)
		revision = res.Header.Revision
	}
	require.NoError(t, invoke(t.Context(), conn, "Compact", &etcdserverpb.CompactionRequest{Revision: revision, Physical: true}, &etcdserverpb.CompactionResponse{}))
}

// takesPuts waits until the member takes puts.
func takesPuts(t *testing.T, m *member.Member, conn *grpc.ClientConn) {
	t.Helper()
	if !eventually(func() bool {
		_, err := put(t.Context(), conn, "small", "x")
		return err == nil
	}) {
		t.Logf("the member's log:\n%s", m.Log())
		require.Fail(t, "the member does not take puts again")
	}
}

func eventually(holds func() bool) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return true
		}
	}
	return false
}

// A member fills its disk: it refuses puts and goes on; nothing that it
// acknowledged is gone after kill -9; it takes puts again when keys were deleted
// and compacted, or the disk has grown.
func TestADiskThatFills(t *testing.T) {
	onSmallDisk(t, 192, func(t *testing.T, disk string) {
		m := member.New(t)
		m.Args("--data-dir", filepath.Join(disk, "data"))
		b := newBulk()
		m.Start()
		for round := range 3 {
			b.fill(t, m)
			require.GreaterOrEqual(t, len(b.mu.sums)*bulkValue, 50<<20, "round %d", round)
			t.Logf("round %d: %d MiB in %d keys, %d MiB of the disk are free", round, len(b.mu.sums)*bulkValue>>20, len(b.mu.sums), smalldisk.Free(t, disk)>>20)
			m.Kill()
			m.Start()
			b.verify(t, m)
			conn := m.Dial()
			b.thin(t, conn)
			began := time.Now()
			takesPuts(t, m, conn)
			t.Logf("it takes puts again %v after the compaction", time.Since(began).Round(time.Millisecond))
			require.NoError(t, conn.Close())
			b.verify(t, m)
		}
		b.fill(t, m)
		smalldisk.Resize(t, disk, 384<<20)
		conn := m.Dial()
		defer conn.Close()
		takesPuts(t, m, conn)
		before := len(b.mu.sums)
		b.fill(t, m)
		require.Greater(t, len(b.mu.sums), before*3/2)
		b.verify(t, m)
		m.Stop()
		m.Start()
		b.verify(t, m)
		m.Stop()
	})
}

// Others fill the disk to the last byte: the member gives its reserve up
// and lives on it.
func TestADiskThatOthersFill(t *testing.T) {
	onSmallDisk(t, 192, func(t *testing.T, disk string) {
		data := filepath.Join(disk, "data")
		m := member.New(t)
		m.Args("--data-dir", data)
		m.Start()
		conn := m.Dial()
		defer conn.Close()
		for i := range 100 {
			_, err := put(t.Context(), conn, fmt.Sprintf("k%03d", i), "x")
			require.NoError(t, err)
		}
		reserve := filepath.Join(data, "reserve")
		reserved := func() bool {
			info, err := os.Stat(reserve)
			return err == nil && info.Size() == 6<<20
		}
		require.True(t, eventually(reserved))

		ballast, err := os.Create(filepath.Join(disk, "ballast"))
		require.NoError(t, err)
		// All there is, but not the reserve, which goes meanwhile.
		require.NoError(t, syscall.Fallocate(int(ballast.Fd()), 0, 0, smalldisk.Free(t, disk)))
		require.NoError(t, ballast.Close())
		require.True(t, eventually(func() bool {
			_, err := os.Stat(reserve)
			return errors.Is(err, fs.ErrNotExist)
		}))
		_, err = put(t.Context(), conn, "k", "x")
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		for i := range 50 {
			res := &etcdserverpb.DeleteRangeResponse{}
			require.NoError(t, invoke(t.Context(), conn, "DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: fmt.Appendf(nil, "k%03d", i)}, res))
			require.EqualValues(t, 1, res.Deleted)
		}
		require.NoError(t, invoke(t.Context(), conn, "Compact", &etcdserverpb.CompactionRequest{Revision: 150, Physical: true}, &etcdserverpb.CompactionResponse{}))
		m.Stop()
		m.Start()
		_, err = put(t.Context(), conn, "k", "x")
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.NoError(t, os.Remove(ballast.Name()))
		takesPuts(t, m, conn)
		require.True(t, eventually(reserved))
		res := &etcdserverpb.RangeResponse{}
		require.NoError(t, invoke(t.Context(), conn, "Range", &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, res))
		require.EqualValues(t, 50, res.Count)
		m.Stop()
	})
}
