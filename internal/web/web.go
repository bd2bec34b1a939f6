package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"sort"
	"time"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/version"
)

// Member is the member as its health is judged.
type Member interface {
	// HasLeader says whether a leader is known.
	HasLeader() bool
	// Alarmed says whether an alarm of a type stands in the cluster.
	Alarmed(etcdserverpb.AlarmType) bool
	// SerializableRead reads one key of this member's state.
	SerializableRead() error
	// LinearizableRead reads one key behind a barrier.
	LinearizableRead(ctx context.Context) error
	// Learner says whether this member is a learner, who serves few of the RPCs.
	Learner() bool
	// ClusterVersion is the version the members agreed on, "" for none yet.
	ClusterVersion() string
}

// Counts keeps count of checks.
type Counts interface {
	// Health is told of each answer of /health.
	Health(well bool)
	// Check is told of each check behind an endpoint, "livez" or "readyz".
	Check(endpoint, name string, well bool)
}

type uncounted struct{}

func (uncounted) Health(bool)                {}
func (uncounted) Check(string, string, bool) {}

// checkTimeout bounds one health check.
const checkTimeout = 10 * time.Second

// Options are what is served beside health and version.
type Options struct {
	// Metrics answers /metrics; nil: there is none.
	Metrics http.Handler
	// Counts, if set, is told what came of each check.
	Counts Counts
	// Gateway, on client ports, serves the RPCs as JSON under /v3/. The handler is then for an
	// rpc.Server's Web alone, whose methods it calls.
	Gateway bool
	// Origins are those whose pages may ask on client ports; "*" is any.
	Origins []string
	// Hosts are the names by which client ports may be asked without TLS; "*" is any.
	Hosts []string
	// MaxRequest is the size of the largest request as a message.
	MaxRequest int
	// Profiles has the process's profiles served under /debug/pprof/ on client ports.
	Profiles bool
}

// Client returns what is served on client ports.
func Client(m Member, o Options) http.Handler {
	mux := http.NewServeMux()
	if o.Gateway {
		g := newGateway(o.MaxRequest)
		mux.Handle("/v3/", g)
		mux.Handle("/v3beta/", g)
	}
	addHealth(mux, m, o)
	if o.Profiles {
		addProfiles(mux)
	}
	mux.HandleFunc("/version", get(func(w http.ResponseWriter, _ *http.Request) { serveVersion(w, m) }))
	return crossOrigin(o.Origins, knownHost(o.Hosts, mux))
}

// Metrics returns what is served on metrics ports.
func Metrics(m Member, o Options) http.Handler {
	mux := http.NewServeMux()
	addHealth(mux, m, o)
	return mux
}

// addProfiles serves what "go tool pprof" asks for.
func addProfiles(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// get refuses other methods than GET.
func get(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	}
}

func serveVersion(w http.ResponseWriter, m Member) {
	cluster := m.ClusterVersion()
	if cluster == "" {
		cluster = "not_decided"
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage"`
	}{version.Server, cluster, version.Storage})
}

func addHealth(mux *http.ServeMux, m Member, o Options) {
	counts := o.Counts
	if counts == nil {
		counts = uncounted{}
	}
	mux.HandleFunc("/health", get(func(w http.ResponseWriter, r *http.Request) { serveHealth(w, r, m, counts) }))
	if o.Metrics != nil {
		mux.HandleFunc("/metrics", get(o.Metrics.ServeHTTP))
	}
	serializable := check{"serializable_read", func(context.Context) error { return m.SerializableRead() }}
	linearizable := check{"linearizable_read", m.LinearizableRead}
	corruption := check{"data_corruption", func(context.Context) error {
		if m.Alarmed(etcdserverpb.AlarmType_CORRUPT) {
			return errors.New("alarm activated: CORRUPT")
		}
		return nil
	}}
	learner := check{"non_learner", func(context.Context) error {
		if m.Learner() {
			return errors.New("not supported for learner")
		}
		return nil
	}}
	addChecks(mux, "livez", []check{serializable}, counts)
	addChecks(mux, "readyz", []check{corruption, serializable, linearizable, learner}, counts)
}

// serveHealth answers /health: one verdict and its reason.
func serveHealth(w http.ResponseWriter, r *http.Request, m Member, counts Counts) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	local := r.URL.Query().Get("serializable") == "true"
	reason := alarmed(m, r.URL.Query()["exclude"])
	switch {
	case reason != "":
	case !local && !m.HasLeader():
		reason = "RAFT NO LEADER"
	case local:
		if err := m.SerializableRead(); err != nil {
			reason = "RANGE ERROR:" + err.Error()
		}
	default:
		if err := m.LinearizableRead(ctx); err != nil {
			reason = "RANGE ERROR:" + err.Error()
		}
	}
	counts.Health(reason == "")
	if reason != "" {
		http.Error(w, fmt.Sprintf(`{"health":"false","reason":%q}`, reason), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, `{"health":"true","reason":""}`)
}

// alarmed is the reason that an alarm gives /health to say no, but for those that
// are excluded.
func alarmed(m Member, exclude []string) string {
	for _, t := range []etcdserverpb.AlarmType{etcdserverpb.AlarmType_NOSPACE, etcdserverpb.AlarmType_CORRUPT} {
		if m.Alarmed(t) && !slices.Contains(exclude, t.String()) {
			return "ALARM " + t.String()
		}
	}
	return ""
}

// check is one of the questions behind /livez and /readyz.
type check struct {
	name string
	run  func(context.Context) error
}

func addChecks(mux *http.ServeMux, endpoint string, checks []check, counts Counts) {
	mux.HandleFunc("/"+endpoint, get(func(w http.ResponseWriter, r *http.Request) {
		exclude := r.URL.Query()["exclude"]
		serveChecks(w, r, slices.DeleteFunc(slices.Clone(checks), func(c check) bool { return slices.Contains(exclude, c.name) }), endpoint, counts)
	}))
	for _, c := range checks {
		mux.HandleFunc("/"+endpoint+"/"+c.name, get(func(w http.ResponseWriter, r *http.Request) { serveChecks(w, r, []check{c}, endpoint, counts) }))
	}
}

// serveChecks runs checks and reports each where one has failed or "verbose"
// asks for it.
func serveChecks(w http.ResponseWriter, r *http.Request, checks []check, endpoint string, counts Counts) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	var lines []string
	failed := false
	for _, c := range checks {
		err := c.run(ctx)
		counts.Check(endpoint, c.name, err == nil)
		if err != nil {
			failed = true
			lines = append(lines, fmt.Sprintf("[-]%s failed: %v\n", c.name, err))
		} else {
			lines = append(lines, fmt.Sprintf("[+]%s ok\n", c.name))
		}
	}
	sort.Strings(lines)
	body := ""
	for _, l := range lines {
		body += l
	}
	if failed {
		http.Error(w, body, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, body)
	}
	fmt.Fprint(w, "ok\n")
}
