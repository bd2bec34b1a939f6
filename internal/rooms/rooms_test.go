package rooms

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plan says what of this module a package may import, beside api/... A package
// that is not named may not exist.
var plan = map[string][]string{
	"cmd/etcd":               {"server"},
	"server":                 {"*"},
	"internal/web":           {"internal/service", "internal/rpc"},
	"internal/metrics":       {"internal/peer", "internal/rpc", "internal/service", "internal/state", "internal/machine", "internal/histogram", "internal/watch"},
	"internal/service":       {"internal/audit", "internal/auth", "internal/auth/password", "internal/auth/token", "internal/lease", "internal/recipe", "internal/rpc", "internal/replica", "internal/state", "internal/machine", "internal/mvcc", "internal/member", "internal/space", "internal/store", "internal/histogram", "internal/watch"},
	"internal/cert":          {},
	"internal/rpc":           {},
	"internal/replica":       {"internal/raft", "internal/wal"},
	"internal/raft":          {},
	"internal/peer":          {},
	"internal/wal":           {},
	"internal/datadir":       {"internal/store", "internal/wal", "internal/member"},
	"internal/sim":           {"internal/datadir", "internal/lease", "internal/store", "internal/wal", "internal/member", "internal/mvcc", "internal/machine", "internal/state", "internal/raft", "internal/replica", "internal/watch", "internal/auth", "internal/sim/disk", "internal/sim/policy"},
	"internal/state":         {"internal/datadir", "internal/lease", "internal/machine", "internal/member", "internal/mvcc", "internal/store", "internal/wal", "internal/watch"},
	"internal/machine":       {"internal/auth", "internal/lease", "internal/mvcc", "internal/member", "internal/store"},
	"internal/recipe":        {},
	"internal/lease":         {"internal/store"},
	"internal/auth":          {"internal/store"},
	"internal/audit":         {},
	"internal/auth/password": {},
	"internal/auth/token":    {},
	"internal/mvcc":          {"internal/store"},
	"internal/watch":         {"internal/mvcc", "internal/store"},
	"internal/member":        {"internal/store"},
	"internal/space":         {},
	"internal/store":         {},
	"internal/sim/disk":      {},
	"internal/sim/policy":    {"internal/auth"},
	"internal/rooms":         {},
	"bench":                  {},
	"bench/echo":             {},
	"test/member":            {},
	"test/smalldisk":         {},
	"test/crash":             {"test/member", "test/smalldisk"},
	"test/fault":             {"client", "internal/member", "test/fault/fencing", "test/fault/history", "test/fault/lifetime", "test/fault/network", "test/fault/outside", "test/fault/rights", "test/member", "test/smalldisk"},
	"test/procfile":          {"client", "test/member"},
	"test/mixed":             {"client", "test/member"},
	"test/fault/fencing":     {"test/fault/outside"},
	"test/fault/history":     {},
	"test/fault/lifetime":    {},
	"test/fault/network":     {},
	"test/fault/outside":     {"test/fault/history"},
	"test/fault/rights":      {},
	"test/h2spec":            {"test/member"},
	"test/soak":              {"internal/rpc", "test/member"},
	"test/interop":           {"internal/rpc", "test/member"},
	"cmd/etcdctl":            {"internal/ctl"},
	"cmd/etcdutl":            {"internal/utl"},
	"client":                 {"internal/recipe"},
	"client/concurrency":     {"client", "internal/recipe"},
	"internal/ctl":           {"client", "client/concurrency"},
	"internal/utl":           {},
	"internal/compactor":     {},
	"internal/histogram":     {},
	"test/ctl":               {},
}

// timeless rooms run under a simulator, which owns the clock.
var timeless = []string{"internal/raft", "internal/wal", "internal/replica", "internal/machine", "internal/mvcc", "internal/lease", "internal/auth", "internal/member", "internal/store", "internal/sim", "internal/sim/disk", "internal/sim/policy", "internal/datadir", "internal/state", "internal/compactor", "internal/histogram", "internal/space", "internal/watch"}

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "etcd.alt/...")
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

func TestImportsFollowThePlan(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, "etcd.alt/")
		if room == "api" || strings.HasPrefix(room, "api/") {
			for _, i := range p.Imports {
				if in, ours := strings.CutPrefix(i, "etcd.alt/"); ours && !strings.HasPrefix(in, "api/") {
					t.Errorf("%s imports %s: api imports nothing of ours", room, in)
				}
			}
			continue
		}
		may, known := plan[room]
		if !known {
			t.Errorf("%s is not in the plan", room)
			continue
		}
		for _, i := range p.Imports {
			in, ours := strings.CutPrefix(i, "etcd.alt/")
			if !ours || strings.HasPrefix(in, "api/") || slices.Contains(may, in) || slices.Contains(may, "*") {
				continue
			}
			t.Errorf("%s imports %s, which the plan does not allow", room, in)
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "go.etcd.io/etcd/") {
				t.Errorf("%s imports %s: no module of upstream's belongs here", room, i)
			}
			if i == "github.com/cockroachdb/pebble/v2" && room != "internal/store" {
				t.Errorf("%s imports the storage engine, which is the store's alone", room)
			}
		}
	}
}
