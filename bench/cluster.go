package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
)

// Rows of clusters.
const (
	clusterPut      = "cluster-put"
	clusterOnePut   = "cluster-one-client-put"
	clusterFollower = "cluster-follower-get"
	clusterLeader   = "cluster-leader-get"
)

// clusterSize is how many members a cluster has.
const clusterSize = 3

// memberKind is a member of a cluster that begins with all of initial.
func memberKind(name, binary string, i int, initial string, more ...string) kind {
	return kind{name, func(dir, client, peer string) []string {
		return append([]string{binary,
			"--name", memberName(i), "--data-dir", filepath.Join(dir, "data"),
			"--listen-client-urls", "http://" + client, "--advertise-client-urls", "http://" + client,
			"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer,
			"--initial-cluster", initial}, more...)
	}}
}

func memberName(i int) string { return fmt.Sprintf("m%d", i+1) }

// openCluster starts the members of a cluster side by side. The leader is the
// first that is returned. One that cannot be measured says why in each of them.
func (b *suite) openCluster(ctx context.Context, name, binary string, more ...string) ([]*server, error) {
	var servers []*server
	var initial []string
	for i := range clusterSize {
		s, err := newServer(b.dir, kind{Name: name})
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
		initial = append(initial, memberName(i)+"=http://"+s.peer)
	}
	absent := func(err error) []*server {
		for _, s := range servers {
			s.absent = err
		}
		return servers
	}
	if binary == "" {
		return absent(errors.New("no binary was given (-peer)")), nil
	}
	failed := make(chan error, clusterSize)
	for i, s := range servers {
		s.kind = memberKind(name, binary, i, strings.Join(initial, ","), more...)
		go func() {
			_, err := s.start(ctx)
			failed <- err
		}()
	}
	var errs []error
	for range servers {
		errs = append(errs, <-failed)
	}
	if err := errors.Join(errs...); err != nil {
		return absent(err), nil
	}
	for i, s := range servers {
		leads, err := s.leads(ctx)
		if err != nil {
			return absent(err), nil
		}
		if leads {
			servers[0], servers[i] = servers[i], servers[0]
			fmt.Fprintf(b.progress, "a cluster of %s serves\n", name)
			return servers, nil
		}
	}
	return absent(errors.New("no member of the cluster leads")), nil
}

// leads asks a member whether it leads.
func (s *server) leads(ctx context.Context) (bool, error) {
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return false, err
	}
	defer d.close()
	res := &etcdserverpb.StatusResponse{}
	if err := d.conns[0].Invoke(ctx, "/etcdserverpb.Maintenance/Status", &etcdserverpb.StatusRequest{}, res); err != nil {
		return false, err
	}
	return res.Leader == res.Header.GetMemberId(), nil
}

// clusters measures three members: the leader's share of puts, and what a
// follower's reads cost it.
func (b *suite) clusters(ctx context.Context) (results, error) {
	name := bytes.Repeat([]byte("k"), 36)
	body, err := b.bodies(map[string]proto.Message{
		"cluster-put": &etcdserverpb.PutRequest{Key: name, Value: value(0)},
		"cluster-get": &etcdserverpb.RangeRequest{Key: name},
	})
	if err != nil {
		return results{}, err
	}
	ours, err := b.openCluster(ctx, ourName, b.ourBinary)
	defer func() { closeAll(ours) }()
	if err != nil {
		return results{}, err
	}
	peers, err := b.openCluster(ctx, b.peer.Name, b.peerBinary, "--quota-backend-bytes", "8589934592")
	defer func() { closeAll(peers) }()
	if err != nil {
		return results{}, err
	}
	const getReply, putReply = 36 + valueBytes, 5 + 2
	loaded := fmt.Sprintf("h2load %dx%d", conns, streams)
	leaders, followers := []*server{ours[0], peers[0]}, []*server{ours[1], peers[1]}
	putName := func(ctx context.Context, conn *grpc.ClientConn, _, _ int) error {
		return put(ctx, conn, name, value(0))
	}
	for _, s := range leaders {
		if s.running() == nil {
			if _, err := viaGo(1, 1, putName)(ctx, s, 0, 1); err != nil {
				s.absent = err
			}
		}
	}
	var res results
	for _, l := range []struct {
		load
		servers []*server
	}{
		{load{id: clusterPut, name: "put at the leader of three", client: loaded,
			run: h2load{pathPut, body["cluster-put"], conns, streams, putReply, nil}.run}, leaders},
		{load{id: clusterOnePut, name: "put at the leader of three, one client", client: "h2load 1x1", fixed: b.scaled(4_000),
			run: h2load{pathPut, body["cluster-put"], 1, 1, putReply, nil}.run}, leaders},
		{load{id: clusterLeader, name: "linearizable get at the leader of three", client: loaded,
			run: h2load{pathRange, body["cluster-get"], conns, streams, getReply, nil}.run}, leaders},
		{load{id: clusterFollower, name: "linearizable get at a follower of three", client: loaded,
			run: h2load{pathRange, body["cluster-get"], conns, streams, getReply, nil}.run}, followers},
	} {
		r := b.row(ctx, l.load, l.servers)
		for i, s := range leaders {
			if leads, err := s.leads(ctx); r.Series[i].Why == "" && (err != nil || !leads) {
				r.Series[i].Why, r.Series[i].Samples = fmt.Sprintf("the leader did not lead all the time: %v", err), nil
			}
		}
		res.Rows = append(res.Rows, r)
		if err := ctx.Err(); err != nil {
			return res, err
		}
	}
	return res, nil
}

// perReply is the time from one reply to the next.
func (s sample) perReply() float64 { return s.Wall.Seconds() / float64(max(s.Requests, 1)) }
