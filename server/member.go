package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/api/version"
	"etcd.alt/internal/audit"
	"etcd.alt/internal/auth/password"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/compactor"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/metrics"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/service"
	"etcd.alt/internal/space"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
	"etcd.alt/internal/web"
)

// requestTimeout is how long a request may take beside two elections.
const requestTimeout = 5 * time.Second

// readRetry is how long a round of read barriers may go unanswered.
const readRetry = 500 * time.Millisecond

// slowAppend is the least time that a leader's disk may take for an append.
const slowAppend = time.Second

// drainTimeout is how long running requests may take at a clean stop.
const drainTimeout = 5 * time.Second

// messageSlack is what a message on the wire may have beyond a request in the
// log.
const messageSlack = 512 << 10

// Member is a running member. Start builds it and Close takes it down.
type Member struct {
	config    *Config
	logger    *zap.Logger
	fs        vfs.FS // where the data lies; a test has one that stands still, or says it is full
	space     *space.Watch
	leases    *service.Leases
	users     *service.Users
	passwords *password.Keeper
	audit     *audit.Log // nil for none
	state     *state.State
	replica   *replica.Replica
	service   *service.Service
	peers     *peers
	rpc       *rpc.Server
	metrics   *http.Server
	counts    *metrics.Registry
	health    health // as the metrics ports judge it
	listeners listeners

	background sync.WaitGroup // ticks, looks and listeners
	stopTicks  chan struct{}
	ready      chan struct{}           // closed when service is there
	abandon    context.CancelCauseFunc // of start, which has begun
	failed     chan error              // of capacity 1: why the member cannot go on

	closing sync.Once
	closed  error // what Close returns
}

// listeners are bound before anything else is done, so that a port in use is
// found early.
type listeners struct {
	clients, peers, metrics []net.Listener
}

// Start brings a member up and returns when clients are served. What fails on
// the way is taken down again.
func Start(ctx context.Context, c *Config, logger *zap.Logger) (*Member, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return startOn(ctx, c, logger, vfs.Default)
}

// startOn is Start with the data on fs and settings that are valid.
func startOn(ctx context.Context, c *Config, logger *zap.Logger, fs vfs.FS) (*Member, error) {
	m := &Member{config: c, logger: logger, fs: fs, counts: metrics.New(version.Server), stopTicks: make(chan struct{}), ready: make(chan struct{}), failed: make(chan error, 1)}
	ctx, m.abandon = context.WithCancelCause(ctx)
	defer m.abandon(nil)
	if err := m.start(ctx); err != nil {
		if why := context.Cause(ctx); why != nil && errors.Is(err, context.Canceled) {
			err = why
		}
		ended := m.Close()
		if errors.Is(err, errs.Stopped) {
			// Why it stopped by itself. Having been removed is no failure of Close.
			if m.replica != nil && errors.Is(m.ended(), errRemoved) {
				ended = errRemoved
			}
			if ended != nil {
				err = ended
			}
		}
		return nil, err
	}
	return m, nil
}

