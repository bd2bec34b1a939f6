package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"etcd.alt/api/etcdserverpb"
)

// Figures of a member that is replaced under load.
const (
	wipedCaughtUp = "wiped-caught-up"
	wipedP99      = "wiped-leader-p99"
	wipedRate     = "wiped-leader-time"
)

const (
	pathStatus       = "/etcdserverpb.Maintenance/Status"
	pathMemberAdd    = "/etcdserverpb.Cluster/MemberAdd"
	pathMemberRemove = "/etcdserverpb.Cluster/MemberRemove"
)

// wiped has a member of three lose its disk and join anew, under load, one after the
// other, and looks at how long it takes to be where the others are and what that does to
// the leader's puts.
func (b *suite) wiped(ctx context.Context) (results, error) {
	figures := []figure{
		{ID: wipedCaughtUp, Name: "a member without its disk joins a cluster of " + thousands(float64(b.keys)) + " keys under load", Unit: "s"},
		{ID: wipedP99, Name: "p99 of the leader's puts meanwhile", Unit: "ms"},
		{ID: wipedRate, Name: "time per put meanwhile, over that before", Unit: "x"},
	}
	values, err := b.replaceMembers(ctx)
	for i := range figures {
		figures[i].Server = ourName
		if err != nil {
			figures[i].Why = err.Error()
		}
		for _, one := range values {
			figures[i].Values = append(figures[i].Values, one[i])
		}
		b.note(figures[i])
	}
	return results{Figures: figures}, ctx.Err()
}

// replaceMembers replaces one follower of a cluster after the other.
func (b *suite) replaceMembers(ctx context.Context) (values [][3]float64, err error) {
	servers, err := b.openCluster(ctx, ourName, b.ourBinary, "--quota-backend-bytes", "8589934592")
	defer func() { closeAll(servers) }()
	if err == nil {
		err = servers[0].running()
	}
	if err != nil {
		return nil, err
	}
	if _, err := viaGo(conns, streams, func(ctx context.Context, conn *grpc.ClientConn, _, i int) error {
		return put(ctx, conn, key(i), value(i))
	})(ctx, servers[0], 0, b.keys); err != nil {
		return nil, err
	}
	join := []kind{servers[0].kind, joining(servers[1], servers), joining(servers[2], servers)}
	for turn := range b.turns {
		victim := 1 + turn%2
		one, err := b.replaceMember(ctx, servers[0], servers[victim], join[victim])
		if err != nil {
			return values, err
		}
		values = append(values, one)
	}
	return values, nil
}

func (b *suite) replaceMember(ctx context.Context, leader, victim *server, join kind) (values [3]float64, err error) {
	d, err := dial(leader.addr, 1, 1)
	if err != nil {
		return values, err
	}
	defer d.close()
	admin := d.conns[0]
	gone, err := victim.status(ctx)
	if err != nil {
		return values, err
	}
	b.quiet(ctx)
	before, err := b.putsUntil(ctx, leader, func(since time.Duration) bool { return since > b.settle/3 })
	if err != nil {
		return values, err
	}
	victim.kill()
	if err := admin.Invoke(ctx, pathMemberRemove, &etcdserverpb.MemberRemoveRequest{ID: gone.Header.MemberId}, &etcdserverpb.MemberRemoveResponse{}); err != nil {
		return values, err
	}
	added := &etcdserverpb.MemberAddResponse{}
	if err := admin.Invoke(ctx, pathMemberAdd, &etcdserverpb.MemberAddRequest{PeerURLs: []string{"http://" + victim.peer}}, added); err != nil {
		return values, err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(victim.dir, "data")), os.RemoveAll(victim.logPath())); err != nil {
		return values, err
	}
	begin := time.Now()
	joined := make(chan error, 1)
	var caught atomic.Int64
	go func() {
		victim.kind = join
		_, err := victim.start(ctx)
		caught.Store(int64(time.Since(begin)))
		joined <- err
	}()
	meanwhile, err := b.putsUntil(ctx, leader, func(since time.Duration) bool { return caught.Load() != 0 || since > 2*time.Minute })
	if err != nil {
		return values, err
	}
	if err := <-joined; err != nil {
		return values, err
	}
	if text, err := os.ReadFile(victim.logPath()); err != nil || !strings.Contains(string(text), "a snapshot was installed") {
		return values, errors.Join(errors.New("the member has caught up without a snapshot"), err)
	}
	return [3]float64{time.Duration(caught.Load()).Seconds(), meanwhile.P99.Seconds() * 1e3, meanwhile.perReply() / before.perReply()}, nil
}

// joining is a member that joins the others' cluster under the name it had. It
// serves, to begin with, when it is as far as the others.
func joining(s *server, all []*server) kind {
	argv := s.argv
	var initial []string
	for _, one := range all {
		args := one.argv(one.dir, one.addr, one.peer)
		initial = append(initial, args[2]+"=http://"+one.peer) // behind --name
	}
	return kind{s.Name, func(dir, client, peer string) []string {
		return append(argv(dir, client, peer), "--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "existing")
	}}
}

// putsUntil makes puts on keys that are there, until something holds.
func (b *suite) putsUntil(ctx context.Context, s *server, over func(since time.Duration) bool) (sample, error) {
	d, err := dial(s.addr, conns, 20)
	if err != nil {
		return sample{}, err
	}
	defer d.close()
	begin := time.Now()
	took := make([][]time.Duration, conns*20)
	failed := make(chan error, len(took))
	var wg sync.WaitGroup
	for w := range took {
		wg.Go(func() {
			for i := w; !over(time.Since(begin)); i += len(took) {
				t := time.Now()
				if err := put(ctx, d.conns[w%conns], key(pick(0, i, b.keys)), value(i)); err != nil {
					failed <- err
					return
				}
				took[w] = append(took[w], time.Since(t))
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return sample{}, err
	default:
	}
	var all []time.Duration
	for _, one := range took {
		all = append(all, one...)
	}
	x := sample{Requests: len(all), Wall: time.Since(begin)}
	x.Mean, x.P50, x.P99 = latencies(all)
	return x, nil
}

func (s *server) status(ctx context.Context) (*etcdserverpb.StatusResponse, error) {
	conn, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	res := &etcdserverpb.StatusResponse{}
	if err := conn.Invoke(ctx, pathStatus, &etcdserverpb.StatusRequest{}, res); err != nil {
		return nil, fmt.Errorf("status of %s: %w", s.addr, err)
	}
	return res, nil
}
