package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// options is what the command line says, and what follows from it.
type options struct {
	ourBinary, peerBinary string
	scratch               string // where the servers' data may lie
	report                string // path of the JSON
	quick, budget         bool
	part                  string // that alone is measured
	samples, keys         int

	patience time.Duration // to wait for a quiet machine, in all

	goal   time.Duration // server CPU of a sample
	settle time.Duration // between a load and the look at memory
	kills  int
}

// clientGarbage is how far the heap of this process may grow, in percent: with Go's
// hundred, a thousand streams had it collect garbage in a quarter of the time, on the two
// cores that the servers have as well, and a p99 was mostly its own.
const clientGarbage = 1600

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(clientGarbage)
	}
	o, err := parse(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.ourBinary, "etcd", "bin/etcd", "our member")
	f.StringVar(&o.peerBinary, "peer", "", "the etcd to compare with")
	f.StringVar(&o.scratch, "dir", "bench/out", "where the servers' data lies while they run; its disk is what puts wait for")
	f.StringVar(&o.report, "json", "bench/out/bench.json", "where everything measured is written to")
	f.BoolVar(&o.quick, "quick", false, "small samples: shows that it works, and nothing to quote")
	f.BoolVar(&o.budget, "budget", false, "hold the results against the budget, and exit 1 when a line is missed")
	f.StringVar(&o.part, "part", "", "measure one part only: one-key, auth, watch, lease, cluster, wiped or many-keys")
	f.IntVar(&o.samples, "samples", 0, "samples of each row (3; 1 with -quick)")
	f.IntVar(&o.keys, "keys", 0, "keys of the rows over many keys (100000; 5000 with -quick)")
	f.DurationVar(&o.patience, "patience", 5*time.Minute, "how long to wait, over the whole run, for other processes to leave the machine alone")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	samples, keys := 3, 100_000
	o.goal, o.settle, o.kills = 2*time.Second, 30*time.Second, 5
	if o.quick {
		samples, keys = 1, 5_000
		o.goal, o.settle, o.kills = 100*time.Millisecond, time.Second, 2
	}
	if o.samples <= 0 {
		o.samples = samples
	}
	if o.keys <= 0 {
		o.keys = keys
	}
	o.keys = max(o.keys, 1000)
	return o, nil
}

// scaled is a number of requests, or few of them in a quick run.
func (o options) scaled(n int) int {
	if o.quick {
		return max(1, n/20)
	}
	return n
}

// run measures everything and reports; ok is false when the budget was asked
// for and is missed.
func run(ctx context.Context, o options) (ok bool, err error) {
	b, err := newSuite(ctx, o)
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(b.dir)
	r := report{
		Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Peer: b.peer.Name, Commit: version(o.ourBinary, "Git SHA:"),
		Quick: o.quick, Samples: o.samples, Keys: o.keys,
	}
	fmt.Fprintf(b.progress, "%s; %s\n", r.Machine, loadAverage())
	for _, part := range []struct {
		name    string
		measure func(context.Context) (results, error)
	}{{"one-key", b.oneKey}, {"auth", b.users}, {"watch", b.watches}, {"lease", b.leases}, {"cluster", b.clusters}, {"wiped", b.wiped}, {"many-keys", b.manyKeys}} {
		if o.part != "" && o.part != part.name {
			continue
		}
		got, err := part.measure(ctx)
		if err != nil {
			return false, err
		}
		r.Rows, r.Figures = append(r.Rows, got.Rows...), append(r.Figures, got.Figures...)
	}
	lines, ok := judge(b.limits(), r.results)
	if o.budget {
		r.Budget = lines
	}
	r.write(os.Stdout)
	return ok || !o.budget, r.save(o.report)
}

// newSuite makes the directory and the echo.
func newSuite(ctx context.Context, o options) (*suite, error) {
	if _, err := os.Stat(o.ourBinary); err != nil {
		return nil, fmt.Errorf("our member: %w (make build makes it)", err)
	}
	if err := os.MkdirAll(o.scratch, 0o755); err != nil {
		return nil, err
	}
	var fs syscall.Statfs_t
	const tmpfs = 0x01021994
	if err := syscall.Statfs(o.scratch, &fs); err == nil && fs.Type == tmpfs {
		return nil, fmt.Errorf("%s lies in memory, where a sync costs nothing: name another -dir", o.scratch)
	}
	dir, err := os.MkdirTemp(o.scratch, "run-")
	if err != nil {
		return nil, err
	}
	b := &suite{options: o, meter: meter{turns: o.samples, goal: o.goal, patience: o.patience, progress: os.Stderr}, dir: dir}
	echo := filepath.Join(dir, "echo")
	build := exec.CommandContext(ctx, "go", "build", "-o", echo, "etcd.alt/bench/echo")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("building the echo: %w", err)
	}
	b.ours = etcdKind(ourName, o.ourBinary)
	b.echo, b.twin = echoKind(echoName, echo), echoKind(twinName, echo)
	b.peer = kind{Name: "etcd"}
	if o.peerBinary != "" {
		b.peer = etcdKind("etcd "+version(o.peerBinary, "etcd Version:"), o.peerBinary, "--quota-backend-bytes", "8589934592")
	}
	return b, nil
}

// version is what a binary's --version says after a label.
func version(binary, label string) string {
	out, err := exec.Command(binary, "--version").Output()
	if err != nil {
		return "(unknown)"
	}
	_, rest, _ := strings.Cut(string(out), label)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// machine says in a line what everything ran on.
func machine() string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(b), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		model = strings.TrimLeft(line, "\t :")
	}
	var u syscall.Utsname
	release := ""
	if syscall.Uname(&u) == nil {
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			release += string(rune(c))
		}
	}
	return fmt.Sprintf("%d cores of %s, Linux %s, %s", runtime.NumCPU(), model, release, runtime.Version())
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return "load average " + strings.Join(strings.Fields(string(b))[:3], " ")
}

// report is the results with what one must know of them.
type report struct {
	Date    string `json:"date"`
	Machine string `json:"machine"`
	Peer    string `json:"peer"`
	Commit  string `json:"commit"`
	Quick   bool   `json:"quick"`
	Samples int    `json:"samples"`
	Keys    int    `json:"keys"`
	results
	Budget []line `json:"budget,omitempty"`
}

func (r report) write(w *os.File) {
	fmt.Fprintf(w, "\n%s, commit %s beside %s; %s\n", r.Date, r.Commit, r.Peer, r.Machine)
	fmt.Fprintf(w, "Medians of %d (lowest..highest). \"ours: CPU x\" is our CPU for each request over theirs; \"others\" is the most of the\nmachine that other processes took in a sample.\n\n", r.Samples)
	r.results.write(w)
	if noise, err := ratio(r.find(getSerializable, twinName), r.find(getSerializable, echoName), sample.perRequest); err == nil {
		fmt.Fprintf(w, "\nNoise: the CPU of two identical echoes differs by a factor of %s.\n", ranged(noise, 1, "%.2f"))
	}
	if r.Budget != nil {
		fmt.Fprintln(w)
		writeBudget(w, r.Budget)
	}
	if r.Quick {
		fmt.Fprintln(w, "\nA quick run: its figures are not to be quoted.")
	}
}

func (r report) save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
