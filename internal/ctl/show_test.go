package ctl

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
)

const clusterID, memberID = 0x534a021c215e0774, 0xb5179d13d0285315

const leaseID = 0x5315a200511fc812

func header(revision int64) *client.ResponseHeader {
	return &client.ResponseHeader{ClusterId: clusterID, MemberId: memberID, Revision: revision, RaftTerm: 2}
}

func pair(value string, create, mod, version int64) *client.KeyValue {
	return &client.KeyValue{Key: []byte("kk"), Value: []byte(value), CreateRevision: create, ModRevision: mod, Version: version}
}

// samples are answers, with what etcdctl 3.7.1 prints of them. H stands for the
// header's ids in JSON.
func samples(t *tool) map[string]shown {
	txn := &client.TxnResponse{Header: header(100), Succeeded: true, Responses: []*etcdserverpb.ResponseOp{
		{Response: &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: &client.PutResponse{Header: &client.ResponseHeader{Revision: 100}}}},
		{Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: &client.GetResponse{
			Header: &client.ResponseHeader{Revision: 100}, Kvs: []*client.KeyValue{pair("x", 99, 100, 2)}, Count: 1}}},
		{Response: &etcdserverpb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &client.DeleteResponse{Header: &client.ResponseHeader{Revision: 100}}}},
		{Response: &etcdserverpb.ResponseOp_ResponseTxn{ResponseTxn: &client.TxnResponse{}}},
	}}
	members := []*client.Member{
		{ID: memberID, Name: "n1", PeerURLs: []string{"http://127.0.0.1:24380"}, ClientURLs: []string{"http://127.0.0.1:24379"}},
		{ID: 0xf8c749e269383469, PeerURLs: []string{"http://127.0.0.1:24390"}, IsLearner: true},
	}
	status := &client.StatusResponse{
		Header: header(76), Version: "3.7.1", StorageVersion: "3.7.0", DbSize: 36864, DbSizeInUse: 16384, DbSizeQuota: 2147483648,
		Leader: memberID, RaftIndex: 341, RaftTerm: 2, RaftAppliedIndex: 341, DowngradeInfo: &etcdserverpb.DowngradeInfo{},
	}
	hash := &client.HashKVResponse{Header: header(105), Hash: 3601812491, CompactRevision: 102, HashRevision: 105}
	alarms := &client.AlarmResponse{Header: header(76), Alarms: []*client.AlarmMember{{MemberID: 8439929585417367927, Alarm: client.AlarmNoSpace}}}
	return map[string]shown{
		"put":      t.shownPut(&client.PutResponse{Header: header(76), PrevKv: pair("v1", 75, 75, 1)}),
		"get":      t.shownGet(&client.GetResponse{Header: header(76), Kvs: []*client.KeyValue{pair("v2", 75, 76, 2)}, Count: 1}, false),
		"get more": t.shownGet(&client.GetResponse{Header: header(76), Kvs: []*client.KeyValue{pair("v2", 75, 76, 2)}, More: true, Count: 5}, true),
		"get none": t.shownGet(&client.GetResponse{Header: header(76)}, false),
		"del":      t.shownDelete(&client.DeleteResponse{Header: header(77), Deleted: 1, PrevKvs: []*client.KeyValue{pair("v2", 75, 76, 2)}}),
		"txn":      t.shownTxn(txn, &txnText{}),
		"members":  t.shownMemberList(&client.MemberListResponse{Header: header(0), Members: members}),
		"add":      t.shownMemberAdd("l2", &client.MemberAddResponse{Header: header(0), Member: members[1], Members: members}),
		"leased":   t.shownGet(&client.GetResponse{Kvs: []*client.KeyValue{{Key: []byte("k"), Lease: -31}}}, false),
		"voter":    t.shownMemberAdd("l2", &client.MemberAddResponse{Header: header(0), Member: members[0], Members: members[:1]}),
		"remove":   t.shownMembers(0xc749e269383469, "removed from", header(0), members[:1], &client.MemberRemoveResponse{}),
		"health":   t.shownHealth([]health{{"E", true, "4.578888ms", ""}, {"E2", false, "1.003s", "context deadline exceeded"}}),
		"status":   t.shownStatus([]asked[*client.StatusResponse]{{"E", status, nil}}),
		"hash":     t.shownHash([]asked[*client.HashKVResponse]{{"E", hash, nil}}),
		"alarms":   t.shownAlarms(alarms),
		"disarmed": t.shownAlarms(&client.AlarmResponse{Alarms: alarms.Alarms}),
		"watch": t.shownWatch(&client.WatchResponse{Header: header(36), Events: []*client.Event{
			{Kv: pair("a", 34, 34, 1)},
			{Kv: pair("b", 34, 35, 2), PrevKv: pair("a", 34, 34, 1)},
			{Type: client.EventDelete, Kv: &client.KeyValue{Key: []byte("kk"), ModRevision: 36}},
		}}),
		"canceled": t.shownWatch(&client.WatchResponse{Canceled: true, CancelReason: "why"}),
		"grant":    t.shownLeaseGrant(&client.LeaseGrantResponse{Header: header(95), ID: leaseID, TTL: 500}),
		"revoke":   t.shownLeaseRevoke(leaseID, &client.LeaseRevokeResponse{Header: header(95)}),
		"left":     t.shownTimeToLive(&client.LeaseTimeToLiveResponse{Header: header(95), ID: leaseID, TTL: 499, GrantedTTL: 500, Keys: [][]byte{[]byte("lk1"), []byte("lk2")}}, true),
		"no keys":  t.shownTimeToLive(&client.LeaseTimeToLiveResponse{Header: header(95), ID: leaseID, TTL: 499, GrantedTTL: 500}, false),
		"no lease": t.shownTimeToLive(&client.LeaseTimeToLiveResponse{Header: header(95), ID: 0x1234, TTL: -1}, true),
		"kept":     t.shownKeepAlive(&client.LeaseKeepAliveResponse{Header: header(95), ID: leaseID, TTL: 500}),
		"leases":   t.shownLeases(&client.LeaseLeasesResponse{Header: header(95), Leases: []*etcdserverpb.LeaseStatus{{ID: leaseID}, {ID: 1}}}),
	}
}

