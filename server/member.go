package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/api/version"
	"etcd.alt/internal/audit"
	"etcd.alt/internal/auth/password"
	"etcd.alt/internal/compactor"
	"etcd.alt/internal/metrics"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/service"
	"etcd.alt/internal/space"
	"etcd.alt/internal/state"
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
	if err := m.assemble(began); err != nil {
		return err
	}
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
	d := m.state.Data
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

// count adds the families of what start has made.
func (m *Member) count() {
	m.counts.State(m.service.Gauges)
	m.counts.Peers(m.state.Data.Identity.MemberID, m.peers.transport.Stats)
	m.counts.Requests(m.service.Counts)
	m.counts.Leases(m.service.LeaseCounts)
	m.counts.Watch(m.state.Watch.Stats)
}
