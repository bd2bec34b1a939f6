package server

import (
	"cmp"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/auth/password"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/cert"
	"etcd.alt/internal/compactor"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/member"
)

// Config is what a member is started with. Default gives its defaults and Parse
// fills it from flags, environment or file; a zero Config is not usable.
type Config struct {
	Name                     string
	DataDir                  string // "" means <name>.etcd
	WALDir                   string // "" means inside DataDir
	ListenClientURLs         []url.URL
	AdvertiseClientURLs      []url.URL
	ListenPeerURLs           []url.URL
	InitialAdvertisePeerURLs []url.URL
	ListenMetricsURLs        []url.URL
	InitialCluster           string // "" means <name>=<InitialAdvertisePeerURLs>
	InitialClusterState      string
	InitialClusterToken      string
	StrictReconfigCheck      bool // refuse changes that endanger the quorum
	PreVote                  bool // ask the others before a term is begun
	MaxLearners              uint

	HeartbeatInterval time.Duration // one tick
	ElectionTimeout   time.Duration

	MaxTxnOps            uint
	MaxRequestBytes      uint
	MaxConcurrentStreams uint32
	KeepAliveMinTime     time.Duration
	KeepAliveInterval    time.Duration
	KeepAliveTimeout     time.Duration
	CacheBytes           int64
	QuotaBytes           int64 // 0 means 2 GiB, less than that none

	AutoCompactionMode      string
	AutoCompactionRetention string

	LogLevel   string
	LogFormat  string
	LogOutputs []string

	UnsafeNoFsync   bool
	ForceNewCluster bool // go on alone, with the data there is

	ClientCertFile      string // the pair that listeners show
	ClientKeyFile       string
	ClientTrustedCAFile string // what clients' certificates must be signed by
	ClientCRLFile       string // which of them are taken back
	ClientCertAuth      bool
	ClientAllow         cert.Names // whose certificates are taken
	ClientAutoTLS       bool       // make a pair where none is given
	DialCertFile        string     // the pair for client ports that this member dials: it dials none
	DialKeyFile         string
	TLSProtocol         cert.Protocol
	SelfSignedYears     uint // how long a pair that is made is valid

	PeerCertFile       string // the pair that is shown to other members
	PeerKeyFile        string
	PeerClientCertFile string // the pair to dial with, where that is another
	PeerClientKeyFile  string
	PeerTrustedCAFile  string // what other members' certificates must be signed by
	PeerCRLFile        string // which of them are taken back
	PeerClientCertAuth bool
	PeerAllow          cert.Names // whose certificates are taken
	PeerAutoTLS        bool       // make a pair where none is given, and trust every member
	PeerSkipOrigin     bool       // take a member's certificate from any address

	CORS          []string // origins whose pages may ask, or "*"
	HostWhitelist []string // names by which the member is asked without TLS, or "*"

	AuthToken    token.Config  // what stands for a login
	AuthTokenTTL time.Duration // life of a simple token after its last use
	BcryptCost   uint
	AuditLog     string      // file of who has asked for what; none if empty
	olderToken   token.Older // AuthToken, where it was given by the flags of old

	Metrics string // "basic", or "extensive": with the durations of calls

	WarningApplyDuration time.Duration // entries that take longer to be applied are logged
	WarningUnaryDuration time.Duration // and requests that take longer to be answered; 0: none
	EnablePprof          bool          // profiles of this process are served on client ports

	EnableGRPCGateway bool // the RPCs as JSON under /v3/

	WatchProgressInterval time.Duration // 0 means ten minutes
	watchBudget           int           // bytes that may wait in a stream of watchers; a test has few

	// What a test has to stop a request at the doors, on its way to the leader, and to
	// say what time it is.
	admitted func()
	sending  func(send func([]*raftpb.Message)) func([]*raftpb.Message)
	now      func() time.Time

	set map[string]bool // names that were given, not left at their default
}

// A setting is one row of the table.
type setting struct {
	section string
	name    string // empty: it is in configuration files alone
	help    string
	// value parses and prints the setting; its present text is the default.
	value flag.Value
	// fileValue parses the setting in a configuration file where that is
	// spelled differently; nil otherwise.
	fileValue flag.Value
	// fileKey is where a configuration file has it, "section.key"; empty means
	// under name.
	fileKey string
}

