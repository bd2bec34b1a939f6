package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/audit"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/password"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/space"
	"etcd.alt/internal/state"
)

// Config is what a Service is built from. All fields must be set, but for
// Logger.
type Config struct {
	Machine *state.State
	Replica *replica.Replica
	// Users are those whom the state tells of users.
	Users *Users
	// Passwords compares and hashes.
	Passwords *password.Keeper
	// ClientCertAuth takes the name in a verified client's certificate for the user,
	// where there is no token.
	ClientCertAuth bool
	// Answers is what Replica's Settled flushes.
	Answers *Answers
	// ClusterID and MemberID stand in every header.
	ClusterID, MemberID uint64
	// FirstID is the first request id to use; see FirstRequestID.
	FirstID uint64
	// MaxRequestBytes bounds a request in the log, MaxTxnOps each list of a
	// transaction.
	MaxRequestBytes, MaxTxnOps int
	// Version is the server's version, StorageVersion the one of its data.
	Version, StorageVersion string
	// Quota bounds the bytes of the records that are not compacted.
	Quota machine.Quota
	// Leases is the clock that the state tells of leases.
	Leases *Leases
	// RequestTimeout is how long a question to the leader may take.
	RequestTimeout time.Duration
	// Space watches the disk.
	Space *space.Watch
	// Watch is how watches are served.
	Watch WatchConfig
	// Peers is what is known of the other members.
	Peers Peers
	// StrictReconfig refuses changes of the membership that endanger the quorum.
	StrictReconfig bool
	// Audit is where is written who has asked for what. nil for nowhere.
	Audit *audit.Log
	// Now is the clock that tokens go by. nil for time.Now.
	Now func() time.Time
	// Admitted, if set, is called when a request has passed its doors, and before it is
	// proposed. A test has one that lets the users change there.
	Admitted func()
	Logger   *zap.Logger
}

// Peers is what a member knows of the others, and can ask of them.
type Peers struct {
	// ActiveSince is since when there has been a connection to a member; zero if
	// there is none.
	ActiveSince func(id uint64) time.Time
	// Promote asks a member at one of its peer URLs to promote a learner, in the
	// name of whoever the token is of. Answers of that member are of package errs.
	Promote func(ctx context.Context, urls []string, id uint64, token string) error
	// Renew and TimeToLive ask the leader at one of its peer URLs about a lease.
	// errs.LeaseNotFound is an answer of its own; all else may be tried again.
	Renew      func(ctx context.Context, urls []string, id int64) (ttl int64, err error)
	TimeToLive func(ctx context.Context, urls []string, id int64, keys bool) (*etcdserverpb.LeaseTimeToLiveResponse, error)
}

// Service serves the methods of all services. Close stops its workers.
type Service struct {
	c       Config
	nextID  atomic.Uint64
	workers workers
	raising atomic.Bool // an alarm of ours is on its way

	pending atomic.Int64  // proposals on their way
	failed  atomic.Uint64 // proposals that came to nothing
	counts  *counts

	promotions promotions
	watches    *watches
	keepAlives keepAlives
	clock      clock // that tokens go by
	barred     atomic.Int64

	waits sync.WaitGroup // goroutines that wait for a sweep, those of locks and elections, and the one that ends leases
	stop  chan struct{}

	drain   chan struct{} // closed by Drain
	drained sync.Once
}

// New returns a Service that is ready to serve.
func New(c Config) *Service {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	s := &Service{c: c, counts: newCounts(), stop: make(chan struct{}), drain: make(chan struct{})}
	s.nextID.Store(c.FirstID)
	s.workers.start()
	s.watches = s.startWatches()
	s.waits.Go(s.routineLeases)
	return s
}

// Drain says that the member is about to stop: streams that would never end by
// themselves end, and health is NOT_SERVING. Calls are served until Close.
func (s *Service) Drain() { s.drained.Do(func() { close(s.drain) }) }

// Close ends the workers; what still waits for one is answered with
// errs.Stopped. The replica has ended by then, so nothing new comes.
func (s *Service) Close() {
	close(s.stop)
	s.watches.close()
	s.waits.Wait()
	s.workers.stop()
}

