package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/version"
	"etcd.alt/internal/member"
	"etcd.alt/internal/peer"
	"etcd.alt/internal/raft"
)

// peerHeaderTimeout is how long another member may take for the head of a
// request.
const peerHeaderTimeout = 5 * time.Second

// peers is what connects a member with the others. It follows the membership as
// it is published.
type peers struct {
	m         *Member
	transport *peer.Transport
	client    *peer.Client
	http      *http.Server
	changed   chan struct{} // of capacity 1: the membership may be another
	known     map[uint64][]string
	saidGone  sync.Once
}

// newPeers makes the connections; nothing comes in before serve, and nobody is
// dialed before follow.
func newPeers(m *Member) (*peers, error) {
	p := &peers{m: m, changed: make(chan struct{}, 1), known: map[uint64][]string{}}
	dial, err := m.config.peerClientTLS(m.logger.Named("peer-dial-tls"))
	if err != nil {
		return nil, err
	}
	p.transport, err = peer.New(peer.Config{
		ID:              m.state.Data.Identity.MemberID,
		ClusterID:       m.state.Data.Identity.ClusterID,
		PeerURLs:        urlStrings(m.config.InitialAdvertisePeerURLs),
		Version:         version.Server,
		TLS:             dial,
		DialTimeout:     time.Second + m.config.ElectionTimeout,
		MaxMessage:      raft.LargestMessage,
		Logger:          m.logger.Named("peer"),
		Deliver:         p.deliver,
		Unreachable:     func(id uint64) { m.replica.ReportUnreachable(id) },
		SnapshotSent:    p.snapshotSent,
		Removed:         func(id uint64) bool { return m.state.View().Members.IsRemoved(id) },
		Gone:            p.gone,
		OpenSnapshot:    p.openSnapshot,
		ReceiveSnapshot: p.receiveSnapshot,
	})
	if err != nil {
		return nil, err
	}
	p.client = peer.NewClient(peer.ClientConfig{TLS: dial, DialTimeout: time.Second, ClusterID: m.state.Data.Identity.ClusterID})
	quiet, err := zap.NewStdLogAt(m.logger.Named("peer-http"), zap.DebugLevel)
	if err != nil {
		return nil, err
	}
	p.http = &http.Server{Handler: p.handler(), ReadHeaderTimeout: peerHeaderTimeout, ErrorLog: quiet}
	return p, nil
}

// openSnapshot reads the copy of the state that a message speaks of.
func (p *peers) openSnapshot(m *raftpb.Message) (io.ReadCloser, error) {
	p.m.logger.Info("a snapshot is being sent", zap.String("to", fmt.Sprintf("%x", m.GetTo())), zap.Uint64("index", m.GetSnapshot().GetMetadata().GetIndex()))
	return p.m.state.Open(m.GetSnapshot().GetMetadata())
}

// snapshotSent tells the replica what came of a snapshot.
func (p *peers) snapshotSent(id uint64, ok bool) {
	p.m.logger.Info("a snapshot was sent", zap.String("to", fmt.Sprintf("%x", id)), zap.Bool("arrived", ok))
	p.m.replica.ReportSnapshot(id, ok)
}

// receiveSnapshot puts what comes with a message on disk.
func (p *peers) receiveSnapshot(m *raftpb.Message, body io.Reader) error {
	s := m.GetSnapshot().GetMetadata()
	p.m.logger.Info("a snapshot is being received", zap.String("from", fmt.Sprintf("%x", m.GetFrom())), zap.Uint64("index", s.GetIndex()))
	err := p.m.counts.AroundSave(func() error { return p.m.state.Receive(s, body) })
	if err != nil {
		p.m.logger.Warn("a snapshot could not be received", zap.Error(err))
	}
	return err
}

// serve lets the others in.
func (p *peers) serve() {
	for _, l := range p.m.listeners.peers {
		p.m.background.Go(func() {
			if err := p.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				p.m.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
			}
		})
	}
}