const ids = `"cluster_id":6001611773266757492,"member_id":13049071153751544597`

const idFields = `"ClusterID" : 6001611773266757492
"MemberID" : 13049071153751544597
`

const leaseFields = idFields + "\"Revision\" : 95\n\"RaftTerm\" : 2\n"

func TestOutput(t *testing.T) {
	for _, tc := range []struct {
		sample, format string
		hex            bool
		want           string
	}{
		{"put", "simple", false, "OK\nkk\nv1\n"},
		{"put", "simple", true, "OK\n\\x6b\\x6b\n\\x76\\x31\n"},
		{"put", "json", false, `{"header":{` + ids + `,"revision":76,"raft_term":2},"prev_kv":{"key":"a2s=","create_revision":75,"mod_revision":75,"version":1,"value":"djE="}}` + "\n"},
		{"put", "fields", false, idFields + `"Revision" : 76
"RaftTerm" : 2
"PrevKey" : "kk"
"PrevCreateRevision" : 75
"PrevModRevision" : 75
"PrevVersion" : 1
"PrevValue" : "v1"
"PrevLease" : 0
`},
		{"get", "simple", false, "kk\nv2\n"},
		{"get", "json", false, `{"header":{` + ids + `,"revision":76,"raft_term":2},"kvs":[{"key":"a2s=","create_revision":75,"mod_revision":76,"version":2,"value":"djI="}],"count":1}` + "\n"},
		{"get", "json", true, `{"header":{` + ids + `,"revision":76,"raft_term":2},"kvs":[{"key":"a2s=","create_revision":75,"mod_revision":76,"version":2,"value":"djI="}],"count":1}` + "\n"},
		{"get", "fields", false, idFields + `"Revision" : 76
"RaftTerm" : 2
"Key" : "kk"
"CreateRevision" : 75
"ModRevision" : 76
"Version" : 2
"Value" : "v2"
"Lease" : 0
"More" : false
"Count" : 1
`},
		{"get more", "simple", false, "v2\n"},
		{"get more", "json", false, `{"header":{` + ids + `,"revision":76,"raft_term":2},"kvs":[{"key":"a2s=","create_revision":75,"mod_revision":76,"version":2,"value":"djI="}],"more":true,"count":5}` + "\n"},
		{"get none", "simple", false, ""},
		{"get none", "json", false, `{"header":{` + ids + `,"revision":76,"raft_term":2}}` + "\n"},
		{"del", "simple", false, "1\nkk\nv2\n"},
		{"del", "json", false, `{"header":{` + ids + `,"revision":77,"raft_term":2},"deleted":1,"prev_kvs":[{"key":"a2s=","create_revision":75,"mod_revision":76,"version":2,"value":"djI="}]}` + "\n"},
		{"txn", "simple", false, "SUCCESS\n\nOK\n\nkk\nx\n\n0\n\n"},
		{"txn", "json", false, `{"header":{` + ids + `,"revision":100,"raft_term":2},"succeeded":true,"responses":[` +
			`{"Response":{"response_put":{"header":{"revision":100}}}},` +
			`{"Response":{"response_range":{"header":{"revision":100},"kvs":[{"key":"a2s=","create_revision":99,"mod_revision":100,"version":2,"value":"eA=="}],"count":1}}},` +
			`{"Response":{"response_delete_range":{"header":{"revision":100}}}},` +
			`{"Response":{"response_txn":{}}}]}` + "\n"},
		{"txn", "fields", false, idFields + `"Revision" : 100
"RaftTerm" : 2
"Succeeded" : true
"ClusterID" : 0
"MemberID" : 0
"Revision" : 100
"RaftTerm" : 0
"ClusterID" : 0
"MemberID" : 0
"Revision" : 100
"RaftTerm" : 0
"Key" : "kk"
"CreateRevision" : 99
"ModRevision" : 100
"Version" : 2
"Value" : "x"
"Lease" : 0
"More" : false
"Count" : 1
"ClusterID" : 0
"MemberID" : 0
"Revision" : 100
"RaftTerm" : 0
"Deleted" : 0
`},
		{"members", "simple", false, `b5179d13d0285315, started, n1, http://127.0.0.1:24380, http://127.0.0.1:24379, false
f8c749e269383469, unstarted, , http://127.0.0.1:24390, , true
`},
		{"members", "json", false, `{"header":{` + ids + `,"raft_term":2},"members":[{"ID":13049071153751544597,"name":"n1","peerURLs":["http://127.0.0.1:24380"],"clientURLs":["http://127.0.0.1:24379"]},{"ID":17926378078548276329,"peerURLs":["http://127.0.0.1:24390"],"isLearner":true}]}` + "\n"},
		{"members", "json", true, `{"header":{"cluster_id":"534a021c215e0774","member_id":"b5179d13d0285315","raft_term":2},"members":[{"ID":"b5179d13d0285315","name":"n1","peerURLs":["http://127.0.0.1:24380"],"clientURLs":["http://127.0.0.1:24379"]},{"ID":"f8c749e269383469","peerURLs":["http://127.0.0.1:24390"],"isLearner":true}]}` + "\n"},
		{"members", "fields", false, idFields + `"RaftTerm" : 2
"ID" : 13049071153751544597
"Name" : "n1"
"PeerURL" : "http://127.0.0.1:24380"
"ClientURL" : "http://127.0.0.1:24379"
"IsLearner" : false

"ID" : 17926378078548276329
"Name" : ""
"PeerURL" : "http://127.0.0.1:24390"
"IsLearner" : true

`},
		{"members", "table", false, `┌──────────────────┬───────────┬──────┬────────────────────────┬────────────────────────┬────────────┐
│        ID        │  STATUS   │ NAME │       PEER ADDRS       │      CLIENT ADDRS      │ IS LEARNER │
├──────────────────┼───────────┼──────┼────────────────────────┼────────────────────────┼────────────┤
│ b5179d13d0285315 │   started │   n1 │ http://127.0.0.1:24380 │ http://127.0.0.1:24379 │      false │
│ f8c749e269383469 │ unstarted │      │ http://127.0.0.1:24390 │                        │       true │
└──────────────────┴───────────┴──────┴────────────────────────┴────────────────────────┴────────────┘
`},
		{"add", "simple", false, `Member f8c749e269383469 added as learner to cluster 534a021c215e0774

ETCD_NAME="l2"
ETCD_INITIAL_CLUSTER="n1=http://127.0.0.1:24380,l2=http://127.0.0.1:24390"
ETCD_INITIAL_ADVERTISE_PEER_URLS="http://127.0.0.1:24390"
ETCD_INITIAL_CLUSTER_STATE="existing"
`},
		{"add", "json", false, `{"header":{` + ids + `,"raft_term":2},"member":{"ID":17926378078548276329,"peerURLs":["http://127.0.0.1:24390"],"isLearner":true},"members":[{"ID":13049071153751544597,"name":"n1","peerURLs":["http://127.0.0.1:24380"],"clientURLs":["http://127.0.0.1:24379"]},{"ID":17926378078548276329,"peerURLs":["http://127.0.0.1:24390"],"isLearner":true}]}` + "\n"},
		{"voter", "simple", false, `Member b5179d13d0285315 added to cluster 534a021c215e0774

ETCD_NAME="l2"
ETCD_INITIAL_CLUSTER="l2=http://127.0.0.1:24380"
ETCD_INITIAL_ADVERTISE_PEER_URLS="http://127.0.0.1:24380"
ETCD_INITIAL_CLUSTER_STATE="existing"
`},
		{"leased", "fields", false, `"Key" : "k"
"CreateRevision" : 0
"ModRevision" : 0
"Version" : 0
"Value" : ""
"Lease" : -31
"More" : false
"Count" : 0
`},
		{"leased", "fields", true, `"Key" : "k"
"CreateRevision" : 0
"ModRevision" : 0
"Version" : 0
"Value" : ""
"Lease" : -1f
"More" : false
"Count" : 0
`},
		{"remove", "simple", false, "Member   c749e269383469 removed from cluster 534a021c215e0774\n"},
		{"health", "json", false, `[{"endpoint":"E","health":true,"took":"4.578888ms"},{"endpoint":"E2","health":false,"took":"1.003s","error":"context deadline exceeded"}]` + "\n"},
		{"health", "fields", false, `"Endpoint" : "E"
"Health" : true
"Took" : 4.578888ms
"Error" : 

"Endpoint" : "E2"
"Health" : false
"Took" : 1.003s
"Error" : context deadline exceeded

`},
		{"health", "table", false, `┌──────────┬────────┬────────────┬───────────────────────────┐
│ ENDPOINT │ HEALTH │    TOOK    │           ERROR           │
├──────────┼────────┼────────────┼───────────────────────────┤
│        E │   true │ 4.578888ms │                           │
│       E2 │  false │     1.003s │ context deadline exceeded │
└──────────┴────────┴────────────┴───────────────────────────┘
`},
		{"status", "simple", false, "E, b5179d13d0285315, 3.7.1, 3.7.0, 37 kB, 16 kB, 56%, 2.1 GB, true, false, 2, 341, 341, , , false\n"},
		{"status", "json", false, `[{"Endpoint":"E","Status":{"header":{` + ids + `,"revision":76,"raft_term":2},"version":"3.7.1","dbSize":36864,"leader":13049071153751544597,"raftIndex":341,"raftTerm":2,"raftAppliedIndex":341,"dbSizeInUse":16384,"storageVersion":"3.7.0","dbSizeQuota":2147483648,"downgradeInfo":{}}}]` + "\n"},
		{"status", "fields", false, idFields + `"Revision" : 76
"RaftTerm" : 2
"Version" : "3.7.1"
"StorageVersion" : "3.7.0"
"DBSize" : 36864
"DBSizeInUse" : 16384
"DBSizeQuota" : 2147483648
"Leader" : 13049071153751544597
"IsLearner" : false
"RaftIndex" : 341
"RaftTerm" : 2
"RaftAppliedIndex" : 341
"Errors" : []
"Endpoint" : "E"
"DowngradeTargetVersion" : ""
"DowngradeEnabled" : false

`},
		{"hash", "simple", false, "E, 3601812491, 105\n"},
		{"hash", "json", false, `[{"Endpoint":"E","HashKV":{"header":{` + ids + `,"revision":105,"raft_term":2},"hash":3601812491,"compact_revision":102,"hash_revision":105}}]` + "\n"},
		{"hash", "fields", true, `"ClusterID" : 534a021c215e0774
"MemberID" : b5179d13d0285315
"Revision" : 105
"RaftTerm" : 2
"Endpoint" : "E"
"Hash" : 3601812491
"HashRevision" : 105

`},
		{"hash", "table", false, `┌──────────┬────────────┬───────────────┐
│ ENDPOINT │    HASH    │ HASH REVISION │
├──────────┼────────────┼───────────────┤
│        E │ 3601812491 │           105 │
└──────────┴────────────┴───────────────┘
`},
		{"alarms", "simple", false, "memberID:8439929585417367927 alarm:NOSPACE\n"},
		{"alarms", "json", false, `{"header":{` + ids + `,"revision":76,"raft_term":2},"alarms":[{"memberID":8439929585417367927,"alarm":1}]}` + "\n"},
		{"alarms", "fields", false, idFields + `"Revision" : 76
"RaftTerm" : 2
"MemberID" : 8439929585417367927
"AlarmType" : NOSPACE

`},
		{"disarmed", "json", false, `{"alarms":[{"memberID":8439929585417367927,"alarm":1}]}` + "\n"},
		{"disarmed", "fields", false, "\"MemberID\" : 8439929585417367927\n\"AlarmType\" : NOSPACE\n\n"},
		{"watch", "simple", false, "PUT\nkk\na\nPUT\nkk\na\nkk\nb\nDELETE\nkk\n\n"},
		{"watch", "simple", true, `PUT
\x6b\x6b
\x61
PUT
\x6b\x6b
\x61
\x6b\x6b
\x62
DELETE
\x6b\x6b

`},
		{"watch", "json", false, `{"Header":{` + ids + `,"revision":36,"raft_term":2},"Events":[{"kv":{"key":"a2s=","create_revision":34,"mod_revision":34,"version":1,"value":"YQ=="}},` +
			`{"kv":{"key":"a2s=","create_revision":34,"mod_revision":35,"version":2,"value":"Yg=="},"prev_kv":{"key":"a2s=","create_revision":34,"mod_revision":34,"version":1,"value":"YQ=="}},` +
			`{"type":1,"kv":{"key":"a2s=","mod_revision":36}}],"CompactRevision":0,"Canceled":false,"Created":false,"CancelReason":""}` + "\n"},
		{"watch", "fields", false, idFields + `"Revision" : 36
"RaftTerm" : 2
"Type" : PUT
"Key" : "kk"
"CreateRevision" : 34
"ModRevision" : 34
"Version" : 1
"Value" : "a"
"Lease" : 0
"Type" : PUT
"PrevKey" : "kk"
"PrevCreateRevision" : 34
"PrevModRevision" : 34
"PrevVersion" : 1
"PrevValue" : "a"
"PrevLease" : 0
"Key" : "kk"
"CreateRevision" : 34
"ModRevision" : 35
"Version" : 2
"Value" : "b"
"Lease" : 0
"Type" : DELETE
"Key" : "kk"
"CreateRevision" : 0
"ModRevision" : 36
"Version" : 0
"Value" : ""
"Lease" : 0
`},
		{"canceled", "simple", false, ""},
		{"canceled", "fields", false, ""},
		{"canceled", "json", false, `{"Header":{},"Events":[],"CompactRevision":0,"Canceled":true,"Created":false,"CancelReason":"why"}` + "\n"},
		{"grant", "simple", false, "lease 5315a200511fc812 granted with TTL(500s)\n"},
		{"grant", "json", false, `{` + ids + `,"revision":95,"raft_term":2,"ID":5986869401903679506,"TTL":500,"Error":""}` + "\n"},
		{"grant", "fields", false, leaseFields + "\"ID\" : 5986869401903679506\n\"TTL\" : 500\n"},
		{"grant", "fields", true, `"ClusterID" : 534a021c215e0774
"MemberID" : b5179d13d0285315
"Revision" : 95
"RaftTerm" : 2
"ID" : 5315a200511fc812
"TTL" : 500
`},
		{"revoke", "simple", false, "lease 5315a200511fc812 revoked\n"},
		{"revoke", "json", false, `{"header":{` + ids + `,"revision":95,"raft_term":2}}` + "\n"},
		{"revoke", "fields", false, leaseFields},
		{"left", "simple", false, "lease 5315a200511fc812 granted with TTL(500s), remaining(499s), attached keys([lk1 lk2])\n"},
		{"left", "json", false, `{` + ids + `,"revision":95,"raft_term":2,"id":5986869401903679506,"ttl":499,"granted-ttl":500,"keys":["bGsx","bGsy"]}` + "\n"},
		{"left", "fields", false, leaseFields + "\"ID\" : 5986869401903679506\n\"TTL\" : 499\n\"GrantedTTL\" : 500\n\"Key\" : \"lk1\"\n\"Key\" : \"lk2\"\n"},
		{"no keys", "simple", false, "lease 5315a200511fc812 granted with TTL(500s), remaining(499s)\n"},
		{"no lease", "simple", false, "lease 0000000000001234 already expired\n"},
		{"no lease", "json", false, `{` + ids + `,"revision":95,"raft_term":2,"id":4660,"ttl":-1,"granted-ttl":0,"keys":null}` + "\n"},
		{"kept", "simple", false, "lease 5315a200511fc812 keepalived with TTL(500)\n"},
		{"kept", "json", false, `{` + ids + `,"revision":95,"raft_term":2,"ID":5986869401903679506,"TTL":500}` + "\n"},
		{"kept", "fields", false, leaseFields + "\"ID\" : 5986869401903679506\n\"TTL\" : 500\n"},
		{"leases", "simple", false, "found 2 leases\n5315a200511fc812\n0000000000000001\n"},
		{"leases", "json", false, `{` + ids + `,"revision":95,"raft_term":2,"leases":[{"id":5986869401903679506},{"id":1}]}` + "\n"},
		{"leases", "fields", false, leaseFields + "\"ID\" : 5986869401903679506\n\"ID\" : 1\n"},
	} {
		t.Run(tc.sample+" "+tc.format, func(t *testing.T) {
			var out bytes.Buffer
			run := &tool{stdout: &out, global: globalFlags{format: tc.format, hex: tc.hex}}
			require.NoError(t, run.show(samples(run)[tc.sample]))
			require.Equal(t, tc.want, out.String())
		})
	}
}

