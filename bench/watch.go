package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/api/etcdserverpb"
)

// Rows and figures of watches.
const (
	watchEvents     = "watch-event"
	watchSlower     = "watch-put-time"
	watchLater      = "watch-put-p99"
	watchDeafMemory = "watch-deaf-memory"
	watchDeafP99    = "watch-deaf-p99"

	pathWatch = "/etcdserverpb.Watch/Watch"
)

// watches measures what it costs to tell watchers of puts, and what watchers cost
// others.
func (b *suite) watches(ctx context.Context) (results, error) {
	servers, err := b.open(ctx, b.ours, b.peer)
	defer func() { closeAll(servers) }()
	if err != nil {
		return results{}, err
	}
	res := results{Rows: []row{b.row(ctx, load{
		id: watchEvents, name: "event told to a watcher, 10 streams x 100 watchers of one key", client: "grpc-go 10x1", run: tellEvents,
	}, servers)}}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	closeAll(servers)
	for _, k := range []kind{b.ours, b.peer} {
		for _, measure := range []func(context.Context, kind) ([]figure, error){b.beside, b.stalled} {
			figures, err := measure(ctx, k)
			for _, f := range figures {
				if f.Server = k.Name; err != nil {
					f.Values, f.Why = nil, err.Error()
				}
				b.note(f)
				res.Figures = append(res.Figures, f)
			}
			if err := ctx.Err(); err != nil {
				return res, err
			}
		}
	}
	return res, nil
}

// watchStream opens a stream with a watcher of each key, and returns when all are
// there.
func watchStream(ctx context.Context, conn *grpc.ClientConn, keys [][]byte, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pathWatch, options...)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		r := &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: &etcdserverpb.WatchCreateRequest{Key: k}}}
		if err := stream.SendMsg(r); err != nil {
			return nil, err
		}
	}
	return stream, nil
}

// tellEvents is a runner whose requests are events: a thousand watchers see a key
// being put until n were told.
func tellEvents(ctx context.Context, s *server, _, n int) (sample, error) {
	const streams, watchers = 10, 100
	puts := max(1, n/(streams*watchers))
	d, err := dial(s.addr, streams, 1)
	if err != nil {
		return sample{}, err
	}
	defer d.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := bytes.Repeat([]byte("w"), 36)
	ready, told := make(chan error, streams), make(chan error, streams)
	for _, conn := range d.conns {
		stream, err := watchStream(ctx, conn, repeat(watched, watchers))
		if err != nil {
			return sample{}, err
		}
		go func() {
			ready <- receiveEvents(stream, watchers, 0)
			told <- receiveEvents(stream, 0, puts*watchers)
		}()
	}
	for range streams {
		if err := <-ready; err != nil {
			return sample{}, err
		}
	}
	begin := time.Now()
	if _, err := viaGo(1, 8, func(ctx context.Context, conn *grpc.ClientConn, _, i int) error {
		return put(ctx, conn, watched, value(i))
	})(ctx, s, 0, puts); err != nil {
		return sample{}, err
	}
	for range streams {
		if err := <-told; err != nil {
			return sample{}, err
		}
	}
	return sample{Requests: puts * streams * watchers, Wall: time.Since(begin)}, nil
}

func repeat(k []byte, n int) (all [][]byte) {
	for range n {
		all = append(all, k)
	}
	return all
}

// receiveEvents receives until so many watchers were created and so many events
// told.
func receiveEvents(stream grpc.ClientStream, created, events int) error {
	for created > 0 || events > 0 {
		res := &etcdserverpb.WatchResponse{}
		if err := stream.RecvMsg(res); err != nil {
			return err
		}
		switch {
		case res.Canceled:
			return fmt.Errorf("a watcher was canceled: %s", res.CancelReason)
		case res.Created:
			created--
		}
		events -= len(res.Events)
	}
	return nil
}

