package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
)

func TestOperationsBecomeRequests(t *testing.T) {
	key, end := []byte("k"), []byte("l")
	all := []byte{0}
	for _, tc := range []struct {
		op   Op
		want proto.Message
	}{
		{OpGet("k"), &etcdserverpb.RangeRequest{Key: key}},
		{OpGet("k", WithPrefix()), &etcdserverpb.RangeRequest{Key: key, RangeEnd: end}},
		{OpGet("k\xff", WithPrefix()), &etcdserverpb.RangeRequest{Key: []byte("k\xff"), RangeEnd: end}},
		{OpGet("\xff\xff", WithPrefix()), &etcdserverpb.RangeRequest{Key: []byte("\xff\xff"), RangeEnd: all}},
		{OpGet("", WithPrefix()), &etcdserverpb.RangeRequest{Key: all, RangeEnd: all}},
		{OpGet("", WithFromKey()), &etcdserverpb.RangeRequest{Key: all, RangeEnd: all}},
		{OpGet("k", WithFromKey()), &etcdserverpb.RangeRequest{Key: key, RangeEnd: all}},
		{OpGet("k", WithRange("z")), &etcdserverpb.RangeRequest{Key: key, RangeEnd: []byte("z")}},
		{OpGet("k", WithRev(3), WithLimit(4), WithSerializable(), WithKeysOnly()),
			&etcdserverpb.RangeRequest{Key: key, Revision: 3, Limit: 4, Serializable: true, KeysOnly: true}},
		{OpGet("k", WithCountOnly(), WithMinModRev(1), WithMaxModRev(2), WithMinCreateRev(3), WithMaxCreateRev(4)),
			&etcdserverpb.RangeRequest{Key: key, CountOnly: true, MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: 4}},
		{OpGet("k", WithSort(SortByKey, SortAscend)), &etcdserverpb.RangeRequest{Key: key}},
		{OpGet("k", WithSort(SortByKey, SortDescend)), &etcdserverpb.RangeRequest{Key: key, SortOrder: etcdserverpb.RangeRequest_DESCEND}},
		{OpGet("k", WithSort(SortByValue, SortAscend)),
			&etcdserverpb.RangeRequest{Key: key, SortOrder: etcdserverpb.RangeRequest_ASCEND, SortTarget: etcdserverpb.RangeRequest_VALUE}},
		{OpPut("k", "v"), &etcdserverpb.PutRequest{Key: key, Value: []byte("v")}},
		{OpPut("k", "v", WithLease(9), WithPrevKV()), &etcdserverpb.PutRequest{Key: key, Value: []byte("v"), Lease: 9, PrevKv: true}},
		{OpPut("k", "", WithIgnoreValue(), WithIgnoreLease()), &etcdserverpb.PutRequest{Key: key, IgnoreValue: true, IgnoreLease: true}},
		{OpDelete("k", WithPrefix(), WithPrevKV()), &etcdserverpb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: true}},
		{OpDelete("k", WithRange("z")), &etcdserverpb.DeleteRangeRequest{Key: key, RangeEnd: []byte("z")}},
	} {
		require.NoError(t, tc.op.Err())
		var got proto.Message
		switch tc.op.kind {
		case kindGet:
			got = tc.op.toRange()
		case kindPut:
			got = tc.op.toPut()
		case kindDelete:
			got = tc.op.toDelete()
		}
		require.True(t, proto.Equal(tc.want, got), "want %v, got %v", tc.want, got)
	}
}

