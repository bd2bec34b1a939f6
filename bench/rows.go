package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
)

// Names of the rows and figures, as the budget and the JSON know them.
const (
	getSerializable = "get-serializable"
	getLinearizable = "get-linearizable"
	putSynced       = "put"
	oneGet          = "one-client-get"
	onePut          = "one-client-put"
	oneGetGo        = "one-client-get-go"
	onePutGo        = "one-client-put-go"
	loadMany        = "many-load"
	getMany         = "many-get"
	putMany         = "many-put"

	pageMany     = "many-page"
	countMany    = "many-count"
	residentMany = "many-resident"
	restartClean = "many-restart-clean"
	restartKill  = "many-restart-kill"
)

// Names of the servers; the peer's has its version.
const (
	ourName  = "ours"
	echoName = "grpc-go echo"
	twinName = "its twin"
)

const (
	conns   = 10 // of a loaded server
	streams = 100

	pageKeys = 500
)

// suite is everything there is to measure with.
type suite struct {
	options
	meter
	dir                    string // for the servers' data; removed at the end
	ours, peer, echo, twin kind
}

// open makes servers and starts them. One that does not start is kept: the rows
// say why it has no figures.
func (b *suite) open(ctx context.Context, kinds ...kind) ([]*server, error) {
	var servers []*server
	for _, k := range kinds {
		s, err := newServer(b.dir, k)
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
		if k.argv == nil {
			s.absent = errors.New("no binary was given (-peer)")
			continue
		}
		took, err := s.start(ctx)
		if err != nil {
			s.absent = err
			fmt.Fprintln(b.progress, err)
			continue
		}
		fmt.Fprintf(b.progress, "%s serves after %.0f ms\n", s.Name, took.Seconds()*1e3)
	}
	return servers, nil
}

// closeAll ends servers and gives their disk back.
func closeAll(servers []*server) {
	for _, s := range servers {
		s.kill()
		os.RemoveAll(s.dir)
	}
}

