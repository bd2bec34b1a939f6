package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
)

// The keys on disk do not change: a store is written through the batch, and read as the engine has it.
func TestGoldenKeys(t *testing.T) {
	datadriven.RunTest(t, "testdata/keys.txt", func(t *testing.T, d *datadriven.TestData) string {
		s := open(t, disk.New())
		defer s.Close()
		b := s.NewBatch()
		b.SetIdentity(Identity{ClusterID: 0xc1, MemberID: 0xa1})
		b.SetApplied(Applied{Index: 0x10, Term: 2, Revision: 0x300, ConfState: &raftpb.ConfState{Voters: []uint64{0xa1, 0xa2}, Learners: []uint64{0xa3}}})
		b.Set(SpaceAlarm, []byte{1}, []byte("alarm"))
		b.Set(SpaceAuth, []byte("user/root"), []byte("auth"))
		b.Set(SpaceLease, []byte{0, 0, 0, 7}, []byte("lease"))
		b.Set(SpaceMember, []byte{0xff}, []byte("member"))
		b.SetRecord(Revision{2, 0}, false, []byte("first"))
		b.SetRecord(Revision{2, 1}, true, []byte("gone"))
		b.SetRecord(Revision{0x102030405060708, 0x11}, false, []byte("far"))
		b.SetEntry(Revision{2, 0}, false, []byte("entry"))
		b.SetEntry(Revision{2, 1}, true, []byte("gone"))
		require.NoError(t, b.Commit())
		var out strings.Builder
		for c := s.cursor(nil, nil, false); ; {
			if !c.Next() {
				require.NoError(t, c.Close())
				return out.String()
			}
			value, err := c.Value()
			require.NoError(t, err)
			fmt.Fprintf(&out, "%q = %q\n", c.iter.Key(), value)
		}
	})
}

// Keys sort as revisions do, a tombstone right behind its own revision, and all below recordEnd.
func TestKeyOrder(t *testing.T) {
	revisions := []Revision{{1, 0}, {1, 1}, {1, 255}, {1, 256}, {2, 0}, {255, 9}, {256, 0}, {1 << 40, 0}, {1<<63 - 1, 1<<63 - 1}}
	require.True(t, slices.IsSortedFunc(revisions, Revision.Compare))
	var keys []string
	for _, r := range revisions {
		for _, tombstone := range []bool{false, true} {
			key := appendRecordKey(nil, r, tombstone)
			got, gone, err := parseRecordKey(key)
			require.NoError(t, err)
			require.Equal(t, r, got)
			require.Equal(t, tombstone, gone)
			require.Equal(t, key[1:], appendEntryKey(nil, r, tombstone)[1:])
			keys = append(keys, string(key))
		}
	}
	require.True(t, slices.IsSorted(keys))
	require.Less(t, keys[len(keys)-1], string([]byte{recordEnd}))
	for _, s := range []Space{spaceMeta, SpaceAlarm, SpaceAuth, SpaceLease, SpaceMember} {
		require.Less(t, string(appendSpaceKey(nil, s, []byte{0xff, 0xff})), string(appendEntryKey(nil, Revision{}, false)))
		require.Less(t, string(appendSpaceKey(nil, s, []byte{0xff, 0xff})), keys[0])
	}
	for _, bad := range []string{"", "r", "x2345678123456781", "r23456781234567t", "r2345678123456781x", "r2345678123456781tt"} {
		_, _, err := parseRecordKey([]byte(bad))
		require.Error(t, err, bad)
	}
}