// settings is the table, bound to c.
func settings(c *Config) []setting {
	return []setting{
		{section: "Member", name: "name", help: "human readable name of this member", value: (*text)(&c.Name)},
		{section: "Member", name: "data-dir", help: "directory of the member's data; empty means <name>.etcd", value: (*text)(&c.DataDir)},
		{section: "Member", name: "wal-dir", help: "directory of the log, where it is to lie on a disk of its own", value: (*text)(&c.WALDir)},
		{section: "Member", name: "listen-client-urls", help: "URLs to serve clients on", value: (*urls)(&c.ListenClientURLs)},
		{section: "Member", name: "listen-peer-urls", help: "URLs to serve other members on", value: (*urls)(&c.ListenPeerURLs)},
		{section: "Member", name: "heartbeat-interval", help: "milliseconds between heartbeats; one tick of the logical clock", value: (*millis)(&c.HeartbeatInterval)},
		{section: "Member", name: "election-timeout", help: "milliseconds without a leader after which an election begins", value: (*millis)(&c.ElectionTimeout)},
		{section: "Member", name: "max-txn-ops", help: "most operations in each list of a transaction", value: (*number)(&c.MaxTxnOps)},
		{section: "Member", name: "max-request-bytes", help: "most bytes of a request in the log", value: (*number)(&c.MaxRequestBytes)},
		{section: "Member", name: "max-concurrent-streams", help: "most requests that a connection may have open; the default stands for 65,536", value: (*number32)(&c.MaxConcurrentStreams)},
		{section: "Member", name: "grpc-keepalive-min-time", help: "a client that pings more often is cut off", value: (*duration)(&c.KeepAliveMinTime), fileValue: (*nanos)(&c.KeepAliveMinTime)},
		{section: "Member", name: "grpc-keepalive-interval", help: "time after which a silent connection is pinged; 0 for never", value: (*duration)(&c.KeepAliveInterval), fileValue: (*nanos)(&c.KeepAliveInterval)},
		{section: "Member", name: "grpc-keepalive-timeout", help: "how long such a ping may go unanswered", value: (*duration)(&c.KeepAliveTimeout), fileValue: (*nanos)(&c.KeepAliveTimeout)},
		{section: "Member", name: "quota-backend-bytes", help: "bytes of live history above which writes are refused; 0 means 2 GiB, a negative number none", value: (*bytesize)(&c.QuotaBytes)},
		{section: "Member", name: "cache-bytes", help: "memory for hot values", value: (*bytesize)(&c.CacheBytes)},
		{section: "Member", name: "watch-progress-notify-interval", help: "how often watchers that ask for it hear how far they are; 0 means 10m", value: (*duration)(&c.WatchProgressInterval), fileValue: (*nanos)(&c.WatchProgressInterval)},
		{section: "Member", name: "enable-grpc-gateway", help: "serve the RPCs as JSON over HTTP, under /v3/", value: (*boolean)(&c.EnableGRPCGateway)},

		{section: "Clustering", name: "advertise-client-urls", help: "client URLs made known to the cluster", value: (*urls)(&c.AdvertiseClientURLs)},
		{section: "Clustering", name: "initial-advertise-peer-urls", help: "peer URLs made known to the cluster; they make the member's id", value: (*urls)(&c.InitialAdvertisePeerURLs)},
		{section: "Clustering", name: "initial-cluster", help: "members to begin with, name=url,...; ignored once there is data", value: (*text)(&c.InitialCluster)},
		{section: "Clustering", name: "initial-cluster-state", help: "new, or existing to join a cluster; ignored once there is data", value: (*text)(&c.InitialClusterState)},
		{section: "Clustering", name: "initial-cluster-token", help: "salt of the ids of cluster and members", value: (*text)(&c.InitialClusterToken)},
		{section: "Clustering", name: "strict-reconfig-check", help: "refuse changes of the membership that endanger the quorum", value: (*boolean)(&c.StrictReconfigCheck)},
		{section: "Clustering", name: "pre-vote", help: "ask the other members before an election is begun, so that one that was cut off disturbs nobody", value: (*boolean)(&c.PreVote)},
		{section: "Clustering", name: "max-learners", help: "most learners in the cluster; it must be the same on every member", value: (*number)(&c.MaxLearners)},
		{section: "Clustering", name: "auto-compaction-mode", help: "what --auto-compaction-retention counts: periodic or revision", value: (*text)(&c.AutoCompactionMode)},
		{section: "Clustering", name: "auto-compaction-retention", help: "history to keep: a duration or a number of hours, or of revisions; 0 keeps all", value: (*text)(&c.AutoCompactionRetention)},

		{section: "Logging and monitoring", name: "log-level", help: "debug, info, warn, error, panic or fatal", value: (*text)(&c.LogLevel)},
		{section: "Logging and monitoring", name: "log-format", help: "json or console", value: (*text)(&c.LogFormat)},
		{section: "Logging and monitoring", name: "log-outputs", help: "default, stderr, stdout or paths of files", value: (*list)(&c.LogOutputs)},
		{section: "Logging and monitoring", name: "listen-metrics-urls", help: "further URLs for /metrics, /health, /livez, /readyz", value: (*urls)(&c.ListenMetricsURLs)},
		{section: "Logging and monitoring", name: "warning-apply-duration", help: "entries that take longer to be applied are logged, and counted as slow", value: (*duration)(&c.WarningApplyDuration), fileValue: (*nanos)(&c.WarningApplyDuration)},
		{section: "Logging and monitoring", name: "warning-unary-request-duration", help: "requests that take longer to be answered are logged; 0: none", value: (*duration)(&c.WarningUnaryDuration), fileValue: (*nanos)(&c.WarningUnaryDuration)},
		{section: "Logging and monitoring", name: "enable-pprof", help: "serve profiles of this process under /debug/pprof/ on client ports, to whoever asks; --log-level=debug does too", value: (*boolean)(&c.EnablePprof)},
		{section: "Logging and monitoring", name: "metrics", help: "basic, or extensive: with the durations of calls", value: (*text)(&c.Metrics)},

		{section: "Security", name: "cert-file", fileKey: "client-transport-security.cert-file", help: "certificate shown to clients on https and unixs URLs", value: (*text)(&c.ClientCertFile)},
		{section: "Security", name: "key-file", fileKey: "client-transport-security.key-file", help: "its key", value: (*text)(&c.ClientKeyFile)},
		{section: "Security", name: "trusted-ca-file", fileKey: "client-transport-security.trusted-ca-file", help: "CA of clients' certificates, which are then demanded", value: (*text)(&c.ClientTrustedCAFile)},
		{section: "Security", name: "client-cert-auth", fileKey: "client-transport-security.client-cert-auth", help: "demand a certificate of clients, of the system's CAs where none is named", value: (*boolean)(&c.ClientCertAuth)},
		{section: "Security", name: "client-crl-file", help: "revoked certificates of clients, PEM or DER", value: (*text)(&c.ClientCRLFile)},
		{section: "Security", name: "client-cert-allowed-hostname", fileKey: "client-transport-security.allowed-hostname", help: "host names of which a client's certificate must have one", value: (*list)(&c.ClientAllow.Hosts)},
		{section: "Security", fileKey: "client-transport-security.allowed-cn", value: (*list)(&c.ClientAllow.CommonNames)},
		{section: "Security", name: "auto-tls", fileKey: "client-transport-security.auto-tls", help: "make a self-signed certificate for clients where --cert-file is empty", value: (*boolean)(&c.ClientAutoTLS)},
		{section: "Security", name: "client-cert-file", fileKey: "client-transport-security.client-cert-file", help: "certificate to dial client ports with; this program dials none, and only checks it", value: (*text)(&c.DialCertFile)},
		{section: "Security", name: "client-key-file", fileKey: "client-transport-security.client-key-file", help: "its key", value: (*text)(&c.DialKeyFile)},
		{section: "Security", name: "peer-cert-file", fileKey: "peer-transport-security.cert-file", help: "certificate shown to other members on https URLs", value: (*text)(&c.PeerCertFile)},
		{section: "Security", name: "peer-key-file", fileKey: "peer-transport-security.key-file", help: "its key", value: (*text)(&c.PeerKeyFile)},
		{section: "Security", name: "peer-client-cert-file", fileKey: "peer-transport-security.client-cert-file", help: "certificate to dial other members with; empty for --peer-cert-file", value: (*text)(&c.PeerClientCertFile)},
		{section: "Security", name: "peer-client-key-file", fileKey: "peer-transport-security.client-key-file", help: "its key", value: (*text)(&c.PeerClientKeyFile)},
		{section: "Security", name: "peer-trusted-ca-file", fileKey: "peer-transport-security.trusted-ca-file", help: "CA of other members' certificates, which are then demanded", value: (*text)(&c.PeerTrustedCAFile)},
		{section: "Security", name: "peer-client-cert-auth", fileKey: "peer-transport-security.client-cert-auth", help: "demand a certificate of other members, of the system's CAs where none is named", value: (*boolean)(&c.PeerClientCertAuth)},
		{section: "Security", name: "peer-crl-file", help: "revoked certificates of other members, PEM or DER", value: (*text)(&c.PeerCRLFile)},
		{section: "Security", name: "peer-cert-allowed-cn", fileKey: "peer-transport-security.allowed-cn", help: "common names of which another member's certificate must have one", value: (*list)(&c.PeerAllow.CommonNames)},
		{section: "Security", name: "peer-cert-allowed-hostname", fileKey: "peer-transport-security.allowed-hostname", help: "host names of which another member's certificate must have one", value: (*list)(&c.PeerAllow.Hosts)},
		{section: "Security", name: "peer-skip-client-san-verification", fileKey: "peer-transport-security.skip-client-san-verification", help: "take another member's certificate from addresses that it does not name", value: (*boolean)(&c.PeerSkipOrigin)},
		{section: "Security", name: "peer-auto-tls", fileKey: "peer-transport-security.auto-tls", help: "make a self-signed certificate for other members where --peer-cert-file is empty, and take any of theirs", value: (*boolean)(&c.PeerAutoTLS)},
		{section: "Security", name: "self-signed-cert-validity", help: "years that a self-signed certificate is valid", value: (*number)(&c.SelfSignedYears)},
		{section: "Security", name: "cors", help: "origins whose pages may use the HTTP interface, or * for all", value: (*list)(&c.CORS)},
		{section: "Security", name: "host-whitelist", help: "host names that HTTP without TLS is asked by, or * for all", value: (*list)(&c.HostWhitelist)},
		{section: "Security", name: "tls-min-version", help: "oldest version of TLS spoken, TLS1.2 or TLS1.3", value: &c.TLSProtocol.MinVersion},
		{section: "Security", name: "tls-max-version", help: "newest version of TLS spoken; empty for the newest there is", value: &c.TLSProtocol.MaxVersion},
		{section: "Security", name: "cipher-suites", help: "cipher suites of TLS 1.2, by name; empty for a good choice", value: (*list)(&c.TLSProtocol.CipherSuites)},

		{section: "Auth", name: "auth-token", help: "what stands for a login: simple, or jwt,sign-method=...,pub-key=...,priv-key=...,ttl=... (see docs/auth.md)", value: &c.AuthToken},
		{section: "Auth", name: "auth-token-ttl", help: "seconds that a simple token lives after its last use", value: (*seconds)(&c.AuthTokenTTL)},
		{section: "Auth", name: "bcrypt-cost", help: "cost of hashing a password, 4 to 31; each step doubles it", value: (*number)(&c.BcryptCost)},
		{section: "Auth", name: "audit-log", help: "file to write down in who has asked for what, and what became of it, as lines of JSON; none if empty (see docs/auth.md)", value: (*text)(&c.AuditLog)},
		{section: "Auth", name: "auth-token-type", help: "simple or jwt; with the three flags below an older spelling of --auth-token", value: (*text)(&c.olderToken.Type)},
		{section: "Auth", name: "auth-jwt-sign-method", help: "its sign-method", value: (*text)(&c.olderToken.SignMethod)},
		{section: "Auth", name: "auth-jwt-pub-key", help: "its pub-key", value: (*text)(&c.olderToken.PublicKey)},
		{section: "Auth", name: "auth-jwt-priv-key", help: "its priv-key", value: (*text)(&c.olderToken.PrivateKey)},

		{section: "Unsafe", name: "force-new-cluster", help: "go on as the only member, with what this one has: for when a majority is lost for good", value: (*boolean)(&c.ForceNewCluster)},
		{section: "Unsafe", name: "unsafe-no-fsync", help: "do not wait for the disk: a power cut may lose acknowledged writes", value: (*boolean)(&c.UnsafeNoFsync)},
	}
}

