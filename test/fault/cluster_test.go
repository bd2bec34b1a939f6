package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	memberid "etcd.alt/internal/member"
	"etcd.alt/test/fault/network"
	"etcd.alt/test/member"
)

// size is how many members there are.
const size = 3

// cluster is the members and the network between them. It belongs to the
// goroutine of the test, but for lives, at and anywhere.
type cluster struct {
	t       *testing.T
	network *network.Network
	hosts   [size]*host
	// at has a client of each member alone, anywhere one of all.
	at       [size]*client.Client
	anywhere *client.Client
	// asks are the clients whose answers are judged: of each member, then of all.
	asks [size + 1]asker
	// story, unless nil, tells what is to be kept of a test that has failed,
	// beside the logs.
	story func() string
	said  []string // what has happened, with the time
}

// host is a member as a process.
type host struct {
	*member.Member
	id     atomic.Uint64
	life   atomic.Int64 // another number whenever it is started or killed
	up     bool
	paused bool
}

// settings of a cluster.
type settings struct {
	heartbeat, election time.Duration
	args                [size][]string // of one member
}

// TestMain has one program be built, on demand, for all tests: they run beside each
// other.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fault-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	build = sync.OnceValues(func() (string, error) { return member.BuildIn(dir) })
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// build builds etcd, once, and returns where it lies.
var build func() (string, error)

// start builds etcd and starts a cluster, which serves when start returns. Of a
// test that fails the logs are kept.
func start(t *testing.T, s settings) *cluster {
	t.Helper()
	c := &cluster{t: t}
	w, err := network.Listen(size)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	c.network = w
	binary, err := build()
	require.NoError(t, err)
	token := fmt.Sprintf("fault-%d", os.Getpid())
	var initial, endpoints []string
	var behind []network.Host
	for i := range size {
		url := "http://" + w.Door(i)
		h := &host{Member: member.Of(t, binary)}
		h.id.Store(memberid.ID([]string{url}, token))
		listen := member.FreeAddress(t)
		h.Args("--name", name(i), "--listen-peer-urls", "http://"+listen, "--initial-advertise-peer-urls", url, "--initial-cluster-token", token,
			"--heartbeat-interval", ms(s.heartbeat), "--election-timeout", ms(s.election))
		h.Args(s.args[i]...)
		c.hosts[i] = h
		initial = append(initial, name(i)+"="+url)
		endpoints = append(endpoints, h.Address())
		behind = append(behind, network.Host{ID: h.id.Load(), Listen: listen})
	}
	w.Serve(behind)
	t.Cleanup(c.keepLogs)
	for i, h := range c.hosts {
		h.Args("--initial-cluster", strings.Join(initial, ","))
		c.at[i] = connect(t, endpoints[i:i+1], quickly)
		c.asks[i] = own{c.at[i]}
		c.launch(i)
	}
	c.anywhere = connect(t, endpoints)
	c.asks[size] = own{c.anywhere}
	if path := os.Getenv("FAULT_CLIENT"); path != "" {
		p := launchProgram(t, path, [][]string{endpoints[:1], endpoints[1:2], endpoints[2:], endpoints})
		for i := range c.asks {
			c.asks[i] = p.at(i)
		}
	}
	c.awaitServing(time.Minute)
	return c
}

func name(i int) string { return fmt.Sprintf("m%d", i) }

func ms(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// quickly has a client find a member that comes back at once.
func quickly(config *client.Config) {
	config.DialOptions = append(config.DialOptions, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond},
		MinConnectTimeout: time.Second,
	}))
}

func connect(t *testing.T, endpoints []string, changes ...func(*client.Config)) *client.Client {
	t.Helper()
	config := client.Config{Endpoints: endpoints}
	for _, change := range changes {
		change(&config)
	}
	c, err := client.New(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// keepLogs keeps the members' logs of a test that has failed, and prints their
// ends.
func (c *cluster) keepLogs() {
	if !c.t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "fault-logs-")
	if err != nil {
		c.t.Logf("the logs are not kept: %v", err)
		return
	}
	if c.story != nil {
		if err := os.WriteFile(filepath.Join(dir, "story"), []byte(c.story()), 0o600); err != nil {
			c.t.Logf("the story is not kept: %v", err)
		}
	}
	const tail = 4000
	for i, h := range c.hosts {
		text := h.Log()
		path := filepath.Join(dir, name(i)+".log")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			c.t.Logf("the log of %s is not kept: %v", name(i), err)
		}
		c.t.Logf("the end of the log of %s (%x), kept in %s:\n%s", name(i), h.id.Load(), path, text[max(0, len(text)-tail):])
	}
}

// launch starts a member that is down.
func (c *cluster) launch(i int) {
	h := c.hosts[i]
	if h.up {
		return
	}
	c.say("%s starts", name(i))
	h.Launch()
	h.up = true
	h.life.Add(1)
}

