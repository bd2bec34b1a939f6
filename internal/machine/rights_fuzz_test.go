package machine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/authpb"
	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/mvcc"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/sim/policy"
	"etcd.alt/internal/store"
)

// worldCases is how many requests a machine gets before another begins with nothing.
const worldCases = 2000

// TestRightsAgainstAnOracle applies POLICY_CASES requests under policies that change
// all the time, from POLICY_SEED on, and holds each against the oracle.
func TestRightsAgainstAnOracle(t *testing.T) {
	cases, seed := number(t, "POLICY_CASES", 100_000), uint64(number(t, "POLICY_SEED", 1))
	seen := verdicts{}
	for done := 0; done < cases; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0xa074))
		w := newWorld(t, rng.IntN, seen)
		for range min(worldCases, cases-done) {
			if err := w.step(); err != nil {
				t.Fatalf("POLICY_SEED=%d POLICY_CASES=%d: %v", seed, worldCases, err)
			}
			done++
		}
		w.close()
	}
	for _, s := range seen.sorted() {
		t.Log(s)
	}
	denied := []error{nil, errs.UserEmpty, errs.AuthOldRevision, errs.PermissionDenied}
	for kind, all := range map[Kind][]error{
		Put: denied, DeleteRange: denied, Txn: denied, Range: denied, LeaseRevoke: denied,
		AuthUserGet:             {nil, errs.UserEmpty, errs.PermissionDenied, errs.UserNotFound},
		AuthRoleGrantPermission: {nil, errs.UserEmpty, errs.PermissionDenied, errs.UserNotFound},
	} {
		for _, err := range all {
			require.NotZero(t, seen[verdict{kind, err}], "%v: %v was never due", kind, err)
		}
	}
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// FuzzRights is the same with requests that the fuzzer draws.
func FuzzRights(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0xf422))
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWorld(t, func(n int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}, verdicts{})
		defer w.close()
		for len(data) > 0 {
			require.NoError(t, w.step())
		}
	})
}

// verdict is what was due to a kind of request, as far as it is about rights.
type verdict struct {
	kind Kind
	err  error
}

type verdicts map[verdict]int

func (s verdicts) sorted() (all []string) {
	for v, n := range s {
		all = append(all, fmt.Sprintf("%v: %v: %d", v.kind, v.err, n))
	}
	slices.Sort(all)
	return all
}

// world is a machine, and the oracle of its users.
type world struct {
	draw
	testing.TB
	users *policy.State
	store *store.Store
	m     *Machine
	index uint64
	seen  verdicts
}

func newWorld(t testing.TB, dice func(int) int, seen verdicts) *world {
	s, err := store.Open(store.Options{FS: disk.New(), Dir: "store", DisableAutomaticCompactions: true})
	require.NoError(t, err)
	u, err := mvcc.Load(s, 1, 1<<20)
	require.NoError(t, err)
	m, err := New(s, u, Options{MaxLearners: 1})
	require.NoError(t, err)
	w := &world{draw: dice, TB: t, store: s, m: m, seen: seen, users: policy.New(points...)}
	for _, r := range []*etcdserverpb.InternalRaftRequest{
		{AuthUserAdd: &etcdserverpb.AuthUserAddRequest{Name: "root", HashedPassword: "eA=="}},
		{AuthUserGrantRole: &etcdserverpb.AuthUserGrantRoleRequest{User: "root", Role: "root"}},
		{AuthEnable: &etcdserverpb.AuthEnableRequest{}},
	} {
		require.NoError(t, w.apply(r))
	}
	return w
}

func (w *world) close() { require.NoError(w, w.store.Close()) }

// onLease lists the keys that were last put on a lease, by looking at all keys there
// can be.
func (w *world) onLease(id int64) (on []string, there bool) {
	_, there = w.m.leases.Get(id)
	for _, key := range points {
		if l, live := w.m.keys.Exists([]byte(key)); live && l == id {
			on = append(on, key)
		}
	}
	return on, there
}

func (w *world) step() error { return w.apply(w.request(w.users)) }