// streams is how many streams a connection may have open. Upstream's default is no bound;
// a peer must not take memory without one, so that the engine's stands in its place: 0.
func (c *Config) streams() uint32 {
	if c.MaxConcurrentStreams == math.MaxUint32 {
		return 0
	}
	return c.MaxConcurrentStreams
}

// refused are upstream's settings that this version does not have. A member
// that left one of them unheeded would not be the member that was asked for.
var refused = strings.Fields(`
	snapshot-count snapshot-catchup-entries initial-election-tick-advance listen-client-http-urls max-snapshots max-wals
	memory-mlock backend-bbolt-freelist-type backend-batch-interval backend-batch-limit
	socket-reuse-port socket-reuse-address raft-read-timeout raft-write-timeout feature-gates
	discovery-token discovery-endpoints discovery-dial-timeout discovery-request-timeout discovery-keepalive-time
	discovery-keepalive-timeout discovery-insecure-transport discovery-insecure-skip-tls-verify discovery-cert discovery-key
	discovery-cacert discovery-user discovery-password discovery-fallback discovery-srv discovery-srv-name discovery-config
	v2-deprecation
	logger enable-log-rotation log-rotation-config-json
	enable-distributed-tracing distributed-tracing-address
	distributed-tracing-service-name distributed-tracing-instance-id distributed-tracing-sampling-rate
	corrupt-check-time compact-hash-check-time compaction-batch-limit compaction-sleep-interval
	downgrade-check-time bootstrap-defrag-threshold-megabytes`)

