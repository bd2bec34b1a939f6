package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// Rows and figures of leases.
const (
	leaseKeepAlive = "lease-keep-alive"
	leaseStall     = "lease-expiry-stall"
	leaseGone      = "lease-expiry"

	pathGrant     = "/etcdserverpb.Lease/LeaseGrant"
	pathKeepAlive = "/etcdserverpb.Lease/LeaseKeepAlive"
)

// leases measures keep-alives, and very many leases that end together.
func (b *suite) leases(ctx context.Context) (results, error) {
	servers, err := b.open(ctx, b.ours, b.peer)
	defer func() { closeAll(servers) }()
	if err != nil {
		return results{}, err
	}
	res := results{Rows: []row{b.row(ctx, load{
		id: leaseKeepAlive, name: "keep-alive", client: "grpc-go 10x10", run: keepAlives,
	}, servers)}}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	closeAll(servers[1:])
	figures, err := b.expiry(ctx, servers[0])
	for _, f := range figures {
		if f.Server = ourName; err != nil {
			f.Values, f.Why = nil, err.Error()
		}
		b.note(f)
		res.Figures = append(res.Figures, f)
	}
	return res, ctx.Err()
}

func grant(ctx context.Context, conn *grpc.ClientConn, ttl int64) (int64, error) {
	res := &etcdserverpb.LeaseGrantResponse{}
	err := conn.Invoke(ctx, pathGrant, &etcdserverpb.LeaseGrantRequest{TTL: ttl}, res)
	return res.ID, err
}

// keepAlives renews a lease on each of a hundred streams, each time when the answer
// before has come.
func keepAlives(ctx context.Context, s *server, _, n int) (sample, error) {
	const each = 10 // streams of a connection
	d, err := dial(s.addr, conns, 1)
	if err != nil {
		return sample{}, err
	}
	defer d.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []grpc.ClientStream
	var ids []int64
	for i := range conns * each {
		conn := d.conns[i%conns]
		id, err := grant(ctx, conn, 600)
		if err != nil {
			return sample{}, err
		}
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pathKeepAlive)
		if err != nil {
			return sample{}, err
		}
		all, ids = append(all, stream), append(ids, id)
	}
	begin := time.Now()
	done := make(chan error, len(all))
	rounds := max(1, n/len(all))
	for i, stream := range all {
		go func() { done <- renew(stream, ids[i], rounds) }()
	}
	for range all {
		if err := <-done; err != nil {
			return sample{}, err
		}
	}
	return sample{Requests: rounds * len(all), Wall: time.Since(begin)}, nil
}

func renew(stream grpc.ClientStream, id int64, rounds int) error {
	res := &etcdserverpb.LeaseKeepAliveResponse{}
	for range rounds {
		if err := stream.SendMsg(&etcdserverpb.LeaseKeepAliveRequest{ID: id}); err != nil {
			return err
		}
		if err := stream.RecvMsg(res); err != nil {
			return err
		}
		if res.TTL <= 0 {
			return fmt.Errorf("the lease %x has ended", id)
		}
	}
	return nil
}

// expiry has 100,000 leases with a key each end together, and looks at how long a
// put takes meanwhile.
func (b *suite) expiry(ctx context.Context, s *server) ([]figure, error) {
	stall := figure{ID: leaseStall, Name: "100,000 leases with a key each end together: the longest put", Unit: "ms"}
	gone := figure{ID: leaseGone, Name: "until the last of their keys is gone, from the end of their time on", Unit: "s"}
	fail := func(err error) ([]figure, error) { return []figure{stall, gone}, err }
	n := b.scaled(100_000)
	const ttl = 20
	ids := make([]int64, n)
	leased := func(i int) []byte { return fmt.Appendf(nil, "leased/%08d", i) }
	if _, err := viaGo(conns, streams, func(ctx context.Context, conn *grpc.ClientConn, _, i int) (err error) {
		if ids[i], err = grant(ctx, conn, ttl); err != nil {
			return err
		}
		return conn.Invoke(ctx, pathPut, &etcdserverpb.PutRequest{Key: leased(i), Value: value(i), Lease: ids[i]}, &etcdserverpb.PutResponse{})
	})(ctx, s, 0, n); err != nil {
		return fail(err)
	}
	if err := renewAll(ctx, s, ids); err != nil {
		return fail(err)
	}
	end := time.Now().Add(ttl * time.Second)
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return fail(err)
	}
	defer d.close()
	left := &etcdserverpb.RangeRequest{Key: []byte("leased/"), RangeEnd: []byte("leased0"), CountOnly: true}
	res, err := get(ctx, d.conns[0], left)
	if err == nil && res.Count != int64(n) {
		err = fmt.Errorf("%d of the %d keys are there before their time is over", res.Count, n)
	}
	if err != nil {
		return fail(err)
	}
	select {
	case <-time.After(time.Until(end.Add(-5 * time.Second))):
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	longest, err := b.longestPutUntil(ctx, s, func() (bool, error) {
		res, err := get(ctx, d.conns[0], left)
		if err == nil && res.Count > 0 && time.Since(end) > 2*time.Minute {
			err = errors.New("the leases do not end")
		}
		return res.Count == 0, err
	})
	if err != nil {
		return fail(err)
	}
	stall.Values = []float64{longest.Seconds() * 1e3}
	gone.Values = []float64{time.Since(end).Seconds()}
	return []figure{stall, gone}, nil
}

// longestPutUntil makes puts one after the other until over says so, which is asked now
// and then beside them, and returns how long the longest took.
func (b *suite) longestPutUntil(ctx context.Context, s *server, over func() (bool, error)) (longest time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return 0, err
	}
	defer d.close()
	done := make(chan error, 1)
	go func() {
		for {
			begin := time.Now()
			err := put(ctx, d.conns[0], key(0), value(0))
			switch {
			case ctx.Err() != nil:
				done <- nil
				return
			case err != nil:
				done <- err
				return
			}
			longest = max(longest, time.Since(begin))
		}
	}()
	for {
		ended, err := over()
		if err != nil || ended {
			cancel()
			err = errors.Join(err, <-done) // longest is known behind it
			return longest, err
		}
		select {
		case err := <-done:
			return longest, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// renewAll renews leases over a few streams.
func renewAll(ctx context.Context, s *server, ids []int64) error {
	d, err := dial(s.addr, conns, 1)
	if err != nil {
		return err
	}
	defer d.close()
	done := make(chan error, conns)
	for i, conn := range d.conns {
		go func() {
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pathKeepAlive)
			if err != nil {
				done <- err
				return
			}
			sent, mine := make(chan error, 1), 0
			for k := i; k < len(ids); k += conns {
				mine++
			}
			go func() {
				for k := i; k < len(ids); k += conns {
					if err := stream.SendMsg(&etcdserverpb.LeaseKeepAliveRequest{ID: ids[k]}); err != nil {
						sent <- err
						return
					}
				}
				sent <- stream.CloseSend()
			}()
			for range mine {
				res := &etcdserverpb.LeaseKeepAliveResponse{}
				if err = stream.RecvMsg(res); err != nil {
					break
				}
			}
			done <- errors.Join(err, <-sent)
		}()
	}
	for range d.conns {
		err = errors.Join(err, <-done)
	}
	return err
}