// beside compares puts of a loaded member with and without ten thousand watchers of
// keys of their own, each of which 5,000 puts a second are told to.
func (b *suite) beside(ctx context.Context, k kind) ([]figure, error) {
	slower := figure{ID: watchSlower, Name: "time per put with 1,000 streams x 10 watchers told of 5,000 puts a second, over that without them", Unit: "x"}
	later := figure{ID: watchLater, Name: "the same of the puts' p99", Unit: "x"}
	servers, err := b.open(ctx, k)
	defer func() { closeAll(servers) }()
	if err == nil {
		err = servers[0].running()
	}
	if err != nil {
		return []figure{slower, later}, err
	}
	s := servers[0]
	for turn := range b.turns {
		without, _, err := b.putsBeside(ctx, s, turn)
		if err != nil {
			return []figure{slower, later}, err
		}
		end, err := watchMany(ctx, s, 1000, 10)
		if err != nil {
			return []figure{slower, later}, err
		}
		with, puts, err := b.putsBeside(ctx, s, turn)
		patient, cancel := context.WithTimeout(ctx, toldPatience)
		err = errors.Join(err, end(patient, puts))
		cancel()
		if err != nil {
			return []figure{slower, later}, err
		}
		slower.Values = append(slower.Values, with.perReply()/without.perReply())
		later.Values = append(later.Values, with.P99.Seconds()/without.P99.Seconds())
	}
	return []figure{slower, later}, nil
}

// toldPatience is how long watchers may take, behind the last put, to be told of all.
const toldPatience = 10 * time.Second

// watchedKey is one of the ten thousand.
func watchedKey(i int) []byte { return fmt.Appendf(nil, "watched/%08d", i%10_000) }

// putsBeside makes puts as fast as they come while 5,000 a second go to the keys
// that are, or are not, watched. It counts the latter.
func (b *suite) putsBeside(ctx context.Context, s *server, turn int) (x sample, watched int64, err error) {
	b.quiet(ctx)
	var puts atomic.Int64
	stop, err := background(ctx, s, 5000, func(ctx context.Context, conn *grpc.ClientConn, _, i int) error {
		// One that is under way in the end is made to its end, so that each is counted.
		err := put(context.WithoutCancel(ctx), conn, watchedKey(i*7919), value(i))
		if err == nil {
			puts.Add(1)
		}
		return err
	})
	if err != nil {
		return sample{}, 0, err
	}
	x, err = viaGo(conns, 10, func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error {
		return put(ctx, conn, key(pick(turn, i, 10_000)), value(i))
	})(ctx, s, turn, b.scaled(100_000))
	err = errors.Join(err, stop())
	return x, puts.Load(), err
}

// events is a codec that counts the events of a response, and leaves them undecoded.
type events struct{}