// Default returns the configuration that no setting has touched.
func Default() *Config {
	return &Config{
		Name:                     "default",
		ListenClientURLs:         mustURLs("http://localhost:2379"),
		AdvertiseClientURLs:      mustURLs("http://localhost:2379"),
		ListenPeerURLs:           mustURLs("http://localhost:2380"),
		InitialAdvertisePeerURLs: mustURLs("http://localhost:2380"),
		InitialClusterState:      "new",
		InitialClusterToken:      "etcd-cluster",
		StrictReconfigCheck:      true,
		PreVote:                  true,
		MaxLearners:              1,
		HeartbeatInterval:        100 * time.Millisecond,
		ElectionTimeout:          time.Second,
		MaxTxnOps:                128,
		MaxRequestBytes:          1536 << 10,
		MaxConcurrentStreams:     1<<32 - 1,
		KeepAliveMinTime:         5 * time.Second,
		KeepAliveInterval:        2 * time.Hour,
		KeepAliveTimeout:         20 * time.Second,
		CacheBytes:               64 << 20,
		AutoCompactionMode:       compactor.ModePeriodic,
		AutoCompactionRetention:  "0",
		LogLevel:                 "info",
		LogFormat:                "json",
		LogOutputs:               []string{"default"},
		EnableGRPCGateway:        true,
		AuthTokenTTL:             300 * time.Second,
		BcryptCost:               password.DefaultCost,
		Metrics:                  "basic",
		WarningApplyDuration:     100 * time.Millisecond,
		WarningUnaryDuration:     300 * time.Millisecond,
		TLSProtocol:              cert.Protocol{MinVersion: tls.VersionTLS12},
		SelfSignedYears:          1,
		CORS:                     []string{"*"},
		HostWhitelist:            []string{"*"},
		set:                      map[string]bool{},
	}
}

