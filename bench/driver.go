package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"etcd.alt/api/etcdserverpb"
)

const (
	pathRange = "/etcdserverpb.KV/Range"
	pathPut   = "/etcdserverpb.KV/Put"
)

// driver is a Go client: streams callers on each of its connections, each with
// one call at a time.
type driver struct {
	conns   []*grpc.ClientConn
	streams int
}

func dial(addr string, conns, streams int) (*driver, error) {
	d := &driver{streams: streams}
	for range conns {
		c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			d.close()
			return nil, err
		}
		d.conns = append(d.conns, c)
	}
	return d, nil
}

func (d *driver) close() {
	for _, c := range d.conns {
		c.Close()
	}
}

// call makes the i-th request of a turn.
type call func(ctx context.Context, conn *grpc.ClientConn, turn, i int) error

// viaGo is a runner of calls by a driver of its own.
func viaGo(conns, streams int, do call) runner {
	return func(ctx context.Context, s *server, turn, n int) (sample, error) {
		d, err := dial(s.addr, conns, streams)
		if err != nil {
			return sample{}, err
		}
		defer d.close()
		return d.run(ctx, turn, n, do)
	}
}

// run makes n calls and returns when all have been answered, or one failed.
func (d *driver) run(ctx context.Context, turn, n int, do call) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for _, conn := range d.conns {
		for range d.streams {
			wg.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= n || ctx.Err() != nil {
						return
					}
					t := time.Now()
					if err := do(ctx, conn, turn, i); err != nil {
						cancel(err)
						return
					}
					took[i] = time.Since(t)
				}
			})
		}
	}
	wg.Wait()
	wall := time.Since(begin)
	if ctx.Err() != nil {
		return sample{}, context.Cause(ctx)
	}
	s := sample{Requests: n, Wall: wall}
	s.Mean, s.P50, s.P99 = latencies(took)
	return s, nil
}

// latencies sorts what it is given.
func latencies(took []time.Duration) (mean, p50, p99 time.Duration) {
	if len(took) == 0 {
		return 0, 0, 0
	}
	slices.Sort(took)
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100] }
	return sum / time.Duration(len(took)), at(50), at(99)
}

var errAbsent = errors.New("a key that was written is not there")

func get(ctx context.Context, conn *grpc.ClientConn, req *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	res := &etcdserverpb.RangeResponse{}
	return res, conn.Invoke(ctx, pathRange, req, res)
}

func put(ctx context.Context, conn *grpc.ClientConn, key, value []byte) error {
	return conn.Invoke(ctx, pathPut, &etcdserverpb.PutRequest{Key: key, Value: value}, &etcdserverpb.PutResponse{})
}