// Kick has the replica look at what was proposed. The RPC engine calls it when
// a connection has handled all it has read.
func (s *Service) Kick() { s.c.Replica.Kick() }

// Methods is the table of what is served.
func (s *Service) Methods() []rpc.Method {
	methods := []rpc.Method{
		{Path: rangePath, Inline: s.rangeKeys},
		{Path: "/etcdserverpb.KV/RangeStream", Stream: s.rangeStream},
		{Path: "/etcdserverpb.KV/Put", Inline: s.put},
		{Path: "/etcdserverpb.KV/DeleteRange", Inline: s.deleteRange},
		{Path: "/etcdserverpb.KV/Txn", Inline: s.txn},
		{Path: "/etcdserverpb.KV/Compact", Inline: s.compact},
		{Path: "/etcdserverpb.Watch/Watch", Stream: s.watch},
		{Path: "/etcdserverpb.Lease/LeaseGrant", Inline: s.leaseGrant},
		{Path: "/etcdserverpb.Lease/LeaseRevoke", Inline: s.leaseRevoke},
		{Path: "/etcdserverpb.Lease/LeaseKeepAlive", Stream: s.leaseKeepAlive},
		{Path: "/etcdserverpb.Lease/LeaseTimeToLive", Stream: s.leaseTimeToLive},
		{Path: "/etcdserverpb.Lease/LeaseLeases", Stream: s.leaseLeases},
		{Path: "/v3lockpb.Lock/Lock", Stream: s.lock},
		{Path: "/v3lockpb.Lock/Unlock", Stream: s.unlock},
		{Path: "/v3electionpb.Election/Campaign", Stream: s.campaign},
		{Path: "/v3electionpb.Election/Proclaim", Stream: s.proclaim},
		{Path: "/v3electionpb.Election/Leader", Stream: s.leader},
		{Path: "/v3electionpb.Election/Observe", Stream: s.observe},
		{Path: "/v3electionpb.Election/Resign", Stream: s.resign},
		{Path: "/etcdserverpb.Auth/AuthEnable", Inline: s.administer(fieldAuthEnable)},
		{Path: "/etcdserverpb.Auth/AuthDisable", Inline: s.administer(fieldAuthDisable)},
		{Path: "/etcdserverpb.Auth/AuthStatus", Inline: s.authStatus},
		{Path: "/etcdserverpb.Auth/Authenticate", Stream: s.authenticate},
		{Path: "/etcdserverpb.Auth/UserAdd", Stream: s.userAdd},
		{Path: "/etcdserverpb.Auth/UserGet", Inline: s.userGet},
		{Path: "/etcdserverpb.Auth/UserList", Inline: s.userList},
		{Path: "/etcdserverpb.Auth/UserDelete", Inline: s.administer(fieldAuthUserDelete)},
		{Path: "/etcdserverpb.Auth/UserChangePassword", Stream: s.userChangePassword},
		{Path: "/etcdserverpb.Auth/UserGrantRole", Inline: s.administer(fieldAuthUserGrantRole)},
		{Path: "/etcdserverpb.Auth/UserRevokeRole", Inline: s.administer(fieldAuthUserRevokeRole)},
		{Path: "/etcdserverpb.Auth/RoleAdd", Inline: s.administer(fieldAuthRoleAdd)},
		{Path: "/etcdserverpb.Auth/RoleGet", Inline: s.roleGet},
		{Path: "/etcdserverpb.Auth/RoleList", Inline: s.roleList},
		{Path: "/etcdserverpb.Auth/RoleDelete", Inline: s.administer(fieldAuthRoleDelete)},
		{Path: "/etcdserverpb.Auth/RoleGrantPermission", Inline: s.administer(fieldAuthRoleGrantPermission)},
		{Path: "/etcdserverpb.Auth/RoleRevokePermission", Inline: s.administer(fieldAuthRoleRevokePermission)},
		{Path: "/etcdserverpb.Cluster/MemberList", Inline: s.memberList},
		{Path: "/etcdserverpb.Cluster/MemberAdd", Inline: s.memberAdd},
		{Path: "/etcdserverpb.Cluster/MemberRemove", Inline: s.memberRemove},
		{Path: "/etcdserverpb.Cluster/MemberUpdate", Inline: s.memberUpdate},
		{Path: "/etcdserverpb.Cluster/MemberPromote", Stream: s.memberPromote},
		{Path: "/etcdserverpb.Maintenance/MoveLeader", Stream: s.moveLeader},
		{Path: "/etcdserverpb.Maintenance/Downgrade", Stream: s.downgrade},
		{Path: statusPath, Inline: s.status},
		{Path: "/etcdserverpb.Maintenance/Hash", Inline: s.hash},
		{Path: "/etcdserverpb.Maintenance/HashKV", Inline: s.hashKV},
		{Path: "/etcdserverpb.Maintenance/Alarm", Inline: s.alarm},
		{Path: "/etcdserverpb.Maintenance/Defragment", Inline: s.defragment},
		{Path: "/grpc.health.v1.Health/Check", Stream: s.healthCheck},
		{Path: "/grpc.health.v1.Health/List", Stream: s.healthList},
		{Path: "/grpc.health.v1.Health/Watch", Stream: s.healthWatch},
	}
	for i := range methods {
		methods[i] = s.guarded(methods[i])
	}
	return withReflection(methods)
}

