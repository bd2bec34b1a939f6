package ctl

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// globalFlags are the flags of every command.
type globalFlags struct {
	endpoints []string
	format    string
	hex       bool
	debug     bool

	dialTimeout      time.Duration
	commandTimeout   time.Duration
	keepAliveTime    time.Duration
	keepAliveTimeout time.Duration
	maxRequestBytes  int
	maxRecvBytes     int

	insecureTransport  bool
	insecureSkipVerify bool
	cert, key, cacert  string

	token, user, password string

	discoverySRV      string
	discoverySRVName  string
	insecureDiscovery bool
}

func (g *globalFlags) register(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringSliceVar(&g.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "the members to talk to; may be repeated")
	f.StringVarP(&g.format, "write-out", "w", "simple", "output format: fields, json, protobuf, simple or table")
	f.BoolVar(&g.hex, "hex", false, "print keys and values, and ids, in hexadecimal")
	f.BoolVar(&g.debug, "debug", false, "log each call, and the settings, to stderr")
	f.DurationVar(&g.dialTimeout, "dial-timeout", 2*time.Second, "limit of one attempt to connect")
	f.DurationVar(&g.commandTimeout, "command-timeout", 5*time.Second, "limit of a short command")
	f.DurationVar(&g.keepAliveTime, "keepalive-time", 2*time.Second, "silence after which a connection is probed (10s at least)")
	f.DurationVar(&g.keepAliveTimeout, "keepalive-timeout", 6*time.Second, "limit of the answer to a probe")
	f.IntVar(&g.maxRequestBytes, "max-request-bytes", 0, "limit of a request in bytes (0: 2 MiB)")
	f.IntVar(&g.maxRecvBytes, "max-recv-bytes", 0, "limit of an answer in bytes (0: 2 GiB - 1)")
	f.BoolVar(&g.insecureTransport, "insecure-transport", true, "do not speak TLS with endpoints that have no scheme, unless a TLS file is given")
	f.BoolVar(&g.insecureSkipVerify, "insecure-skip-tls-verify", false, "do not verify the members' certificates; for tests only")
	f.StringVar(&g.cert, "cert", "", "file of the client's certificate")
	f.StringVar(&g.key, "key", "", "file of the key of the client's certificate")
	f.StringVar(&g.cacert, "cacert", "", "file of the authorities that members' certificates are verified by")
	f.StringVar(&g.token, "auth-jwt-token", "", "token to send with every call, instead of --user and --password")
	f.StringVar(&g.user, "user", "", "name[:password] to log in with; the password is asked for if there is none")
	f.StringVar(&g.password, "password", "", "password to log in with; --user is the name alone then")
	f.StringVarP(&g.discoverySRV, "discovery-srv", "d", "", "domain whose SRV records name the members")
	f.StringVar(&g.discoverySRVName, "discovery-srv-name", "", "suffix of the service's name in SRV records")
	f.BoolVar(&g.insecureDiscovery, "insecure-discovery", true, "take SRV records of members without TLS too")
}

const prefix = "ETCDCTL_"

// variable is the environment variable of a flag.
func variable(flag string) string {
	return prefix + strings.ReplaceAll(strings.ToUpper(flag), "-", "_")
}

// alien are variables of that prefix which belong to no flag.
var alien = []string{prefix + "API", watchKeyVariable, watchEndVariable}

// environment is the value of a variable, empty if it has none.
func (t *tool) environment(name string) string {
	value := ""
	for _, v := range t.environ {
		if text, ok := strings.CutPrefix(v, name+"="); ok {
			value = text
		}
	}
	return value
}

// readEnvironment sets the global flags that variables give.
func (t *tool) readEnvironment(flags *pflag.FlagSet) error {
	values := map[string]string{}
	for _, v := range t.environ {
		if name, value, ok := strings.Cut(v, "="); ok && value != "" && strings.HasPrefix(name, prefix) {
			values[name] = value
		}
	}
	for _, name := range alien {
		delete(values, name)
	}
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f.Name)
		value, given := values[name]
		delete(values, name)
		switch {
		case !given || failed != nil:
		case f.Changed:
			t.fatalLine("conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag)", name)
			failed = said()
		default:
			if err := flags.Set(f.Name, value); err != nil {
				failed = fmt.Errorf("environment variable %s: %w", name, err)
			}
		}
	})
	for name := range values {
		t.log.Warn("unrecognized environment variable", zap.String("environment-variable", name))
	}
	return failed
}

// fatalLine logs at the level of what ends the process, and lets it live.
func (t *tool) fatalLine(message, name string) {
	fmt.Fprintf(t.stderr, `{"level":"fatal","ts":%q,"msg":%q,"environment-variable":%q}`+"\n",
		time.Now().Format(time.RFC3339Nano), message, name)
}

// dumpSettings writes what is in force, as variables, without secrets.
func (t *tool) dumpSettings(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		value := f.Value.String()
		switch f.Name {
		case "password", "auth-jwt-token":
			if value != "" {
				value = "***"
			}
		case "user":
			if name, _, ok := strings.Cut(value, ":"); ok {
				value = name + ":***"
			}
		}
		fmt.Fprintf(t.stderr, "%s=%s\n", variable(f.Name), value)
	})
}
