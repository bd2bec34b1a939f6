package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
)

// Rows and figures of users.
const (
	authGet        = "auth-get-serializable"
	authPut        = "auth-put"
	authFloodReads = "auth-flood-reads"
	authFloodLogin = "auth-flood-login"
	authFloodCPU   = "auth-flood-cpu"
	authNames      = "auth-names"

	pathAuthenticate = "/etcdserverpb.Auth/Authenticate"
)

// Names of servers whose callers show a token.
const (
	signedName        = ourName + ", JWT"
	signedOtherHeader = ourName + ", JWT in authorization"
)

// users measures what a token costs, and what a flood of logins does.
func (b *suite) users(ctx context.Context) (results, error) {
	key := bytes.Repeat([]byte("k"), 36)
	body, err := b.bodies(map[string]proto.Message{
		"put":          &etcdserverpb.PutRequest{Key: key, Value: value(0)},
		"serializable": &etcdserverpb.RangeRequest{Key: key, Serializable: true},
	})
	if err != nil {
		return results{}, err
	}
	flags, err := b.signingKeys()
	if err != nil {
		return results{}, err
	}
	ours, other := etcdKind(signedName, b.ourBinary, flags...), etcdKind(signedOtherHeader, b.ourBinary, flags...)
	theirs := kind{Name: b.peer.Name + ", JWT"}
	if b.peerBinary != "" {
		theirs = etcdKind(theirs.Name, b.peerBinary, flags...)
	}
	servers, err := b.open(ctx, b.ours, ours, other, b.peer, theirs)
	defer func() { closeAll(servers) }()
	if err != nil {
		return results{}, err
	}
	headers := map[string][]string{}
	for _, s := range servers {
		if s.running() != nil {
			continue
		}
		var token string
		if s.Name != b.ours.Name && s.Name != b.peer.Name {
			if token, err = logInFirst(ctx, s); err != nil {
				s.absent = err
				continue
			}
			headers[s.Name] = []string{"token: " + token}
		}
		if s.Name == signedOtherHeader {
			headers[s.Name] = []string{"authorization: " + token}
		}
		if err := withToken(ctx, s, token, func(ctx context.Context, conn *grpc.ClientConn) error { return put(ctx, conn, key, value(0)) }); err != nil {
			s.absent = err
		}
	}
	loaded := fmt.Sprintf("h2load %dx%d", conns, streams)
	res := results{Rows: []row{
		b.row(ctx, load{
			id: authGet, name: "serializable get, open and with a token", client: loaded,
			run: h2load{pathRange, body["serializable"], conns, streams, 36 + valueBytes, headers}.run,
		}, servers),
		b.row(ctx, load{
			id: authPut, name: "put, open and with a token", client: loaded,
			run: h2load{pathPut, body["put"], conns, streams, 5 + 2, headers}.run,
		}, servers),
	}}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	closeAll(servers)
	servers = nil
	figures, err := b.loginFlood(ctx)
	for _, f := range figures {
		if f.Server = ourName; err != nil {
			f.Values, f.Why = nil, err.Error()
		}
		b.note(f)
		res.Figures = append(res.Figures, f)
	}
	return res, ctx.Err()
}

// extra is by how many microseconds of CPU a request with a token is dearer.
func extra(r results, id string) (spread, error) {
	open, signed := r.find(id, ourName), r.find(id, signedName)
	for _, s := range []series{open, signed} {
		if s.Why != "" || len(s.Samples) == 0 {
			return spread{}, fmt.Errorf("%s: %s", s.Server, s.Why)
		}
	}
	var by []float64
	for i := range min(len(open.Samples), len(signed.Samples)) {
		by = append(by, 1e6*(signed.Samples[i].perRequest()-open.Samples[i].perRequest()))
	}
	at := spreadOf(by)
	at.Mid = 1e6 * (signed.of(sample.perRequest).Mid - open.of(sample.perRequest).Mid)
	return at, nil
}