func (m *Member) start(ctx context.Context) error {
	began := time.Now()
	c := m.config
	if c.quota() > largeQuota {
		m.logger.Warn("--quota-backend-bytes is larger than is advised", zap.Int64("quota-bytes", int64(c.quota())), zap.Int64("advised-bytes", largeQuota))
	}
	if err := m.listeners.bind(c, m.logger); err != nil {
		return err
	}
	if err := m.serveMetrics(); err != nil {
		return err
	}
	if err := m.openState(ctx); err != nil {
		return err
	}
	d := m.state.Data
	var err error
	m.users.Tokens, err = token.New(token.Options{
		Config: c.AuthToken, TTL: c.AuthTokenTTL, ClusterID: d.Identity.ClusterID,
		Now: c.now, Logger: m.logger.Named("token"),
	})
	if err != nil {
		return errors.Join(err, d.Log.Close())
	}
	if c.AuditLog != "" {
		if m.audit, err = audit.Open(c.AuditLog, m.logger.Named("audit")); err != nil {
			return errors.Join(fmt.Errorf("--audit-log: %w", err), d.Log.Close())
		}
	}
	m.users.Replayed = d.Recovered.Prev.Index + uint64(len(d.Recovered.Entries))
	m.passwords = password.New(password.Options{Cost: int(c.BcryptCost)})
	m.look()
	node, err := raft.New(raft.Config{
		ID:             d.Identity.MemberID,
		ElectionTicks:  int(c.ElectionTimeout / c.HeartbeatInterval),
		HeartbeatTicks: 1,
		PreVote:        c.PreVote,
		PrevIndex:      d.Recovered.Prev.Index,
		PrevTerm:       d.Recovered.Prev.Term,
		Entries:        d.Recovered.Entries,
		HardState:      d.Recovered.HardState,
		Applied:        d.Applied.Index,
		ConfState:      d.Applied.ConfState,
		Logger:         raftLogger{logger: m.logger.Named("raft").Sugar()},
	})
	if err != nil {
		return errors.Join(err, d.Log.Close())
	}
	if m.peers, err = newPeers(m); err != nil {
		return errors.Join(err, d.Log.Close())
	}
	answers := service.NewAnswers()
	m.replica = replica.New(replica.Config{
		Node:         node,
		Log:          d.Log,
		State:        m.counts.Machine(m.state, c.WarningApplyDuration, m.slowApplies()),
		Settled:      answers.Flush,
		FirstRead:    service.FirstRequestID(d.Identity.MemberID, began.UnixMilli()),
		Now:          func() time.Duration { return time.Since(began) },
		Send:         m.send(),
		Reconfigured: m.peers.reconfigured,
		TakesOver:    m.leases.TakesOver,
		SlowAppend:   max(c.ElectionTimeout, slowAppend),
		RequestTicks: int64((requestTimeout + 2*c.ElectionTimeout) / c.HeartbeatInterval),
		RetryTicks:   int64(max(readRetry/c.HeartbeatInterval, 1)),
		Logger:       m.logger.Named("replica"),
	})
	m.service = service.New(service.Config{
		Users:           m.users,
		Passwords:       m.passwords,
		ClientCertAuth:  c.ClientCertAuth,
		Admitted:        c.admitted,
		Audit:           m.audit,
		Now:             c.now,
		Machine:         m.state,
		Replica:         m.replica,
		Answers:         answers,
		ClusterID:       d.Identity.ClusterID,
		MemberID:        d.Identity.MemberID,
		FirstID:         service.FirstRequestID(d.Identity.MemberID, began.UnixMilli()),
		MaxRequestBytes: int(c.MaxRequestBytes),
		MaxTxnOps:       int(c.MaxTxnOps),
		Quota:           c.quota(),
		Space:           m.space,
		Leases:          m.leases,
		RequestTimeout:  requestTimeout + 2*c.ElectionTimeout,
		Peers:           service.Peers{ActiveSince: m.peers.transport.ActiveSince, Promote: m.peers.promote, Renew: m.peers.renew, TimeToLive: m.peers.timeToLive},
		StrictReconfig:  c.StrictReconfigCheck,
		Watch: service.WatchConfig{
			ProgressInterval: c.WatchProgressInterval,
			ElectionTimeout:  c.ElectionTimeout,
			Budget:           c.watchBudget,
			Fragment:         int(c.MaxRequestBytes) + messageSlack,
		},
		Version:        version.Server,
		StorageVersion: version.Storage,
		Logger:         m.logger.Named("service"),
	})
	m.count()
	m.health.service.Store(m.service)
	m.background.Go(m.routineTick)
	m.background.Go(m.routineLook)
	m.background.Go(m.peers.routineFollow)
	m.peers.serve()
	if err := m.waitServing(ctx); err != nil {
		return err
	}
	close(m.ready)
	if err := m.service.Announce(ctx, c.Name, urlStrings(c.AdvertiseClientURLs)); err != nil {
		return fmt.Errorf("make this member known: %w", err)
	}
	if m.replica.Alone() {
		m.decideVersion(ctx) // nobody need be asked
	}
	m.background.Go(m.routineVersion)
	if err := m.serve(); err != nil {
		return err
	}
	// Validate has parsed it before.
	if policy, err := compactor.Parse(c.AutoCompactionMode, c.AutoCompactionRetention); err == nil && policy != nil {
		m.background.Go(func() { m.routineCompact(policy) })
	}
	m.logger.Info("ready to serve client requests",
		zap.String("name", c.Name),
		zap.String("cluster-id", fmt.Sprintf("%x", d.Identity.ClusterID)),
		zap.String("member-id", fmt.Sprintf("%x", d.Identity.MemberID)),
		zap.Strings("listen-client-urls", urlStrings(c.ListenClientURLs)),
		zap.Uint64("applied-index", m.state.View().Applied),
		zap.Int64("revision", m.state.View().Keys.Revision),
		zap.Duration("took", time.Since(began)))
	return nil
}

