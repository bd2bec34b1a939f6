package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"etcd.alt/api/etcdserverpb"
)

// Names of the figures of a member under strain.
const (
	pagesMany     = "many-pages-churn"
	listsMany     = "many-lists-memory"
	probesMany    = "many-probes-p999"
	longestMany   = "many-probes-longest"
	deafClients   = "many-deaf-p99"
	compactMethod = "/etcdserverpb.KV/Compact"
)

// strain measures what one client must not do to another, on a member that holds
// many keys.
func (b *suite) strain(ctx context.Context, s *server) []figure {
	var out []figure
	add := func(f figure, err error) {
		if f.Server = s.Name; err != nil {
			f.Values, f.Why = nil, err.Error()
		}
		b.note(f)
		out = append(out, f)
	}
	add(b.pages(ctx, s))
	add(b.parallelLists(ctx, s))
	add(b.deaf(ctx, s))
	p999, longest, err := b.probes(ctx, s)
	add(p999, err)
	add(longest, err)
	return out
}

// background keeps calls going, rate of them a second in all, until stopped. A
// call that fails stops them; stop returns why.
func background(ctx context.Context, s *server, rate int, do call) (stop func() error, err error) {
	d, err := dial(s.addr, 2, 8)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	var next atomic.Int64
	begin := time.Now()
	for _, conn := range d.conns {
		for range d.streams {
			wg.Go(func() {
				for {
					i := next.Add(1) - 1
					select {
					case <-time.After(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate)))):
					case <-ctx.Done():
						return
					}
					if err := do(ctx, conn, 0, int(i)); err != nil && ctx.Err() == nil {
						cancel(err)
					}
				}
			})
		}
	}
	return func() error {
		cancel(errStopped)
		wg.Wait()
		d.close()
		if err := context.Cause(ctx); !errors.Is(err, errStopped) {
			return err
		}
		return nil
	}, nil
}

var errStopped = errors.New("stopped")

// pages walks over all keys in pages, at the revision of the first, while others
// come and go among them, and holds each page's count against that revision's.
func (b *suite) pages(ctx context.Context, s *server) (figure, error) {
	f := figure{ID: pagesMany, Name: fmt.Sprintf("pages of %d at one revision, 3,000 creates and deletes a second, median", pageKeys), Unit: "ms"}
	stop, err := background(ctx, s, 3000, func(ctx context.Context, conn *grpc.ClientConn, _, i int) error {
		// A key that comes now goes a second later.
		if came := key(b.keys + i - 1500); i%2 == 1 && i > 3000 {
			return conn.Invoke(ctx, "/etcdserverpb.KV/DeleteRange", &etcdserverpb.DeleteRangeRequest{Key: came}, &etcdserverpb.DeleteRangeResponse{})
		}
		return put(ctx, conn, key(b.keys+i), value(i))
	})
	if err != nil {
		return f, err
	}
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return f, errors.Join(err, stop())
	}
	defer d.close()
	for range b.turns {
		var took []time.Duration
		took, err = walkPages(ctx, d.conns[0])
		if err != nil {
			break
		}
		_, p50, _ := latencies(took)
		f.Values = append(f.Values, p50.Seconds()*1e3)
	}
	return f, errors.Join(err, stop())
}

func walkPages(ctx context.Context, conn *grpc.ClientConn) (took []time.Duration, err error) {
	var rev, count, seen int64
	for from := []byte{0}; ; {
		begin := time.Now()
		res, err := get(ctx, conn, &etcdserverpb.RangeRequest{Key: from, RangeEnd: []byte{0}, Limit: pageKeys, Revision: rev, Serializable: true})
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begin))
		if rev == 0 {
			rev, count = res.Header.Revision, res.Count
		}
		if res.Count != count-seen {
			return nil, fmt.Errorf("a page after %d of the %d keys of revision %d counts %d", seen, count, rev, res.Count)
		}
		seen += int64(len(res.Kvs))
		if !res.More {
			break
		}
		from = append(res.Kvs[len(res.Kvs)-1].Key, 0)
	}
	if seen != count {
		return nil, fmt.Errorf("%d keys on all pages, and %d were counted", seen, count)
	}
	return took, nil
}

// slowly is a connection that is read at so many bytes a second.
type slowly struct {
	net.Conn
	rate  int
	begin time.Time
	read  int64
}

func (c *slowly) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 16<<10)])
	c.read += int64(n)
	time.Sleep(time.Until(c.begin.Add(time.Duration(c.read) * time.Second / time.Duration(c.rate))))
	return n, err
}