// apply applies a request, and holds what came of it against the oracle.
func (w *world) apply(r *etcdserverpb.InternalRaftRequest) error {
	w.index++
	if r.Header != nil {
		r.Header.ID = w.index
	}
	r.ID = w.index
	before := w.m.View()
	verdictDue := w.users.Verdict(r, w.onLease)
	w.seen[verdict{kindOf(r), verdictDue}]++
	if err := w.door(r, before); err != nil {
		return err
	}
	due, exact := verdictDue, true
	if due == nil {
		due, exact = w.outcome(r)
	}
	data, err := r.MarshalVT()
	if err != nil {
		return err
	}
	e, err := w.m.Apply([]*raftpb.Entry{{Index: proto.Uint64(w.index), Term: proto.Uint64(1), Data: data}}, func(uint64) bool { return true })
	if err != nil {
		return err
	}
	got := e.Answers[0].Err
	switch {
	case exact && got != due, !exact && slices.Contains([]error{errs.UserEmpty, errs.AuthOldRevision, errs.PermissionDenied, errs.UserNotFound}, got):
		return fmt.Errorf("entry %d: %v: answered with %v, due is %v; %s", w.index, r, got, due, w.words())
	case w.m.View().Applied != w.index:
		return fmt.Errorf("entry %d: the applied index is %d", w.index, w.m.View().Applied)
	}
	if err := w.users.Differs(w.m.View().Auth); err != nil {
		return fmt.Errorf("entry %d: %v: %w", w.index, r, err)
	}
	if verdictDue != nil {
		return w.unchanged(r, e, before)
	}
	return nil
}

// unchanged holds that a refused request has changed nothing.
func (w *world) unchanged(r *etcdserverpb.InternalRaftRequest, e *Effects, before *View) error {
	after := w.m.View()
	stored, _, err := w.store.Applied()
	switch {
	case err != nil:
		return err
	case stored.Index != w.index:
		return fmt.Errorf("entry %d: entry %d is written down as applied", w.index, stored.Index)
	case len(e.Changes)+len(e.Leases)+len(e.Logins)+len(e.ConfChanges) > 0, after.Keys.Revision != before.Keys.Revision, after.Keys.Compacted != before.Keys.Compacted,
		after.Auth != before.Auth, after.Members != before.Members, after.Leases != before.Leases:
		return fmt.Errorf("entry %d: %v was refused, and has changed something", w.index, r)
	}
	return nil
}

// door holds the verdict of a member that takes the request in against the oracle.
func (w *world) door(r *etcdserverpb.InternalRaftRequest, v *View) error {
	user := r.Header.GetUsername()
	by := &Rights{Auth: v.Auth, Leases: v.Leases, Subject: auth.Subject{User: user, Revision: v.Auth.Revision}, Known: v.Auth.Rights(user)}
	if by.Known == nil || !v.Auth.Enabled {
		return nil
	}
	var got error
	switch {
	case r.Put != nil:
		got = by.Put(r.Put)
	case r.DeleteRange != nil:
		got = by.DeleteRange(r.DeleteRange)
	case r.Txn != nil:
		got = by.Txn(r.Txn)
	case r.Range != nil:
		got = by.Range(r.Range)
	case r.LeaseRevoke != nil:
		got = by.Lease(auth.Write, r.LeaseRevoke.ID)
	default:
		return nil
	}
	header := r.Header
	r.Header = &etcdserverpb.RequestHeader{Username: user, AuthRevision: v.Auth.Revision}
	due := w.users.Verdict(r, w.onLease)
	r.Header = header
	if got != due {
		return fmt.Errorf("the door answers %v with %v, due is %v; %s", r, got, due, w.words())
	}
	return nil
}

// outcome is what a permitted request is answered with; not exact where that is
// about keys in ways that are not looked at here.
func (w *world) outcome(r *etcdserverpb.InternalRaftRequest) (err error, exact bool) {
	lease := func(id int64) bool { _, there := w.onLease(id); return there }
	switch {
	case r.Txn != nil, r.Compaction != nil:
		return nil, false
	case r.Put != nil:
		_, live := w.m.keys.Exists(r.Put.Key)
		switch {
		case r.Put.Lease != 0 && !lease(r.Put.Lease):
			return errs.LeaseNotFound, true
		case (r.Put.IgnoreLease || r.Put.IgnoreValue) && !live:
			return errs.KeyNotFound, true
		}
	case r.LeaseRevoke != nil:
		if !lease(r.LeaseRevoke.ID) {
			return errs.LeaseNotFound, true
		}
	case r.LeaseGrant != nil:
		if lease(r.LeaseGrant.ID) {
			return errs.LeaseExist, true
		}
	case r.Authenticate != nil:
		u, there := w.users.Users[r.Authenticate.Name]
		switch {
		case !w.users.Enabled:
			return errs.AuthNotEnabled, true
		case !there:
			return errs.AuthFailed, true
		case u.NoPassword:
			return errs.NoPasswordUser, true
		}
	default:
		w.users, err = w.users.Administer(r)
		return err, true
	}
	return nil, true
}