// send is how messages leave for other members.
func (m *Member) send() func([]*raftpb.Message) {
	if m.config.sending != nil {
		return m.config.sending(m.peers.transport.Send)
	}
	return m.peers.transport.Send
}

// waitServing waits until the log is replayed and a leader is known.
func (m *Member) waitServing(ctx context.Context) error {
	patience := time.NewTicker(waitReport)
	defer patience.Stop()
	for {
		select {
		case <-m.replica.Serving():
			return nil
		case <-m.replica.Done():
			return m.ended()
		case err := <-m.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			m.sayWaiting()
		}
	}
}

// sayWaiting says what clients wait for. Where no leader is known, it says how far the
// log goes, too: by that the member to go on with is chosen if a majority is lost.
func (m *Member) sayWaiting() {
	s := m.replica.Status()
	fields := []zap.Field{
		zap.String("leader", fmt.Sprintf("%x", s.Leader)), zap.Uint64("term", s.Term),
		zap.Uint64("applied-index", s.Applied), zap.Uint64("commit-index", s.Commit),
	}
	if s.Leader == 0 {
		fields = append(fields, zap.Uint64("last-term", s.LastTerm), zap.Uint64("last-index", s.LastIndex))
	}
	m.logger.Warn("clients are not served yet: the members have no leader, or this one lags behind", fields...)
}

// waitReport is how often a member says that it still waits for the others.
const waitReport = 5 * time.Second

// serve opens the doors.
func (m *Member) serve() error {
	maxMessage := int(m.config.MaxRequestBytes) + messageSlack
	served := web.Options{Metrics: m.counts.Handler(), Counts: m.counts, Gateway: m.config.EnableGRPCGateway, MaxRequest: maxMessage, Origins: m.config.CORS, Hosts: m.config.HostWhitelist,
		Profiles: m.config.EnablePprof || m.config.LogLevel == "debug"}
	extensive := m.config.Metrics == "extensive"
	slow := make(slowCalls, mostSlowCalls)
	m.background.Go(func() { m.routineSlowCalls(slow) })
	var err error
	m.rpc, err = rpc.NewServer(rpc.Options{
		Methods:   m.service.Methods(),
		NewState:  service.NewConnState,
		Ended:     m.service.Ended,
		Web:       web.Client(m.service, served),
		Latency:   extensive,
		Settled:   m.service.Kick,
		SlowAfter: m.config.WarningUnaryDuration,
		Slow:      slow.note,
		Limits: rpc.Limits{
			MaxStreams:        m.config.streams(),
			MaxMessage:        maxMessage,
			PingInterval:      m.config.KeepAliveMinTime,
			KeepaliveInterval: m.config.KeepAliveInterval,
			KeepaliveTimeout:  m.config.KeepAliveTimeout,
		},
		Logger: m.logger.Named("rpc"),
	})
	if err != nil {
		return err
	}
	m.counts.RPC(m.rpc.Stats, extensive)
	for _, l := range m.listeners.clients {
		m.background.Go(func() {
			if err := m.rpc.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
				m.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
			}
		})
	}
	m.health.serving.Store(true)
	return nil
}