// Where a member without data comes from.
const (
	stateNew      = "new"
	stateExisting = "existing"
)

// minTTL is the shortest life of a lease in seconds: half as long again as an
// election may take, in whole ticks, so that one outlives the loss of a leader. It
// must be upstream's, since it is a part of what is applied.
func (c *Config) minTTL() int64 {
	ticks := c.ElectionTimeout / c.HeartbeatInterval
	return int64(math.Ceil((3 * ticks / 2 * c.HeartbeatInterval).Seconds()))
}

// quota is how many bytes of live history are allowed; 0 for any number.
func (c *Config) quota() machine.Quota {
	switch {
	case c.QuotaBytes == 0:
		return defaultQuota
	case c.QuotaBytes < 0:
		return 0
	}
	return machine.Quota(c.QuotaBytes)
}

const (
	defaultQuota = 2 << 30
	// largeQuota is where a warning is given.
	largeQuota = 8 << 30
)

// directory is where the data lies.
func (c *Config) directory() string {
	if c.DataDir != "" {
		return c.DataDir
	}
	return c.Name + ".etcd"
}

func (c *Config) walDirectory() string {
	if c.WALDir != "" {
		return c.WALDir
	}
	return filepath.Join(c.directory(), "log")
}

// Validate says what is wrong with a configuration, naming the setting. It does not
// look at the disk: whether --initial-cluster fits this member is asked by Start, and
// only where there is no data.
func (c *Config) Validate() error {
	switch {
	case c.Name == "":
		return errors.New("--name is empty")
	case c.HeartbeatInterval <= 0:
		return errors.New("--heartbeat-interval must be above 0 ms")
	case c.ElectionTimeout <= 0:
		return errors.New("--election-timeout must be above 0 ms")
	case c.ElectionTimeout < 5*c.HeartbeatInterval:
		return fmt.Errorf("--election-timeout (%v) must be at least five times --heartbeat-interval (%v)", c.ElectionTimeout, c.HeartbeatInterval)
	case c.ElectionTimeout > 50*time.Second:
		return fmt.Errorf("--election-timeout (%v) must not be above 50000 ms", c.ElectionTimeout)
	case c.set["listen-client-urls"] && !c.set["advertise-client-urls"]:
		return errors.New("--advertise-client-urls is required when --listen-client-urls is set")
	case len(c.ListenClientURLs) == 0:
		return errors.New("--listen-client-urls is empty")
	case len(c.AdvertiseClientURLs) == 0:
		return errors.New("--advertise-client-urls is empty: nobody could find this member")
	case c.InitialClusterState != stateNew && c.InitialClusterState != stateExisting:
		return fmt.Errorf("--initial-cluster-state is %q; it must be new or existing", c.InitialClusterState)
	case c.CacheBytes < 0:
		return errors.New("--cache-bytes must not be negative")
	case c.MaxRequestBytes == 0 || c.MaxRequestBytes > 64<<20:
		return fmt.Errorf("--max-request-bytes (%d) must be between 1 and %d", c.MaxRequestBytes, 64<<20)
	case c.WatchProgressInterval != 0 && c.WatchProgressInterval < 100*time.Millisecond:
		return fmt.Errorf("--watch-progress-notify-interval (%v) must be at least 100ms, or 0", c.WatchProgressInterval)
	case c.BcryptCost < password.MinCost || c.BcryptCost > password.MaxCost:
		return fmt.Errorf("--bcrypt-cost (%d) must be between %d and %d", c.BcryptCost, password.MinCost, password.MaxCost)
	case c.AuthTokenTTL <= 0:
		return errors.New("--auth-token-ttl must be above 0 seconds")
	case c.Metrics != "basic" && c.Metrics != "extensive":
		return fmt.Errorf("--metrics is %q; it must be basic or extensive", c.Metrics)
	case c.LogFormat != "json" && c.LogFormat != "console":
		return fmt.Errorf("--log-format is %q; it must be json or console", c.LogFormat)
	}
	if _, err := compactor.Parse(c.AutoCompactionMode, c.AutoCompactionRetention); err != nil {
		return fmt.Errorf("--auto-compaction-mode, --auto-compaction-retention: %w", err)
	}
	for _, l := range []struct {
		name string
		urls []url.URL
	}{{"listen-client-urls", c.ListenClientURLs}, {"listen-peer-urls", c.ListenPeerURLs}, {"listen-metrics-urls", c.ListenMetricsURLs}} {
		for _, u := range l.urls {
			if err := checkListen(u); err != nil {
				return fmt.Errorf("--%s: %w", l.name, err)
			}
		}
	}
	if err := c.checkTLS(); err != nil {
		return err
	}
	if err := c.checkOrigins(); err != nil {
		return err
	}
	_, err := c.parseInitialCluster()
	return err
}