// words puts the policy and the leases in words.
func (w *world) words() string {
	s := w.users.String()
	for id := range int64(leaseIDs) {
		on, there := w.onLease(id)
		s += fmt.Sprintf(", lease %d %v %q", id, there, on)
	}
	return s
}

// points are the keys that policies and requests name; "c\xff" stands behind all
// others.
var points = []string{"a", "a\x00", "ab", "b", "b\x00", "ba", "c", "c\xff"}

// draw draws requests: a number below its argument.
type draw func(int) int

const leaseIDs = 3

var (
	userNames = []string{"root", "ann", "bob", "cyd", "dan"}
	roleNames = []string{"r1", "r2", "r3", "root"}
)

func (d draw) of(names []string) string { return names[d(len(names))] }

func (d draw) point() []byte { return []byte(d.of(points)) }

// span draws a key, a range, a prefix, or all from a key on; at times the range is
// inverted.
func (d draw) span() (key, end []byte) {
	key = d.point()
	switch d(8) {
	case 0, 1:
		end = d.point()
	case 2:
		end = []byte{0}
	case 3: // a prefix
		end = slices.Clone(key)
		end[len(end)-1]++
		if !slices.Contains(points, string(end)) {
			end = []byte("c\xff")
		}
	case 4: // the next key: that is the key alone
		end = append(slices.Clone(key), 0)
	}
	return key, end
}

// request draws a request. Most are of somebody who is known, and authorised under
// the present revision.
func (d draw) request(users *policy.State) *etcdserverpb.InternalRaftRequest {
	r := &etcdserverpb.InternalRaftRequest{}
	h := &etcdserverpb.RequestHeader{Username: d.of(userNames), AuthRevision: users.Revision}
	switch d(24) {
	case 0:
		h.Username = ""
	case 1:
		h.Username = "nobody"
	}
	switch d(16) {
	case 0:
		h.AuthRevision = 0
	case 1:
		h.AuthRevision -= uint64(d(int(min(h.AuthRevision, 3))))
	case 2:
		h.AuthRevision += uint64(d(3))
	}
	if r.Header = h; d(40) == 0 {
		r.Header = nil
	}
	switch n := d(32); {
	case n < 8:
		r.Put = d.put()
	case n < 12:
		r.DeleteRange = d.delete()
	case n < 14:
		r.Range = &etcdserverpb.RangeRequest{}
		r.Range.Key, r.Range.RangeEnd = d.span()
	case n < 20:
		r.Txn = d.txn(4)
	case n < 22:
		r.LeaseRevoke = &etcdserverpb.LeaseRevokeRequest{ID: int64(d(leaseIDs))}
	case n < 24:
		r.LeaseGrant = &etcdserverpb.LeaseGrantRequest{ID: 1 + int64(d(leaseIDs-1)), TTL: 100}
	case n < 31:
		d.administration(r, users)
	default:
		d.question(r)
	}
	return r
}

func (d draw) put() *etcdserverpb.PutRequest {
	p := &etcdserverpb.PutRequest{Key: d.point(), Value: []byte("v"), PrevKv: d(3) == 0}
	switch d(6) {
	case 0, 1, 2:
		p.Lease = int64(d(leaseIDs))
	case 3:
		p.IgnoreLease = true
	}
	if d(8) == 0 {
		p.Value, p.IgnoreValue = nil, true
	}
	return p
}

func (d draw) delete() *etcdserverpb.DeleteRangeRequest {
	r := &etcdserverpb.DeleteRangeRequest{PrevKv: d(2) == 0}
	r.Key, r.RangeEnd = d.span()
	return r
}

func (d draw) txn(depth int) *etcdserverpb.TxnRequest {
	t := &etcdserverpb.TxnRequest{}
	if d(3) == 0 { // little that could forbid it
		one := []*etcdserverpb.RequestOp{d.operation(depth)}
		if t.Success = one; d(2) == 0 {
			t.Success, t.Failure = nil, one
		}
		return t
	}
	for range d(3) {
		c := &etcdserverpb.Compare{
			Result: etcdserverpb.Compare_CompareResult(d(2)), Target: etcdserverpb.Compare_VERSION,
			TargetUnion: &etcdserverpb.Compare_Version{Version: int64(d(2))},
		}
		c.Key, c.RangeEnd = d.span()
		t.Compare = append(t.Compare, c)
	}
	for _, branch := range []*[]*etcdserverpb.RequestOp{&t.Success, &t.Failure} {
		for range d(3) {
			*branch = append(*branch, d.operation(depth))
		}
	}
	return t
}

