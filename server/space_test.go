package server

import (
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
)

// shortDisk is the disk, which says of itself what the test wants.
type shortDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *shortDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	const total = 100 << 30
	free := d.free.Load()
	return vfs.DiskUsage{TotalBytes: total, AvailBytes: free, UsedBytes: total - free}, nil
}

// A member whose disk gets short refuses what grows its data and nothing else,
// says so, raises no alarm, and takes writes again by itself.
func TestLowDiskSpace(t *testing.T) {
	disk := &shortDisk{FS: vfs.Default}
	disk.free.Store(50 << 30)
	m, err := startOn(t.Context(), testConfig(t), zap.NewNop(), disk)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	require.NoError(t, put(t, conn, "a", 1))
	require.NoError(t, put(t, conn, "b", 1))
	errorsOf := func() []string {
		st, err := call[etcdserverpb.StatusResponse](t, conn, "Maintenance/Status", &etcdserverpb.StatusRequest{})
		require.NoError(t, err)
		return st.Errors
	}
	require.Empty(t, errorsOf())

	disk.free.Store(1 << 20)
	require.Eventually(t, func() bool { return put(t, conn, "a", 1) != nil }, time.Minute, 10*time.Millisecond)
	err = put(t, conn, "a", 1)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Equal(t, noSpace, status.Convert(err).Message())
	require.Len(t, errorsOf(), 1)
	require.Regexp(t, `^disk space low: 1048576 bytes are free for `+regexp.QuoteMeta(m.config.DataDir)+`; puts are refused below \d{9} and taken again at \d{9}$`, errorsOf()[0])
	require.Empty(t, alarms(t, conn, &etcdserverpb.AlarmRequest{}), "the other members have room")

	putOp := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte("x")}}}
	delOp := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte("a")}}}
	_, err = call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{putOp}})
	require.ErrorContains(t, err, noSpace)
	_, err = call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{delOp}})
	require.NoError(t, err)
	gone, err := call[etcdserverpb.DeleteRangeResponse](t, conn, "KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte("b")})
	require.NoError(t, err)
	require.EqualValues(t, 1, gone.Deleted)
	got, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	require.NoError(t, err)
	require.Zero(t, got.Count)
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: got.Header.Revision, Physical: true})
	require.NoError(t, err)

	disk.free.Store(50 << 30)
	require.Eventually(t, func() bool { return put(t, conn, "a", 1) == nil }, time.Minute, 10*time.Millisecond)
	require.Empty(t, errorsOf())
}

// A member that starts on a disk without space serves what it has.
func TestAStartWithoutDiskSpace(t *testing.T) {
	c := testConfig(t)
	m := start(t, c)
	require.NoError(t, put(t, dial(t, m), "a", 1))
	require.NoError(t, m.Close())
	m, err := startOn(t.Context(), c, zap.NewNop(), &shortDisk{FS: vfs.Default})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	require.ErrorContains(t, put(t, conn, "a", 1), noSpace, "the first one, too")
	got, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("a")})
	require.NoError(t, err)
	require.EqualValues(t, 1, got.Count)
}

// unmeasured is the disk, which does not say how large it is.
type unmeasured struct{ vfs.FS }

func (unmeasured) GetDiskUsage(string) (vfs.DiskUsage, error) { return vfs.DiskUsage{}, nil }

func TestADiskOfUnknownSizeTakesWrites(t *testing.T) {
	m, err := startOn(t.Context(), testConfig(t), zap.NewNop(), unmeasured{vfs.Default})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	require.NoError(t, put(t, dial(t, m), "a", 1))
}
