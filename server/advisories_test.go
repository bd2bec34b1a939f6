package server

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/auth/token"
)

// Doors that others have forgotten once stay shut here.

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func nested(then, otherwise []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: then, Failure: otherwise}}}
}

// TestWhatARequestSaysChangesTheRightThatItNeeds flips one thing at a time.
func TestWhatARequestSaysChangesTheRightThatItNeeds(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("writer", permission(authpb.Permission_WRITE, "w", ""), permission(authpb.Permission_WRITE, "w/", "w0"))
	anon.addRole("reader", permission(authpb.Permission_READ, "r", ""), permission(authpb.Permission_READ, "r/", "r0"))
	anon.addRole("both", permission(authpb.Permission_READWRITE, "b", ""), permission(authpb.Permission_READWRITE, "b/", "b0"))
	anon.addUser("u", "pw", "writer", "reader", "both")
	root := anon.enable()
	u := anon.login("u", "pw")
	for _, key := range []string{"w", "w/1", "r", "r/1", "b", "b/1", "secret"} {
		require.NoError(t, root.put(key, "v"))
	}
	grant := func(key string) int64 {
		id := must[pb.LeaseGrantResponse](root, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 1000}).ID
		if key != "" {
			must[pb.PutResponse](root, "KV/Put", &pb.PutRequest{Key: []byte(key), Lease: id})
		}
		return id
	}
	free, readable, written := grant(""), grant("r/leased"), grant("w/leased")
	get := func(key, end string) *pb.RangeRequest {
		return &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	}
	del := func(key, end string, prev bool) *pb.DeleteRangeRequest {
		return &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: prev}
	}
	put := func(key string, lease int64, prev bool) *pb.PutRequest {
		return &pb.PutRequest{Key: []byte(key), Lease: lease, PrevKv: prev}
	}
	compare := func(key, end string) *pb.Compare {
		return &pb.Compare{Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}, Key: []byte(key), RangeEnd: []byte(end)}
	}
	for _, tc := range []struct {
		name string
		req  any
		may  bool
	}{
		{"what is left of a lease", &pb.LeaseTimeToLiveRequest{ID: readable}, true},
		{"and its keys", &pb.LeaseTimeToLiveRequest{ID: readable, Keys: true}, true},
		{"and keys that may be written", &pb.LeaseTimeToLiveRequest{ID: written, Keys: true}, false},
		{"read", get("r", ""), true},
		{"read what may be written", get("w", ""), false},
		{"read from it on", get("r", "\x00"), false},
		{"read the range", get("r/", "r0"), true},
		{"read a range that begins before", get("r", "r0"), false},
		{"read a range that ends after", get("r/", "r1"), false},
		{"read two that adjoin no", get("b", "b0"), false},
		{"write", put("w", 0, false), true},
		{"write what may be read", put("r", 0, false), false},
		{"write, and see what was", put("w", 0, true), false},
		{"write, and see what was, with both rights", put("b", 0, true), true},
		{"write on a lease without keys", put("w", free, false), true},
		{"write on a lease with keys that may be written", put("w", written, false), true},
		{"write on a lease with keys that may be read", put("w", readable, false), false},
		{"delete", del("w", "", false), true},
		{"delete, and see what was", del("w", "", true), false},
		{"delete, and see what was, with both rights", del("b", "", true), true},
		{"delete the range", del("w/", "w0", false), true},
		{"delete from it on", del("w", "\x00", false), false},
		{"compare", &pb.TxnRequest{Compare: []*pb.Compare{compare("r", "")}}, true},
		{"compare what may be written", &pb.TxnRequest{Compare: []*pb.Compare{compare("w", "")}}, false},
		{"compare from it on", &pb.TxnRequest{Compare: []*pb.Compare{compare("r", "\x00")}}, false},
		{"compare the range", &pb.TxnRequest{Compare: []*pb.Compare{compare("r/", "r0")}}, true},
		{"a branch that is not taken", &pb.TxnRequest{Failure: []*pb.RequestOp{putOp(put("secret", 0, false))}}, false},
		{"a read in a branch that is not taken", &pb.TxnRequest{Failure: []*pb.RequestOp{rangeOp(get("secret", ""))}}, false},
		{"nested", &pb.TxnRequest{Success: []*pb.RequestOp{nested([]*pb.RequestOp{putOp(put("w", 0, false))}, nil)}}, true},
		{"nested, of what may not", &pb.TxnRequest{Success: []*pb.RequestOp{nested([]*pb.RequestOp{putOp(put("secret", 0, false))}, nil)}}, false},
		{"nested twice, not taken", &pb.TxnRequest{Success: []*pb.RequestOp{nested([]*pb.RequestOp{nested(nil, []*pb.RequestOp{rangeOp(get("secret", ""))})}, nil)}}, false},
		{"nested, with what was", &pb.TxnRequest{Success: []*pb.RequestOp{nested([]*pb.RequestOp{deleteOp(del("w", "", true))}, nil)}}, false},
		{"nested, on a lease", &pb.TxnRequest{Success: []*pb.RequestOp{nested([]*pb.RequestOp{putOp(put("w", readable, false))}, nil)}}, false},
		{"the end of a lease with keys that may be read", &pb.LeaseRevokeRequest{ID: readable}, false},
		{"the end of one without", &pb.LeaseRevokeRequest{ID: free}, true},
		{"the end of one with keys that may be written", &pb.LeaseRevokeRequest{ID: written}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := u
			u.t = t
			var err error
			switch r := tc.req.(type) {
			case *pb.RangeRequest:
				_, err = ask[pb.RangeResponse](u, "KV/Range", r)
				r.Serializable = true
				_, local := ask[pb.RangeResponse](u, "KV/Range", r)
				require.Equal(t, err == nil, local == nil)
				stream, failed := u.stream("/etcdserverpb.KV/RangeStream", r)
				require.NoError(t, failed)
				require.Equal(t, err == nil, stream.RecvMsg(&pb.RangeStreamResponse{}) == nil)
			case *pb.PutRequest:
				_, err = ask[pb.PutResponse](u, "KV/Put", r)
			case *pb.DeleteRangeRequest:
				_, err = ask[pb.DeleteRangeResponse](u, "KV/DeleteRange", r)
			case *pb.TxnRequest:
				_, err = ask[pb.TxnResponse](u, "KV/Txn", r)
			case *pb.LeaseTimeToLiveRequest:
				_, err = ask[pb.LeaseTimeToLiveResponse](u, "Lease/LeaseTimeToLive", r)
			case *pb.LeaseRevokeRequest:
				_, err = ask[pb.LeaseRevokeResponse](u, "Lease/LeaseRevoke", r)
			}
			if tc.may {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, permissionDenied)
			}
		})
	}
	v, err := root.get("secret")
	require.NoError(t, err)
	require.Equal(t, "v", v)
}

