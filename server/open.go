package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/service"
	"etcd.alt/internal/space"
	"etcd.alt/internal/state"
	"etcd.alt/internal/store"
	"etcd.alt/internal/wal"
)

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

// plan is what the file system of a directory can bear; that of a large one if
// it does not say how large it is.
func (m *Member) plan(path string) space.Plan {
	u, err := space.Usage(m.fs, path)
	if err != nil || u.TotalBytes == 0 {
		return space.PlanFor(math.MaxInt64, 0)
	}
	return space.PlanFor(int64(min(u.TotalBytes, math.MaxInt64)), 0)
}
