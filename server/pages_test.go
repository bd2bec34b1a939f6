package server

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
)

// Pages at the first page's revision are that revision's, and so is each one's
// count, whatever comes and goes under the same prefix meanwhile.
func TestPagesOfOneRevisionUnderChurn(t *testing.T) {
	m := start(t, testConfig(t))
	defer func() { require.NoError(t, m.Close()) }()
	conn := dial(t, m)
	const n, page = 20_000, 500
	var writers sync.WaitGroup
	for w := range 50 {
		writers.Go(func() {
			for i := w; i < n; i += 50 {
				_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "p/%08d", 2*i), Value: make([]byte, 100)})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for w := range 4 {
		churn.Go(func() {
			for i := w; ; i = (i + 4) % n {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Appendf(nil, "p/%08d", 2*i+1) // between two that stay
				_, err := call[etcdserverpb.PutResponse](t, conn, "KV/Put", &etcdserverpb.PutRequest{Key: key})
				if err == nil && i%2 == 0 {
					_, err = call[etcdserverpb.DeleteRangeResponse](t, conn, "KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: key})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer churn.Wait()
	defer close(stop)
	for range 3 {
		var seen []string
		var rev, count int64
		for key := "p/"; ; {
			res, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{
				Key: []byte(key), RangeEnd: []byte("p0"), Limit: page, Revision: rev,
			})
			require.NoError(t, err)
			if rev == 0 {
				rev, count = res.Header.Revision, res.Count
			}
			require.Equal(t, count-int64(len(seen)), res.Count)
			for _, kv := range res.Kvs {
				require.LessOrEqual(t, kv.ModRevision, rev)
				seen = append(seen, string(kv.Key))
			}
			if !res.More {
				break
			}
			key = seen[len(seen)-1] + "\x00"
		}
		require.Len(t, seen, int(count))
		require.IsIncreasing(t, seen)
	}
}