// settleToken makes one of the two spellings of --auth-token.
func (c *Config) settleToken() (err error) {
	for _, older := range []string{"auth-token-type", "auth-jwt-sign-method", "auth-jwt-pub-key", "auth-jwt-priv-key"} {
		switch {
		case !c.set[older]:
		case c.set["auth-token"]:
			return fmt.Errorf("--%s and --auth-token are two spellings of one setting: only one may be given", older)
		default:
			c.AuthToken, err = c.olderToken.Config()
			return err
		}
	}
	return nil
}

// namedURL is one part of --initial-cluster: a peer URL and the name of whose it is.
type namedURL struct{ name, url string }

// parseInitialCluster reads --initial-cluster, which is this member alone where it is
// empty. It looks at the form only, for what it says counts at the first start alone.
func (c *Config) parseInitialCluster() (all []namedURL, err error) {
	spec := c.InitialCluster
	if spec == "" {
		spec = c.Name + "=" + strings.Join(urlStrings(c.InitialAdvertisePeerURLs), ","+c.Name+"=")
	}
	for _, part := range strings.Split(spec, ",") {
		name, at, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--initial-cluster: %q is not of the form name=url", part)
		}
		us, err := parseURLs(at)
		if err != nil || len(us) != 1 {
			return nil, fmt.Errorf("--initial-cluster: %q: %w", part, cmp.Or(err, errors.New("there is no URL")))
		}
		all = append(all, namedURL{name, us[0].String()})
	}
	return all, nil
}

