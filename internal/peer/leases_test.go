package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// lessor is a leader with the lease 4242, on which there is no key.
func lessor() Management {
	return Management{
		ClusterID: recorded,
		RenewLease: func(_ context.Context, id int64) (int64, error) {
			if id != 4242 {
				return 0, errs.LeaseNotFound
			}
			return 3600, nil
		},
		LeaseTimeToLive: func(_ context.Context, id int64, keys bool) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
			switch {
			case id == 1:
				return nil, errs.TimeoutWaitAppliedIndex
			case id != 4242:
				return nil, errs.NotPrimaryLessor
			case !keys:
				return nil, errors.New("keys are wanted")
			}
			return &etcdserverpb.LeaseTimeToLiveResponse{ID: id, TTL: 3599, GrantedTTL: 3600}, nil
		},
	}
}

// What upstream's follower asked, and was answered, byte for byte.
func TestRecordedLeases(t *testing.T) {
	url, _ := manage(t, lessor())
	require.Equal(t, lasting(file(t, "leases.resp")), lasting(exchange(t, url, file(t, "leases.req"))))
}

func TestLeasesAtTheLeader(t *testing.T) {
	url, c := manage(t, lessor())
	ttl, err := c.RenewLease(t.Context(), url, 4242)
	require.NoError(t, err)
	require.EqualValues(t, 3600, ttl)
	_, err = c.RenewLease(t.Context(), url, 999)
	require.Equal(t, error(errs.LeaseNotFound), err)
	res, err := c.LeaseTimeToLive(t.Context(), url, 4242, true)
	require.NoError(t, err)
	require.EqualValues(t, 3599, res.TTL)
	require.EqualValues(t, 3600, res.GrantedTTL)
	_, err = c.LeaseTimeToLive(t.Context(), url, 1, false)
	require.Equal(t, error(errs.TimeoutWaitAppliedIndex), err)
	_, err = c.LeaseTimeToLive(t.Context(), url, 2, false)
	require.ErrorContains(t, err, "400: not a primary lessor")
	_, err = c.RenewLease(t.Context(), "http://127.0.0.1:1", 1)
	require.Error(t, err)
}

func TestLeaseRefusals(t *testing.T) {
	url, _ := manage(t, lessor())
	for _, path := range []string{"/leases", "/leases/internal"} {
		for _, c := range []struct {
			method, body string
			status       int
			answer       string
		}{
			{"GET", "", 405, "Method Not Allowed\n"},
			{"POST", "\xff", 400, "error unmarshalling request\n"},
			{"POST", strings.Repeat(" ", maxAsk+1), 413, "request body too large\n"},
		} {
			req, err := http.NewRequest(c.method, url+path, bytes.NewReader([]byte(c.body)))
			require.NoError(t, err)
			resp, err := http.DefaultTransport.RoundTrip(req)
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, c.status, resp.StatusCode)
			require.Equal(t, c.answer, string(b))
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