// discard is a codec that leaves replies undecoded.
type discard struct{}

func (discard) Name() string { return "proto" }
func (discard) Marshal(v any) (mem.BufferSlice, error) {
	b, err := v.(*etcdserverpb.RangeRequest).MarshalVT()
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}
func (discard) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*int) = data.Len()
	return nil
}

// parallelLists has ten clients list everything at full speed while ten others
// read their lists at 1 MB a second, and looks at what that takes in memory.
func (b *suite) parallelLists(ctx context.Context, s *server) (figure, error) {
	f := figure{ID: listsMany, Name: "memory that ten fast and ten slow lists of everything add", Unit: "MB"}
	before, err := s.memory()
	if err != nil {
		return f, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list := func(ctx context.Context, dialer func(context.Context, string) (net.Conn, error)) error {
		conn, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialer))
		if err != nil {
			return err
		}
		defer conn.Close()
		size := 0
		return conn.Invoke(ctx, pathRange, &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, &size,
			grpc.ForceCodecV2(discard{}), grpc.MaxCallRecvMsgSize(1<<31-1))
	}
	tcp := func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	slow := func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := tcp(ctx, addr)
		return &slowly{Conn: c, rate: 1e6, begin: time.Now()}, err
	}
	var slowOnes, fastOnes sync.WaitGroup
	for range 10 {
		slowOnes.Go(func() { _ = list(ctx, slow) }) // cut short when the fast ones are done
	}
	failed := make(chan error, 10)
	for range 10 {
		fastOnes.Go(func() {
			if err := list(ctx, tcp); err != nil {
				failed <- err
			}
		})
	}
	done := make(chan struct{})
	go func() { fastOnes.Wait(); close(done) }()
	most := int64(0)
	for watching := true; watching; {
		select {
		case <-done:
			watching = false
		case <-time.After(20 * time.Millisecond):
		}
		m, err := s.memory()
		if err != nil {
			return f, err
		}
		most = max(most, m.Resident)
	}
	cancel()
	slowOnes.Wait()
	select {
	case err := <-failed:
		return f, err
	default:
	}
	f.Values = []float64{megabytes(max(most-before.Resident, 0))}
	return f, nil
}

// deaf compares the latency of others with and without a hundred clients that ask
// for much and never read.
func (b *suite) deaf(ctx context.Context, s *server) (figure, error) {
	f := figure{ID: deafClients, Name: "p99 of others beside 100 clients that never read, over that without them", Unit: "x"}
	others := func(turn int) (time.Duration, error) {
		x, err := viaGo(conns, 10, func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error {
			k := pick(turn, i, b.keys)
			if i%2 == 0 {
				return put(ctx, conn, key(k), value(k))
			}
			return getOne(ctx, conn, &etcdserverpb.RangeRequest{Key: key(k)})
		})(ctx, s, turn, b.scaled(60_000))
		return x.P99, err
	}
	for turn := range b.turns {
		without, err := others(2 * turn)
		if err != nil {
			return f, err
		}
		close, err := deafen(s.addr, 100)
		if err != nil {
			return f, err
		}
		if err = b.calm(ctx, s); err != nil {
			close()
			return f, err
		}
		with, err := others(2*turn + 1)
		close()
		if err != nil {
			return f, err
		}
		f.Values = append(f.Values, with.Seconds()/without.Seconds())
	}
	return f, nil
}

// calm waits until the server has done what it can for those who do not read: it takes
// less than a twentieth of a core. One that does not come to rest is waited for no longer
// than it may let them be.
func (b *suite) calm(ctx context.Context, s *server) error {
	look := max(b.settle/30, 500*time.Millisecond) // the kernel counts in ticks of 10 ms
	for range 20 {
		before, err := s.cpu()
		if err != nil {
			return err
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return ctx.Err()
		}
		after, err := s.cpu()
		if err != nil || after-before < look/20 {
			return err
		}
	}
	return nil
}

// deafen opens n connections that each ask for a long list on fifty streams, give
// all the credit there is, and never read.
func deafen(addr string, n int) (end func(), err error) {
	body, err := frame(&etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 5000, Serializable: true})
	if err != nil {
		return nil, err
	}
	return openDeaf(addr, n, func(c net.Conn) error { return shout(c, body, 50) })
}

