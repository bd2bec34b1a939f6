package datadir

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/member"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

// Switch lets go of what was received before the pointer names it. What is posted in
// between, a copy at the same entry (of a cluster that stands still, sent again since
// the answer to the first was lost), must not take the directory away that is coming
// into force.
func TestASecondCopyOfTheSameEntryDuringASwitch(t *testing.T) {
	fs := disk.New()
	self := member.Member{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}}
	d, err := Open(Options{FS: fs, Path: "a", Log: "a/log", WAL: wal.Options{Salt: 1, SegmentBytes: 1 << 20},
		Store: store.Options{DisableAutomaticCompactions: true}, Begin: NewCluster(7, []member.Member{self})})
	require.NoError(t, err)
	b := d.Store().NewBatch()
	b.SetApplied(store.Applied{Index: 5, Term: 2, Revision: 1})
	require.NoError(t, b.Commit())
	post := func() error {
		a, err := d.Checkpoint()
		require.NoError(t, err)
		r, err := d.Archive(a.Index)
		require.NoError(t, err)
		defer r.Close()
		return d.Receive(a.Index, a.Term, r)
	}
	require.NoError(t, post())
	taken, err := d.Take(5, 2)
	require.NoError(t, err)
	in := taken.in
	tables := func() []string { // the engine deletes old files of other kinds in its own time
		names, err := fs.List("a/" + in.name)
		require.NoError(t, err)
		return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") })
	}
	before := tables()
	require.NotEmpty(t, before)
	err = post()
	t.Log(err)
	require.Equal(t, before, tables(), "the files of the store that comes into force")
}
