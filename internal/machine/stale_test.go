package machine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
)

// A transaction that reads in a view which a compaction has passed says so,
// wherever it notices: then it is made again.
func TestAStaleTransactionSaysSo(t *testing.T) {
	s, err := store.Open(store.Options{FS: disk.New(), Dir: "store"})
	require.NoError(t, err)
	defer s.Close()
	u, err := mvcc.Load(s, 1, 1)
	require.NoError(t, err)
	publish := func() *mvcc.View {
		b := s.NewBatch()
		u.Save(b)
		require.NoError(t, b.Commit())
		return u.Publish()
	}
	u.Put([]byte("k"), []byte("1"), 0)
	u.End()
	view := publish()
	u.Put([]byte("k"), []byte("2"), 0)
	u.End()
	publish()
	require.NoError(t, u.Compact(u.Revision()))
	publish()
	b := s.NewBatch()
	for u.SweepDue() {
		_, err := u.Sweep(b, 100)
		require.NoError(t, err)
	}
	require.NoError(t, b.Commit())
	_, err = ReadTxn(view, &etcdserverpb.TxnRequest{
		Success: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: &etcdserverpb.RangeRequest{Key: []byte("k")}}}},
	})
	require.ErrorIs(t, err, mvcc.ErrStale)
	_, err = ReadTxn(view, &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{{Key: []byte("k"), Target: etcdserverpb.Compare_VERSION, TargetUnion: &etcdserverpb.Compare_Version{Version: 1}}},
	})
	require.ErrorIs(t, err, mvcc.ErrStale)
}
