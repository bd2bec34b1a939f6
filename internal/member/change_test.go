package member

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
)

// Recorded from a cluster of upstream 3.7: the request ids are those of the
// recording.
func TestChangesAsRecorded(t *testing.T) {
	const id = 1141719591988965825
	encode := func(c *raftpb.ConfChange, err error, request uint64) string {
		require.NoError(t, err)
		c.Id = proto.Uint64(request)
		b, err := proto.Marshal(c)
		require.NoError(t, err)
		return hex.EncodeToString(b)
	}
	add, err := Add(Member{ID: id, PeerURLs: []string{"http://127.0.0.1:45124"}, Learner: true})
	require.Equal(t, "08909bfcfe89c0a8b454100318c1e3ecccb7fd8cec0f22517b226964223a313134313731393539313938383936353832352c227065657255524c73223a5b22687474703a2f2f3132372e302e302e313a3435313234225d2c2269734c6561726e6572223a747275657d",
		encode(add, err, 6082289420329749904))
	promote, err := Promote(id)
	require.Equal(t, "08919bfcfe89c0a8b454100018c1e3ecccb7fd8cec0f223b7b226964223a313134313731393539313938383936353832352c227065657255524c73223a6e756c6c2c22697350726f6d6f7465223a747275657d",
		encode(promote, err, 6082289420329749905))
	require.Equal(t, "0899888cff89c0e8db10100118c1e3ecccb7fd8cec0f", encode(Remove(id), nil, 1204609548911051801))
}

func TestChangesAreDecided(t *testing.T) {
	url := func(n string) []string { return []string{"http://127.0.0.1:" + n} }
	v := &View{Members: []Member{{ID: 1, PeerURLs: url("1"), Name: "a"}, {ID: 3, PeerURLs: url("3")}}, Removed: []uint64{9}}
	decide := func(v *View, c *raftpb.ConfChange, err error) (*View, error) {
		require.NoError(t, err)
		return v.Decide(c, 1)
	}
	refuse := func(v *View, want error) func(c *raftpb.ConfChange, err error) {
		return func(c *raftpb.ConfChange, err error) {
			t.Helper()
			_, err = decide(v, c, err)
			require.ErrorIs(t, err, want)
		}
	}
	refuse(v, errs.MemberExist)(Add(Member{ID: 1, PeerURLs: url("2")}))
	refuse(v, errs.PeerURLExist)(Add(Member{ID: 2, PeerURLs: url("3")}))
	refuse(v, errs.MemberNotFound)(Add(Member{ID: 9, PeerURLs: url("9")}))
	refuse(v, errs.MemberNotFound)(Remove(9), nil)
	refuse(v, errs.MemberNotFound)(Remove(2), nil)
	refuse(v, errs.MemberNotFound)(Update(2, url("2")))
	refuse(v, errs.PeerURLExist)(Update(1, url("3")))
	refuse(v, errs.MemberNotFound)(Promote(2))
	refuse(v, errs.MemberNotLearner)(Promote(1))

	c, err := Add(Member{ID: 2, PeerURLs: url("2"), Learner: true})
	learning, err := decide(v, c, err)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 3}, learning.ConfState().GetVoters())
	require.Equal(t, []uint64{2}, learning.ConfState().GetLearners())
	refuse(learning, errs.TooManyLearners)(Add(Member{ID: 4, PeerURLs: url("4"), Learner: true}))

	c, err = Promote(2)
	grown, err := decide(learning, c, err)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2, 3}, grown.ConfState().GetVoters())
	require.Equal(t, url("2"), grown.Members[1].PeerURLs, "a promotion changes nothing else")

	c, err = Update(1, url("11"))
	moved, err := decide(grown, c, err)
	require.NoError(t, err)
	require.Equal(t, Member{ID: 1, PeerURLs: url("11"), Name: "a"}, moved.Members[0])
	require.Equal(t, url("1"), grown.Members[0].PeerURLs, "a view is never changed")

	left, err := moved.Decide(Remove(1), 1)
	require.NoError(t, err)
	require.Equal(t, []uint64{2, 3}, left.ConfState().GetVoters())
	require.Equal(t, []uint64{1, 9}, left.Removed)
	require.True(t, left.IsRemoved(1))
	refuse(left, errs.MemberNotFound)(Add(Member{ID: 1, PeerURLs: url("1")}))
}