// serveMetrics opens the doors of those who watch the member. What it cannot answer yet
// it says so of, and families come as there is something to count.
func (m *Member) serveMetrics() error {
	quiet, err := zap.NewStdLogAt(m.logger.Named("metrics"), zap.DebugLevel)
	if err != nil {
		return err
	}
	served := web.Options{Metrics: m.counts.Handler(), Counts: m.counts}
	m.metrics = &http.Server{Handler: web.Metrics(&m.health, served), ReadHeaderTimeout: drainTimeout, ErrorLog: quiet}
	for _, l := range m.listeners.metrics {
		m.background.Go(func() {
			if err := m.metrics.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				m.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
			}
		})
	}
	return nil
}

// count adds the families of what start has made.
func (m *Member) count() {
	m.counts.State(m.service.Gauges)
	m.counts.Peers(m.state.Data.Identity.MemberID, m.peers.transport.Stats)
	m.counts.Requests(m.service.Counts)
	m.counts.Leases(m.service.LeaseCounts)
	m.counts.Watch(m.state.Watch.Stats)
}

// ClientAddresses are the addresses on which clients are served.
func (m *Member) ClientAddresses() []net.Addr {
	var addresses []net.Addr
	for _, l := range m.listeners.clients {
		addresses = append(addresses, l.Addr())
	}
	return addresses
}

// errRemoved ends a member that is none any more.
var errRemoved = errors.New("this member was removed from the cluster")

// Failed delivers the reason when a member cannot go on. Close is still to be
// called.
func (m *Member) Failed() <-chan error { return m.failed }

func (m *Member) fail(err error) {
	m.abandon(err)
	select {
	case m.failed <- err:
	default:
	}
}

// ended is why the replica has ended by itself.
func (m *Member) ended() error {
	err := m.replica.Err()
	if errors.Is(err, replica.ErrRemoved) {
		return errRemoved
	}
	return err
}

// routineTick moves the replica's clock, and hears when it ends by itself.
func (m *Member) routineTick() {
	t := time.NewTicker(m.config.HeartbeatInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.replica.Tick()
		case <-m.replica.Done():
			if err := m.ended(); err != nil {
				m.fail(err)
			}
			return
		case <-m.stopTicks:
			return
		}
	}
}

// lookInterval is how often free space is looked at: a system call or two. What
// is let in between two looks is counted.
const lookInterval = 250 * time.Millisecond

// flushLooks is every how many looks the store is flushed while space is low.
const flushLooks = 4

// routineLook watches the free space of the disk. While it is low, the store is
// flushed whenever it has something to: only what is in files takes away what a
// compaction has made garbage, and lets go of the log.
func (m *Member) routineLook() {
	t := time.NewTicker(lookInterval)
	defer t.Stop()
	var rewritten uint64
	for looks := 0; ; looks++ {
		select {
		case <-t.C:
			m.look()
			m.space.KeepReserve()
			if s := m.state.Data.Store(); m.space.Low() && looks%flushLooks == 0 && !s.MayStall() {
				if err := s.StartFlush(); err != nil && !errors.Is(err, store.ErrReplaced) {
					m.fail(err)
				}
				m.rewrite(&rewritten)
			}
		case <-m.replica.Done():
			return
		case <-m.stopTicks:
			return
		}
	}
}

// rewrite has a small store rewritten if something was flushed since the flush
// number done: the engine leaves a few deletions lie until more come, and while
// space is low none may come. No look is made meanwhile, and no put admitted.
func (m *Member) rewrite(done *uint64) {
	s := m.state.Data.Store()
	stored, err := s.DiskBytes()
	if n := s.Flushes(); err == nil && n != *done && m.space.RoomToRewrite(int64(stored)) {
		*done = n
		if err := s.Compact(); err != nil && !errors.Is(err, store.ErrReplaced) {
			m.logger.Warn("the store could not be compacted", zap.Error(err))
		}
	}
}

// look has the watch look at the disk.
func (m *Member) look() {
	stored, err := m.state.DiskBytes()
	if err != nil {
		return // the store has failed, and says so itself
	}
	m.space.Look(int64(stored))
}

