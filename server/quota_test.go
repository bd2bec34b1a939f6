package server

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
)

const noSpace = "etcdserver: mvcc: database space exceeded"

func put(t *testing.T, conn *grpc.ClientConn, key string, size int) error {
	t.Helper()
	_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte(key), Value: make([]byte, size)})
	return err
}

func alarms(t *testing.T, conn *grpc.ClientConn, r *etcdserverpb.AlarmRequest) []*etcdserverpb.AlarmMember {
	t.Helper()
	res, err := call[etcdserverpb.AlarmResponse](t, conn, "Maintenance/Alarm", r)
	require.NoError(t, err)
	require.NotZero(t, res.Header.GetClusterId())
	require.NotZero(t, res.Header.GetRevision())
	return res.Alarms
}

// raised waits until the member's alarm stands: it is on its way when the first
// write is refused.
func raised(t *testing.T, conn *grpc.ClientConn) []*etcdserverpb.AlarmMember {
	t.Helper()
	var list []*etcdserverpb.AlarmMember
	require.Eventually(t, func() bool {
		list = alarms(t, conn, &etcdserverpb.AlarmRequest{})
		return len(list) == 1
	}, time.Minute, time.Millisecond)
	return list
}

// A full member refuses what grows it, serves what does not, and comes back when
// space was given back and the alarm is disarmed.
func TestQuota(t *testing.T) {
	c := testConfig(t)
	c.QuotaBytes = 1 << 20
	m := start(t, c)
	conn := dial(t, m)
	n := 0
	for ; n < 100; n++ {
		if err := put(t, conn, "k", 64<<10); err != nil {
			require.Equal(t, codes.ResourceExhausted, status.Code(err))
			require.Equal(t, noSpace, status.Convert(err).Message())
			break
		}
	}
	require.Equal(t, 15, n)
	list := raised(t, conn)
	st, err := call[etcdserverpb.StatusResponse](t, conn, "Maintenance/Status", &etcdserverpb.StatusRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprintf("memberID:%d alarm:NOSPACE", st.Header.MemberId)}, st.Errors)
	require.Equal(t, int64(1<<20), st.DbSizeQuota)
	require.Greater(t, st.DbSizeInUse, int64(900<<10))
	require.Equal(t, st.Header.MemberId, list[0].MemberID)

	// It stands after a restart.
	require.NoError(t, m.Close())
	m = start(t, c)
	defer func() { require.NoError(t, m.Close()) }()
	conn = dial(t, m)
	require.Len(t, alarms(t, conn, &etcdserverpb.AlarmRequest{Alarm: etcdserverpb.AlarmType_NOSPACE}), 1)
	require.Empty(t, alarms(t, conn, &etcdserverpb.AlarmRequest{Alarm: etcdserverpb.AlarmType_CORRUPT}))

	require.ErrorContains(t, put(t, conn, "small", 1), noSpace)
	putOp := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte("x")}}}
	delOp := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte("x")}}}
	_, err = call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{delOp}, Failure: []*etcdserverpb.RequestOp{
		{Request: &etcdserverpb.RequestOp_RequestTxn{RequestTxn: &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{putOp}}}},
	}})
	require.ErrorContains(t, err, noSpace, "a put that is not reached counts")
	_, err = call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{delOp}})
	require.NoError(t, err)
	_, err = call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.NoError(t, err)
	_, err = call[etcdserverpb.DeleteRangeResponse](t, conn, "KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte("nothing")})
	require.NoError(t, err)

	// Disarming alone is of no use.
	disarm := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: list[0].MemberID, Alarm: list[0].Alarm}
	require.Len(t, alarms(t, conn, disarm), 1)
	require.Empty(t, alarms(t, conn, disarm), "nothing changed")
	require.ErrorContains(t, put(t, conn, "k", 64<<10), noSpace)
	raised(t, conn)

	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: st.Header.Revision})
	require.NoError(t, err)
	st, err = call[etcdserverpb.StatusResponse](t, conn, "Maintenance/Status", &etcdserverpb.StatusRequest{})
	require.NoError(t, err)
	require.Less(t, st.DbSizeInUse, int64(80<<10), "falls with the compaction, not with the sweep")
	require.ErrorContains(t, put(t, conn, "k", 1), noSpace, "the alarm still stands")
	require.Len(t, alarms(t, conn, disarm), 1)
	require.NoError(t, put(t, conn, "k", 1))
}

func TestANegativeQuotaIsNone(t *testing.T) {
	c := testConfig(t)
	c.QuotaBytes = -1
	require.Zero(t, c.quota())
	c.QuotaBytes = 0
	require.EqualValues(t, 2<<30, c.quota())
}