// FirstRequestID makes the first of a run of request ids that no other member,
// and no earlier run of this one, uses: two bytes of the member's id, five
// bytes of milliseconds, one byte of zeros to count in.
func FirstRequestID(memberID uint64, unixMilli int64) uint64 {
	return memberID<<48 | uint64(unixMilli)<<24>>16
}

func (s *Service) newID() uint64 { return s.nextID.Add(1) }

// request is a message that can be decoded from a payload without a copy.
type request interface{ UnmarshalVTUnsafe([]byte) error }

// decode reads the payload into r, which aliases it and must not outlive the
// handler. It answers the call if that fails.
func decode(c *rpc.Call, r request) bool {
	return decoded(c, r.UnmarshalVTUnsafe(c.Payload())) && audited(c, r)
}

func decoded(c *rpc.Call, err error) bool {
	if err != nil {
		c.Fail(codes.Internal, fmt.Sprintf("grpc: error unmarshalling request: %v", err))
	}
	return err == nil
}

// fail answers a call with err as the table of errors has it.
func fail(c *rpc.Call, err error) { c.Fail(errs.Status(err)) }

// Answers collects the calls that were answered elsewhere than in their
// handler, so that each connection is flushed once for many of them. It may be
// used by several goroutines.
type Answers struct {
	mu struct {
		sync.Mutex
		filling, spare *rpc.Batch
	}
}

// NewAnswers returns an empty collection.
func NewAnswers() *Answers {
	a := &Answers{}
	a.mu.filling, a.mu.spare = &rpc.Batch{}, &rpc.Batch{}
	return a
}

func (a *Answers) add(c *rpc.Call) {
	a.mu.Lock()
	a.mu.filling.Add(c)
	a.mu.Unlock()
}

// Flush sends what has been answered since the last Flush. It never blocks on
// a connection.
func (a *Answers) Flush() {
	a.mu.Lock()
	b := a.mu.filling
	if a.mu.spare == nil {
		a.mu.spare = &rpc.Batch{}
	}
	a.mu.filling, a.mu.spare = a.mu.spare, nil
	a.mu.Unlock()
	b.Flush()
	a.mu.Lock()
	a.mu.spare = b
	a.mu.Unlock()
}

// proposed is a call that waits for its entry to be applied.
type proposed struct {
	service *Service
	call    *rpc.Call
	answer  func(s *Service, c *rpc.Call, r *machine.Result)
	kind    machine.Kind
	field   int
	message []byte // as the client sent it, in what was proposed
	by      auth.Subject
}

// Done is replica.Caller's.
func (p *proposed) Done(result any, err error) {
	p.service.pending.Add(-1)
	p.service.noteProposal(p.call, p.kind, err)
	if p.service.overtaken(err, p.by) {
		p.service.workers.do(p.call, p.again)
		return
	}
	if err != nil {
		if errors.Is(err, machine.ErrOverQuota) {
			p.service.raiseNoSpace()
		}
		fail(p.call, err)
	} else {
		p.answer(p.service, p.call, result.(*machine.Result))
	}
	p.service.c.Answers.add(p.call)
}