// close cuts all connections.
func (p *peers) close() error {
	p.transport.Close()
	p.client.Close()
	return p.http.Close()
}

// deliver hands the replica what another member has sent.
func (p *peers) deliver(m *raftpb.Message) error {
	err := p.m.replica.Deliver(m)
	if err != nil && m.GetType() == raftpb.MsgSnap {
		p.m.state.Drop(m.GetSnapshot().GetMetadata()) // what came with it
	}
	return err
}

// gone hears from another member that this one was removed, which it may have
// been cut off from hearing of itself. The replica ends then, and answers whoever waits
// for it, before the RPC server waits for them.
func (p *peers) gone(by uint64) {
	p.saidGone.Do(func() {
		p.m.logger.Warn("another member says that this one was removed", zap.String("member-id", fmt.Sprintf("%x", by)))
	})
	p.m.replica.Gone()
}

// promote asks a member at one of its URLs to promote a learner.
func (p *peers) promote(ctx context.Context, urls []string, id uint64, token string) error {
	return p.ask(ctx, urls, func(ctx context.Context, url string) error {
		_, err := p.client.Promote(ctx, url, id, token)
		return err
	})
}

// renew asks a member at one of its URLs to renew a lease.
func (p *peers) renew(ctx context.Context, urls []string, id int64) (ttl int64, err error) {
	err = p.ask(ctx, urls, func(ctx context.Context, url string) error {
		ttl, err = p.client.RenewLease(ctx, url, id)
		return err
	})
	return ttl, err
}

// timeToLive asks a member at one of its URLs what is left of a lease.
func (p *peers) timeToLive(ctx context.Context, urls []string, id int64, keys bool) (res *etcdserverpb.LeaseTimeToLiveResponse, err error) {
	err = p.ask(ctx, urls, func(ctx context.Context, url string) error {
		res, err = p.client.LeaseTimeToLive(ctx, url, id, keys)
		return err
	})
	return res, err
}

// versionOf asks a member for its version.
func (p *peers) versionOf(ctx context.Context, one member.Member) (v version.Number, ok bool) {
	err := p.ask(ctx, one.PeerURLs, func(ctx context.Context, url string) error {
		told, err := p.client.ServerVersion(ctx, url)
		if err == nil {
			v, ok = version.Parse(told.Server)
		}
		return err
	})
	return v, ok && err == nil
}

// askTimeout is how long another member may take for an answer.
const askTimeout = 5 * time.Second

// ask tries the URLs of a member until one answers, be it with an error of its
// own.
func (p *peers) ask(ctx context.Context, urls []string, question func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := errors.New("the member has no peer URL")
	for _, url := range urls {
		err = question(ctx, url)
		if own := (*errs.Error)(nil); err == nil || errors.As(err, &own) {
			return err
		}
	}
	return err
}

// reconfigured is called by the replica when the configuration has changed.
func (p *peers) reconfigured() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// routineFollow connects with the members as they come and go.
func (p *peers) routineFollow() {
	for {
		p.follow()
		select {
		case <-p.changed:
		case <-p.m.stopTicks:
			return
		}
	}
}

// follow brings the connections in line with the published membership.
func (p *peers) follow() {
	members := p.m.state.View().Members
	for id := range p.known {
		if _, ok := members.Get(id); !ok {
			delete(p.known, id)
			p.transport.Remove(id)
		}
	}
	for _, one := range members.Members {
		known, ok := p.known[one.ID]
		var err error
		switch {
		case one.ID == p.m.state.Data.Identity.MemberID || slices.Equal(known, one.PeerURLs):
			continue
		case ok:
			err = p.transport.Update(one.ID, one.PeerURLs)
		default:
			err = p.transport.Add(one.ID, one.PeerURLs)
		}
		if err != nil {
			p.m.logger.Error("a member cannot be reached", zap.String("member-id", fmt.Sprintf("%x", one.ID)), zap.Error(err))
		}
		p.known[one.ID] = one.PeerURLs
	}
}