// initialMembers are the members of --initial-cluster with the ids that they have from
// the beginning, for a first start. What concerns this member must be what
// --initial-advertise-peer-urls says.
func (c *Config) initialMembers() (all []member.Member, self member.Member, err error) {
	parts, err := c.parseInitialCluster()
	if err != nil {
		return nil, self, err
	}
	peerURLs := map[string][]string{}
	owner := map[string]string{}
	var names []string
	for _, part := range parts {
		if other, taken := owner[part.url]; taken {
			return nil, self, fmt.Errorf("--initial-cluster: %s is the peer URL of %q and of %q", part.url, other, part.name)
		}
		owner[part.url] = part.name
		if peerURLs[part.name] == nil {
			names = append(names, part.name)
		}
		peerURLs[part.name] = append(peerURLs[part.name], part.url)
	}
	for _, name := range names {
		slices.Sort(peerURLs[name])
		m := member.Member{ID: member.ID(peerURLs[name], c.InitialClusterToken), PeerURLs: peerURLs[name], Name: name}
		if all = append(all, m); name == c.Name {
			self = m
		}
	}
	own := urlStrings(c.InitialAdvertisePeerURLs)
	switch {
	case self.ID == 0:
		return nil, self, fmt.Errorf("--initial-cluster does not name this member, --name %q", c.Name)
	case !slices.Equal(self.PeerURLs, own):
		return nil, self, fmt.Errorf("--initial-cluster has %s of this member, %q, and --initial-advertise-peer-urls has %s",
			strings.Join(self.PeerURLs, ","), c.Name, strings.Join(own, ","))
	}
	return all, self, nil
}

// checkOrigins refuses origins that no page can have.
func (c *Config) checkOrigins() error {
	for _, o := range c.CORS {
		if o = strings.TrimSpace(o); o == "*" {
			continue
		}
		if u, err := url.Parse(o); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" {
			return fmt.Errorf("--cors: %q is no origin: expected * or scheme://host[:port]", o)
		}
	}
	return nil
}