// An operator may raise any alarm in any member's name; CORRUPT forbids all that
// changes keys.
func TestCorruptAlarm(t *testing.T) {
	m := start(t, testConfig(t))
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	require.NoError(t, put(t, conn, "k", 1))
	for _, r := range []*etcdserverpb.AlarmRequest{
		{Action: 9}, {Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7},
		{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: 9}, {Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: 7, Alarm: 1},
	} {
		require.Empty(t, alarms(t, conn, r), "%v", r)
	}
	raise := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: etcdserverpb.AlarmType_CORRUPT}
	require.Len(t, alarms(t, conn, raise), 1)
	require.Empty(t, alarms(t, conn, raise), "raised already")
	const corrupt = "etcdserver: corrupt cluster"
	err := put(t, conn, "k", 1)
	require.ErrorContains(t, err, corrupt)
	require.Equal(t, codes.DataLoss, status.Code(err))
	_, err = call[etcdserverpb.DeleteRangeResponse](t, conn, "KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte("k")})
	require.ErrorContains(t, err, corrupt)
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: 2})
	require.ErrorContains(t, err, corrupt)
	_, err = call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
		{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte("x")}}}}})
	require.ErrorContains(t, err, corrupt)
	_, err = call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
		{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: &etcdserverpb.RangeRequest{Key: []byte("k")}}}}})
	require.NoError(t, err)
	_, err = call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
	require.NoError(t, err)
	raise.Action = etcdserverpb.AlarmRequest_DEACTIVATE
	require.Len(t, alarms(t, conn, raise), 1)
	require.NoError(t, put(t, conn, "k", 1))
}

func TestAutoCompaction(t *testing.T) {
	c := testConfig(t)
	c.AutoCompactionRetention = "200ms"
	m := start(t, c)
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	require.NoError(t, put(t, conn, "k", 1))
	require.NoError(t, put(t, conn, "k", 1))
	require.Eventually(t, func() bool { return m.state.View().Keys.Compacted == 3 }, time.Minute, 10*time.Millisecond)
	_, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k"), Revision: 2})
	require.ErrorContains(t, err, "etcdserver: mvcc: required revision has been compacted")
}

func TestHashAndDefragment(t *testing.T) {
	m := start(t, testConfig(t))
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	sum := func() uint32 {
		res, err := call[etcdserverpb.HashResponse](t, conn, "Maintenance/Hash", &etcdserverpb.HashRequest{})
		require.NoError(t, err)
		require.NotZero(t, res.Header.GetRaftTerm())
		return res.Hash
	}
	one := sum()
	require.Equal(t, one, sum())
	require.NoError(t, put(t, conn, "k", 1))
	two := sum()
	require.NotEqual(t, one, two)
	res, err := call[etcdserverpb.DefragmentResponse](t, conn, "Maintenance/Defragment", &etcdserverpb.DefragmentRequest{})
	require.NoError(t, err)
	require.Nil(t, res.Header)
	alarms(t, conn, &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: etcdserverpb.AlarmType_NOSPACE})
	require.NotEqual(t, two, sum())
}

// Health tells of alarms, unless it is asked not to; readiness of CORRUPT alone.
func TestHealthOfAlarms(t *testing.T) {
	m := start(t, testConfig(t))
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	ask := func(path string) string {
		res, err := http.Get("http://" + m.ClientAddresses()[0].String() + path)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return fmt.Sprint(res.StatusCode, " ", string(body))
	}
	const fine = `200 {"health":"true","reason":""}`
	require.Equal(t, fine, ask("/health"))
	alarm := func(action etcdserverpb.AlarmRequest_AlarmAction, of etcdserverpb.AlarmType) {
		alarms(t, conn, &etcdserverpb.AlarmRequest{Action: action, MemberID: 7, Alarm: of})
	}
	alarm(etcdserverpb.AlarmRequest_ACTIVATE, etcdserverpb.AlarmType_NOSPACE)
	require.Equal(t, `503 {"health":"false","reason":"ALARM NOSPACE"}`+"\n", ask("/health?serializable=true"))
	require.Equal(t, fine, ask("/health?exclude=NOSPACE"))
	require.Equal(t, "200 ok\n", ask("/readyz"))
	require.Contains(t, ask("/metrics"), `etcd_debugging_server_alarms{alarm_type="NOSPACE",server_id="7"} 1`)
	alarm(etcdserverpb.AlarmRequest_ACTIVATE, etcdserverpb.AlarmType_CORRUPT)
	require.Equal(t, `503 {"health":"false","reason":"ALARM CORRUPT"}`+"\n", ask("/health?exclude=NOSPACE"))
	require.Equal(t, fine, ask("/health?exclude=NOSPACE&exclude=CORRUPT"))
	require.Contains(t, ask("/readyz"), "[-]data_corruption failed: alarm activated: CORRUPT\n")
	require.Equal(t, "200 ok\n", ask("/readyz?exclude=data_corruption"))
	require.Equal(t, "200 ok\n", ask("/livez"))
}
