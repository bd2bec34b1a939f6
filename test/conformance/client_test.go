package conformance

import (
	"crypto/sha256"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/conformance/member"
)

// TestOurClientAgainstDebiansEtcd has our client do what our member does not
// serve yet.
func TestOurClientAgainstDebiansEtcd(t *testing.T) {
	kind, err := member.Peer()
	require.NoError(t, err, "Debian's package etcd-server")
	m, err := member.Start(kind)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	c, err := client.New(within(t), client.Config{Endpoints: []string{m.Address()}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })

	value := strings.Repeat("x", 100_000)
	_, err = c.Put(within(t), "k", value)
	require.NoError(t, err)

	snapshot, err := c.Snapshot(within(t))
	require.NoError(t, err)
	defer snapshot.Close()
	file, err := io.ReadAll(snapshot)
	require.NoError(t, err)
	data, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	want := sha256.Sum256(data)
	require.Equal(t, want[:], sum)
	require.Contains(t, string(data), value)

	_, err = c.Defragment(within(t), m.URL())
	require.NoError(t, err)
	alarms, err := c.AlarmList(within(t))
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	gone, err := c.AlarmDisarm(within(t), &client.AlarmMember{MemberID: 1, Alarm: client.AlarmNoSpace})
	require.NoError(t, err)
	require.Empty(t, gone.Alarms)

	added, err := c.MemberAddAsLearner(within(t), []string{"http://127.0.0.1:1"})
	require.NoError(t, err)
	require.True(t, added.Member.IsLearner)
	_, err = c.MemberPromote(within(t), added.Member.ID)
	require.ErrorIs(t, err, errs.LearnerNotReady)
	updated, err := c.MemberUpdate(within(t), added.Member.ID, []string{"http://127.0.0.1:2"})
	require.NoError(t, err)
	require.Len(t, updated.Members, 2)
	_, err = c.MemberRemove(within(t), added.Member.ID)
	require.NoError(t, err)
	_, err = c.MemberRemove(within(t), added.Member.ID)
	require.ErrorIs(t, err, errs.MemberNotFound)
	_, err = c.MemberAdd(within(t), []string{"nonsense"})
	require.ErrorIs(t, err, errs.MemberBadURLs)
	_, err = c.MoveLeader(within(t), 12345)
	require.ErrorIs(t, err, errs.BadLeaderTransferee)

	for _, err := range c.GetStream(within(t), "k") {
		require.Equal(t, codes.Unimplemented, status.Code(err), "3.4 has no RangeStream")
	}
}