// overtaken says that a proposal was refused since the users have changed between
// the verdict at the door and the one that counts.
func (s *Service) overtaken(err error, by auth.Subject) bool {
	return errors.Is(err, errs.AuthOldRevision) || by.Revision == 0 && errors.Is(err, errs.UserEmpty)
}

// again starts a call over that was overtaken, from its credential. Each turn takes
// one more change of the users.
func (p *proposed) again() {
	s, c := p.service, p.call
	if c.Over() {
		fail(c, errs.Timeout) // where the engine has not said so yet
		return
	}
	by, err := s.rightsOf(c)
	switch {
	case err == nil && by.Auth.Enabled && by.Subject.Revision == 0:
		err = errs.UserEmpty
	case err == nil && c.Now()-c.Turn() > s.c.RequestTimeout:
		err = errs.Timeout
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.proposePayload(c, p.field, p.message, by.Subject, p.answer)
	s.Kick()
}

// propose sends the payload of a call through the log, in field of the
// replicated request, in the name of by. answer answers the call with what came of it, now or later.
func (s *Service) propose(c *rpc.Call, field int, by auth.Subject, answer func(*Service, *rpc.Call, *machine.Result)) {
	s.proposePayload(c, field, c.Payload(), by, answer)
}

// proposeFor is propose in the name of the caller, as the published state knows it.
func (s *Service) proposeFor(c *rpc.Call, field int, answer func(*Service, *rpc.Call, *machine.Result)) {
	by, err := s.rightsOf(c)
	if err != nil {
		fail(c, err)
		return
	}
	s.propose(c, field, by.Subject, answer)
}

func (s *Service) proposePayload(c *rpc.Call, field int, payload []byte, by auth.Subject, answer func(*Service, *rpc.Call, *machine.Result)) {
	if s.c.Admitted != nil {
		s.c.Admitted()
	}
	kind := kindOfField(field)
	id := s.newID()
	data, message := appendReplicated(nil, field, payload, id, by)
	if len(data) > s.c.MaxRequestBytes {
		fail(c, errs.RequestTooLarge)
		return
	}
	s.pending.Add(1)
	if err := s.c.Replica.Propose(id, data, &proposed{s, c.Keep(), answer, kind, field, message, by}); err != nil {
		s.pending.Add(-1)
		s.noteProposal(c, kind, err)
		fail(c, err)
	}
}

// noteProposal counts a proposal that has just ended. One that was applied and
// refused then has come to something.
func (s *Service) noteProposal(c *rpc.Call, kind machine.Kind, err error) {
	lost := err != nil && cameToNothing(err)
	if lost {
		s.failed.Add(1)
	}
	s.counts.proposals[kind].of(!lost).Observe(0, c.Now()-c.Turn())
}

func cameToNothing(err error) bool {
	for _, lost := range [...]error{errs.Timeout, errs.ProposalDropped, errs.TooManyRequests, errs.Stopped} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// barrier is a call that waits until it may read.
type barrier struct {
	service *Service
	call    *rpc.Call
	read    func()
	failed  func(error) // counts what was not read; nil for nothing
}

// Done is replica.Caller's.
func (b *barrier) Done(_ any, err error) {
	if err != nil {
		b.fail(err)
	} else {
		b.read()
	}
	b.service.c.Answers.add(b.call)
}

func (b *barrier) fail(err error) {
	if b.failed != nil {
		b.failed(err)
	}
	fail(b.call, err)
}

// linearizable calls read, which answers c, once the published state has
// everything that was acknowledged before. Where that fails, c is answered with
// the reason, and failed, which may be nil, counts it.
func (s *Service) linearizable(c *rpc.Call, read func(), failed func(error)) {
	if s.c.Replica.Alone() {
		read()
		return
	}
	b := &barrier{s, c.Keep(), read, failed}
	if err := s.c.Replica.Read(b); err != nil {
		b.fail(err)
	}
}
