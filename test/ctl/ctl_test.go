// Package ctl runs the scripts of testdata: etcdctl and etcdutl as a user calls
// them, against a member of ours, and beside Debian's etcdctl and etcd 3.4 where
// those are installed.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/server"
)

// build builds the tools into a directory, without the race detector: starting
// them is most of what the scripts do.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir, "etcd.alt/cmd/etcdctl", "etcd.alt/cmd/etcdutl", "etcd.alt/cmd/etcd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tools: %v\n%s", err, out)
	}
	return dir
}

func TestScripts(t *testing.T) {
	tools := build(t)
	peerTool, noTool := exec.LookPath("etcdctl")
	_, noPeer := exec.LookPath("etcd")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", tools+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("ETCD", filepath.Join(tools, "etcd"))
			env.Setenv("PEER_ETCDCTL", peerTool)
			env.Setenv("ETCDCTL_API", "3") // Debian's needs it, ours ignores it
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "debian" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return noTool == nil && noPeer == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"member":   startMember,
			"peer":     startPeer,
			"raise":    raiseAlarm,
			"secure":   startSecureDoor,
			"exits":    exits,
			"same":     same,
			"output":   output,
			"id":       memberID,
			"lease":    grantLease,
			"eventual": eventually,
			"token":    logIn,
		},
	})
}

// startMember starts a member of ours and sets ENDPOINT to where it serves. "member
// everywhere" has it serve on socket files, too, SOCKET and SECURE_SOCKET, and over
// TLS at SECURE, with a certificate that it makes: CERTIFICATE.
func startMember(ts *testscript.TestScript, _ bool, args []string) {
	everywhere := len(args) == 1 && args[0] == "everywhere"
	var m *server.Member
	var err error
	for range 5 { // the port may be taken in between
		address := freeAddress(ts)
		at := []url.URL{{Scheme: "http", Host: address}}
		c := server.Default()
		c.DataDir = filepath.Join(ts.Getenv("WORK"), "member")
		c.ListenClientURLs, c.AdvertiseClientURLs = at, at
		c.ListenPeerURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
		c.UnsafeNoFsync = true
		c.BcryptCost = 4
		if everywhere {
			c.ListenClientURLs = append(c.ListenClientURLs, elsewhere(ts, c.DataDir)...)
			c.ClientAutoTLS = true
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		m, err = server.Start(ctx, c, zap.NewNop())
		cancel()
		if err == nil {
			ts.Setenv("ENDPOINT", address)
			break
		}
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	ts.Check(err)
	ts.Defer(func() {
		if err := m.Close(); err != nil {
			ts.Logf("the member closed with %v", err)
		}
	})
}

// elsewhere are the further URLs of a member.
func elsewhere(ts *testscript.TestScript, data string) []url.URL {
	socket, secure, address := filepath.Join(ts.Getenv("WORK"), "socket"), filepath.Join(ts.Getenv("WORK"), "secure"), freeAddress(ts)
	ts.Setenv("SOCKET", socket)
	ts.Setenv("SECURE_SOCKET", secure)
	ts.Setenv("SECURE", address)
	ts.Setenv("CERTIFICATE", filepath.Join(data, "fixtures", "client", "cert.pem"))
	return []url.URL{{Scheme: "unix", Path: socket}, {Scheme: "unixs", Path: secure}, {Scheme: "https", Host: address}}
}

// exits runs a program, which must end with a status: exits 128 etcdctl get.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits status program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// same runs a command of etcdctl with ours and with Debian's: output and status
// must be equal.
func same(ts *testscript.TestScript, neg bool, args []string) {
	run := func(program string) (string, int) {
		status := 0
		if err := ts.Exec(program, append([]string{"--endpoints", ts.Getenv("ENDPOINT")}, args...)...); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				ts.Fatalf("%v", err)
			}
			status = exit.ExitCode()
		}
		return ts.ReadFile("stdout"), status
	}
	theirs, theirStatus := run(ts.Getenv("PEER_ETCDCTL"))
	ours, ourStatus := run("etcdctl")
	if ours != theirs || ourStatus != theirStatus {
		ts.Fatalf("status %d and output\n%s\nDebian's etcdctl has status %d and output\n%s", ourStatus, ours, theirStatus, theirs)
	}
}

// output holds the whole of stdout against a regular expression.
func output(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: output pattern")
	}
	got := ts.ReadFile("stdout")
	if regexp.MustCompile(`^(?:`+args[0]+`)\n$`).MatchString(got) == neg {
		ts.Fatalf("stdout is %q", got)
	}
}

// memberID sets a variable to the id of the member of a name: id VARIABLE name.
func memberID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: id VARIABLE name")
	}
	ts.Check(ts.Exec("etcdctl", "member", "list"))
	list := ts.ReadFile("stdout")
	m := regexp.MustCompile(`(?m)^([0-9a-f]+), started, ` + args[1] + `,`).FindStringSubmatch(list)
	if m == nil {
		ts.Fatalf("no member %s in\n%s", args[1], list)
	}
	ts.Setenv(args[0], m[1])
}

// grantLease sets a variable to the id of a new lease: lease VARIABLE ttl.
func grantLease(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lease VARIABLE ttl")
	}
	grant := []string{"lease", "grant", args[1]}
	if ts.Getenv("ETCDCTL_ENDPOINTS") == "" {
		grant = append(grant, "--endpoints", ts.Getenv("ENDPOINT"))
	}
	ts.Check(ts.Exec("etcdctl", grant...))
	out := ts.ReadFile("stdout")
	m := regexp.MustCompile(`^lease ([0-9a-f]{16}) granted with TTL\(` + args[1] + `s\)\n$`).FindStringSubmatch(out)
	if m == nil {
		ts.Fatalf("stdout is %q", out)
	}
	ts.Setenv(args[0], m[1])
}

// logIn sets a variable to a token of a user: token VARIABLE user password.
func logIn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: token VARIABLE user password")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res := &etcdserverpb.AuthenticateResponse{}
	ts.Check(invoke(ctx, ts.Getenv("ENDPOINT"), "/etcdserverpb.Auth/Authenticate", &etcdserverpb.AuthenticateRequest{Name: args[1], Password: args[2]}, res))
	ts.Setenv(args[0], res.Token)
}

// eventually runs a program until it succeeds, for ten seconds.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventual program [args...]")
	}
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("%s: %v", strings.Join(args, " "), err)
}
