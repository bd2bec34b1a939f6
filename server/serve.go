package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"go.uber.org/zap"

	"etcd.alt/internal/rpc"
	"etcd.alt/internal/service"
	"etcd.alt/internal/web"
)

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

// ClientAddresses are the addresses on which clients are served.
func (m *Member) ClientAddresses() []net.Addr {
	var addresses []net.Addr
	for _, l := range m.listeners.clients {
		addresses = append(addresses, l.Addr())
	}
	return addresses
}
