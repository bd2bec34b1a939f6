package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ServerOptions are what a listener's TLS is made of.
type ServerOptions struct {
	Files Files
	// SelfSigned, if set, makes the pair where Files has none.
	SelfSigned *SelfSigned
	// ClientCertAuth demands a certificate of every client, signed by Files.CA
	// or, without one, by a CA of the system. A CA file alone demands it too.
	ClientCertAuth bool
	// Allow restricts whose certificates are taken, where they are demanded.
	Allow Names
	// CheckOrigin refuses a certificate that names hosts or addresses where the
	// client comes from none of them.
	CheckOrigin bool
	Protocol    Protocol
	// NextProtos is what ALPN offers, best first.
	NextProtos []string
	// Logger gets a line when the files change, and when a certificate is refused
	// that is signed. Nil: none.
	Logger *zap.Logger
}

// Demands says whether clients must show a certificate.
func (o *ServerOptions) Demands() bool { return o.ClientCertAuth || o.Files.CA != "" }

// Server is the TLS of listeners. It holds no goroutine and needs no Close.
type Server struct {
	options ServerOptions
	files   *follower
	config  *tls.Config
	logger  *zap.Logger

	mu struct {
		sync.Mutex
		current *inForce // nil: not made yet
		refused string   // the last that was logged
		at      time.Time
	}
}

// inForce is what one generation of the files makes of handshakes.
type inForce struct {
	*material
	generation int
	config     *tls.Config
}

// NewServer reads the files and refuses what cannot be used, naming the file
// and the setting.
func NewServer(o ServerOptions) (*Server, error) {
	o.Files = o.Files.withDefaults()
	if o.Files.Cert != "" || o.Files.Key != "" {
		o.SelfSigned = nil
	} else if o.SelfSigned == nil {
		return nil, fmt.Errorf("%s and %s are needed to serve TLS", o.Files.CertName, o.Files.KeyName)
	}
	if err := o.Protocol.Validate(); err != nil {
		return nil, err
	}
	if err := o.Allow.Validate(); err != nil {
		return nil, err
	}
	if o.Files.CRL != "" && !o.Demands() {
		return nil, fmt.Errorf("%s takes certificates back, but none are asked for: %s is missing", o.Files.CRLName, o.Files.CAName)
	}
	files, err := follow(o.Files, o.SelfSigned, o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, files: files, logger: files.logger}
	// Each handshake asks for the configuration that is in force. The keys of
	// sessions are those of s.config.
	s.config = s.make(files.mu.good, files.mu.generation).config
	s.config.GetConfigForClient = s.configFor
	return s, nil
}

// Config is for any number of listeners, as long as they like. The caller must
// not change it.
func (s *Server) Config() *tls.Config { return s.config }

// configFor is the configuration of one handshake.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	f := s.inForce()
	c := f.config.Clone()
	ctx, remote := hello.Context(), hello.Conn.RemoteAddr()
	c.VerifyConnection = func(state tls.ConnectionState) error { return s.admit(ctx, f.material, remote, &state) }
	return c, nil
}

func (s *Server) inForce() *inForce {
	m, generation := s.files.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.current == nil || generation > s.mu.current.generation {
		s.mu.current = s.make(m, generation)
	}
	return s.mu.current
}

func (s *Server) make(m *material, generation int) *inForce {
	c := &tls.Config{Certificates: []tls.Certificate{*m.pair}, NextProtos: s.options.NextProtos}
	s.options.Protocol.apply(c)
	if s.options.Demands() {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs = m.pool
	}
	// A session is resumed with the verdict of the handshake that began it. So one
	// is good as long as the files that it was judged by.
	mark := binary.BigEndian.AppendUint64([]byte("etcd.alt/files/"), uint64(generation))
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		if !marked(session, mark) {
			session.Extra = append(session.Extra, mark)
		}
		return s.config.EncryptTicket(state, session)
	}
	c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := s.config.DecryptTicket(ticket, state)
		if err != nil || session == nil || !marked(session, mark) {
			return nil, err // a whole handshake follows
		}
		return session, nil
	}
	return &inForce{material: m, generation: generation, config: c}
}

func marked(s *tls.SessionState, mark []byte) bool {
	return slices.ContainsFunc(s.Extra, func(b []byte) bool { return bytes.Equal(b, mark) })
}

// admit has the last word on a client whose certificate is signed.
func (s *Server) admit(ctx context.Context, m *material, remote net.Addr, state *tls.ConnectionState) error {
	if len(state.VerifiedChains) == 0 {
		return nil // none is demanded
	}
	err := m.judge(&s.options.Allow, state)
	if err == nil && s.options.CheckOrigin {
		err = checkOrigin(ctx, state.PeerCertificates[0], remote)
	}
	if err != nil {
		s.refuse(remote, err)
	}
	return err
}

// judge refuses a verified peer that was revoked or has none of the names.
func (m *material) judge(allow *Names, state *tls.ConnectionState) error {
	var err error
	for _, chain := range state.VerifiedChains {
		if err = m.crl.check(chain); err == nil {
			break // one way to trust it is enough
		}
	}
	if err == nil {
		err = allow.check(state.PeerCertificates[0])
	}
	return err
}

// refuse says why, once a minute for the same reason.
func (s *Server) refuse(remote net.Addr, err error) {
	s.mu.Lock()
	now := time.Now()
	again := err.Error() == s.mu.refused && now.Sub(s.mu.at) < time.Minute
	if !again {
		s.mu.refused, s.mu.at = err.Error(), now
	}
	s.mu.Unlock()
	if !again {
		s.logger.Warn("a certificate was refused", zap.Stringer("remote", remote), zap.Error(err))
	}
}
