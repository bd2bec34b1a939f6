package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const cluster = 0xcafe

// clock is a time that stands until it is put on.
type clock struct {
	mu struct {
		sync.Mutex
		now time.Time
	}
}

func newClock() *clock {
	c := &clock{}
	c.mu.now = time.Unix(1_800_000_000, 0)
	return c
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.now = c.mu.now.Add(d)
}

// start builds a provider from a spec, with a log that can be looked at.
func start(t testing.TB, spec string) (Provider, *clock, *observer.ObservedLogs) {
	t.Helper()
	config, err := Parse(spec)
	require.NoError(t, err)
	c := newClock()
	core, logs := observer.New(zap.DebugLevel)
	p, err := New(Options{Config: config, ClusterID: cluster, Now: c.now, Logger: zap.New(core)})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p, c, logs
}

func startSigned(t testing.TB, spec string) (*signed, *clock, *observer.ObservedLogs) {
	t.Helper()
	p, c, logs := start(t, spec)
	return p.(*signed), c, logs
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return k
}

func newEC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return k
}

func newEd(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return k
}

func writeFile(t testing.TB, path string, data []byte) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.TempDir(), path)
	}
	// In one step, as who replaces a key should.
	require.NoError(t, os.WriteFile(path+".new", data, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	return path
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pkcs8(k any) []byte { return pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(k))) }

func pkix1(k crypto.Signer) []byte {
	return pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(k.Public())))
}

func certificate(k crypto.Signer) []byte {
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}}
	return pemOf("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)))
}

// keyFiles writes a pair and returns the paths.
func keyFiles(t testing.TB, k crypto.Signer) (private, public string) {
	t.Helper()
	return writeFile(t, "app.rsa", pkcs8(k)), writeFile(t, "app.rsa.pub", pkix1(k))
}

// forge signs what it is given.
func forge(t testing.TB, method jwt.SigningMethod, k any, header, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"alg": method.Alg(), "typ": "JWT"}
	for name, v := range header {
		all[name] = v
	}
	return forgeRaw(t, method, k, must(json.Marshal(all)), must(json.Marshal(claims)))
}

func forgeRaw(t testing.TB, method jwt.SigningMethod, k any, header, claims []byte) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	text := encode(header) + "." + encode(claims)
	signature, err := method.Sign(text, k)
	require.NoError(t, err)
	return text + "." + encode(signature)
}

type claimed = map[string]any

// jwksOf writes a set of entries.
func jwksOf(entries ...claimed) []byte {
	return must(json.Marshal(map[string]any{"keys": entries}))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwkOf(k crypto.PublicKey, more claimed) claimed {
	var j claimed
	switch k := k.(type) {
	case *rsa.PublicKey:
		j = claimed{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point := must(k.Bytes())
		half := len(point) / 2
		j = claimed{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		j = claimed{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	for name, v := range more {
		j[name] = v
	}
	return j
}

// No byte of a secret may be found in what was logged.
func requireSilent(t *testing.T, logs *observer.ObservedLogs, secrets ...string) {
	t.Helper()
	var all bytes.Buffer
	for _, e := range logs.All() {
		all.WriteString(e.Message)
		all.Write(must(json.Marshal(e.ContextMap())))
	}
	for _, s := range secrets {
		require.NotContains(t, all.String(), s)
	}
}
