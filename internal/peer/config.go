package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"etcd.alt/api/version"
)

// Config is what a Transport needs to know. Its functions are called from many
// goroutines at once, and from within Send too: they must not block, and must
// not call the Transport. None is called after Close has returned, but by a
// Send that comes later.
type Config struct {
	ID        uint64   // this member
	ClusterID uint64   // its cluster
	PeerURLs  []string // where others reach this member

	Version string // the release that is spoken; version.Server when empty
	// TLS makes what the next dial of an https URL uses, and owns; nil means the
	// system's certificate authorities. A ServerName in it holds for all members.
	TLS         func() *tls.Config
	DialTimeout time.Duration // to connect; 2 s when 0
	// MaxMessage is the most bytes of a message that is taken over the pipeline; what a
	// stream brings may have 512 MiB. It must be no less than the largest message that a
	// member's raft sends.
	MaxMessage int64
	Logger     *zap.Logger // nothing is logged when nil

	// Deliver takes a message, and owns it from then on. An error says that it
	// was not taken.
	Deliver func(m *raftpb.Message) error
	// Unreachable hears that something for this member was dropped.
	Unreachable func(id uint64)
	// SnapshotSent hears, once for each MsgSnap, whether its receiver has it.
	SnapshotSent func(id uint64, ok bool)
	// Removed tells whether this id was a member and is none any more.
	Removed func(id uint64) bool
	// Gone hears that the member by says that this one was removed. It may be
	// called again and again.
	Gone func(by uint64)

	// OpenSnapshot opens what goes with a MsgSnap to a member of this program.
	// It is called from a goroutine of its own and may take its time. The reader
	// is closed once, and not while a Read is under way; Close waits for a Read, so
	// none may last for ever.
	OpenSnapshot func(m *raftpb.Message) (io.ReadCloser, error)
	// ReceiveSnapshot reads all of body, which came with the MsgSnap m, and
	// makes it durable; then m is delivered. An error of body means that the
	// sender did not finish. It may take its time.
	ReceiveSnapshot func(m *raftpb.Message, body io.Reader) error
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = version.Server
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 2 * time.Second
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.ID == 0:
		return errors.New("peer: the member's own ID is 0")
	case c.ClusterID == 0:
		return errors.New("peer: the cluster's ID is 0")
	case c.MaxMessage <= 0:
		return fmt.Errorf("peer: messages of %d bytes at most are none", c.MaxMessage)
	case c.Deliver == nil || c.Unreachable == nil || c.SnapshotSent == nil || c.Removed == nil || c.Gone == nil || c.OpenSnapshot == nil || c.ReceiveSnapshot == nil:
		return errors.New("peer: a function of Config is missing")
	}
	return checkURLs(c.PeerURLs)
}

// maxURLs is how many URLs one member may have.
const maxURLs = 32

// checkURLs refuses what cannot be dialed.
func checkURLs(urls []string) error {
	if len(urls) == 0 || len(urls) > maxURLs {
		return fmt.Errorf("peer: a member must have 1 to %d peer URLs, not %d", maxURLs, len(urls))
	}
	for _, s := range urls {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return fmt.Errorf("peer: peer URL: %w", err)
		case u.Scheme != "http" && u.Scheme != "https":
			return fmt.Errorf("peer: peer URL %q: the scheme must be http or https", s)
		case u.Host == "":
			return fmt.Errorf("peer: peer URL %q has no host", s)
		}
	}
	return nil
}

// timing is how long things take. Tests take less.
type timing struct {
	heartbeat time.Duration // between two link heartbeats of a stream
	idle      time.Duration // a stream that brings nothing for so long is lost; one write may take as long
	redial    time.Duration // between two tries to connect, growing to redialMax
	redialMax time.Duration
	probe     time.Duration // between two probes
	post      time.Duration // for a message over the pipeline, or a probe
	bulk      time.Duration // a snapshot of which nothing moves for so long is given up
	farewell  time.Duration // for what waits for a member that was removed
}

var usual = timing{
	heartbeat: 5 * time.Second / 3,
	idle:      5 * time.Second,
	redial:    100 * time.Millisecond,
	redialMax: time.Second,
	probe:     4 * time.Second,
	post:      10 * time.Second,
	bulk:      30 * time.Second,
	farewell:  time.Second, // about an election
}
