// Package interop runs the interoperability cases of gRPC's own test client
// against the RPC engine, without and with TLS. A case that fails ends the test
// process with its reason: that is how the client reports.
package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"etcd.alt/internal/rpc"
	"etcd.alt/test/member"
)

// cases are the client's, by the names they have in gRPC's documentation.
var cases = map[string]func(context.Context, *grpc.ClientConn){
	"empty_unary":                 onService(interop.DoEmptyUnaryCall),
	"large_unary":                 onService(interop.DoLargeUnaryCall),
	"client_streaming":            onService(interop.DoClientStreaming),
	"server_streaming":            onService(interop.DoServerStreaming),
	"ping_pong":                   onService(interop.DoPingPong),
	"empty_stream":                onService(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  onService(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          onService(interop.DoCancelAfterBegin),
	"cancel_after_first_response": onService(interop.DoCancelAfterFirstResponse),
	"status_code_and_message":     onService(interop.DoStatusCodeAndMessage),
	"special_status_message":      onService(interop.DoSpecialStatusMessage),
	"custom_metadata":             onService(interop.DoCustomMetadata),
	"unimplemented_method":        func(ctx context.Context, cc *grpc.ClientConn) { interop.DoUnimplementedMethod(ctx, cc) },
	"unimplemented_service": func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(cc))
	},
	// The same with requests that are compressed.
	"client_compressed_unary": func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoLargeUnaryCall(ctx, pb.NewTestServiceClient(cc), grpc.UseCompressor(gzip.Name))
	},
	"client_compressed_streaming": func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoClientStreaming(ctx, pb.NewTestServiceClient(cc), grpc.UseCompressor(gzip.Name))
	},
}

func onService(do func(context.Context, pb.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, cc *grpc.ClientConn) { do(ctx, pb.NewTestServiceClient(cc)) }
}

func TestClientCases(t *testing.T) {
	certFile, keyFile := member.Certificate(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	s, err := rpc.NewServer(rpc.Options{Methods: methods()})
	require.NoError(t, err)
	var serving sync.WaitGroup
	for _, l := range []net.Listener{plain, secure} {
		serving.Go(func() {
			if err := s.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
				t.Error(err)
			}
		})
	}
	defer serving.Wait()
	defer s.Close()
	for name, to := range map[string]struct {
		addr  net.Addr
		creds credentials.TransportCredentials
	}{
		"plain": {plain.Addr(), insecure.NewCredentials()},
		"tls":   {secure.Addr(), credentials.NewTLS(&tls.Config{RootCAs: member.Trusting(t, certFile), ServerName: "localhost"})},
	} {
		t.Run(name, func(t *testing.T) {
			cc, err := grpc.NewClient("passthrough:///"+to.addr.String(), grpc.WithTransportCredentials(to.creds))
			require.NoError(t, err)
			defer cc.Close()
			for name, run := range cases {
				t.Run(name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					defer cancel()
					run(ctx, cc)
				})
			}
		})
	}
}