// routineCompact gives up history as the policy says, while this member leads.
func (m *Member) routineCompact(policy compactor.Policy) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began := time.Now()
	t := time.NewTicker(policy.Pace())
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-m.stopTicks:
			return
		}
		now := time.Since(began)
		at, ok := policy.Due(now, m.state.View().Keys.Revision)
		if !ok || !m.service.Leads() {
			continue
		}
		switch err := m.service.Compact(ctx, at); {
		case err == nil:
			m.logger.Info("compacted", zap.Int64("revision", at))
			policy.Done(now, at)
		case errors.Is(err, errs.Compacted):
			policy.Done(now, at)
		default:
			m.logger.Warn("the history could not be compacted", zap.Int64("revision", at), zap.Error(err))
		}
	}
}

// Close lets running requests end and takes the member down, in reverse order
// of Start. It returns what went wrong on the way; what was acknowledged is on
// disk all the same. Further calls return the same.
func (m *Member) Close() error {
	m.closing.Do(func() { m.closed = m.close() })
	return m.closed
}

func (m *Member) close() error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if m.service != nil {
		m.service.Drain()
	}
	m.giveAway()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if m.rpc != nil {
		if err := m.rpc.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			note(err)
		}
	}
	if m.metrics != nil {
		if err := m.metrics.Shutdown(ctx); err != nil {
			note(m.metrics.Close())
		}
	}
	if m.peers != nil {
		note(m.peers.close())
	}
	m.listeners.close()
	if m.replica != nil {
		close(m.stopTicks)
		if err := m.replica.Close(); !errors.Is(err, replica.ErrRemoved) { // Failed has that
			note(err)
		}
	}
	m.background.Wait()
	if m.service != nil {
		m.service.Close()
	}
	if m.passwords != nil {
		m.passwords.Close()
	}
	if m.audit != nil {
		note(m.audit.Close())
	}
	if m.users != nil && m.users.Tokens != nil {
		m.users.Tokens.Close()
	}
	if m.state != nil {
		note(m.state.Close())
	}
	return errors.Join(errs...)
}

// giveAway hands leadership over to another member, if this one leads and there
// is somebody, and waits for that, no longer than an election takes.
func (m *Member) giveAway() {
	if m.replica == nil || !m.replica.Status().IsLeader || m.replica.Alone() {
		return
	}
	m.replica.GiveAway()
	over := time.NewTimer(m.config.ElectionTimeout)
	defer over.Stop()
	look := time.NewTicker(giveAwayLook)
	defer look.Stop()
	for m.replica.Status().IsLeader {
		select {
		case <-look.C:
		case <-over.C:
			return
		case <-m.replica.Done():
			return
		}
	}
}

const giveAwayLook = 5 * time.Millisecond

// bind opens the listeners of c.
func (l *listeners) bind(c *Config, logger *zap.Logger) error {
	secure, err := c.clientTLS(logger.Named("tls"))
	if err != nil {
		return err
	}
	for _, u := range c.ListenClientURLs {
		n, err := listen(u, secure)
		if err != nil {
			return fmt.Errorf("--listen-client-urls: %w", err)
		}
		l.clients = append(l.clients, n)
	}
	between, err := c.peerTLS(logger.Named("peer-tls"))
	if err != nil {
		return err
	}
	for _, u := range c.ListenPeerURLs {
		n, err := listen(u, between)
		if err != nil {
			return fmt.Errorf("--listen-peer-urls: %w", err)
		}
		l.peers = append(l.peers, n)
	}
	for _, u := range c.ListenMetricsURLs {
		n, err := listen(u, secure)
		if err != nil {
			return fmt.Errorf("--listen-metrics-urls: %w", err)
		}
		l.metrics = append(l.metrics, n)
	}
	return nil
}

func (l *listeners) close() {
	for _, n := range slices.Concat(l.clients, l.peers, l.metrics) {
		n.Close() // most are closed already by whoever served them
	}
}

// plan is what the file system of a directory can bear; that of a large one if
// it does not say how large it is.
func (m *Member) plan(path string) space.Plan {
	u, err := space.Usage(m.fs, path)
	if err != nil || u.TotalBytes == 0 {
		return space.PlanFor(math.MaxInt64, 0)
	}
	return space.PlanFor(int64(min(u.TotalBytes, math.MaxInt64)), 0)
}