func (events) Name() string { return "proto" }
func (events) Marshal(v any) (mem.BufferSlice, error) {
	b, err := v.(interface{ MarshalVT() ([]byte, error) }).MarshalVT()
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}
func (events) Unmarshal(data mem.BufferSlice, v any) error {
	b, n := data.Materialize(), 0
	for len(b) > 0 {
		field, _, size := protowire.ConsumeField(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if field == eventsField {
			n++
		}
		b = b[size:]
	}
	*v.(*int) = n
	return nil
}

// eventsField is the number of WatchResponse.events.
const eventsField = 11

// watchMany opens streams with watchers of keys of their own, and counts the events that
// they are told. end closes them when they were told of so many puts, or ctx has ended;
// that an event was lost, or told twice, is an error.
func watchMany(ctx context.Context, s *server, streams, watchers int) (end func(ctx context.Context, puts int64) error, err error) {
	d, err := dial(s.addr, conns, 1)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var told atomic.Int64
	var receiving sync.WaitGroup
	stop := func() error {
		cancel(errStopped)
		receiving.Wait()
		d.close()
		if err := context.Cause(ctx); !errors.Is(err, errStopped) {
			return err
		}
		return nil
	}
	end = func(patient context.Context, puts int64) error {
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for told.Load() < puts && patient.Err() == nil && ctx.Err() == nil {
			<-look.C
		}
		if err := stop(); err != nil {
			return err
		}
		if n := told.Load(); n != puts {
			return fmt.Errorf("the watchers were told %d events of %d puts", n, puts)
		}
		return nil
	}
	var created sync.WaitGroup
	for i := range streams {
		var keys [][]byte
		for w := range watchers {
			keys = append(keys, watchedKey(i*watchers+w))
		}
		stream, err := watchStream(ctx, d.conns[i%len(d.conns)], keys, grpc.ForceCodecV2(events{}))
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		created.Add(1)
		receiving.Go(func() {
			n := 0
			receive := func() bool {
				if err := stream.RecvMsg(&n); err != nil {
					cancel(err)
					return false
				}
				told.Add(int64(n))
				return true
			}
			for range watchers {
				if !receive() {
					break
				}
			}
			created.Done()
			for receive() {
				continue // until it is closed
			}
		})
	}
	created.Wait()
	return end, nil
}

// stalledTurns is how often the most memory is looked at: it depends on when garbage was
// collected, and differs by 60 MB from one run of the same load to the next.
const stalledTurns = 5

// stalled looks at a member that tells 1 GB to a hundred streams that take nothing
// beyond what a connection takes by itself: what that adds in memory to the median
// without them, and what it does to the puts.
func (b *suite) stalled(ctx context.Context, k kind) ([]figure, error) {
	added := figure{ID: watchDeafMemory, Name: "memory that 100 streams which take nothing of 1 GB of events add", Unit: "MB"}
	later := figure{ID: watchDeafP99, Name: "p99 of the puts of that, over that without the streams", Unit: "x"}
	turns := stalledTurns
	if b.options.quick {
		turns = b.turns
	}
	var peaks [2][]float64
	for range turns {
		var p99 [2]time.Duration
		for with := range 2 {
			servers, err := b.open(ctx, k)
			if err == nil {
				err = servers[0].running()
			}
			var peak int64
			if err == nil {
				peak, p99[with], err = b.tellTheDeaf(ctx, servers[0], with*100)
			}
			closeAll(servers)
			if err != nil {
				return []figure{added, later}, err
			}
			peaks[with] = append(peaks[with], megabytes(peak))
		}
		later.Values = append(later.Values, p99[1].Seconds()/p99[0].Seconds())
	}
	without := spreadOf(peaks[0]).Mid
	for _, peak := range peaks[1] {
		added.Values = append(added.Values, peak-without)
	}
	return []figure{added, later}, nil
}

// tellTheDeaf puts 1 GB below what n streams watch that take nothing, and returns
// the most memory that the server had, and the p99 of the puts.
func (b *suite) tellTheDeaf(ctx context.Context, s *server, n int) (peak int64, p99 time.Duration, err error) {
	watched := []byte("deaf")
	end, err := watchDeaf(s.addr, n, watched)
	if err != nil {
		return 0, 0, err
	}
	defer end()
	b.quiet(ctx)
	const size = 64 << 10
	large := bytes.Repeat([]byte("v"), size)
	begun, err := s.memory()
	if err != nil {
		return 0, 0, err
	}
	x, err := viaGo(2, 4, func(ctx context.Context, conn *grpc.ClientConn, _, _ int) error {
		return put(ctx, conn, watched, large)
	})(ctx, s, 0, b.scaled(1<<30/size))
	if err != nil {
		return 0, 0, err
	}
	m, err := s.memory()
	return m.Peak - begun.Resident, x.P99, err
}

// watchDeaf opens n connections, each with a stream that watches a key and is never
// given any credit, and reads none of them.
func watchDeaf(addr string, n int, watched []byte) (end func(), err error) {
	body, err := frame(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: &etcdserverpb.WatchCreateRequest{Key: watched}}})
	if err != nil {
		return nil, err
	}
	end, err = openDeaf(addr, n, func(c net.Conn) error { return whisper(c, body) })
	if err == nil {
		time.Sleep(time.Second) // they are created by then
	}
	return end, err
}

func whisper(c net.Conn, body []byte) error {
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	f := http2.NewFramer(c, nil)
	var head headerBlock
	head.add(":method", "POST", ":scheme", "http", ":path", pathWatch, ":authority", "bench", "content-type", "application/grpc", "te", "trailers")
	return errors.Join(f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.b, EndHeaders: true}),
		f.WriteData(1, false, body))
}
