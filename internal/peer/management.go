package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
)

// Member is a member as /members shows it.
type Member struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	Learner    bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

// Versions are what /version shows.
type Versions struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
}

// Hash is what /members/hashkv answers.
type Hash struct {
	Current         int64  // the member's revision
	Hash            uint32 // of the keys up to Revision
	CompactRevision int64
	Revision        int64
}

// hashed is a Hash on the wire.
type hashed struct {
	Header struct {
		Revision int64 `json:"revision"`
	} `json:"header"`
	Hash            uint32 `json:"hash"`
	CompactRevision int64  `json:"compact_revision"`
	HashRevision    int64  `json:"hash_revision"`
}

// hashRequest asks for a Hash.
type hashRequest struct {
	Revision int64 `json:"revision"`
}

// Management answers what members ask each other beside raft. Its functions are
// called from the goroutines of requests.
type Management struct {
	ClusterID uint64
	// Members lists the cluster as this member knows it, by ID.
	Members func() []Member
	// Promote makes a learner a voter, with the rights of the token, and lists
	// the cluster as it is then. errs.MemberNotFound, MemberNotLearner and
	// LearnerNotReady have answers of their own.
	Promote func(ctx context.Context, id uint64, token string) ([]Member, error)
	// HashKV hashes the keys up to a revision. errs.Compacted and FutureRev have
	// answers of their own.
	HashKV func(ctx context.Context, revision int64) (Hash, error)
	// DowngradeEnabled tells whether a downgrade is under way, after all that was
	// committed before the call.
	DowngradeEnabled func(ctx context.Context) (bool, error)
	// RenewLease gives a lease all of its time again and says how many seconds that
	// is, and LeaseTimeToLive what is left of it; both if this member leads.
	// errs.LeaseNotFound and TimeoutWaitAppliedIndex have answers of their own.
	RenewLease      func(ctx context.Context, id int64) (ttl int64, err error)
	LeaseTimeToLive func(ctx context.Context, id int64, keys bool) (*etcdserverpb.LeaseTimeToLiveResponse, error)
	// Versions are the member's and the cluster's.
	Versions func() Versions
}

// maxAsk is the longest body of a request to the pages here.
const maxAsk = 64 << 10

// Handler serves /members, what is below it, /leases, /leases/internal,
// /downgrade/enabled and /version.
func (m Management) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case p == "/members":
			m.serveMembers(w, r)
		case strings.HasPrefix(p, "/members/promote/"):
			m.servePromote(w, r, strings.TrimPrefix(p, "/members/promote/"))
		case p == "/members/hashkv":
			m.serveHash(w, r)
		case p == pathLeases:
			m.serveRenew(w, r)
		case p == pathLeasesInternal:
			m.serveTimeToLive(w, r)
		case p == "/downgrade/enabled":
			m.serveDowngrade(w, r)
		case p == "/version":
			m.serveVersion(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

func (m Management) name(w http.ResponseWriter) {
	w.Header().Set(headerCluster, formatID(m.ClusterID))
}

func (m Management) serveMembers(w http.ResponseWriter, r *http.Request) {
	if allow(w, r, http.MethodGet) {
		m.name(w)
		writeMembers(w, m.Members())
	}
}

func writeMembers(w http.ResponseWriter, members []Member) {
	w.Header().Set("Content-Type", "application/json")
	if members == nil {
		members = []Member{}
	}
	// What fails here is the connection, and then nobody is left to tell.
	_ = json.NewEncoder(w).Encode(members)
}

// promoteTexts are the errors that have an answer of their own.
var promoteTexts = []struct {
	err    *errs.Error
	status int
	text   string
}{
	{errs.MemberNotFound, http.StatusNotFound, "membership: ID not found"},
	{errs.MemberNotLearner, http.StatusPreconditionFailed, "membership: can only promote a learner member"},
	{errs.LearnerNotReady, http.StatusPreconditionFailed, "etcdserver: can only promote a learner member which is in sync with leader"},
}

func (m Management) servePromote(w http.ResponseWriter, r *http.Request, which string) {
	if !allow(w, r, http.MethodPost) {
		return
	}
	m.name(w)
	id, err := strconv.ParseUint(which, 10, 64)
	if err != nil {
		refuse(w, http.StatusNotFound, fmt.Sprintf("member %s not found in cluster", which))
		return
	}
	members, err := m.Promote(r.Context(), id, r.Header.Get("Authorization"))
	if err == nil {
		writeMembers(w, members)
		return
	}
	for _, known := range promoteTexts {
		if errors.Is(err, known.err) {
			refuse(w, known.status, known.text)
			return
		}
	}
	// The reason stays here: it is not for whoever can reach this port.
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write([]byte(`{"message":"Internal Server Error"}`))
}

// hashTexts are how the page spells two errors.
var hashTexts = map[*errs.Error]string{
	errs.Compacted: "mvcc: required revision has been compacted",
	errs.FutureRev: "mvcc: required revision is a future revision",
}

func (m Management) serveHash(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	m.name(w)
	if c := r.Header.Get(headerCluster); c != "" && c != formatID(m.ClusterID) {
		refuse(w, http.StatusPreconditionFailed, "cluster ID mismatch")
		return
	}
	b, err := readBody(r.Body, maxAsk)
	if err != nil {
		refuse(w, http.StatusBadRequest, "error reading body")
		return
	}
	var ask hashRequest
	if err := json.Unmarshal(b, &ask); err != nil {
		refuse(w, http.StatusBadRequest, "error unmarshalling request")
		return
	}
	hash, err := m.HashKV(r.Context(), ask.Revision)
	if err != nil {
		refuse(w, http.StatusBadRequest, hashText(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := hashed{Hash: hash.Hash, CompactRevision: hash.CompactRevision, HashRevision: hash.Revision}
	out.Header.Revision = hash.Current
	b, _ = json.Marshal(out)
	_, _ = w.Write(b)
}

func hashText(err error) string {
	for known, text := range hashTexts {
		if errors.Is(err, known) {
			return text
		}
	}
	return err.Error()
}

func (m Management) serveDowngrade(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	m.name(w)
	enabled, err := m.DowngradeEnabled(r.Context())
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(strconv.FormatBool(enabled)))
}

func (m Management) serveVersion(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	b, _ := json.Marshal(m.Versions())
	_, _ = w.Write(b)
}