// signingKeys writes a pair of RSA keys of 1024 bits, and returns the flags of a
// member that signs with them.
func (b *suite) signingKeys() ([]string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	paths := [2]string{filepath.Join(b.dir, "app.rsa"), filepath.Join(b.dir, "app.rsa.pub")}
	for i, block := range []*pem.Block{{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, {Type: "PUBLIC KEY", Bytes: public}} {
		if err := os.WriteFile(paths[i], pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{"--auth-token", fmt.Sprintf("jwt,pub-key=%s,priv-key=%s,sign-method=RS512,ttl=10h", paths[1], paths[0])}, nil
}

const rootPassword = "of root"

// logInFirst makes root, has rights judged, and returns a token of root's.
func logInFirst(ctx context.Context, s *server) (token string, err error) {
	err = withToken(ctx, s, "", func(ctx context.Context, conn *grpc.ClientConn) error {
		for path, messages := range map[string][2]any{
			"UserAdd": {&etcdserverpb.AuthUserAddRequest{Name: "root", Password: rootPassword}, &etcdserverpb.AuthUserAddResponse{}},
			"RoleAdd": {&etcdserverpb.AuthRoleAddRequest{Name: "root"}, &etcdserverpb.AuthRoleAddResponse{}},
		} {
			if err := conn.Invoke(ctx, "/etcdserverpb.Auth/"+path, messages[0], messages[1]); err != nil {
				return err
			}
		}
		err := conn.Invoke(ctx, "/etcdserverpb.Auth/UserGrantRole", &etcdserverpb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, &etcdserverpb.AuthUserGrantRoleResponse{})
		if err == nil {
			err = conn.Invoke(ctx, "/etcdserverpb.Auth/AuthEnable", &etcdserverpb.AuthEnableRequest{}, &etcdserverpb.AuthEnableResponse{})
		}
		if err == nil {
			token, err = authenticate(ctx, conn, "root", rootPassword)
		}
		return err
	})
	return token, err
}

func authenticate(ctx context.Context, conn *grpc.ClientConn, name, password string) (string, error) {
	res := &etcdserverpb.AuthenticateResponse{}
	err := conn.Invoke(ctx, pathAuthenticate, &etcdserverpb.AuthenticateRequest{Name: name, Password: password}, res)
	return res.Token, err
}

// withToken has do call a server with a token, "" for none.
func withToken(ctx context.Context, s *server, token string, do func(context.Context, *grpc.ClientConn) error) error {
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return err
	}
	defer d.close()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	return do(ctx, d.conns[0])
}

// The flood, and what goes on beside it.
const (
	floodRate  = 1000 // logins a second
	floodReads = 3000 // authorised reads a second
	floodTime  = 30 * time.Second
	floodWaits = 2000 // logins that wait for an answer at a time
)

// loginFlood refuses logins from one address, while others read, and somebody with
// the right password comes from another address.
func (b *suite) loginFlood(ctx context.Context) ([]figure, error) {
	reads := figure{ID: authFloodReads, Name: "p99 of 3,000 authorised reads a second beside 1,000 refused logins a second, over that without them", Unit: "x"}
	login := figure{ID: authFloodLogin, Name: "until a right password from another address is taken", Unit: "s", Worst: true}
	cpu := figure{ID: authFloodCPU, Name: "share of the machine's CPU time that the member uses for the logins alone", Unit: "%"}
	names := figure{ID: authNames, Name: "medians of wrong passwords and of unknown names, the greater over the other", Unit: "x"}
	fail := func(err error) ([]figure, error) { return []figure{reads, login, cpu, names}, err }
	servers, err := b.open(ctx, b.ours)
	defer func() { closeAll(servers) }()
	if err != nil {
		return fail(err)
	}
	s := servers[0]
	token, err := logInFirst(ctx, s)
	if err != nil {
		return fail(err)
	}
	if names.Values, err = b.refusals(ctx, s); err != nil {
		return fail(err)
	}
	lasts := floodTime
	if b.quick {
		lasts = 2 * time.Second
	}
	for range min(b.turns, 2) {
		quiet, err := readsFor(ctx, s, token, lasts)
		if err != nil {
			return fail(err)
		}
		stop := flood(ctx, s)
		began := time.Now()
		logins := make(chan error, 1)
		go func() {
			took, err := loginFrom(ctx, s, "127.0.0.2")
			login.Values = append(login.Values, took.Seconds())
			logins <- err
		}()
		loud, err := readsFor(ctx, s, token, lasts)
		err = errors.Join(err, <-logins)
		before, _ := s.cpu()
		from := time.Now()
		time.Sleep(lasts / 6)
		after, _ := s.cpu()
		cpu.Values = append(cpu.Values, 100*share(after-before, time.Since(from)))
		refused := stop()
		if rate := float64(refused) / time.Since(began).Seconds(); err == nil && rate < floodRate*0.9 {
			err = fmt.Errorf("only %.0f logins a second were refused", rate)
		}
		if err != nil {
			return fail(err)
		}
		fmt.Fprintf(b.progress, "p99 of authorised reads: %v quiet, %v beside refused logins\n", quiet, loud)
		reads.Values = append(reads.Values, loud.Seconds()/quiet.Seconds())
	}
	return []figure{reads, login, cpu, names}, nil
}

// refusals compares how long it takes to refuse a wrong password and an unknown name.
func (b *suite) refusals(ctx context.Context, s *server) ([]float64, error) {
	d, err := dial(s.addr, 1, 1)
	if err != nil {
		return nil, err
	}
	defer d.close()
	var took [2][]time.Duration
	for range b.scaled(50) {
		for i, name := range []string{"root", "nobody"} {
			t := time.Now()
			if _, err := authenticate(ctx, d.conns[0], name, "wrong"); status.Code(err) != codes.InvalidArgument {
				return nil, fmt.Errorf("a wrong login is answered with: %w", err)
			}
			took[i] = append(took[i], time.Since(t))
		}
	}
	_, wrong, _ := latencies(took[0])
	_, unknown, _ := latencies(took[1])
	return []float64{max(wrong, unknown).Seconds() / min(wrong, unknown).Seconds()}, nil
}

// readsFor reads at a pace, and returns the p99.
func readsFor(ctx context.Context, s *server, token string, lasts time.Duration) (time.Duration, error) {
	d, err := dial(s.addr, conns, 1)
	if err != nil {
		return 0, err
	}
	defer d.close()
	ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	req := &etcdserverpb.RangeRequest{Key: []byte("k"), Serializable: true}
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	pace(ctx, floodReads, lasts, 500, func(i int) {
		t := time.Now()
		_, err := get(ctx, d.conns[i%len(d.conns)], req)
		mu.Lock()
		defer mu.Unlock()
		took, failed = append(took, time.Since(t)), errors.Join(failed, err)
	})
	_, _, p99 := latencies(took)
	return p99, failed
}

// pace calls do at a rate, each call on a goroutine of its own, and returns when all
// have. No more than most run at a time: what comes then waits its turn.
func pace(ctx context.Context, rate int, lasts time.Duration, most int, do func(i int)) {
	var wg sync.WaitGroup
	room := make(chan struct{}, most)
	begin := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if at.Sub(begin) > lasts {
			break
		}
		time.Sleep(time.Until(at))
		room <- struct{}{}
		wg.Go(func() {
			do(i)
			<-room
		})
	}
	wg.Wait()
}

// flood sends logins with a wrong password until stop is called, which returns how
// many were refused.
func flood(ctx context.Context, s *server) (stop func() int64) {
	ctx, cancel := context.WithCancel(ctx)
	var refused atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		d, err := dial(s.addr, conns, 1)
		if err != nil {
			return
		}
		defer d.close()
		pace(ctx, floodRate, time.Hour, floodWaits, func(i int) {
			_, err := authenticate(ctx, d.conns[i%len(d.conns)], fmt.Sprint("user", i%7), "wrong")
			if c := status.Code(err); c == codes.InvalidArgument || c == codes.ResourceExhausted {
				refused.Add(1)
			}
		})
	}()
	return func() int64 {
		cancel()
		<-done
		return refused.Load()
	}
}

// loginFrom logs in with the right password from an address, as often as it takes.
func loginFrom(ctx context.Context, s *server, address string) (time.Duration, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	begin := time.Now()
	for {
		_, err := authenticate(ctx, conn, "root", rootPassword)
		if err == nil || status.Code(err) != codes.ResourceExhausted {
			return time.Since(begin), err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
