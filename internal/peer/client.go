package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"etcd.alt/api/errs"
)

// ClientConfig is what a Client needs to know.
type ClientConfig struct {
	// TLS makes what the next dial of an https URL uses, and owns; nil means the
	// system's certificate authorities. A ServerName in it holds for all members.
	TLS         func() *tls.Config
	DialTimeout time.Duration // to connect; 2 s when 0
	// ClusterID is the cluster that answers must come from; 0 takes any.
	ClusterID uint64
}

// Client asks members what Management answers; they may be upstream's. Each
// call goes to the one URL it is given, and takes as long as its context lets
// it. Any number of goroutines may use it. A member that answers for another
// cluster is refused with errs.ClusterIDMismatch.
type Client struct {
	http    *http.Client
	cluster uint64
}

// NewClient returns a Client. It connects when it is asked something.
func NewClient(cfg ClientConfig) *Client {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 2 * time.Second
	}
	return &Client{http: dialer{tls: cfg.TLS, timeout: cfg.DialTimeout}.client(0, usual.post), cluster: cfg.ClusterID}
}

// Close ends connections that wait for another question.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// maxAnswer is the longest answer that is read.
const maxAnswer = 4 << 20

// answer is what came back.
type answer struct {
	status  int
	cluster uint64 // 0 when it is not named
	body    []byte
}

// text is the answer's body as an error has it.
func (a *answer) text() string { return strings.TrimSpace(string(a.body)) }

// Members lists the cluster as the member knows it, and the cluster's ID.
func (c *Client) Members(ctx context.Context, url string) ([]Member, uint64, error) {
	a, err := c.ask(ctx, http.MethodGet, url, "/members", nil, nil)
	if err != nil {
		return nil, 0, err
	}
	var members []Member
	if err := a.decode("/members", &members); err != nil {
		return nil, 0, err
	}
	return members, a.cluster, nil
}

// ServerVersion returns the versions of the member.
func (c *Client) ServerVersion(ctx context.Context, url string) (Versions, error) {
	a, err := c.ask(ctx, http.MethodGet, url, "/version", nil, nil)
	if err != nil {
		return Versions{}, err
	}
	var v Versions
	err = a.decode("/version", &v)
	return v, err
}

// Promote asks the leader to make a learner a voter, with the rights of the
// token, and returns the cluster as it is then. It fails with
// errs.MemberNotFound, MemberNotLearner, LearnerNotReady or Timeout.
func (c *Client) Promote(ctx context.Context, url string, id uint64, token string) ([]Member, error) {
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", token)
	}
	a, err := c.ask(ctx, http.MethodPost, url, "/members/promote/"+strconv.FormatUint(id, 10), h, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusRequestTimeout:
		return nil, errs.Timeout
	case a.status == http.StatusNotFound:
		return nil, errs.MemberNotFound
	}
	if a.status == http.StatusPreconditionFailed {
		switch text := a.text(); {
		case strings.Contains(text, errs.LearnerNotReady.Error()):
			return nil, errs.LearnerNotReady
		case strings.Contains(text, "membership: can only promote a learner member"):
			return nil, errs.MemberNotLearner
		}
	}
	var members []Member
	err = a.decode("/members/promote", &members)
	return members, err
}

// HashKV asks for the hash of the member's keys up to a revision. It fails with
// errs.Compacted, FutureRev or ClusterIDMismatch.
func (c *Client) HashKV(ctx context.Context, url string, revision int64) (Hash, error) {
	h := http.Header{"Content-Type": {"application/json"}}
	if c.cluster != 0 {
		h.Set(headerCluster, formatID(c.cluster))
	}
	body, err := json.Marshal(hashRequest{revision})
	if err != nil {
		return Hash{}, err
	}
	a, err := c.ask(ctx, http.MethodGet, url, "/members/hashkv", h, body)
	if err != nil {
		return Hash{}, err
	}
	switch a.status {
	case http.StatusPreconditionFailed:
		return Hash{}, errs.ClusterIDMismatch
	case http.StatusBadRequest:
		for known, text := range hashTexts {
			if strings.Contains(a.text(), text) {
				return Hash{}, known
			}
		}
	}
	var out hashed
	if err := a.decode("/members/hashkv", &out); err != nil {
		return Hash{}, err
	}
	return Hash{Current: out.Header.Revision, Hash: out.Hash, CompactRevision: out.CompactRevision, Revision: out.HashRevision}, nil
}

// DowngradeEnabled asks whether a downgrade is under way.
func (c *Client) DowngradeEnabled(ctx context.Context, url string) (bool, error) {
	a, err := c.ask(ctx, http.MethodGet, url, "/downgrade/enabled", nil, nil)
	if err != nil {
		return false, err
	}
	if a.status != http.StatusOK {
		return false, a.failure("/downgrade/enabled")
	}
	enabled, err := strconv.ParseBool(a.text())
	if err != nil {
		return false, fmt.Errorf("peer: /downgrade/enabled answered %.64q", a.text())
	}
	return enabled, nil
}

// ask sends a request and reads all of its answer.
func (c *Client) ask(ctx context.Context, method, url, path string, h http.Header, body []byte) (*answer, error) {
	return c.askBounded(ctx, method, url, path, h, body, maxAnswer)
}

// askBounded is ask with an answer of most bytes at most.
func (c *Client) askBounded(ctx context.Context, method, url, path string, h http.Header, body []byte, most int64) (*answer, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(url, "/")+path, content)
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	for name, values := range h {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	defer discard(resp.Body)
	a := &answer{status: resp.StatusCode}
	if s := resp.Header.Get(headerCluster); s != "" {
		if a.cluster, err = parseID(s); err != nil {
			return nil, fmt.Errorf("peer: %s answered with the cluster ID %.64q", path, s)
		}
	}
	if c.cluster != 0 && a.cluster != 0 && a.cluster != c.cluster {
		return nil, errs.ClusterIDMismatch
	}
	if a.body, err = readBody(resp.Body, most); err != nil {
		return nil, fmt.Errorf("peer: read the answer of %s: %w", path, err)
	}
	return a, nil
}

// decode reads the answer's JSON, if it is one.
func (a *answer) decode(path string, out any) error {
	if a.status != http.StatusOK {
		return a.failure(path)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("peer: the answer of %s: %w", path, err)
	}
	return nil
}

func (a *answer) failure(path string) error {
	return fmt.Errorf("peer: %s answered %d: %.256s", path, a.status, a.text())
}
