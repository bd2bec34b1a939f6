// Package soak opens many streams on many connections, leaves them in every
// state a client can leave one in, and looks whether anything of it stays behind
// in the server: goroutines, memory, descriptors.
package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/rpc"
	"etcd.alt/test/member"
)

const (
	// heapSlack is how much more heap may be in use afterwards.
	heapSlack = 8 << 20
	// settle is how long what is left of connections may take to go.
	settle = 30 * time.Second
)

// size is CONNS connections of STREAMS streams.
func size(t *testing.T) (conns, streams int) {
	t.Helper()
	number := func(name string, otherwise int) int {
		s := os.Getenv(name)
		if s == "" {
			return otherwise
		}
		n, err := strconv.Atoi(s)
		require.NoError(t, err, name)
		return n
	}
	return number("CONNS", 20), number("STREAMS", 50)
}

// rawMessage is a message that is its own encoding.
type rawMessage []byte

func (m rawMessage) SizeVT() int { return len(m) }
func (m rawMessage) MarshalToSizedBufferVT(b []byte) (int, error) {
	return copy(b[len(b)-len(m):], m), nil
}

// methods are of every kind; late takes the calls that another goroutine answers.
func methods(late chan<- *rpc.Call) []rpc.Method {
	return []rpc.Method{
		{Path: "/soak.S/Echo", Inline: func(c *rpc.Call) { c.Reply(rawMessage(c.Payload())) }},
		{Path: "/soak.S/Late", Inline: func(c *rpc.Call) { late <- c.Keep() }},
		{Path: "/soak.S/Hold", Inline: func(c *rpc.Call) { c.Keep() }},
		{Path: "/soak.S/Open", Stream: func(_ context.Context, s *rpc.Stream) error {
			for {
				m, err := s.Recv()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if err := s.Send(rawMessage(m)); err != nil {
					return err
				}
			}
		}},
		{Path: "/soak.S/Pour", Stream: func(_ context.Context, s *rpc.Stream) error {
			for {
				if err := s.Send(make(rawMessage, 16<<10)); err != nil {
					return err
				}
			}
		}},
	}
}

