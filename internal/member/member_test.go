package member

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// The ids and the entry were recorded from a member of upstream 3.7 that was
// started with this URL and token.
func TestBootstrapAsRecorded(t *testing.T) {
	url := []string{"http://127.0.0.1:45002"}
	id := ID(url, "samples-a")
	require.Equal(t, uint64(630301627025328946), id)
	entries, err := Bootstrap([]Member{{ID: id, PeerURLs: url, Name: "a1"}})
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t,
		"100018b296c8a1d8ffd1df08224b7b226964223a3633303330313632373032353332383934362c227065657255524c73223a5b22687474703a2f2f3132372e302e302e313a3435303032225d2c226e616d65223a226131227d",
		hex.EncodeToString(entries[0].Data))
	require.Equal(t, uint64(1), entries[0].GetIndex())
	require.Equal(t, uint64(1), entries[0].GetTerm())
}

func TestViewsAreMadeNotChanged(t *testing.T) {
	empty := &View{}
	entries, err := Bootstrap([]Member{{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}}, {ID: 3, PeerURLs: []string{"http://127.0.0.1:2"}}})
	require.NoError(t, err)
	one, c, err := empty.Change(entries[0].Data, 1)
	require.NoError(t, err)
	require.Equal(t, uint64(3), c.GetNodeId())
	two, _, err := one.Change(entries[1].Data, 1)
	require.NoError(t, err)
	require.Empty(t, empty.Members)
	require.Len(t, one.Members, 1)
	require.Equal(t, []uint64{3, 7}, two.ConfState().GetVoters())

	same, c, err := two.Change(entries[1].Data, 1)
	require.ErrorIs(t, err, errs.MemberExist)
	require.Zero(t, c.GetNodeId(), "raft must take a refused change as none")
	require.Same(t, two, same)

	named := two.SetAttributes(&etcdserverpb.ClusterMemberAttrSetRequest{Member_ID: 7, MemberAttributes: &etcdserverpb.MemberAttributes{Name: "m", ClientUrls: []string{"http://127.0.0.1:3"}}})
	m, ok := named.Get(7)
	require.True(t, ok)
	require.Equal(t, "m", m.Name)
	m, _ = two.Get(7)
	require.Empty(t, m.Name)
	require.Same(t, two, two.SetAttributes(&etcdserverpb.ClusterMemberAttrSetRequest{Member_ID: 9}))
	require.Equal(t, "3.7.0", named.SetVersion(&etcdserverpb.ClusterVersionSetRequest{Ver: "3.7.0"}).Version)
}

func TestAContextOfAnotherMemberIsRefused(t *testing.T) {
	entries, err := Bootstrap([]Member{{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}}})
	require.NoError(t, err)
	_, c, err := (&View{}).Change(entries[0].Data, 1)
	require.NoError(t, err)
	c.NodeId = proto.Uint64(8)
	data, err := proto.Marshal(c)
	require.NoError(t, err)
	_, c, err = (&View{}).Change(data, 1)
	require.ErrorContains(t, err, "configuration change for 8 has the context of 7")
	require.Zero(t, c.GetNodeId())
}
