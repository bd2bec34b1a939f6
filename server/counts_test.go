package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
)

// What was done is counted once, with its time, wherever it was done.
func TestOperationsAreCounted(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	url, conn := "http://"+m.ClientAddresses()[0].String(), dial(t, m)
	before := scrape(t, url)
	require.Equal(t, 1.0, value(t, before, "etcd_server_leader_changes_seen_total"))
	for _, name := range []string{"etcd_mvcc_put_total", "etcd_mvcc_range_total", "etcd_mvcc_delete_total", "etcd_mvcc_txn_total", "etcd_debugging_mvcc_total_put_size_in_bytes", "etcd_debugging_mvcc_db_compaction_last"} {
		require.Zero(t, value(t, before, name), name)
	}
	require.NotContains(t, before, "etcd_server_request_duration_seconds")

	put := func(key, value string) *etcdserverpb.PutRequest {
		return &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value)}
	}
	get := func(key string) *etcdserverpb.RangeRequest {
		return &etcdserverpb.RangeRequest{Key: []byte(key), RangeEnd: []byte{0}}
	}
	opPut := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put("txn", "12345")}}
	opGet := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: get("a")}}
	txn := func(ops ...*etcdserverpb.RequestOp) {
		_, err := call[etcdserverpb.TxnResponse](t, conn, "KV/Txn", &etcdserverpb.TxnRequest{Success: ops})
		require.NoError(t, err)
	}
	for range 3 {
		_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", put("a", "123"))
		require.NoError(t, err)
	}
	_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Lease: 77})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = call[etcdserverpb.PutResponse](t, conn, "KV/Put", put("large", string(make([]byte, 300<<10))))
	require.NoError(t, err)
	for range 2 { // too large to be answered in place
		_, err = call[etcdserverpb.RangeResponse](t, conn, "KV/Range", get("a"))
		require.NoError(t, err)
	}
	_, err = call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("a")})
	require.NoError(t, err)
	_, err = call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("a"), Revision: 100})
	require.Equal(t, codes.OutOfRange, status.Code(err))
	txn(opPut)
	txn(opPut, opGet, opGet)
	txn(opGet)
	txn(opGet, opGet)
	_, err = call[etcdserverpb.DeleteRangeResponse](t, conn, "KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	require.NoError(t, err)
	_, err = call[etcdserverpb.HashKVResponse](t, conn, "Maintenance/HashKV", &etcdserverpb.HashKVRequest{})
	require.NoError(t, err)
	_, err = call[etcdserverpb.HashResponse](t, conn, "Maintenance/Hash", &etcdserverpb.HashRequest{})
	require.NoError(t, err)
	began := time.Now().Unix()
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: 5, Physical: true})
	require.NoError(t, err)
	_, err = call[etcdserverpb.CompactionResponse](t, conn, "KV/Compact", &etcdserverpb.CompactionRequest{Revision: 5})
	require.Equal(t, codes.OutOfRange, status.Code(err))

	f := scrape(t, url)
	for name, want := range map[string]float64{
		"etcd_mvcc_put_total":                                           6,
		"etcd_debugging_mvcc_total_put_size_in_bytes":                   3*4 + 5 + 300<<10 + 2*8,
		"etcd_mvcc_range_total":                                         4 + 2 + 1 + 2,
		"etcd_mvcc_delete_total":                                        1,
		"etcd_mvcc_txn_total":                                           2,
		"etcd_mvcc_hash_duration_seconds":                               1,
		"etcd_mvcc_hash_rev_duration_seconds":                           1,
		"etcd_debugging_mvcc_db_compaction_keys_total":                  2, // of a's four revisions two were overwritten
		"etcd_debugging_mvcc_db_compaction_total_duration_milliseconds": 1,
	} {
		require.Equal(t, want, value(t, f, name), name)
	}
	requests, applied := "etcd_server_request_duration_seconds", "etcd_server_apply_duration_seconds"
	for kind, want := range map[string]float64{"Put": 5, "DeleteRange": 1, "Txn": 2, "ReadonlyTxn": 2, "Compaction": 2, "Range": 3} {
		require.Equal(t, want, value(t, f, requests, "type", kind, "success", "true"), kind)
	}
	require.Equal(t, 1.0, value(t, f, requests, "type", "Range", "success", "false"))
	require.Equal(t, 3.0, value(t, f, "etcd_server_range_duration_seconds", "success", "true"))
	require.Equal(t, 1.0, value(t, f, "etcd_server_range_duration_seconds", "success", "false"))
	for op, want := range map[string]float64{"Put": 4, "DeleteRange": 1, "Txn": 2, "Compaction": 1, "ClusterMemberAttrSet": 1, "ClusterVersionSet": 1} {
		require.Equal(t, want, value(t, f, applied, "op", op, "success", "true", "version", "v3"), op)
	}
	for _, op := range []string{"Put", "Compaction"} {
		require.Equal(t, 1.0, value(t, f, applied, "op", op, "success", "false", "version", "v3"), op)
	}
	require.GreaterOrEqual(t, value(t, f, "etcd_debugging_mvcc_db_compaction_last"), float64(began))
	require.Positive(t, value(t, f, "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds"))
	require.Greater(t, value(t, f, "etcd_disk_wal_write_bytes_total")-value(t, before, "etcd_disk_wal_write_bytes_total"), 300000.0)
	require.GreaterOrEqual(t, value(t, f, "etcd_disk_wal_write_duration_seconds")-value(t, before, "etcd_disk_wal_write_duration_seconds"), 10.0)
	require.GreaterOrEqual(t, value(t, f, "etcd_disk_backend_commit_duration_seconds")-value(t, before, "etcd_disk_backend_commit_duration_seconds"), 10.0)

	// Buckets as upstream has them.
	require.Len(t, f[requests].Metric[0].Histogram.Bucket, 15)
	require.Equal(t, 0.001, f[requests].Metric[0].Histogram.Bucket[0].GetUpperBound())
	require.Len(t, f[applied].Metric[0].Histogram.Bucket, 21)
	require.Equal(t, 0.0001, f[applied].Metric[0].Histogram.Bucket[0].GetUpperBound())
	require.Equal(t, 0.01, f["etcd_mvcc_hash_duration_seconds"].Metric[0].Histogram.Bucket[0].GetUpperBound())
	require.Equal(t, 1.0, f["etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds"].Metric[0].Histogram.Bucket[0].GetUpperBound())
	require.Positive(t, f[applied].Metric[0].Histogram.GetSampleSum())
}
