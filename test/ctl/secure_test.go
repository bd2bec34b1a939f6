package ctl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startSecureDoor speaks TLS in front of ENDPOINT, and wants a client
// certificate. It sets SECURE to its address and writes ca.pem, cert.pem and
// key.pem.
func startSecureDoor(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: der},
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), name), pem.EncodeToMemory(block), 0o600))
	}
	parsed, err := x509.ParseCertificate(der)
	ts.Check(err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientCAs:    pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	})
	ts.Check(err)
	d := &door{behind: ts.Getenv("ENDPOINT"), conns: map[net.Conn]bool{}}
	d.running.Go(func() { d.serve(l) })
	ts.Defer(func() {
		l.Close()
		d.close()
	})
	ts.Setenv("SECURE", l.Addr().String())
}

// door copies bytes between its connections and the member behind it.
type door struct {
	behind  string
	running sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]bool
	closed  bool
}

func (d *door) serve(l net.Listener) {
	for {
		front, err := l.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("tcp", d.behind)
		if err != nil || !d.keep(front, back) {
			front.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{front, back}, {back, front}} {
			d.running.Go(func() {
				io.Copy(way[0], way[1])
				front.Close()
				back.Close()
			})
		}
	}
}

func (d *door) keep(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		if d.conns[c] = true; d.closed {
			c.Close()
		}
	}
	return !d.closed
}

func (d *door) close() {
	d.mu.Lock()
	d.closed = true
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.running.Wait()
}