func TestComparisonsBecomeMessages(t *testing.T) {
	key := []byte("k")
	for _, tc := range []struct {
		cmp  Cmp
		want *etcdserverpb.Compare
	}{
		{Compare(Value("k"), "=", "v"), &etcdserverpb.Compare{Key: key, Target: etcdserverpb.Compare_VALUE, TargetUnion: &etcdserverpb.Compare_Value{Value: []byte("v")}}},
		{Compare(Value("k"), "!=", []byte("v")), &etcdserverpb.Compare{Key: key, Result: etcdserverpb.Compare_NOT_EQUAL, Target: etcdserverpb.Compare_VALUE, TargetUnion: &etcdserverpb.Compare_Value{Value: []byte("v")}}},
		{Compare(Version("k"), "<", 1), &etcdserverpb.Compare{Key: key, Result: etcdserverpb.Compare_LESS, Target: etcdserverpb.Compare_VERSION, TargetUnion: &etcdserverpb.Compare_Version{Version: 1}}},
		{Compare(CreateRevision("k"), ">", int64(2)), &etcdserverpb.Compare{Key: key, Result: etcdserverpb.Compare_GREATER, Target: etcdserverpb.Compare_CREATE, TargetUnion: &etcdserverpb.Compare_CreateRevision{CreateRevision: 2}}},
		{Compare(ModRevision("k"), "=", 3), &etcdserverpb.Compare{Key: key, Target: etcdserverpb.Compare_MOD, TargetUnion: &etcdserverpb.Compare_ModRevision{ModRevision: 3}}},
		{Compare(LeaseValue("k"), "=", LeaseID(4)), &etcdserverpb.Compare{Key: key, Target: etcdserverpb.Compare_LEASE, TargetUnion: &etcdserverpb.Compare_Lease{Lease: 4}}},
		{Compare(Version("k"), "=", 0).WithPrefix(), &etcdserverpb.Compare{Key: key, RangeEnd: []byte("l"), Target: etcdserverpb.Compare_VERSION, TargetUnion: &etcdserverpb.Compare_Version{}}},
		{Compare(Version("").WithPrefix(), "=", 0), &etcdserverpb.Compare{Key: []byte{0}, RangeEnd: []byte{0}, Target: etcdserverpb.Compare_VERSION, TargetUnion: &etcdserverpb.Compare_Version{}}},
		{Compare(Version("k"), "=", 0).WithRange("z"), &etcdserverpb.Compare{Key: key, RangeEnd: []byte("z"), Target: etcdserverpb.Compare_VERSION, TargetUnion: &etcdserverpb.Compare_Version{}}},
	} {
		require.NoError(t, tc.cmp.check())
		require.True(t, proto.Equal(tc.want, tc.cmp.message), "want %v, got %v", tc.want, tc.cmp.message)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	f := startFake(t, put(1))
	c := connectTo(t, Config{Endpoints: []string{f.address}})
	ctx := within(t, 10*time.Second)
	do := func(op Op) error { _, err := c.Do(ctx, op); return err }
	commit := func(txn *Txn) error { _, err := txn.Commit(ctx); return err }
	list := func(options ...OpOption) error { _, err := c.MemberList(ctx, options...); return err }
	for want, err := range map[string]error{
		"WithLease does not go with a get":          do(OpGet("k", WithLease(1))),
		"WithPrefix does not go with a put":         do(OpPut("k", "v", WithPrefix())),
		"WithRev does not go with a delete":         do(OpDelete("k", WithRev(1))),
		"WithRev does not go with a member list":    list(WithRev(1)),
		"only one of WithPrefix":                    do(OpGet("k", WithPrefix(), WithFromKey())),
		"WithPrevKV does not go with a get":         commit(c.Txn().Then(OpTxn(nil, nil, []Op{OpGet("k", WithPrevKV())}))),
		`operator "~" is none of`:                   commit(c.Txn().If(Compare(Version("k"), "~", 1))),
		"a value cannot be compared with a int":     commit(c.Txn().If(Compare(Value("k"), "=", 1))),
		"a number cannot be compared with a string": commit(c.Txn().If(Compare(Version("k"), "=", "1"))),
		"was not made by Compare":                   commit(c.Txn().If(Version("k"))),
		"If is given twice or too late":             commit(c.Txn().If().If()),
		"Then is given twice or too late":           commit(c.Txn().Else().Then(OpGet("k"))),
		"Else is given twice or too late":           commit(c.Txn().Else().Else()),
	} {
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, f.count(methodPut)+f.count(methodTxn)+f.count(methodRange)+f.count(methodDeleteRange))
}
