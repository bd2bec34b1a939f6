package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/leasepb"
)

// The pages about leases. Only the leader knows how much of one is left.
const (
	pathLeases         = "/leases"
	pathLeasesInternal = "/leases/internal"
)

// leaseMessage is what the pages about leases are asked and answer.
type leaseMessage interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

const contentTypeProto = "application/protobuf"

// leaseTexts are the errors that have an answer of their own.
var leaseTexts = []struct {
	err    *errs.Error
	status int
	text   string
}{
	{errs.LeaseNotFound, http.StatusNotFound, "lease not found"},
	{errs.TimeoutWaitAppliedIndex, http.StatusRequestTimeout, "waiting for node to catch up its applied index has timed out"},
}

func (m Management) serveRenew(w http.ResponseWriter, r *http.Request) {
	var ask etcdserverpb.LeaseKeepAliveRequest
	if !m.askedOfLease(w, r, &ask) {
		return
	}
	ttl, err := m.RenewLease(r.Context(), ask.ID)
	answerOfLease(w, &etcdserverpb.LeaseKeepAliveResponse{ID: ask.ID, TTL: ttl}, err)
}

func (m Management) serveTimeToLive(w http.ResponseWriter, r *http.Request) {
	var ask leasepb.LeaseInternalRequest
	if !m.askedOfLease(w, r, &ask) {
		return
	}
	res, err := m.LeaseTimeToLive(r.Context(), ask.LeaseTimeToLiveRequest.GetID(), ask.LeaseTimeToLiveRequest.GetKeys())
	if err == nil {
		res.Header = &etcdserverpb.ResponseHeader{} // for whoever has asked to fill in
	}
	answerOfLease(w, &leasepb.LeaseInternalResponse{LeaseTimeToLiveResponse: res}, err)
}

// askedOfLease reads a request, and refuses it where it cannot be read.
func (m Management) askedOfLease(w http.ResponseWriter, r *http.Request, ask leaseMessage) bool {
	if !allow(w, r, http.MethodPost) {
		return false
	}
	b, err := readBody(r.Body, maxAsk)
	switch {
	case errors.Is(err, errTooLong):
		refuse(w, http.StatusRequestEntityTooLarge, "request body too large")
	case err != nil:
		refuse(w, http.StatusBadRequest, "error reading body")
	case ask.UnmarshalVT(b) != nil:
		refuse(w, http.StatusBadRequest, "error unmarshalling request")
	default:
		return true
	}
	return false
}

func answerOfLease(w http.ResponseWriter, res leaseMessage, err error) {
	for _, known := range leaseTexts {
		if errors.Is(err, known.err) {
			refuse(w, known.status, known.text)
			return
		}
	}
	var b []byte
	if err == nil {
		b, err = res.MarshalVT()
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", contentTypeProto)
	_, _ = w.Write(b)
}

// RenewLease asks the leader to give a lease all of its time again, and returns how
// many seconds that is. It fails with errs.LeaseNotFound or
// TimeoutWaitAppliedIndex; all else may be tried again, at whoever leads then.
func (c *Client) RenewLease(ctx context.Context, url string, id int64) (ttl int64, err error) {
	var res etcdserverpb.LeaseKeepAliveResponse
	err = c.askOfLease(ctx, url, pathLeases, &etcdserverpb.LeaseKeepAliveRequest{ID: id}, &res)
	return res.TTL, err
}

// LeaseTimeToLive asks the leader what is left of a lease. Errors are those of
// RenewLease. The header is empty.
func (c *Client) LeaseTimeToLive(ctx context.Context, url string, id int64, keys bool) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
	var res leasepb.LeaseInternalResponse
	err := c.askOfLease(ctx, url, pathLeasesInternal,
		&leasepb.LeaseInternalRequest{LeaseTimeToLiveRequest: &etcdserverpb.LeaseTimeToLiveRequest{ID: id, Keys: keys}}, &res)
	if err == nil && res.LeaseTimeToLiveResponse == nil {
		err = fmt.Errorf("peer: %s answered nothing", pathLeasesInternal)
	}
	return res.LeaseTimeToLiveResponse, err
}

func (c *Client) askOfLease(ctx context.Context, url, path string, ask, res leaseMessage) error {
	body, err := ask.MarshalVT()
	if err != nil {
		return err
	}
	a, err := c.askBounded(ctx, http.MethodPost, url, path, http.Header{"Content-Type": {contentTypeProto}}, body, maxLeaseAnswer)
	if err != nil {
		return err
	}
	for _, known := range leaseTexts {
		if a.status == known.status {
			return known.err
		}
	}
	if a.status != http.StatusOK {
		return a.failure(path)
	}
	if err := res.UnmarshalVT(a.body); err != nil {
		return fmt.Errorf("peer: the answer of %s: %w", path, err)
	}
	return nil
}

// maxLeaseAnswer is the longest answer about a lease that is read: there may be
// many keys on it.
const maxLeaseAnswer = 256 << 20
