package sim

import (
	"fmt"
	"slices"
	"strings"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/mvcc"
)

// kind is what a question asks for.
type kind int

const (
	put kind = iota
	remove
	compareAndSet
	compaction
	grant
	revoke
	administer // users and roles
	get        // of the newest revision there is
	old        // of a given revision, through a barrier
	stale      // serializable: of whatever this member has
	renew      // a lease, in the leader's memory
)

// reads says that it is in no log.
func (k kind) reads() bool { return k >= get }

// question is an operation of a client, small enough to be told in a line.
type question struct {
	kind     kind
	key, end string
	value    string
	revision int64 // of a compaction, or to read at
	lease    int64 // of a put, or of a grant or revoke
	ttl      int64 // of a grant, in seconds
	prev     bool  // the record before is wanted
	// A compareAndSet compares the key's version, or its revision, with expected,
	// puts value where that holds, and else reads the key.
	byRevision bool
	expected   int64
	also       string // a second key, deleted together with the put; "" for none
	// request is a change of users and roles, which value puts in words.
	request *etcdserverpb.InternalRaftRequest
}

// The keys of the clients: few, so that they meet.
const clientKeys = 5

// clientLeases is how many leases the clients have among them.
const clientLeases = 3

// grantedTTL is what they are granted, in seconds.
const grantedTTL = 15

// draw draws a question.
func (c *Cluster) draw() question {
	key := func() string { return fmt.Sprintf("k%d", c.rng.IntN(clientKeys)) }
	q := question{key: key(), prev: c.rng.IntN(4) == 0}
	if c.rng.IntN(4) == 0 {
		q.end = "k3" // at times inverted, and then nothing
	}
	c.values++
	value := fmt.Sprintf("v%d", c.values)
	switch n := c.rng.IntN(100); {
	case n < 35:
		q.kind, q.end, q.value = put, "", value
		if c.rng.IntN(10) == 0 {
			q.value += strings.Repeat("x", c.rng.IntN(2000))
		}
		if c.rng.IntN(3) == 0 {
			q.lease = 1 + c.rng.Int64N(clientLeases)
		}
	case n < 43:
		q.kind = remove
	case n < 60:
		q.kind, q.end, q.value, q.prev = compareAndSet, "", value, false
		if q.byRevision = c.rng.IntN(2) == 0; q.byRevision {
			q.expected = max(0, c.acknowledged-c.rng.Int64N(6))
		} else {
			q.expected = c.rng.Int64N(4)
		}
		if c.rng.IntN(3) == 0 {
			if q.also = key(); q.also == q.key {
				q.also = ""
			}
		}
	case n < 62:
		q.kind, q.end, q.key = compaction, "", ""
		q.revision = max(1, c.acknowledged+2-c.rng.Int64N(40))
	case n < 66:
		q.kind, q.end, q.key, q.lease = grant, "", "", 1+c.rng.Int64N(clientLeases)
		q.ttl = grantedTTL
	case n < 70:
		q.kind, q.end, q.key, q.lease = revoke, "", "", 1+c.rng.Int64N(clientLeases)
	case n < 75:
		q.kind, q.end, q.key, q.lease = renew, "", "", 1+c.rng.Int64N(clientLeases)
	case n < 88:
		q.kind = get
	case n < 92:
		q.kind, q.revision = old, max(1, c.acknowledged+1-c.rng.Int64N(20))
	default:
		q.kind = stale
	}
	return q
}

func (q question) String() string {
	span := q.key
	if q.end != "" {
		span = fmt.Sprintf("[%s, %s)", q.key, q.end)
	}
	switch q.kind {
	case put:
		if q.lease != 0 {
			return fmt.Sprintf("put %s %.12s with lease %d", q.key, q.value, q.lease)
		}
		return fmt.Sprintf("put %s %.12s", q.key, q.value)
	case remove:
		return "delete " + span
	case compareAndSet:
		what := "version"
		if q.byRevision {
			what = "mod_revision"
		}
		s := fmt.Sprintf("if the %s of %s is %d put %.12s", what, q.key, q.expected, q.value)
		if q.also != "" {
			s += " and delete " + q.also
		}
		return s
	case compaction:
		return fmt.Sprintf("compact %d", q.revision)
	case grant:
		return fmt.Sprintf("grant lease %d", q.lease)
	case revoke:
		return fmt.Sprintf("revoke lease %d", q.lease)
	case administer:
		return q.value
	case renew:
		return fmt.Sprintf("renew lease %d", q.lease)
	case get:
		return "get " + span
	case old:
		return fmt.Sprintf("get %s at revision %d", span, q.revision)
	}
	return "get " + span + ", serializable"
}

// covers says whether a key is in what the question is about; an inverted range
// is about nothing.
func (q question) covers(key string) bool {
	if q.end == "" {
		return key == q.key
	}
	return key >= q.key && key < q.end
}

func bytesOrNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func (q question) rangeRequest() *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{Key: []byte(q.key), RangeEnd: bytesOrNil(q.end), Revision: q.revision}
}

// inLog is a write as it stands in the log, in somebody's name.
func (q question) inLog(id uint64, by auth.Subject) *etcdserverpb.InternalRaftRequest {
	r := &etcdserverpb.InternalRaftRequest{}
	if q.kind == administer {
		r = q.request
	}
	r.Header = &etcdserverpb.RequestHeader{ID: id, Username: by.User, AuthRevision: by.Revision}
	switch q.kind {
	case put:
		r.Put = &etcdserverpb.PutRequest{Key: []byte(q.key), Value: []byte(q.value), PrevKv: q.prev, Lease: q.lease}
	case remove:
		r.DeleteRange = &etcdserverpb.DeleteRangeRequest{Key: []byte(q.key), RangeEnd: bytesOrNil(q.end), PrevKv: q.prev}
	case compareAndSet:
		r.Txn = q.txn()
	case compaction:
		r.Compaction = &etcdserverpb.CompactionRequest{Revision: q.revision}
	case grant:
		r.LeaseGrant = &etcdserverpb.LeaseGrantRequest{ID: q.lease, TTL: q.ttl}
	case revoke:
		r.LeaseRevoke = &etcdserverpb.LeaseRevokeRequest{ID: q.lease}
	}
	return r
}

// encode makes an entry of it.
func encode(r *etcdserverpb.InternalRaftRequest) []byte {
	data, err := r.MarshalVT()
	if err != nil {
		panic(err) // a message of plain fields has no reason to fail
	}
	return data
}

func (q question) txn() *etcdserverpb.TxnRequest {
	c := &etcdserverpb.Compare{Key: []byte(q.key), Result: etcdserverpb.Compare_EQUAL}
	if q.byRevision {
		c.Target, c.TargetUnion = etcdserverpb.Compare_MOD, &etcdserverpb.Compare_ModRevision{ModRevision: q.expected}
	} else {
		c.Target, c.TargetUnion = etcdserverpb.Compare_VERSION, &etcdserverpb.Compare_Version{Version: q.expected}
	}
	t := &etcdserverpb.TxnRequest{Compare: []*etcdserverpb.Compare{c}}
	t.Success = []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestPut{
		RequestPut: &etcdserverpb.PutRequest{Key: []byte(q.key), Value: []byte(q.value)}}}}
	if q.also != "" {
		t.Success = append(t.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte(q.also)}}})
	}
	t.Failure = []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestRange{
		RequestRange: &etcdserverpb.RangeRequest{Key: []byte(q.key)}}}}
	return t
}

// answer is what a client is told.
type answer struct {
	revision  int64
	err       string // the name of a row of errs
	kvs       []kv   // read, or what was there before if that was asked for
	count     int64  // of the keys read or deleted
	succeeded bool   // the comparison held
}

// kv is a key as a client sees it.
type kv struct {
	key, value           string
	create, mod, version int64
	lease                int64
}

func (a answer) String() string {
	if a.err != "" {
		return a.err
	}
	s := fmt.Sprintf("revision %d", a.revision)
	if a.succeeded {
		s += ", succeeded"
	}
	if a.count > 0 {
		s += fmt.Sprintf(", %d keys", a.count)
	}
	for _, k := range a.kvs {
		s += fmt.Sprintf(" %s=%.12s(%d)", k.key, k.value, k.mod)
	}
	return s
}

func (a answer) equal(b answer) bool {
	return a.revision == b.revision && a.err == b.err && a.count == b.count && a.succeeded == b.succeeded && slices.Equal(a.kvs, b.kvs)
}

func (a *answer) setRange(r mvcc.Result) {
	a.count = r.Count
	for _, b := range r.KVs {
		a.kvs = append(a.kvs, decode(b))
	}
}

func decode(b []byte) kv {
	m := &mvccpb.KeyValue{}
	if err := m.UnmarshalVT(b); err != nil {
		panic(err) // a record that does not decode is the store's failure
	}
	return kv{string(m.Key), string(m.Value), m.CreateRevision, m.ModRevision, m.Version, m.Lease}
}

// answerOf tells a client what came of a write.
func answerOf(r *machine.Result, q question) (answer, outcome) {
	a := answer{revision: r.Revision}
	switch q.kind {
	case put:
		if q.prev && r.PrevKV != nil {
			a.kvs = append(a.kvs, decode(r.PrevKV))
		}
	case remove:
		a.count = r.Deleted
		for _, b := range r.PrevKVs {
			a.kvs = append(a.kvs, decode(b))
		}
	case compareAndSet:
		a.succeeded = r.Txn.Succeeded
		if !a.succeeded {
			a.setRange(r.Txn.Ops[0].Range)
		} else if q.also != "" {
			a.count = r.Txn.Ops[1].Deleted
		}
	}
	return a, answered
}