func TestFormatsThatThereAreNot(t *testing.T) {
	for sample, missing := range map[string][]string{
		"get": {"table"}, "put": {"table"}, "del": {"table"}, "txn": {"table"},
		"members": nil, "add": {"fields", "table"}, "remove": {"fields", "table"},
		"health": {"protobuf"}, "status": {"protobuf"}, "hash": {"protobuf"}, "alarms": {"table"},
		"watch": {"table"}, "grant": {"table"}, "revoke": {"table"}, "left": {"table"}, "kept": {"table"}, "leases": {"table"},
	} {
		for _, format := range formats {
			run := &tool{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, global: globalFlags{format: format}}
			err := run.show(samples(run)[sample])
			if slices.Contains(missing, format) {
				require.EqualError(t, err, format+" not supported as output format", sample)
				require.Equal(t, exitFormat, err.(*failure).status)
			} else {
				require.NoError(t, err, "%s %s", sample, format)
			}
		}
	}
}

func TestProtobufIsTheMessage(t *testing.T) {
	var out bytes.Buffer
	run := &tool{stdout: &out, global: globalFlags{format: "protobuf"}}
	want := &client.GetResponse{Header: header(76), Kvs: []*client.KeyValue{pair("v2", 75, 76, 2)}, Count: 1}
	require.NoError(t, run.show(run.shownGet(want, false)))
	got := &client.GetResponse{}
	require.NoError(t, proto.Unmarshal(out.Bytes(), got))
	require.True(t, proto.Equal(want, got))
}

