package cert

import (
	"crypto/tls"
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// ServerOptions are what a listener's TLS is made of.
type ServerOptions struct {
	Files Files
	// ClientCertAuth demands a certificate of every client, signed by Files.CA
	// or, without one, by a CA of the system. A CA file alone demands it too.
	ClientCertAuth bool
	Protocol       Protocol
	// NextProtos is what ALPN offers, best first.
	NextProtos []string
	// Logger gets a line when the files change. Nil: none.
	Logger *zap.Logger
}

// Server is the TLS of listeners. It holds no goroutine and needs no Close.
type Server struct {
	options ServerOptions
	files   *follower
	config  *tls.Config

	mu struct {
		sync.Mutex
		generation int
		current    *tls.Config // nil: not made yet
	}
}

// NewServer reads the files and refuses what cannot be used, naming the file
// and the setting.
func NewServer(o ServerOptions) (*Server, error) {
	o.Files = o.Files.withDefaults()
	if o.Files.Cert == "" && o.Files.Key == "" {
		return nil, fmt.Errorf("%s and %s are needed to serve TLS", o.Files.CertName, o.Files.KeyName)
	}
	if err := o.Protocol.Validate(); err != nil {
		return nil, err
	}
	files, err := follow(o.Files, o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, files: files}
	// Each handshake asks for the configuration that is in force. One and the
	// same answers until the files change, so that sessions can be resumed; with
	// a new CA the old sessions are void.
	s.config = s.make(files.mu.good)
	s.config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.inForce(), nil }
	return s, nil
}

// Config is for any number of listeners, as long as they like. The caller must
// not change it.
func (s *Server) Config() *tls.Config { return s.config }

func (s *Server) inForce() *tls.Config {
	m, generation := s.files.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.current == nil || generation > s.mu.generation {
		s.mu.current, s.mu.generation = s.make(m), generation
	}
	return s.mu.current
}

func (s *Server) make(m *material) *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{*m.pair}, NextProtos: s.options.NextProtos}
	s.options.Protocol.apply(c)
	if s.options.ClientCertAuth || m.pool != nil {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs = m.pool
	}
	return c
}
