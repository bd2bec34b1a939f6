package datadir

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/member"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

func openMember(t *testing.T, fs *disk.FS, self uint64) *Data {
	t.Helper()
	members := []member.Member{{ID: 1, PeerURLs: []string{"http://127.0.0.1:1"}}, {ID: 2, PeerURLs: []string{"http://127.0.0.1:2"}}}
	d, err := Open(Options{
		FS: fs, Path: "data", Log: "data/log", WAL: wal.Options{Salt: 1, SegmentBytes: 16 << 10},
		Store:      store.Options{DisableAutomaticCompactions: true},
		Begin:      NewCluster(self, members),
		Background: func(do func()) { do() },
	})
	require.NoError(t, err)
	return d
}

// A snapshot that is in force already, and is sent once more since nobody has
// heard of that, leaves the store alone.
func TestASnapshotThatIsInForceComesAgain(t *testing.T) {
	from, fs := openMember(t, disk.New(), 1), disk.New()
	b := from.Store().NewBatch()
	b.SetApplied(store.Applied{Index: 9, Term: 3, Revision: 5})
	require.NoError(t, b.Commit())
	a, err := from.Checkpoint()
	require.NoError(t, err)
	require.EqualValues(t, 9, a.Index)
	r, err := from.Archive(9)
	require.NoError(t, err)
	archive, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())

	to := openMember(t, fs, 2)
	require.NoError(t, to.Receive(9, 3, bytes.NewReader(archive)))
	in, err := to.Take(9, 3)
	require.NoError(t, err)
	old, err := to.Switch(in)
	require.NoError(t, err)
	to.Retire(old, func(err error) { require.NoError(t, err) })
	again := bytes.NewReader(archive)
	require.NoError(t, to.Receive(9, 3, again), "raft answers the sender")
	require.Zero(t, again.Len(), "it was read to the end")
	applied, ok, err := to.Store().DurableApplied()
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 9, applied.Index)
	files, err := fs.List(to.Store().Dir())
	require.NoError(t, err)
	require.NotEmpty(t, files)
	require.NoError(t, to.Log.Close())
	require.NoError(t, to.Close())
	require.NoError(t, from.Log.Close())
	require.NoError(t, from.Close())
}
