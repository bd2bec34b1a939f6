package server

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"etcd.alt/internal/cert"
)

func TestDefaults(t *testing.T) {
	c, warnings, err := Parse(nil, nil, nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.NoError(t, c.Validate())
	require.Equal(t, "default.etcd", c.directory())
	require.Equal(t, filepath.Join("default.etcd", "log"), c.walDirectory())
	require.Equal(t, []string{"http://localhost:2379"}, urlStrings(c.ListenClientURLs))
}

func TestFlagsAndVariables(t *testing.T) {
	c, warnings, err := Parse(
		[]string{"--name", "m1", "-heartbeat-interval=50", "--unsafe-no-fsync"},
		[]string{"ETCD_ELECTION_TIMEOUT=2000", "ETCD_NONSENSE=1", "OTHER=x"}, nil)
	require.NoError(t, err)
	require.NoError(t, c.Validate())
	require.Equal(t, "m1.etcd", c.directory())
	require.Equal(t, 50*time.Millisecond, c.HeartbeatInterval)
	require.Equal(t, 2*time.Second, c.ElectionTimeout)
	require.True(t, c.UnsafeNoFsync)
	require.Equal(t, []string{"unrecognized environment variable ETCD_NONSENSE"}, warnings)
}

// What is wrong is said with the name of the flag, the variable or the key.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		args []string
		env  []string
		want string
	}{
		{args: []string{"--no-such-flag"}, want: "flag provided but not defined: -no-such-flag"},
		{args: []string{"stray"}, want: `"stray" is not a valid flag`},
		{args: []string{"--peer-cert-allowed-cn=a"}, want: "--peer-cert-allowed-cn restricts certificates that nobody is asked for: it needs --peer-client-cert-auth or --peer-trusted-ca-file"},
		{args: []string{"--peer-client-cert-auth", "--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"}, want: "--peer-cert-allowed-cn, --peer-cert-allowed-hostname: common names and host names exclude each other"},
		{args: []string{"--client-cert-auth", "--client-cert-allowed-hostname=a,,b"}, want: "--client-cert-allowed-hostname, client-transport-security.allowed-cn: there is an empty name"},
		{args: []string{"--client-crl-file=x"}, want: "--client-crl-file restricts certificates that nobody is asked for"},
		{args: []string{"--peer-crl-file=x"}, want: "--peer-crl-file restricts certificates that nobody is asked for"},
		{args: []string{"--peer-auto-tls", "--peer-client-cert-auth"}, want: "--peer-auto-tls makes certificates that no CA has signed"},
		{args: []string{"--self-signed-cert-validity=0"}, want: "--self-signed-cert-validity (0) must be between 1 and 100 years"},
		{args: []string{"--client-key-file=x"}, want: "--client-key-file is set, but --client-cert-file is not"},
		{args: []string{"--cors=example.com"}, want: `--cors: "example.com" is no origin`},
		{args: []string{"--listen-client-urls=unix://@abstract"}, want: "a socket must be a file"},
		{args: []string{"--socket-reuse-port"}, want: "--socket-reuse-port is not supported by this version"},
		{args: []string{"--discovery-srv=example.com"}, want: "--discovery-srv is not supported by this version"},
		{env: []string{"ETCD_SOCKET_REUSE_PORT=true"}, want: "ETCD_SOCKET_REUSE_PORT: --socket-reuse-port is not supported by this version"},
		{env: []string{"ETCD_AUTH_TOKEN=jwt"}, want: `invalid value "jwt" for ETCD_AUTH_TOKEN: jwt needs a key: pub-key, priv-key or jwks`},
		{args: []string{"--auth-token=opaque"}, want: `flag -auth-token: "opaque" is not a kind of token: it must be simple or jwt`},
		{args: []string{"--auth-token=simple", "--auth-jwt-pub-key=a.pub"}, want: "--auth-jwt-pub-key and --auth-token are two spellings of one setting"},
		{args: []string{"--auth-token-type=jwt"}, env: []string{"ETCD_AUTH_TOKEN=simple"}, want: "--auth-token-type and --auth-token are two spellings"},
		{args: []string{"--auth-token-type=jwt", "--auth-jwt-pub-key=a.pub"}, want: "--auth-jwt-sign-method is needed"},
		{args: []string{"--auth-jwt-pub-key=a.pub"}, want: "need --auth-token-type jwt"},
		{args: []string{"--bcrypt-cost=3"}, want: "--bcrypt-cost (3) must be between 4 and 31"},
		{args: []string{"--bcrypt-cost=32"}, want: "--bcrypt-cost (32) must be between 4 and 31"},
		{args: []string{"--auth-token-ttl=0"}, want: "--auth-token-ttl must be above 0 seconds"},
		{args: []string{"--auth-token-ttl=5m"}, want: `invalid value "5m" for flag -auth-token-ttl`},
		{args: []string{"--name=a"}, env: []string{"ETCD_NAME=b"}, want: "conflicting environment variable is shadowed"},
		{env: []string{"ETCD_HEARTBEAT_INTERVAL=fast"}, want: `invalid value "fast" for ETCD_HEARTBEAT_INTERVAL`},
		{args: []string{"--heartbeat-interval=0"}, want: "--heartbeat-interval must be above 0 ms"},
		{args: []string{"--election-timeout=400"}, want: "--election-timeout (400ms) must be at least five times"},
		{args: []string{"--watch-progress-notify-interval=99ms"}, want: "--watch-progress-notify-interval (99ms) must be at least 100ms, or 0"},
		{args: []string{"--election-timeout=60000"}, want: "--election-timeout (1m0s) must not be above 50000 ms"},
		{args: []string{"--listen-client-urls=http://127.0.0.1:1"}, want: "--advertise-client-urls is required"},
		{args: []string{"--advertise-client-urls="}, want: "--advertise-client-urls is empty"},
		{args: []string{"--listen-client-urls=http://127.0.0.1:1", "--advertise-client-urls=,"}, want: "--advertise-client-urls is empty"},
		{args: []string{"--listen-client-urls=http://example.com:1", "--advertise-client-urls=http://x:1"}, want: "not a domain name"},
		{args: []string{"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=http://x:1"}, want: "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme"},
		{args: []string{"--listen-client-urls=unixs:///tmp/s", "--advertise-client-urls=http://x:1"}, want: "must be provided for client url unixs:///tmp/s"},
		{args: []string{"--listen-metrics-urls=https://127.0.0.1:1"}, want: "must be provided for metrics url https://127.0.0.1:1"},
		{args: []string{"--listen-peer-urls=https://127.0.0.1:1"}, want: "(--peer-cert-file, --peer-key-file) must be provided for peer url https://127.0.0.1:1"},
		{args: []string{"--cert-file=x"}, want: "--cert-file is set, but --key-file is not"},
		{args: []string{"--tls-min-version=SSL3"}, want: `"SSL3" is not a TLS version`},
		{args: []string{"--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"}, want: "--tls-min-version (TLS1.3) is above --tls-max-version (TLS1.2)"},
		{args: []string{"--cipher-suites=ROT13"}, want: `"ROT13" is not a cipher suite`},
		{args: []string{"--listen-client-urls=ftp://127.0.0.1:1"}, want: "URL scheme must be http, https, unix, or unixs"},
		{args: []string{"--listen-client-urls=http://127.0.0.1"}, want: `does not have the form "host:port"`},
		{args: []string{"--peer-key-file=x"}, want: "--peer-key-file is set, but --peer-cert-file is not"},
		{args: []string{"--initial-cluster=default"}, want: `--initial-cluster: "default" is not of the form name=url`},
		{args: []string{"--initial-cluster=default=localhost:2380"}, want: `--initial-cluster: "default=localhost:2380"`},
		{args: []string{"--initial-cluster-state=old"}, want: `--initial-cluster-state is "old"; it must be new or existing`},
		{args: []string{"--metrics=all"}, want: `--metrics is "all"`},
		{args: []string{"--log-format=xml"}, want: `--log-format is "xml"`},
		{args: []string{"--config-file=/nowhere/x.yml"}, want: "--config-file: open /nowhere/x.yml"},
	} {
		c, _, err := Parse(tc.args, tc.env, nil)
		if err == nil {
			err = c.Validate()
		}
		require.ErrorContains(t, err, tc.want, "%v %v", tc.args, tc.env)
	}
}