// stream begins a call with one request, to be answered by many.
func (s somebody) stream(path string, req any) (grpc.ClientStream, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	stream, err := s.conn.NewStream(s.with(ctx), &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return nil, err
	}
	_ = stream.SendMsg(req) // the answer says what became of it
	return stream, stream.CloseSend()
}

// Where there is no space, rights are judged all the same.
func TestRightsWithoutSpace(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addUser("alice", "pw")
	root := anon.enable()
	require.NoError(t, root.put("k", "v"))
	must[pb.AlarmResponse](root, "Maintenance/Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
	for s, want := range map[somebody]string{anon: userEmpty, anon.login("alice", "pw"): permissionDenied} {
		require.EqualError(t, s.put("k", "w"), want)
		_, err := ask[pb.DeleteRangeResponse](s, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("k")})
		require.EqualError(t, err, want)
		_, err = ask[pb.TxnResponse](s, "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp(&pb.DeleteRangeRequest{Key: []byte("k")})}})
		require.EqualError(t, err, want)
		_, err = ask[pb.AlarmResponse](s, "Maintenance/Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE})
		require.EqualError(t, err, want)
	}
	v, err := root.get("k")
	require.NoError(t, err)
	require.Equal(t, "v", v)
	require.EqualError(t, root.put("k", "w"), "rpc error: code = ResourceExhausted desc = etcdserver: mvcc: database space exceeded")
}

// Neither what a member logs nor what it stores has a password or a token in it.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	for _, kind := range []string{"simple", "jwt"} {
		t.Run(kind, func(t *testing.T) {
			c := authConfig(t)
			if kind == "jwt" {
				keys := &island{t: t, keys: t.TempDir()}
				keys.writeKeys()
				config, err := token.Parse("jwt,sign-method=RS512,priv-key=" + keys.keys + "/app.rsa,pub-key=" + keys.keys + "/app.rsa.pub")
				require.NoError(t, err)
				c.AuthToken = config
			}
			var logged bytes.Buffer
			sink := zapcore.Lock(zapcore.AddSync(&logged))
			logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), sink, zap.DebugLevel))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m, err := Start(ctx, c, logger)
			require.NoError(t, err)
			conn, err := grpc.NewClient("passthrough:///"+m.ClientAddresses()[0].String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer conn.Close()
			anon := somebody{t, conn, ""}
			anon.addUser("alice", "very-secret-1")
			root := anon.enable()
			alice := anon.login("alice", "very-secret-1")
			_, err = ask[pb.AuthenticateResponse](anon, "Auth/Authenticate", &pb.AuthenticateRequest{Name: "alice", Password: "very-secret-2"})
			require.Error(t, err)
			must[pb.AuthUserChangePasswordResponse](root, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "very-secret-3"})
			require.Error(t, alice.put("k", "v"))
			require.NoError(t, m.Close())
			require.NotZero(t, logged.Len())
			secrets := [][]byte{[]byte("very-secret"), []byte(alice.token), []byte(root.token)}
			for _, secret := range secrets {
				require.NotContains(t, logged.String(), string(secret))
			}
			require.NoError(t, filepath.WalkDir(c.DataDir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				content, err := os.ReadFile(path)
				for _, secret := range secrets {
					require.False(t, bytes.Contains(content, secret), "%s has %q", path, secret)
				}
				// The letters of a simple token travel with its login.
				letters, _, _ := bytes.Cut([]byte(alice.token), []byte("."))
				if kind == "simple" && bytes.Contains(content, letters) {
					require.Equal(t, ".wal", filepath.Ext(path), "%s has %q", path, letters)
				}
				return err
			}))
		})
	}
}