// kill ends a member as a power cut would.
func (c *cluster) kill(i int) {
	h := c.hosts[i]
	if !h.up {
		return
	}
	c.say("%s is killed", name(i))
	h.life.Add(1)
	h.Kill()
	h.up, h.paused = false, false
}

// stop ends a member as an operator would.
func (c *cluster) stop(i int) {
	h := c.hosts[i]
	if !h.up || h.paused {
		return
	}
	c.say("%s is to stop", name(i))
	h.life.Add(1)
	h.Stop()
	h.up = false
}

func (c *cluster) pause(i int) {
	if h := c.hosts[i]; h.up && !h.paused {
		c.say("%s stands still", name(i))
		h.Pause()
		h.paused = true
	}
}

func (c *cluster) resume(i int) {
	if h := c.hosts[i]; h.up && h.paused {
		c.say("%s goes on", name(i))
		h.Resume()
		h.paused = false
	}
}

// replace has a member lose its disk: it is removed from the cluster, and joins it
// again with nothing.
func (c *cluster) replace(i int) {
	c.t.Helper()
	c.kill(i)
	c.say("%s is replaced", name(i))
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	h, other := c.hosts[i], c.at[(i+1)%size]
	c.persist(ctx, "remove a member", func(ctx context.Context) error {
		_, err := other.MemberRemove(ctx, h.id.Load())
		if errors.Is(err, errs.MemberNotFound) {
			return nil // the answer to the first request was lost
		}
		return err
	})
	url := "http://" + c.network.Door(i)
	c.persist(ctx, "add a member", func(ctx context.Context) error {
		res, err := other.MemberAdd(ctx, []string{url})
		if errors.Is(err, errs.PeerURLExist) {
			return c.named(ctx, other, url, h)
		}
		if err == nil {
			h.id.Store(res.Member.ID)
		}
		return err
	})
	c.network.Rename(i, h.id.Load())
	h.Args("--data-dir", c.t.TempDir(), "--initial-cluster-state", "existing")
	c.launch(i)
}

// named has a host go by the id of the member with a URL.
func (c *cluster) named(ctx context.Context, at *client.Client, url string, h *host) error {
	list, err := at.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		if slices.Contains(m.PeerURLs, url) {
			h.id.Store(m.ID)
			return nil
		}
	}
	return fmt.Errorf("no member has %s", url)
}

// persist tries something until it succeeds.
func (c *cluster) persist(ctx context.Context, what string, try func(context.Context) error) {
	c.t.Helper()
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(one)
		cancel()
		if err == nil {
			return
		}
		require.NoError(c.t, ctx.Err(), "%s: %v", what, err)
		c.say("%s: %v", what, err)
		time.Sleep(100 * time.Millisecond)
	}
}

// link makes the link from one member to another what rule says.
func (c *cluster) link(from, to int, rule network.Rule) {
	c.say("from %s to %s: %+v", name(from), name(to), rule)
	c.network.Set(from, to, rule)
}

// cut makes both links between two members what rule says.
func (c *cluster) cut(a, b int, rule network.Rule) {
	c.link(a, b, rule)
	c.link(b, a, rule)
}

// say takes down what happens.
func (c *cluster) say(format string, args ...any) {
	c.said = append(c.said, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// heal ends all faults.
func (c *cluster) heal() {
	c.say("all is healed")
	c.network.Heal()
	for i := range size {
		c.resume(i)
		c.launch(i)
	}
}

// awaitServing waits until every member answers a linearizable read.
func (c *cluster) awaitServing(patience time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for i := range size {
		for {
			one, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := c.at[i].Get(one, "x")
			cancel()
			if err == nil {
				break
			}
			require.NoError(c.t, ctx.Err(), "%s does not serve within %v: %v", name(i), patience, err)
		}
	}
}

// leader is the member that leads, as far as any member that answers knows; -1 if
// none does.
func (c *cluster) leader() int {
	best, term := -1, uint64(0)
	for i, h := range c.hosts {
		if !h.up || h.paused {
			continue
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), 500*time.Millisecond)
		s, err := c.at[i].Status(ctx, h.Address())
		cancel()
		if err != nil || s.Leader == 0 || s.RaftTerm < term {
			continue
		}
		best, term = c.byID(s.Leader), s.RaftTerm
	}
	return best
}

func (c *cluster) byID(id uint64) int {
	for i, h := range c.hosts {
		if h.id.Load() == id {
			return i
		}
	}
	return -1
}

// installed counts the snapshots that members have installed so far.
func (c *cluster) installed() int {
	n := 0
	for _, h := range c.hosts {
		n += strings.Count(h.Log(), "a snapshot was installed")
	}
	return n
}