// What --initial-cluster says of this member is refused at a first start, and without a
// trace; where there is data nobody asks.
func TestInitialClusterThatDoesNotFit(t *testing.T) {
	for cluster, want := range map[string]string{
		"a=http://localhost:2380,b=http://localhost:2381":       `--initial-cluster does not name this member, --name "default"`,
		"default=http://localhost:9":                            `--initial-cluster has http://localhost:9 of this member, "default", and --initial-advertise-peer-urls has http://localhost:2380`,
		"default=http://localhost:2380,b=http://localhost:2380": `http://localhost:2380 is the peer URL of "default" and of "b"`,
	} {
		for _, state := range []string{stateNew, stateExisting} {
			c := testConfig(t)
			c.InitialCluster, c.InitialClusterState = cluster, state
			m, err := Start(t.Context(), c, zap.NewNop())
			if err == nil {
				m.Close()
			}
			require.ErrorContains(t, err, want, cluster)

			c.InitialCluster, c.InitialClusterState = "", stateNew
			require.NoError(t, start(t, c).Close())
			c.InitialCluster, c.InitialClusterState = cluster, state
			require.NoError(t, start(t, c).Close(), cluster)
		}
	}
}

// The two spellings of one setting, from all places.
func TestAuthFlags(t *testing.T) {
	c, _, err := Parse(nil, nil, nil)
	require.NoError(t, err)
	require.False(t, c.AuthToken.JWT)
	require.Equal(t, uint(10), c.BcryptCost)
	require.Equal(t, 5*time.Minute, c.AuthTokenTTL)

	path := filepath.Join(t.TempDir(), "etcd.yml")
	require.NoError(t, os.WriteFile(path, []byte("auth-token: jwt,pub-key=a.pub,priv-key=a,sign-method=RS512\nbcrypt-cost: 12\nauth-token-ttl: 60\n"), 0o600))
	older := filepath.Join(t.TempDir(), "etcd.yml")
	require.NoError(t, os.WriteFile(older, []byte("auth-token-type: jwt\nauth-jwt-pub-key: a.pub\nauth-jwt-priv-key: a\nauth-jwt-sign-method: RS512\n"), 0o600))
	for _, tc := range []struct{ args, env []string }{
		{args: []string{"--auth-token", "jwt,pub-key=a.pub,priv-key=a,sign-method=RS512"}},
		{env: []string{"ETCD_AUTH_TOKEN=jwt,pub-key=a.pub,priv-key=a,sign-method=RS512"}},
		{args: []string{"--config-file", path}},
		{args: []string{"--auth-token-type=jwt", "--auth-jwt-pub-key=a.pub", "--auth-jwt-priv-key=a", "--auth-jwt-sign-method=RS512"}},
		{args: []string{"--auth-token-type=jwt", "--auth-jwt-pub-key=a.pub"}, env: []string{"ETCD_AUTH_JWT_PRIV_KEY=a", "ETCD_AUTH_JWT_SIGN_METHOD=RS512"}},
		{args: []string{"--config-file", older}},
	} {
		c, warnings, err := Parse(tc.args, tc.env, nil)
		require.NoError(t, err, "%v", tc)
		require.NoError(t, c.Validate())
		require.Empty(t, warnings)
		require.True(t, c.AuthToken.JWT)
		require.Equal(t, []string{"a.pub"}, c.AuthToken.PublicKeys)
		require.Equal(t, "a", c.AuthToken.PrivateKey)
		require.Equal(t, "RS512", c.AuthToken.SignMethod)
		require.Equal(t, 5*time.Minute, c.AuthToken.TTL)
	}
	c, _, err = Parse([]string{"--config-file", path}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, uint(12), c.BcryptCost)
	require.Equal(t, time.Minute, c.AuthTokenTTL)
}

func TestConfigFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(`
name: m2
data-dir: /var/lib/x
heartbeat-interval: 200
grpc-keepalive-interval: 60000000000
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
advertise-client-urls: http://127.0.0.1:1
log-outputs: [stdout, /tmp/x.log]
max-request-bytes: 1048576
zebra: 1
`)
	c, warnings, err := Parse([]string{"--name=ignored", "--config-file", path}, []string{"ETCD_DATA_DIR=ignored"}, nil)
	require.NoError(t, err)
	require.Equal(t, "m2", c.Name)
	require.Equal(t, "/var/lib/x", c.DataDir)
	require.Equal(t, 200*time.Millisecond, c.HeartbeatInterval)
	require.Equal(t, time.Minute, c.KeepAliveInterval)
	require.Equal(t, []string{"stdout", "/tmp/x.log"}, c.LogOutputs)
	require.Len(t, c.ListenClientURLs, 2)
	require.Equal(t, uint(1<<20), c.MaxRequestBytes)
	require.Equal(t, []string{`unrecognized key "zebra" in ` + path}, warnings)

	write(`
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
tls-min-version: TLS1.2
cert-file: ignored
client-transport-security:
  cert-file: a.crt
  key-file: a.key
  trusted-ca-file: ca.crt
  client-cert-auth: true
  auto-tls: false
  allowed-hostname:
`)
	c, warnings, err = Parse([]string{"--config-file", path}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a.crt", "a.key", "ca.crt"}, []string{c.ClientCertFile, c.ClientKeyFile, c.ClientTrustedCAFile})
	require.True(t, c.ClientCertAuth)
	require.Len(t, c.TLSProtocol.CipherSuites, 2)
	require.Equal(t, []string{`unrecognized key "cert-file" in ` + path}, warnings)
	write(`
self-signed-cert-validity: 2
cors: https://a.example,https://b.example
host-whitelist: a.example
client-transport-security:
  client-cert-auth: true
  auto-tls: true
  allowed-cn: [alice, bob]
  client-cert-file: c.crt
  client-key-file: c.key
peer-transport-security: {auto-tls: true, skip-client-san-verification: true, allowed-hostname: [], allowed-cn: }
`)
	c, warnings, err = Parse([]string{"--config-file", path}, nil, nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.NoError(t, c.Validate())
	require.True(t, c.ClientAutoTLS && c.PeerAutoTLS && c.PeerSkipOrigin)
	require.Equal(t, []string{"alice", "bob"}, c.ClientAllow.CommonNames)
	require.Equal(t, cert.Names{}, c.PeerAllow)
	require.Equal(t, uint(2), c.SelfSignedYears)
	require.Equal(t, []string{"c.crt", "c.key"}, []string{c.DialCertFile, c.DialKeyFile})
	require.Equal(t, []string{"https://a.example", "https://b.example"}, c.CORS)
	require.Equal(t, []string{"a.example"}, c.HostWhitelist)
	write("client-transport-security: {client-cert-auth: true, allowed-cn: [a], allowed-hostname: [b]}\n")
	c, _, err = Parse([]string{"--config-file", path}, nil, nil)
	require.NoError(t, err)
	require.ErrorContains(t, c.Validate(), "client-transport-security.allowed-cn: common names and host names exclude each other")
	write("client-transport-security: {client-cert-auth: perhaps}\n")
	_, _, err = Parse([]string{"--config-file", path}, nil, nil)
	require.ErrorContains(t, err, "invalid value for client-transport-security.client-cert-auth")

	write("grpc-keepalive-interval: 10m\n")
	_, _, err = Parse(nil, []string{"ETCD_CONFIG_FILE=" + path}, nil)
	require.ErrorContains(t, err, `invalid value for grpc-keepalive-interval: "10m" is not a number of nanoseconds`)
	write("a: [\n")
	_, _, err = Parse([]string{"--config-file", path}, nil, nil)
	require.ErrorContains(t, err, path)
}

func TestHelpNamesEverySetting(t *testing.T) {
	var out bytes.Buffer
	_, _, err := Parse([]string{"--help"}, nil, &out)
	require.ErrorIs(t, err, ErrHelp)
	for _, s := range settings(Default()) {
		if s.name == "" {
			require.NotEmpty(t, s.fileKey)
			continue
		}
		require.Contains(t, out.String(), "--"+s.name+" ")
		require.NotContains(t, refused, s.name)
		require.NotEmpty(t, s.help)
	}
	_, _, err = Parse([]string{"--version"}, nil, &out)
	require.ErrorIs(t, err, ErrVersion)
}

func TestExitStatus(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, 0, Main([]string{"--version"}, nil, &out, &errs))
	require.Regexp(t, `^etcd Version: 3\.7\.1\nGit SHA: .*\nGo Version: go.*\nGo OS/Arch: .*/.*\n$`, out.String())
	require.Equal(t, 2, Main([]string{"--bogus"}, nil, &out, &errs))
	require.Equal(t, 1, Main([]string{"--log-level=loud"}, nil, &out, &errs))
	require.Contains(t, errs.String(), "--log-level")
}