// openState opens the data directory, and makes it if there is none.
func (m *Member) openState(ctx context.Context) error {
	c := m.config
	data, log := m.plan(c.directory()), m.plan(c.walDirectory())
	began := time.Now()
	m.leases = service.NewLeases(c.ElectionTimeout, func() time.Duration { return time.Since(began) })
	m.users = service.NewUsers()
	var err error
	m.state, err = state.Open(state.Options{
		Data: datadir.Options{
			FS:   m.fs,
			Path: c.directory(),
			Log:  c.walDirectory(),
			Store: store.Options{
				Logger:        storeLogger{m.logger.Named("store").Sugar()},
				MemTableBytes: uint64(data.MemTable),
				OnFatal:       func(err error) { m.fail(fmt.Errorf("the store has failed: %w", err)) },
				AroundCommit:  m.counts.AroundCommit,
			},
			WAL: wal.Options{
				Salt:         rand.Uint64(),
				NoSync:       c.UnsafeNoFsync,
				AroundSync:   m.counts.AroundSync,
				AroundWrite:  m.counts.AroundWrite,
				SegmentBytes: log.Segment,
				KeepFree:     log.Low,
			},
			Begin: func() (datadir.Beginning, error) { return m.begin(ctx) },
			Locked: func() {
				m.space = space.New(space.Options{FS: m.fs, Data: c.directory(), Log: c.walDirectory(), Logger: m.logger.Named("space")})
				m.space.Look(0)
			},
			Room: m.roomForSnapshot,
		},
		CacheBytes: c.CacheBytes,
		Machine:    machine.Options{Quota: c.quota(), MaxLearners: int(c.MaxLearners), MinTTL: c.minTTL(), Authorised: m.users.Authorised},
		Leased:     m.leases.Applied,
		LoggedIn:   m.users.LoggedIn,
		Failed:     func(err error) { m.logger.Warn("files of a snapshot could not be deleted", zap.Error(err)) },
	})
	if err != nil {
		return err
	}
	if cut := m.state.Data.Recovered.Cut; cut != nil {
		m.logger.Info("cut the torn end of the log: it was being written when the member stopped",
			zap.String("file", cut.File), zap.Int64("offset", cut.Offset), zap.Int64("bytes", cut.Bytes))
	}
	if !c.ForceNewCluster {
		return nil
	}
	gone, err := m.state.ForceNewCluster()
	if err != nil {
		return fmt.Errorf("--force-new-cluster: %w", errors.Join(err, m.state.Data.Log.Close()))
	}
	for _, one := range gone {
		m.logger.Warn("--force-new-cluster: a member was removed; it must not come back with its data",
			zap.String("member-id", fmt.Sprintf("%x", one.ID)), zap.String("name", one.Name), zap.Strings("peer-urls", one.PeerURLs))
	}
	return nil
}

// begin says what a member without data begins with: a new cluster, or one that
// it asks about who is in it.
func (m *Member) begin(ctx context.Context) (datadir.Beginning, error) {
	c := m.config
	if c.ForceNewCluster {
		return datadir.Beginning{}, fmt.Errorf("--force-new-cluster goes on with the data of a member, and there is none in --data-dir %s: is it spelled right, and its disk there?", c.directory())
	}
	members, self, err := c.initialMembers()
	switch {
	case err != nil:
		return datadir.Beginning{}, err
	case c.InitialClusterState == stateNew:
		return datadir.Beginning{Self: self.ID, Members: members}, m.checkNew(ctx, members, self)
	}
	return m.join(ctx, members, self)
}

// roomForSnapshot says whether there is room for a snapshot of so many bytes.
func (m *Member) roomForSnapshot(bytes int64) error {
	if m.space.AdmitFiles(bytes) {
		return nil
	}
	if trouble := m.space.Trouble(); trouble != "" {
		return fmt.Errorf("there is no room for a snapshot of %d bytes: %s", bytes, trouble)
	}
	return fmt.Errorf("there is no room for a snapshot of %d bytes", bytes)
}