// Of an answer about a lease it is the header, and no more.
func TestProtobufOfALeaseIsTheHeader(t *testing.T) {
	for _, sample := range []string{"grant", "revoke", "left", "kept", "leases"} {
		var out bytes.Buffer
		run := &tool{stdout: &out, global: globalFlags{format: "protobuf"}}
		require.NoError(t, run.show(samples(run)[sample]))
		got := &client.ResponseHeader{}
		require.NoError(t, proto.Unmarshal(out.Bytes(), got))
		require.True(t, proto.Equal(header(95), got), sample)
	}
}

func TestUnhealthyEndpointsAreSaidOnStderr(t *testing.T) {
	var out, bad bytes.Buffer
	run := &tool{stdout: &out, stderr: &bad, global: globalFlags{format: "simple"}}
	require.NoError(t, run.show(samples(run)["health"]))
	require.Equal(t, "E is healthy: successfully committed proposal: took = 4.578888ms\n", out.String())
	require.Equal(t, "E2 is unhealthy: failed to commit proposal: context deadline exceeded\n", bad.String())
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 9: "9 B", 10: "10 B", 999: "999 B", 1000: "1.0 kB", 1049: "1.0 kB", 1050: "1.1 kB", 9999: "10 kB", 16384: "16 kB", 20480: "20 kB",
		36864: "37 kB", 1048576: "1.0 MB", 2147483648: "2.1 GB", 8589934592: "8.6 GB", 1 << 62: "4.6 EB",
	} {
		require.Equal(t, want, size(n))
	}
}