func (d draw) operation(depth int) *etcdserverpb.RequestOp {
	op := &etcdserverpb.RequestOp{}
	switch n := d(10); {
	case n < 3:
		op.Request = &etcdserverpb.RequestOp_RequestPut{RequestPut: d.put()}
	case n < 5:
		op.Request = &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: d.delete()}
	case n < 9 && depth > 1:
		op.Request = &etcdserverpb.RequestOp_RequestTxn{RequestTxn: d.txn(depth - 1)}
	case n < 9:
		r := &etcdserverpb.RangeRequest{}
		r.Key, r.RangeEnd = d.span()
		op.Request = &etcdserverpb.RequestOp_RequestRange{RequestRange: r}
	}
	return op
}

// administration draws a change of users or roles. Most are root's.
func (d draw) administration(r *etcdserverpb.InternalRaftRequest, users *policy.State) {
	if d(8) > 0 {
		r.Header = &etcdserverpb.RequestHeader{Username: "root"}
	}
	user, role := d.of(userNames), d.of(roleNames)
	if !users.Enabled && d(2) == 0 {
		r.AuthEnable = &etcdserverpb.AuthEnableRequest{}
		return
	}
	switch n := d(64); {
	case n < 1:
		r.AuthEnable = &etcdserverpb.AuthEnableRequest{}
	case n < 2:
		r.AuthDisable = &etcdserverpb.AuthDisableRequest{}
	case n < 10:
		r.AuthUserAdd = &etcdserverpb.AuthUserAddRequest{Name: user, HashedPassword: "eA=="}
		if d(4) == 0 {
			r.AuthUserAdd.Options = &authpb.UserAddOptions{NoPassword: true}
		}
		if d(16) == 0 {
			r.AuthUserAdd.Name = ""
		}
	case n < 13:
		r.AuthUserDelete = &etcdserverpb.AuthUserDeleteRequest{Name: user}
	case n < 15:
		r.AuthUserChangePassword = &etcdserverpb.AuthUserChangePasswordRequest{Name: user, HashedPassword: "eQ=="}
	case n < 25:
		if role == "root" && d(4) > 0 {
			role = "r1" // else everybody is root soon
		}
		r.AuthUserGrantRole = &etcdserverpb.AuthUserGrantRoleRequest{User: user, Role: role}
	case n < 30:
		r.AuthUserRevokeRole = &etcdserverpb.AuthUserRevokeRoleRequest{Name: user, Role: role}
		if d(3) == 0 {
			r.AuthUserRevokeRole.Role = "root"
		}
	case n < 36:
		r.AuthRoleAdd = &etcdserverpb.AuthRoleAddRequest{Name: role}
		if d(16) == 0 {
			r.AuthRoleAdd.Name = ""
		}
	case n < 38:
		r.AuthRoleDelete = &etcdserverpb.AuthRoleDeleteRequest{Role: role}
	case n < 54:
		p := &authpb.Permission{PermType: authpb.Permission_Type(d(3))}
		if p.Key, p.RangeEnd = d.span(); d(4) == 0 { // else few may do anything that names many keys
			p.Key, p.RangeEnd = []byte("a"), []byte{0}
		}
		switch d(24) {
		case 0:
			p = nil
		case 1:
			p.Key = nil
		}
		r.AuthRoleGrantPermission = &etcdserverpb.AuthRoleGrantPermissionRequest{Name: role, Perm: p}
	default:
		v := &etcdserverpb.AuthRoleRevokePermissionRequest{Role: role}
		v.Key, v.RangeEnd = d.span()
		if there := slices.SortedFunc(maps.Keys(users.Roles[role]), policy.Range.Compare); len(there) > 0 && d(4) > 0 {
			p := there[d(len(there))]
			v.Key, v.RangeEnd = []byte(p.Key), []byte(p.End)
		}
		r.AuthRoleRevokePermission = v
	}
}

// question draws what asks about users and roles, and what is judged at the door
// alone.
func (d draw) question(r *etcdserverpb.InternalRaftRequest) {
	switch d(8) {
	case 0, 1:
		r.AuthUserGet = &etcdserverpb.AuthUserGetRequest{Name: d.of(userNames)}
	case 2, 3:
		r.AuthRoleGet = &etcdserverpb.AuthRoleGetRequest{Role: d.of(roleNames)}
	case 4:
		r.AuthUserList = &etcdserverpb.AuthUserListRequest{}
	case 5:
		r.AuthRoleList = &etcdserverpb.AuthRoleListRequest{}
	case 6:
		r.Authenticate = &etcdserverpb.InternalAuthenticateRequest{Name: d.of(userNames)}
	default:
		r.Compaction = &etcdserverpb.CompactionRequest{Revision: int64(d(1000))}
	}
}