// checkListen refuses URLs that cannot be bound.
func checkListen(u url.URL) error {
	switch u.Scheme {
	case "unix", "unixs":
		return nil
	case "http", "https":
	default:
		return fmt.Errorf("%s: the scheme must be http, https, unix or unixs", u.String())
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return fmt.Errorf("%s: %w", u.String(), err)
	}
	if port == "" {
		return fmt.Errorf("%s: the port is missing", u.String())
	}
	if host != "localhost" && net.ParseIP(host) == nil {
		return fmt.Errorf("%s: expected an IP address or localhost to listen on, not a domain name", u.String())
	}
	return nil
}

// The kinds of values.

type text string

func (v *text) Set(s string) error { *v = text(s); return nil }
func (v *text) String() string     { return string(*v) }

type list []string

func (v *list) Set(s string) error {
	*v = nil
	if s != "" {
		*v = strings.Split(s, ",")
	}
	return nil
}
func (v *list) String() string { return strings.Join(*v, ",") }

type boolean bool

func (v *boolean) Set(s string) error {
	b, err := strconv.ParseBool(s)
	*v = boolean(b)
	return err
}
func (v *boolean) String() string   { return strconv.FormatBool(bool(*v)) }
func (v *boolean) IsBoolFlag() bool { return true }

type number uint

func (v *number) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 63)
	*v = number(n)
	return err
}
func (v *number) String() string { return strconv.FormatUint(uint64(*v), 10) }

type number32 uint32

func (v *number32) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	*v = number32(n)
	return err
}
func (v *number32) String() string { return strconv.FormatUint(uint64(*v), 10) }

type bytesize int64

func (v *bytesize) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	*v = bytesize(n)
	return err
}
func (v *bytesize) String() string { return strconv.FormatInt(int64(*v), 10) }

type millis time.Duration

func (v *millis) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	*v = millis(time.Duration(n) * time.Millisecond)
	return err
}
func (v *millis) String() string {
	return strconv.FormatInt(time.Duration(*v).Milliseconds(), 10)
}

type seconds time.Duration

func (v *seconds) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	*v = seconds(time.Duration(n) * time.Second)
	return err
}
func (v *seconds) String() string {
	return strconv.FormatInt(int64(time.Duration(*v)/time.Second), 10)
}

type duration time.Duration

func (v *duration) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("must not be negative")
	}
	*v = duration(d)
	return err
}
func (v *duration) String() string { return time.Duration(*v).String() }

// nanos is how a configuration file spells a duration.
type nanos time.Duration

func (v *nanos) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of nanoseconds", s)
	}
	*v = nanos(n)
	return nil
}
func (v *nanos) String() string { return strconv.FormatInt(int64(*v), 10) }

type urls []url.URL

func (v *urls) Set(s string) error {
	us, err := parseURLs(s)
	*v = us
	return err
}
func (v *urls) String() string { return strings.Join(urlStrings(*v), ",") }

// parseURLs reads a comma separated list of URLs, which it sorts, as members'
// ids need them.
func parseURLs(s string) ([]url.URL, error) {
	var us []url.URL
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		u, err := url.Parse(part)
		if err != nil {
			return nil, err
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				return nil, fmt.Errorf("URL address does not have the form \"host:port\": %s", part)
			}
			if u.Path != "" {
				return nil, fmt.Errorf("URL must not contain a path: %s", part)
			}
		case "unix", "unixs":
			if u.Host == "" && u.Path == "" {
				return nil, fmt.Errorf("URL has no socket: %s", part)
			}
			if u.User != nil {
				return nil, fmt.Errorf("URL has an @ in it, and a socket must be a file: %s", part)
			}
		default:
			return nil, fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", part)
		}
		us = append(us, *u)
	}
	sort.Slice(us, func(i, j int) bool { return us[i].String() < us[j].String() })
	return us, nil
}

func mustURLs(s string) []url.URL {
	us, err := parseURLs(s)
	if err != nil {
		panic(err)
	}
	return us
}

func urlStrings(us []url.URL) []string {
	out := make([]string, len(us))
	for i, u := range us {
		out[i] = u.String()
	}
	return out
}

// environment is the variable of a setting.
func environment(name string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
