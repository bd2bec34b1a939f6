package server

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/version"
	"etcd.alt/internal/audit"
	"etcd.alt/internal/auth/password"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/raft"
	"etcd.alt/internal/replica"
	"etcd.alt/internal/service"
)

// assemble puts together what agrees and what answers, over the state that is open. The
// member began then; the replica runs when it returns.
func (m *Member) assemble(began time.Time) error {
	node, err := m.prepare()
	if err != nil {
		return errors.Join(err, m.state.Data.Log.Close()) // which is the replica's from here on
	}
	answers := service.NewAnswers()
	m.replica = m.newReplica(node, answers, began)
	m.service = m.newService(answers, began)
	return nil
}

// prepare makes all that may fail.
func (m *Member) prepare() (*raft.Node, error) {
	c, d := m.config, m.state.Data
	var err error
	m.users.Tokens, err = token.New(token.Options{
		Config: c.AuthToken, TTL: c.AuthTokenTTL, ClusterID: d.Identity.ClusterID,
		Now: c.now, Logger: m.logger.Named("token"),
	})
	if err != nil {
		return nil, err
	}
	if c.AuditLog != "" {
		if m.audit, err = audit.Open(c.AuditLog, m.logger.Named("audit")); err != nil {
			return nil, fmt.Errorf("--audit-log: %w", err)
		}
	}
	m.users.Replayed = d.Recovered.Prev.Index + uint64(len(d.Recovered.Entries))
	m.passwords = password.New(password.Options{Cost: int(c.BcryptCost)})
	m.look()
	node, err := m.newNode()
	if err != nil {
		return nil, err
	}
	m.peers, err = newPeers(m)
	return node, err
}

func (m *Member) newNode() (*raft.Node, error) {
	c, d := m.config, m.state.Data
	return raft.New(raft.Config{
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
}

func (m *Member) newReplica(node *raft.Node, answers *service.Answers, began time.Time) *replica.Replica {
	c, d := m.config, m.state.Data
	return replica.New(replica.Config{
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
}

// send is how messages leave for other members.
func (m *Member) send() func([]*raftpb.Message) {
	if m.config.sending != nil {
		return m.config.sending(m.peers.transport.Send)
	}
	return m.peers.transport.Send
}

func (m *Member) newService(answers *service.Answers, began time.Time) *service.Service {
	c, d := m.config, m.state.Data
	return service.New(service.Config{
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
}
