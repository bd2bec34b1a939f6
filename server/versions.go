package server

import (
	"context"
	"time"

	"go.uber.org/zap"

	"etcd.alt/api/version"
)

// versionInterval is how often a leader looks at the versions of the members.
const versionInterval = 4 * time.Second

// routineVersion has the members agree on the cluster's version, while this one
// leads.
func (m *Member) routineVersion() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t := time.NewTicker(versionInterval)
	defer t.Stop()
	for {
		m.decideVersion(ctx)
		select {
		case <-t.C:
		case <-m.stopTicks:
			return
		}
	}
}

// decideVersion sets the cluster's version to the lowest of the members'. It is
// raised when all are known, and lowered only on the way of a downgrade.
func (m *Member) decideVersion(ctx context.Context) {
	if !m.service.Leads() {
		return
	}
	members := m.state.View().Members
	decided, known := version.Parse(members.Version)
	lowest, all := m.lowestVersion(ctx)
	if target, ok := version.Parse(members.Downgrade); ok && all && lowest == target && decided == target {
		if err := m.service.EndDowngrade(ctx); err != nil {
			m.logger.Warn("the end of the downgrade could not be noted", zap.Error(err))
		}
		return
	}
	switch {
	case !all && known:
		return
	case !all:
		lowest = oldest // until all can be asked
	case known && members.Downgrade != "":
		target, _ := version.Parse(members.Downgrade)
		if !target.Less(decided) {
			return
		}
		lowest = target
	case known && !decided.Less(lowest):
		return
	}
	if err := m.service.SetClusterVersion(ctx, lowest); err != nil {
		m.logger.Warn("the cluster's version could not be set", zap.Stringer("version", lowest), zap.Error(err))
		return
	}
	m.logger.Info("the cluster has a version", zap.Stringer("version", lowest), zap.String("before", members.Version))
}

// oldest is the version of a cluster some of whose members are not known.
var oldest = version.Number{Major: 3}

// lowestVersion asks all members; all says that each has answered.
func (m *Member) lowestVersion(ctx context.Context) (lowest version.Number, all bool) {
	lowest, _ = version.Parse(version.Server)
	for _, one := range m.state.View().Members.Members {
		if one.ID == m.state.Data.Identity.MemberID {
			continue
		}
		v, ok := m.peers.versionOf(ctx, one)
		if !ok {
			return lowest, false
		}
		if v.Less(lowest) {
			lowest = v
		}
	}
	return lowest, true
}
