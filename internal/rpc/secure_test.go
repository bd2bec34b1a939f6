package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// also serves one more listener on the harness's server.
func (h *harness) also(t *testing.T, l net.Listener) string {
	var wg sync.WaitGroup
	wg.Go(func() { h.Serve(l) })
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { h.Close() })
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	h := start(t, func(o *Options) {
		o.Limits.HandshakeTimeout = 200 * time.Millisecond
		o.Methods = append(o.Methods, Method{Path: "/test.S/Secure", Inline: func(c *Call) {
			c.Reply(rawMessage(c.Conn().TLS().ServerName))
		}})
		o.Web = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			io.WriteString(w, r.TLS.ServerName+string(b))
		})
	})
	cert, pool := selfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	addr := h.also(t, l)
	client := &tls.Config{RootCAs: pool, ServerName: "test"}

	cc := dial(t, &harness{addr: addr}, grpc.WithTransportCredentials(credentials.NewTLS(client)))
	ctx := testContext(t)
	if got, err := call(ctx, cc, "Secure", ""); err != nil || got != "test" {
		t.Fatal(got, err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			req := strings.Repeat("s", i*50000)
			for range 5 {
				if got, err := call(ctx, cc, "Echo", req); err != nil || got != req {
					t.Error(len(got), err)
				}
			}
		})
	}
	wg.Wait()

	for name, next := range map[string][]string{"h2": {"h2", "http/1.1"}, "h1": {"http/1.1"}, "none": nil} {
		cfg := client.Clone()
		cfg.NextProtos = next
		tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: name == "h2"}
		if name != "h2" {
			tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		body := strings.Repeat("b", 100000)
		r, err := (&http.Client{Transport: tr}).Post("https://"+addr+"/", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(name, err)
		}
		got, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(got) != "test"+body || (r.ProtoMajor == 2) != (name == "h2") {
			t.Errorf("%s: %s, %d bytes", name, r.Proto, len(got))
		}
		tr.CloseIdleConnections()
	}

	// One that says nothing is not waited for long.
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	if err := h.Shutdown(ctx); err != nil {
		t.Errorf("draining TLS connections: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	h := start(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h.also(t, l)
	cc := dial(t, h, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}))
	req := strings.Repeat("u", 500000)
	if got, err := call(testContext(t), cc, "Echo", req); err != nil || got != req {
		t.Fatal(len(got), err)
	}
}
