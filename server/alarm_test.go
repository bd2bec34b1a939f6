package server

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// A member that is not full raises no alarm because another's stands.
func TestAnAlarmIsNotCatching(t *testing.T) {
	m := start(t, testConfig(t))
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	raise := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: etcdserverpb.AlarmType_NOSPACE}
	require.Len(t, alarms(t, conn, raise), 1)
	require.ErrorContains(t, put(t, conn, "k", 1), noSpace)
	throughTheLog(t, conn)
	require.Len(t, alarms(t, conn, &etcdserverpb.AlarmRequest{}), 1)
	raise.Action = etcdserverpb.AlarmRequest_DEACTIVATE
	require.Len(t, alarms(t, conn, raise), 1)
	require.NoError(t, put(t, conn, "k", 1))
}

// An alarm that is disarmed under load, when there is room again, stays so.
func TestADisarmedAlarmStaysDisarmed(t *testing.T) {
	m := start(t, testConfig(t))
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	self := m.state.Data.Identity.MemberID
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var refused atomic.Int64
	for w := range 50 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if put(t, conn, fmt.Sprint("k", w), 1) != nil {
					refused.Add(1)
				}
			}
		})
	}
	defer writers.Wait()
	defer close(stop)
	again := 0
	for range 20 {
		for _, action := range []etcdserverpb.AlarmRequest_AlarmAction{etcdserverpb.AlarmRequest_ACTIVATE, etcdserverpb.AlarmRequest_DEACTIVATE} {
			alarms(t, conn, &etcdserverpb.AlarmRequest{Action: action, MemberID: self, Alarm: etcdserverpb.AlarmType_NOSPACE})
			throughTheLog(t, conn)
		}
		if len(alarms(t, conn, &etcdserverpb.AlarmRequest{})) > 0 {
			again++
		}
	}
	t.Logf("%d refused", refused.Load())
	require.Zero(t, again, "times of 20 that the alarm came back although the member is not full")
}

// throughTheLog returns when everything that was proposed before is applied: an
// alarm that a refused put raises is proposed before the put is answered.
func throughTheLog(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	none := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: 99, Alarm: etcdserverpb.AlarmType_CORRUPT}
	require.Empty(t, alarms(t, conn, none))
}