// openDeaf opens n connections, has each say something, and reads none of them.
func openDeaf(addr string, n int, say func(net.Conn) error) (end func(), err error) {
	var open []net.Conn
	end = func() {
		for _, c := range open {
			c.Close()
		}
	}
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			end()
			return nil, err
		}
		open = append(open, c)
		if err := say(c); err != nil {
			end()
			return nil, err
		}
	}
	return end, nil
}

func shout(c net.Conn, body []byte, streams uint32) error {
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	f := http2.NewFramer(c, nil)
	const credit = 1<<31 - 1
	err := errors.Join(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: credit}), f.WriteWindowUpdate(0, credit-65535))
	for i := range streams {
		var head headerBlock
		head.add(":method", "POST", ":scheme", "http", ":path", pathRange, ":authority", "bench", "content-type", "application/grpc", "te", "trailers")
		err = errors.Join(err,
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head.b, EndHeaders: true}),
			f.WriteData(2*i+1, true, body))
	}
	return err
}

// headerBlock encodes fields without a table, so that each stands for itself.
type headerBlock struct{ b []byte }

func (h *headerBlock) Write(p []byte) (int, error) { h.b = append(h.b, p...); return len(p), nil }

func (h *headerBlock) add(fields ...string) {
	e := hpack.NewEncoder(h)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // into memory
	}
}

// probes makes 1,000 calls a second, gets and puts in turn, each at its time
// whether others were answered or not, first with nothing else going on, then
// while a history in which half of the keys were written anew is compacted.
func (b *suite) probes(ctx context.Context, s *server) (p999, longest figure, err error) {
	p999 = figure{ID: probesMany, Name: "1,000 probes a second while half the keys are compacted: p99.9", Unit: "ms"}
	longest = figure{ID: longestMany, Name: "the longest of them, over the greater of 100 ms and twice that of a quiet run", Unit: "x"}
	const rate = 1000
	seconds := 10
	if b.quick {
		seconds = 1
	}
	again := viaGo(conns, streams, func(ctx context.Context, conn *grpc.ClientConn, _, i int) error {
		return put(ctx, conn, key(2*i), value(i))
	})
	if _, err := again(ctx, s, 0, b.keys/2); err != nil {
		return p999, longest, err
	}
	b.quiet(ctx)
	quiet, err := b.probe(ctx, s, rate*seconds, nil)
	if err != nil {
		return p999, longest, err
	}
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return p999, longest, err
	}
	defer d.close()
	compacted := make(chan error, 1)
	took, err := b.probe(ctx, s, rate*seconds, func() {
		go func() {
			res, err := get(ctx, d.conns[0], &etcdserverpb.RangeRequest{Key: []byte{0}, CountOnly: true})
			if err == nil {
				err = d.conns[0].Invoke(ctx, compactMethod, &etcdserverpb.CompactionRequest{Revision: res.Header.Revision, Physical: true}, &etcdserverpb.CompactionResponse{})
			}
			compacted <- err
		}()
	})
	if err != nil {
		return p999, longest, err
	}
	if err := <-compacted; err != nil {
		return p999, longest, err
	}
	p999.Values = []float64{took[len(took)*999/1000].Seconds() * 1e3}
	longest.Values = []float64{took[len(took)-1].Seconds() / max(0.1, 2*quiet[len(quiet)-1].Seconds())}
	fmt.Fprintf(b.progress, "longest probe: %v, in a quiet run %v\n", took[len(took)-1], quiet[len(quiet)-1])
	return p999, longest, nil
}

// probe makes n calls, each a millisecond after the one before, begins what there
// is to begin after the first tenth, and returns how long each was away, sorted.
func (b *suite) probe(ctx context.Context, s *server, n int, begin func()) ([]time.Duration, error) {
	d, err := dial(s.addr, 4, 1)
	if err != nil {
		return nil, err
	}
	defer d.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, n)
	var calls sync.WaitGroup
	start := time.Now()
	for i := range n {
		due := start.Add(time.Duration(i) * time.Millisecond)
		time.Sleep(time.Until(due))
		if i == n/10 && begin != nil {
			begin()
		}
		calls.Go(func() {
			k := rand.IntN(b.keys)
			conn := d.conns[i%len(d.conns)]
			var err error
			if i%2 == 0 {
				err = put(ctx, conn, key(k), value(k))
			} else {
				err = getOne(ctx, conn, &etcdserverpb.RangeRequest{Key: key(k)})
			}
			took[i] = time.Since(due)
			if err != nil {
				cancel(err)
			}
		})
	}
	calls.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	slices.Sort(took)
	return took, nil
}