// bodies writes requests to files for h2load, and returns their paths.
func (b *suite) bodies(requests map[string]proto.Message) (map[string]string, error) {
	paths := map[string]string{}
	for name, m := range requests {
		framed, err := frame(m)
		if err != nil {
			return nil, err
		}
		paths[name] = filepath.Join(b.dir, name)
		if err := os.WriteFile(paths[name], framed, 0o600); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// oneKey measures calls of one key of 36 bytes with a value of 256.
func (b *suite) oneKey(ctx context.Context) (results, error) {
	name := bytes.Repeat([]byte("k"), 36)
	body, err := b.bodies(map[string]proto.Message{
		"put":          &etcdserverpb.PutRequest{Key: name, Value: value(0)},
		"linearizable": &etcdserverpb.RangeRequest{Key: name},
		"serializable": &etcdserverpb.RangeRequest{Key: name, Serializable: true},
	})
	if err != nil {
		return results{}, err
	}
	servers, err := b.open(ctx, b.ours, b.peer, b.echo, b.twin)
	defer closeAll(servers)
	if err != nil {
		return results{}, err
	}
	const getReply, putReply = 36 + valueBytes, 5 + 2
	loaded := fmt.Sprintf("h2load %dx%d", conns, streams)
	gets, puts := b.scaled(10_000), b.scaled(4_000)
	getName := func(ctx context.Context, conn *grpc.ClientConn, _, _ int) error {
		return getOne(ctx, conn, &etcdserverpb.RangeRequest{Key: name})
	}
	putName := func(ctx context.Context, conn *grpc.ClientConn, _, _ int) error {
		return put(ctx, conn, name, value(0))
	}
	for _, s := range servers {
		if s.running() == nil {
			if _, err := viaGo(1, 1, putName)(ctx, s, 0, 1); err != nil {
				s.absent = err
			}
		}
	}
	three := servers[:3]
	var res results
	for _, l := range []struct {
		load
		servers []*server
	}{
		{load{id: getSerializable, name: "serializable get, one key", client: loaded,
			run: h2load{pathRange, body["serializable"], conns, streams, getReply, nil}.run}, servers},
		{load{id: getLinearizable, name: "linearizable get, one key", client: loaded,
			run: h2load{pathRange, body["linearizable"], conns, streams, getReply, nil}.run}, three},
		{load{id: putSynced, name: "put, one key", client: loaded,
			run: h2load{pathPut, body["put"], conns, streams, putReply, nil}.run}, three},
		{load{id: oneGet, name: "linearizable get, one client", client: "h2load 1x1", fixed: gets,
			run: h2load{pathRange, body["linearizable"], 1, 1, getReply, nil}.run}, three},
		{load{id: onePut, name: "put, one client", client: "h2load 1x1", fixed: puts,
			run: h2load{pathPut, body["put"], 1, 1, putReply, nil}.run}, three},
		{load{id: oneGetGo, name: "linearizable get, one client", client: "Go 1x1", fixed: gets, run: viaGo(1, 1, getName)}, three},
		{load{id: onePutGo, name: "put, one client", client: "Go 1x1", fixed: puts, run: viaGo(1, 1, putName)}, three},
	} {
		res.Rows = append(res.Rows, b.row(ctx, l.load, l.servers))
		if err := ctx.Err(); err != nil {
			return res, err
		}
	}
	return res, nil
}

// getOne gets a key that must be there.
func getOne(ctx context.Context, conn *grpc.ClientConn, req *etcdserverpb.RangeRequest) error {
	res, err := get(ctx, conn, req)
	if err == nil && (len(res.Kvs) != 1 || len(res.Kvs[0].Value) != valueBytes) {
		err = errAbsent
	}
	return err
}

// manyKeys measures members that hold many keys.
func (b *suite) manyKeys(ctx context.Context) (results, error) {
	servers, err := b.open(ctx, b.ours, b.peer)
	defer closeAll(servers)
	if err != nil {
		return results{}, err
	}
	var res results
	filled, resident := b.fill(ctx, servers)
	res.Rows = append(res.Rows, filled)
	res.Figures = append(res.Figures, resident...)

	// First what leaves the keys as the load left them, last what writes most.
	client := fmt.Sprintf("Go %dx%d", conns, streams)
	res.Figures = append(res.Figures, b.lists(ctx, servers)...)
	res.Rows = append(res.Rows, b.row(ctx, load{
		id: getMany, name: fmt.Sprintf("linearizable get, random of %d keys", b.keys), client: client, least: b.scaled(100_000),
		run: viaGo(conns, streams, func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error {
			return getOne(ctx, conn, &etcdserverpb.RangeRequest{Key: key(pick(turn, i, b.keys))})
		}),
	}, servers))
	res.Figures = append(res.Figures, b.strain(ctx, servers[0])...)
	clean, killed := b.turns, b.kills
	var recovered []figure
	for _, s := range servers {
		res.Figures = append(res.Figures, b.restarts(ctx, s, clean))
		recovered = append(recovered, b.recoveries(ctx, s, killed))
		clean, killed = 1, 1 // the peer's are there to look at, and take long
	}
	res.Figures = append(res.Figures, recovered...)
	res.Rows = append(res.Rows, b.row(ctx, load{
		id: putMany, name: fmt.Sprintf("put, random of %d keys", b.keys), client: client, least: b.scaled(100_000),
		run: viaGo(conns, streams, func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error {
			k := pick(turn, i, b.keys)
			return put(ctx, conn, key(k), value(k))
		}),
	}, servers))
	return res, ctx.Err()
}

// fill puts every key into each server, and looks at its memory when it has had
// time to settle.
func (b *suite) fill(ctx context.Context, servers []*server) (row, []figure) {
	l := load{
		id: loadMany, name: fmt.Sprintf("load of %d keys", b.keys), client: fmt.Sprintf("Go %dx%d", conns, streams),
		run: viaGo(conns, streams, func(ctx context.Context, conn *grpc.ClientConn, _, i int) error {
			return put(ctx, conn, key(i), value(i))
		}),
	}
	out := row{ID: l.id, Name: l.name, Client: l.client}
	var resident []figure
	for _, s := range servers {
		f := figure{ID: residentMany, Name: fmt.Sprintf("resident %.0f s after the load", b.settle.Seconds()), Unit: "MB", Server: s.Name}
		to := series{Server: s.Name}
		fmt.Fprintf(b.progress, "%s: loading %d keys\n", s.Name, b.keys)
		x, err := b.sample(ctx, l, s, 0, b.keys)
		if err == nil {
			to.Samples = []sample{x}
			fmt.Fprintf(b.progress, "%s: loaded at %.0f/s, %.1f us of CPU each\n", s.Name, x.rate(), x.perRequest()*1e6)
			select {
			case <-ctx.Done():
			case <-time.After(b.settle):
			}
			var m memory
			m, err = s.memory()
			to.Peak = m.Peak
			f.Values = []float64{megabytes(m.Resident)}
		}
		if err != nil {
			to, f.Values, f.Why = series{Server: s.Name, Why: err.Error()}, nil, err.Error()
			s.absent = fmt.Errorf("the load failed: %w", err)
		}
		out.Series, resident = append(out.Series, to), append(resident, f)
	}
	return out, resident
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// lists measures what walks the keyspace, one caller at a time: pages that begin
// anywhere and reach to its end, and the number of all keys.
func (b *suite) lists(ctx context.Context, servers []*server) []figure {
	var out []figure
	for _, w := range []struct {
		id, name string
		do       call
	}{
		{pageMany, fmt.Sprintf("page of %d, serializable, median", pageKeys), func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error {
			res, err := get(ctx, conn, &etcdserverpb.RangeRequest{Key: key(pick(turn, i, b.keys)), RangeEnd: []byte{0}, Limit: pageKeys, Serializable: true})
			if err == nil && len(res.Kvs) != int(min(res.Count, pageKeys)) {
				err = errAbsent
			}
			return err
		}},
		{countMany, "count of all keys, serializable, median", func(ctx context.Context, conn *grpc.ClientConn, _, _ int) error {
			res, err := get(ctx, conn, &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true, Serializable: true})
			if err == nil && res.Count < int64(b.keys) {
				err = errAbsent
			}
			return err
		}},
	} {
		for _, s := range servers {
			f := figure{ID: w.id, Name: w.name, Unit: "ms", Server: s.Name}
			run := viaGo(1, 1, w.do)
			// As many as take a second or two, and at least a few.
			x, err := b.sample(ctx, load{run: run}, s, 0, 3)
			n := 0
			if err == nil {
				n = min(max(int(1.5/x.mean()), 5), b.scaled(2000))
			}
			for turn := 1; turn <= b.turns && err == nil; turn++ {
				if x, err = b.sample(ctx, load{run: run}, s, turn, n); err == nil {
					f.Values = append(f.Values, x.p50()*1e3)
				}
			}
			if err != nil {
				f.Values, f.Why = nil, err.Error()
			}
			b.note(f)
			out = append(out, f)
		}
	}
	return out
}

// restarts measures how long the server takes to serve again after a clean stop.
func (b *suite) restarts(ctx context.Context, s *server, rounds int) figure {
	f := figure{ID: restartClean, Name: "restart after a clean stop, median", Unit: "s", Server: s.Name}
	return b.again(ctx, f, s, rounds, s.stop)
}

// recoveries measures the same after kill -9 while puts of random keys go on.
func (b *suite) recoveries(ctx context.Context, s *server, rounds int) figure {
	f := figure{ID: restartKill, Name: "restart after kill -9 under load, worst", Unit: "s", Server: s.Name, Worst: true}
	return b.again(ctx, f, s, rounds, func() error {
		d, err := dial(s.addr, conns, streams)
		if err != nil {
			return err
		}
		defer d.close()
		mark := int64(b.keys/50 + rand.IntN(b.keys/4))
		reached := make(chan struct{})
		var puts atomic.Int64
		failed := make(chan error, 1)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			_, err := d.run(ctx, int(mark), 2*b.keys, func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error {
				if puts.Add(1) == mark {
					close(reached)
				}
				k := pick(turn, i, b.keys)
				return put(ctx, conn, key(k), value(k))
			})
			failed <- err
		}()
		select {
		case <-reached:
			s.kill()
			cancel()
			<-failed
			return nil
		case err := <-failed:
			return fmt.Errorf("the load ended before the kill: %w", err)
		}
	})
}

// again ends the server and starts it, rounds times.
func (b *suite) again(ctx context.Context, f figure, s *server, rounds int, end func() error) figure {
	defer func() { b.note(f) }()
	for range rounds {
		err := errors.Join(ctx.Err(), s.running())
		if err == nil {
			s.memory()
			b.quiet(ctx)
			err = end()
		}
		if err == nil {
			var took time.Duration
			took, err = s.start(ctx)
			f.Values = append(f.Values, took.Seconds())
		}
		if err != nil {
			f.Values, f.Why = nil, err.Error()
			return f
		}
	}
	return f
}

func (b *suite) note(f figure) {
	if f.Why != "" {
		fmt.Fprintf(b.progress, "%s: %s not measured: %s\n", f.Name, f.Server, f.Why)
		return
	}
	fmt.Fprintf(b.progress, "%s: %s: %.3g %s\n", f.Name, f.Server, f.Values, f.Unit)
}
