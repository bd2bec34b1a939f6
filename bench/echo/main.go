// Command echo is the floor that others are measured against: a grpc-go server
// with default options that answers etcd's Range with a constant, and Put with
// a constant once its group is on the disk.
package main

import (
	"bytes"
	"context"
	"flag"
	"log"
	"net"

	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "address to serve on")
	path := flag.String("sync", "", "file that a Put waits for; without it a Put waits for nothing")
	flag.Parse()

	e := echo{
		got: &etcdserverpb.RangeResponse{
			Header: &etcdserverpb.ResponseHeader{ClusterId: 1 << 63, MemberId: 1 << 62, Revision: 1 << 20, RaftTerm: 2},
			Kvs: []*mvccpb.KeyValue{{
				Key: bytes.Repeat([]byte("k"), 36), Value: bytes.Repeat([]byte("v"), 256),
				CreateRevision: 2, ModRevision: 1 << 20, Version: 1 << 20,
			}},
			Count: 1,
		},
		put: &etcdserverpb.PutResponse{
			Header: &etcdserverpb.ResponseHeader{ClusterId: 1 << 63, MemberId: 1 << 62, Revision: 1 << 20, RaftTerm: 2},
		},
	}
	if *path != "" {
		s, err := newSyncer(*path)
		if err != nil {
			log.Fatal(err)
		}
		e.sync = s
	}
	lis, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&service, e)
	log.Fatal(srv.Serve(lis))
}

// echo holds the replies, which never change.
type echo struct {
	got  *etcdserverpb.RangeResponse
	put  *etcdserverpb.PutResponse
	sync *syncer // nil: a Put waits for nothing
}

// service is what protoc-gen-go-grpc would write of etcd's KV, in short.
var service = grpc.ServiceDesc{
	ServiceName: "etcdserverpb.KV",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Range", Handler: handleRange},
		{MethodName: "Put", Handler: handlePut},
	},
}

func handleRange(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	if err := decode(&etcdserverpb.RangeRequest{}); err != nil {
		return nil, err
	}
	return srv.(echo).got, nil
}

func handlePut(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	if err := decode(&etcdserverpb.PutRequest{}); err != nil {
		return nil, err
	}
	e := srv.(echo)
	if e.sync != nil {
		if err := e.sync.wait(ctx); err != nil {
			return nil, err
		}
	}
	return e.put, nil
}