func TestEngine(t *testing.T) {
	conns, streams := size(t)
	late := make(chan *rpc.Call, 1<<16)
	s, err := rpc.NewServer(rpc.Options{Methods: methods(late)})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var own sync.WaitGroup
	own.Go(func() {
		if err := s.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	own.Go(func() {
		for c := range late {
			c.Reply(rawMessage("late"))
			c.Flush()
		}
	})
	defer own.Wait()
	defer close(late)
	defer s.Close()
	w := work{
		Address: l.Addr().String(), Connections: conns, Streams: streams,
		Unary: request{"/soak.S/Late", make([]byte, 300)}, Cancelled: request{"/soak.S/Hold", make([]byte, 300)},
		Pour: request{"/soak.S/Pour", nil}, Open: request{"/soak.S/Open", make([]byte, 300)}, Hold: request{"/soak.S/Hold", make([]byte, 300)},
	}
	// What is made once is made now: the runtime alone keeps half a kilobyte for
	// each goroutine that there was at a time. What leaks, leaks again.
	startClients(t, w).finish()
	waitFor(t, func() (int, bool) { n := s.Stats().Connections; return n, n == 0 })
	before := look(t)

	began := time.Now()
	c := startClients(t, w)
	require.Equal(t, conns, s.Stats().Connections)
	waitFor(t, func() (int, bool) { n := openCalls(s.Stats()); return n, n == conns*streams })
	peak := look(t)
	c.finish()
	waitFor(t, func() (int, bool) { n := s.Stats().Connections; return n, n == 0 })
	waitFor(t, func() (int, bool) { n := runtime.NumGoroutine(); return n, n <= before.goroutines })
	after := look(t)
	t.Logf("%d connections × %d streams, all open at once, in %v", conns, streams, time.Since(began).Round(time.Millisecond))
	t.Logf("before %v", before)
	t.Logf("open   %v", peak)
	t.Logf("after  %v", after)
	require.LessOrEqual(t, after.goroutines, before.goroutines)
	require.LessOrEqual(t, after.descriptors, before.descriptors)
	require.LessOrEqual(t, after.heap, before.heap+heapSlack)
}

func openCalls(st rpc.Stats) int {
	open := 0
	for _, m := range st.Methods {
		open += int(m.Started)
		for _, n := range m.Handled {
			open -= int(n)
		}
	}
	return open
}

// state is what a server holds.
type state struct {
	goroutines, descriptors int
	heap                    uint64
}

func (s state) String() string {
	return fmt.Sprintf("goroutines %d, descriptors %d, heap in use %.1f MB", s.goroutines, s.descriptors, float64(s.heap)/(1<<20))
}

// look is what this process holds, garbage aside.
func look(t *testing.T) state {
	t.Helper()
	for range 3 { // pools keep what they have for one collection more
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return state{goroutines: runtime.NumGoroutine(), descriptors: descriptors(t, os.Getpid()), heap: m.HeapInuse}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	return len(entries)
}

// waitFor waits until what is looked at is so.
func waitFor(t *testing.T, look func() (now int, ok bool)) {
	t.Helper()
	deadline := time.Now().Add(settle)
	for {
		now, ok := look()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("still %d after %v\n%s", now, settle, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// listeners are the sockets of a member that nobody talks to: for clients, and for
// other members.
const listeners = 2

// storeSlack is how many goroutines the store may have come and go.
const storeSlack = 10

// The real member gives every socket back, and its goroutines.
func TestMember(t *testing.T) {
	conns, streams := size(t)
	m := member.New(t)
	m.Start()
	cc := m.Dial()
	for i := range 2000 { // something to pour
		put := &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "soak/%04d", i), Value: make([]byte, 1<<10)}
		require.NoError(t, cc.Invoke(t.Context(), "/etcdserverpb.KV/Put", put, &etcdserverpb.PutResponse{}))
	}
	require.NoError(t, cc.Close())
	encode := func(path string, m interface{ MarshalVT() ([]byte, error) }) request {
		b, err := m.MarshalVT()
		require.NoError(t, err)
		return request{path, b}
	}
	everything := &etcdserverpb.RangeRequest{Key: []byte("soak/"), RangeEnd: []byte("soak0")}
	w := work{
		Address: m.Address(), Connections: 2, Streams: 100,
		Unary:     encode("/etcdserverpb.KV/Put", &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")}),
		Cancelled: encode("/etcdserverpb.KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: []byte("k")}),
		Pour:      encode("/etcdserverpb.KV/RangeStream", everything),
		Open:      request{"/grpc.health.v1.Health/Watch", nil},
	}
	startClients(t, w).finish()
	// Sockets, and the files of the store, which come and go.
	sockets := func() int { return socketsOf(t, m.PID()) }
	waitFor(t, func() (int, bool) { n := sockets(); return n, n == listeners })
	before := goroutines(t, m)
	w.Connections, w.Streams = conns, streams
	c := startClients(t, w)
	waitFor(t, func() (int, bool) { n := sockets(); return n, n == conns+listeners }) // the question's own goes
	c.finish()
	waitFor(t, func() (int, bool) { n := sockets(); return n, n == listeners })
	waitFor(t, func() (int, bool) { n := goroutines(t, m); return n, n <= before+storeSlack })
	t.Logf("%d connections × %d streams: every socket was given back; %d goroutines before, %d after", conns, streams, before, goroutines(t, m))
	m.Stop()
}

var goroutineLine = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// goroutines is what the member says of itself.
func goroutines(t *testing.T, m *member.Member) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + m.Address() + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	line := goroutineLine.FindSubmatch(b)
	require.NotNil(t, line)
	n, err := strconv.Atoi(string(line[1]))
	require.NoError(t, err)
	return n
}

// socketsOf counts a process's sockets: listeners and connections.
func socketsOf(t *testing.T, pid int) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(dir + e.Name()); err == nil && len(to) > 7 && to[:7] == "socket:" {
			n++
		}
	}
	return n
}
