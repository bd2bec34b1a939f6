package token

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var alice = Login{User: "alice", Hash: []byte("$2a$10$hash-of-alice"), Revision: 7}

func (l Login) account() Account { return Account{Name: l.User, Hash: l.Hash, Changed: l.Revision} }

func TestEveryMethodSignsAndReads(t *testing.T) {
	small, large := newRSA(t, 1024), newRSA(t, 2048)
	keys := map[string]crypto.Signer{
		"RS256": small, "RS384": small, "RS512": small, "PS256": small, "PS384": small, "PS512": large,
		"ES256": newEC(t, elliptic.P256()), "ES384": newEC(t, elliptic.P384()), "ES512": newEC(t, elliptic.P521()), "EdDSA": newEd(t),
	}
	for _, method := range signMethods {
		t.Run(method, func(t *testing.T) {
			spec := "jwt,sign-method=" + method
			if k, asymmetric := keys[method]; asymmetric {
				private, public := keyFiles(t, k)
				spec += ",pub-key=" + public + ",priv-key=" + private
			} else {
				spec += ",priv-key=" + writeFile(t, "secret", []byte("a secret of thirty-two bytes, ok"))
			}
			p, c, _ := start(t, spec)
			draft, err := p.Draft()
			require.NoError(t, err)
			require.Empty(t, draft)
			text, err := p.Issue(alice)
			require.NoError(t, err)
			read, err := p.Read(text)
			require.NoError(t, err)
			require.Equal(t, "alice", read.User)
			require.Equal(t, uint64(7), read.Revision)
			require.True(t, read.Vouches(alice.account()))
			p.Applied([]Login{alice})
			p.Disabled()
			require.True(t, read.Good(c.now()), "nothing is kept, and nothing forgotten")

			// Whoever restarts reads it again, from the same files.
			config, err := Parse(spec)
			require.NoError(t, err)
			other, err := New(Options{Config: config, ClusterID: cluster, Now: c.now})
			require.NoError(t, err)
			defer other.Close()
			_, err = other.Read(text)
			require.NoError(t, err)

			c.add(5*time.Minute - time.Second)
			require.True(t, read.Good(c.now()))
			c.add(time.Second)
			require.False(t, read.Good(c.now()))
			_, err = p.Read(text)
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
}

// What a token says is what clients and other servers expect of it.
func TestClaims(t *testing.T) {
	k := newRSA(t, 1024)
	private, _ := keyFiles(t, k)
	p, c, _ := start(t, "jwt,sign-method=RS512,ttl=10m,issuer=us,audience=them,priv-key="+private)
	c.add(500 * time.Millisecond)
	text, err := p.Issue(alice)
	require.NoError(t, err)
	parsed, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return k.Public(), nil }, jwt.WithTimeFunc(c.now),
		jwt.WithIssuer("us"), jwt.WithAudience("them"), jwt.WithExpirationRequired(), jwt.WithStrictDecoding())
	require.NoError(t, err)
	print := Fingerprint(cluster, "alice", alice.Hash)
	require.Equal(t, jwt.MapClaims{
		"username": "alice", "revision": float64(7), "pwf": base64.RawURLEncoding.EncodeToString(print[:]),
		"iat": float64(1_800_000_000), "exp": float64(1_800_000_601), "iss": "us", "aud": "them",
	}, parsed.Claims)
	require.Equal(t, "RS512", parsed.Header["alg"])
	require.Equal(t, p.(*signed).set.Load().signer.id, parsed.Header["kid"])
	_, err = p.Read(text)
	require.NoError(t, err)
}

// The example of RFC 7638, section 3.1.
func TestThumbprint(t *testing.T) {
	n := "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs" +
		"tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt" +
		"-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	keys, err := parseKeySet(jwksOf(claimed{"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}), "")
	require.NoError(t, err)
	require.Equal(t, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", keys[0].id)
}

func TestFingerprint(t *testing.T) {
	// printf '\0\0\0\0\0\0\xca\xfealicehash' | sha256sum
	require.Equal(t, "3933d16f0aae9d273e205e91f3cb799a", fmt.Sprintf("%x", Fingerprint(cluster, "alice", []byte("hash"))))
}

// A token dies with its user's password, and with nothing else of the user's.
func TestVouches(t *testing.T) {
	private, _ := keyFiles(t, newEd(t))
	p, _, _ := start(t, "jwt,sign-method=EdDSA,priv-key="+private)
	text, err := p.Issue(alice)
	require.NoError(t, err)
	read, err := p.Read(text)
	require.NoError(t, err)
	for range 2 {
		require.True(t, read.Vouches(Account{Name: "alice", Hash: alice.Hash, Changed: 7}))
		require.False(t, read.Vouches(Account{Name: "alice", Hash: alice.Hash, Changed: 99}), "the same hash was set again")
		require.False(t, read.Vouches(Account{Name: "alice", Hash: []byte("another"), Changed: 7}))
		require.False(t, read.Vouches(Account{Name: "alice", Changed: 7}))
		require.False(t, read.Vouches(Account{Name: "alicf", Hash: alice.Hash}))
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { read.Vouches(alice.account()) }))
}

func TestForeignTokens(t *testing.T) {
	k := newRSA(t, 1024)
	_, public := keyFiles(t, k)
	exp := float64(1_800_000_060)
	foreign := func(more claimed) string {
		claims := claimed{"username": "alice", "exp": exp}
		for name, v := range more {
			claims[name] = v
		}
		return forge(t, jwt.SigningMethodRS256, k, nil, claims)
	}
	strictly, c, _ := start(t, "jwt,sign-method=RS256,pub-key="+public)
	loosely, _, _ := start(t, "jwt,sign-method=RS256,check-revision=false,pub-key="+public)

	_, err := strictly.Draft()
	require.ErrorIs(t, err, ErrVerifyOnly)
	_, err = strictly.Issue(alice)
	require.ErrorIs(t, err, ErrVerifyOnly)

	for _, tc := range []struct {
		claims          claimed
		strict, loosely bool
	}{
		{claimed{"revision": 7}, true, true},
		{claimed{"revision": 8}, true, true},
		{claimed{"revision": 6}, false, true},
		{claimed{}, false, true},
		{claimed{"revision": nil}, false, true},
	} {
		text := foreign(tc.claims)
		read, err := strictly.Read(text)
		require.NoError(t, err)
		require.Equal(t, tc.strict, read.Vouches(alice.account()), "%v", tc.claims)
		read, err = loosely.Read(text)
		require.NoError(t, err)
		require.Equal(t, tc.loosely, read.Vouches(alice.account()), "%v", tc.claims)
	}
	// A fingerprint that is there has to be right, whatever the settings.
	read, err := loosely.Read(foreign(claimed{"pwf": base64.RawURLEncoding.EncodeToString(make([]byte, 16))}))
	require.NoError(t, err)
	require.False(t, read.Vouches(alice.account()))

	// A token may come before its time, and is good when that has come.
	early := foreign(claimed{"nbf": 1_800_000_002})
	_, err = strictly.Read(early)
	require.ErrorIs(t, err, ErrInvalid)
	c.add(2 * time.Second)
	read, err = strictly.Read(early)
	require.NoError(t, err)
	require.False(t, read.Good(c.now().Add(-time.Second)))
}

func TestHostileTokens(t *testing.T) {
	k, other := newRSA(t, 1024), newRSA(t, 1024)
	private, public := keyFiles(t, k)
	p, _, logs := startSigned(t, "jwt,sign-method=RS256,issuer=us,audience=we,priv-key="+private+",pub-key="+public)
	good := claimed{"username": "alice", "exp": 1_800_000_060, "iss": "us", "aud": []string{"they", "we"}}
	with := func(name string, v any) claimed {
		c := claimed{}
		for n, v := range good {
			c[n] = v
		}
		if c[name] = v; v == nil {
			delete(c, name)
		}
		return c
	}
	rs := jwt.SigningMethodRS256
	text := forge(t, rs, k, nil, good)
	_, err := p.Read(text)
	require.NoError(t, err, "what the others differ from")
	_, err = p.Read(forge(t, rs, k, claimed{"kid": p.set.Load().signer.id}, good))
	require.NoError(t, err)
	_, err = p.Read(forge(t, rs, k, claimed{"kid": "a name that PEM cannot tell"}, good))
	require.NoError(t, err)

	der := must(x509.MarshalPKIXPublicKey(k.Public()))
	parts := strings.Split(text, ".")
	encode := base64.RawURLEncoding.EncodeToString
	none := encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	// The last letter of a signature of 128 bytes has four bits that mean nothing.
	twin := text[:len(text)-1] + string(text[len(text)-1]+1)
	hostile := map[string]string{
		"empty":                     "",
		"points":                    "........",
		"a simple token":            "abcdefghijklmnop.12",
		"two parts":                 parts[0] + "." + parts[1],
		"four parts":                text + ".x",
		"no signature":              parts[0] + "." + parts[1] + ".",
		"none":                      none,
		"None":                      encode([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2],
		"no alg":                    encode([]byte(`{}`)) + "." + parts[1] + "." + parts[2],
		"alg is a number":           encode([]byte(`{"alg":1}`)) + "." + parts[1] + "." + parts[2],
		"header is no object":       encode([]byte(`"RS256"`)) + "." + parts[1] + "." + parts[2],
		"a line end":                parts[0] + "." + parts[1] + "\n." + parts[2],
		"padded":                    text + "=",
		"a second spelling":         twin,
		"public PEM as secret":      forge(t, jwt.SigningMethodHS256, pkix1(k), nil, good),
		"public DER as secret":      forge(t, jwt.SigningMethodHS256, der, nil, good),
		"modulus as secret":         forge(t, jwt.SigningMethodHS256, k.N.Bytes(), nil, good),
		"another RSA method":        forge(t, jwt.SigningMethodRS512, k, nil, good),
		"PSS":                       forge(t, jwt.SigningMethodPS256, k, nil, good),
		"another key":               forge(t, rs, other, nil, good),
		"another key, our kid":      forge(t, rs, other, claimed{"kid": p.set.Load().signer.id}, good),
		"another key, with its jwk": forge(t, rs, other, claimed{"jwk": jwkOf(other.Public(), nil)}, good),
		"crit":                      forge(t, rs, k, claimed{"crit": []string{"exp"}}, good),
		"kid is a number":           forge(t, rs, k, claimed{"kid": 1}, good),
		"no exp":                    forge(t, rs, k, nil, with("exp", nil)),
		"expired":                   forge(t, rs, k, nil, with("exp", 1_800_000_000)),
		"exp in words":              forge(t, rs, k, nil, with("exp", "1800000060")),
		"exp is a list":             forge(t, rs, k, nil, with("exp", []int{1_800_000_060})),
		"exp beyond numbers":        forgeRaw(t, rs, k, []byte(`{"alg":"RS256"}`), []byte(`{"username":"alice","iss":"us","aud":"we","exp":1e999}`)),
		"not yet":                   forge(t, rs, k, nil, with("nbf", 1_800_000_001)),
		"no user":                   forge(t, rs, k, nil, with("username", nil)),
		"empty user":                forge(t, rs, k, nil, with("username", "")),
		"user is a number":          forge(t, rs, k, nil, with("username", 1)),
		"user in capitals":          forgeRaw(t, rs, k, []byte(`{"alg":"RS256"}`), []byte(`{"USERNAME":"root","iss":"us","aud":"we","exp":1800000060}`)),
		"negative revision":         forge(t, rs, k, nil, with("revision", -1)),
		"revision in words":         forge(t, rs, k, nil, with("revision", "7")),
		"issuer":                    forge(t, rs, k, nil, with("iss", "you")),
		"no issuer":                 forge(t, rs, k, nil, with("iss", nil)),
		"audience":                  forge(t, rs, k, nil, with("aud", "they")),
		"no audience":               forge(t, rs, k, nil, with("aud", nil)),
		"short fingerprint":         forge(t, rs, k, nil, with("pwf", "AAAA")),
		"padded fingerprint":        forge(t, rs, k, nil, with("pwf", "AAAAAAAAAAAAAAAAAAAAAA==")),
		"more after the claims":     forgeRaw(t, rs, k, []byte(`{"alg":"RS256"}`), []byte(`{"username":"alice","iss":"us","aud":"we","exp":1800000060}{}`)),
		"too long":                  forge(t, rs, k, nil, with("more", strings.Repeat("x", 8<<10))),
	}
	for name, text := range hostile {
		for range 3 { // remembered or not
			read, err := p.Read(text)
			require.ErrorIs(t, err, ErrInvalid, name)
			require.NotErrorIs(t, err, ErrUnknown, name)
			require.Nil(t, read, name)
		}
	}
	requireSilent(t, logs, parts...)
}

// 8 KiB are read, and one byte more is not.
func TestLongestToken(t *testing.T) {
	k := newEd(t)
	private, _ := keyFiles(t, k)
	p, _, _ := start(t, "jwt,sign-method=EdDSA,priv-key="+private)
	text := ""
	for n := 5900; len(text) < longest; n++ {
		text = forge(t, jwt.SigningMethodEdDSA, k, nil, claimed{"username": "a", "exp": 1_900_000_000, "x": strings.Repeat("x", n)})
		if _, err := p.Read(text); len(text) <= longest {
			require.NoError(t, err, len(text))
		} else {
			require.ErrorIs(t, err, ErrInvalid, len(text))
		}
	}
}

func TestTokensThatDoNotExpire(t *testing.T) {
	private, _ := keyFiles(t, newEd(t))
	p, c, _ := start(t, "jwt,sign-method=EdDSA,ttl=never,priv-key="+private)
	usual, _, _ := start(t, "jwt,sign-method=EdDSA,priv-key="+private)
	text, err := p.Issue(alice)
	require.NoError(t, err)
	c.add(100 * 365 * 24 * time.Hour)
	_, err = p.Read(text)
	require.NoError(t, err)
	_, err = usual.Read(text)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestTimesInSeconds(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-1": 0, "-1e300": 0, "1": 1e9, "1.5": 15e8, "1800000000": 18e17, "1.8e9": 18e17,
		"9223372036": 9223372036e9, "9223372037": math.MaxInt64, "1e300": math.MaxInt64,
	} {
		c, ok := readClaims([]byte(`{"exp":` + text + `,"nbf":` + text + `}`))
		require.True(t, ok)
		require.True(t, c.expires)
		require.Equal(t, want, c.ends, text)
		require.Equal(t, want, c.begins, text)
	}
	c, ok := readClaims([]byte(`{"exp":null,"aud":null}`))
	require.True(t, ok)
	require.False(t, c.expires)
	require.Empty(t, c.audience)
	for _, bad := range []string{``, `[]`, `{`, `{"aud":1}`, `{"aud":["a",1]}`, `{"aud":{}}`, `{"exp":true}`} {
		_, ok := readClaims([]byte(bad))
		require.False(t, ok, bad)
	}
}

func TestForgeriesAreVerifiedOnce(t *testing.T) {
	k := newRSA(t, 1024)
	_, public := keyFiles(t, k)
	p, c, _ := startSigned(t, "jwt,sign-method=RS256,pub-key="+public)
	text := forge(t, jwt.SigningMethodRS256, newRSA(t, 1024), nil, claimed{"username": "a", "exp": 1_900_000_000})
	_, err := p.Read(text)
	require.ErrorIs(t, err, ErrInvalid)
	set := p.set.Load()
	require.True(t, set.refused.has(text, c.now()))
	require.Zero(t, testing.AllocsPerRun(10, func() { p.Read(text) }))
	c.add(2 * refusedFor)
	require.False(t, set.refused.has(text, c.now()))
	set.refused.put(text, c.now())
	c.add(refusedFor)
	require.True(t, set.refused.has(text, c.now()), "the old half")
	c.add(refusedFor)
	require.False(t, set.refused.has(text, c.now()))

	// However many come, few are kept.
	for i := range 5 * refusedTokens {
		set.refused.put(fmt.Sprint("token ", i), c.now())
	}
	require.LessOrEqual(t, len(set.refused.mu.young)+len(set.refused.mu.old), 2*refusedTokens)
	for i := range 500 {
		set.refused.put(fmt.Sprint(i)+strings.Repeat("x", longest-10), c.now())
	}
	require.LessOrEqual(t, set.refused.mu.bytes, refusedBytes)
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	e := &era{}
	s := m.shard("000")
	first := "first " + strings.Repeat("0", 10)
	m.put(first, &Token{era: e})
	for i := range 3 * shardTokens {
		m.put(fmt.Sprintf("%d 000", i), &Token{era: e})
		require.NotNil(t, m.get(fmt.Sprintf("%d 000", i)))
		require.NotNil(t, m.get(first), "what is asked for stays")
	}
	require.LessOrEqual(t, len(s.mu.young)+len(s.mu.old), 2*shardTokens)
	require.Nil(t, m.get("0 000"))
	for i := range 3 * shardBytes / longest {
		m.put(fmt.Sprint(i)+strings.Repeat("0", longest-10), &Token{era: e})
		require.LessOrEqual(t, s.mu.bytes, shardBytes)
	}
}

// Every form that a key has on disk.
func TestFormsOfKeys(t *testing.T) {
	r, e, d := newRSA(t, 1024), newEC(t, elliptic.P256()), newEd(t)
	type files struct {
		method  string
		private []byte
		public  [][]byte
	}
	for _, f := range []files{
		{"RS512", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), [][]byte{pkix1(r), pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&r.PublicKey)), certificate(r)}},
		{"RS512", pkcs8(r), [][]byte{pkix1(r)}},
		{"ES256", append(pemOf("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(e)))...), [][]byte{pkix1(e), certificate(e)}},
		{"ES256", pkcs8(e), [][]byte{pkix1(e)}},
		{"EdDSA", pkcs8(d), [][]byte{pkix1(d), certificate(d)}},
	} {
		private := writeFile(t, "key", f.private)
		alone, _, _ := start(t, "jwt,sign-method="+f.method+",priv-key="+private)
		text, err := alone.Issue(alice)
		require.NoError(t, err)
		_, err = alone.Read(text)
		require.NoError(t, err)
		for _, pub := range f.public {
			public := writeFile(t, "pub", pub)
			for _, spec := range []string{"", ",priv-key=" + private} {
				p, _, _ := start(t, "jwt,sign-method="+f.method+",pub-key="+public+spec)
				_, err = p.Read(text)
				require.NoError(t, err)
			}
		}
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string { return writeFile(t, filepath.Join(dir, name), data) }
	r, r2, e, d := newRSA(t, 1024), newRSA(t, 1024), newEC(t, elliptic.P256()), newEd(t)
	private, public, public2 := write("r", pkcs8(r)), write("r.pub", pkix1(r)), write("r2.pub", pkix1(r2))
	ec, ecPub, ed := write("e", pkcs8(e)), write("e.pub", pkix1(e)), write("d", pkcs8(d))
	words, empty := write("words", []byte("not PEM")), write("empty", nil)
	large := write("big", make([]byte, maxFile+1))
	broken := write("broken", pemOf("PRIVATE KEY", []byte("secret stuff")))
	locked := write("locked", pemOf("ENCRYPTED PRIVATE KEY", []byte("x")))
	var many []byte
	for range maxKeys + 1 {
		many = append(many, pkix1(newEd(t))...)
	}
	var manyEntries []claimed
	for range maxKeys + 1 {
		manyEntries = append(manyEntries, jwkOf(newEd(t).Public(), nil))
	}
	someSet, somePub := write("some.json", jwksOf(manyEntries[:9]...)), write("some.pub", many[:len(many)/(maxKeys+1)*9])
	manyPub := write("many.pub", many)
	for spec, want := range map[string]string{
		"sign-method=RS256,pub-key=/nowhere/x":                                             "--auth-token: pub-key /nowhere/x: no such file or directory",
		"sign-method=RS256,priv-key=/nowhere/x":                                            "--auth-token: priv-key /nowhere/x: no such file or directory",
		"sign-method=RS256,pub-key=" + dir:                                                 "pub-key " + dir + ": it is not a regular file",
		"sign-method=RS256,pub-key=" + large:                                               "pub-key " + large + ": it is larger than 1 MiB",
		"sign-method=RS256,pub-key=" + words:                                               "pub-key " + words + ": there is no PEM block in it",
		"sign-method=RS256,priv-key=" + words:                                              "priv-key " + words + ": there is no PEM block in it",
		"sign-method=RS256,priv-key=" + empty:                                              "priv-key " + empty + ": there is no PEM block in it",
		"sign-method=RS256,priv-key=" + broken:                                             "priv-key " + broken + ": the PRIVATE KEY in it cannot be parsed",
		"sign-method=RS256,priv-key=" + locked:                                             "priv-key " + locked + ": it is encrypted",
		"sign-method=RS256,priv-key=" + public:                                             "priv-key " + public + ": it holds a PUBLIC KEY, not a private key",
		"sign-method=RS256,pub-key=" + private:                                             "pub-key " + private + ": it holds a PRIVATE KEY, not a public key",
		"sign-method=RS256,priv-key=" + ec:                                                 "priv-key " + ec + ": it is a key on the curve P-256, which does not sign with RS256",
		"sign-method=ES384,pub-key=" + ecPub:                                               "pub-key " + ecPub + ": it is a key on the curve P-256, which does not sign with ES384",
		"sign-method=ES256,pub-key=" + public:                                              "pub-key " + public + ": it is an RSA key, which does not sign with ES256",
		"sign-method=ES256,priv-key=" + ed:                                                 "priv-key " + ed + ": it is an Ed25519 key, which does not sign with ES256",
		"sign-method=PS512,priv-key=" + private:                                            "priv-key " + private + ": it cannot sign with PS512",
		"sign-method=RS256,priv-key=" + private + ",pub-key=" + public2:                    "priv-key " + private + " is not the private key of pub-key " + public2,
		"sign-method=HS256,priv-key=/nowhere/x":                                            "priv-key /nowhere/x: no such file or directory",
		"jwks=/nowhere/x":                                                                  "jwks /nowhere/x: no such file or directory",
		"jwks=" + write("many.json", jwksOf(manyEntries...)):                               "it holds more than 16 keys",
		"jwks=" + someSet + ",sign-method=EdDSA,pub-key=" + somePub:                        "there are 18 keys in " + somePub + ", " + someSet + ", and 16 at most",
		"sign-method=RS256,pub-key=" + write("bad.crt", pemOf("CERTIFICATE", []byte("x"))): "bad.crt: x509",
		"sign-method=RS256,priv-key=" + write("x25519", pkcs8(must(ecdh.X25519().GenerateKey(rand.Reader)))): "it is a key of a kind that signs no tokens",
		"sign-method=HS256,priv-key=" + empty:                                                          "priv-key " + empty + ": it is empty",
		"sign-method=HS256,priv-key=" + public:                                                         "priv-key " + public + ": it holds a PUBLIC KEY, which is no secret",
		"sign-method=EdDSA,pub-key=" + manyPub:                                                         "pub-key " + manyPub + ": it holds more than 16 keys",
		"jwks=" + words:                                                                                "jwks " + words + ": it is not a JSON web key set",
		"jwks=" + write("none", jwksOf()):                                                              "there is no public key in it that verifies signatures",
		"jwks=" + write("oct", jwksOf(claimed{"kty": "oct", "k": "AAAA"})):                             "there is no public key in it that verifies signatures",
		"jwks=" + write("rsa", jwksOf(claimed{"kty": "RSA", "kid": "a"})):                              `key 0 (kid "a"): n is missing, or not base64url`,
		"jwks=" + write("alg", jwksOf(jwkOf(r.Public(), claimed{"alg": "ES256"}))):                     `key 0 (kid ""): it is an RSA key, which does not sign with ES256`,
		"jwks=" + write("e0", jwksOf(jwkOf(r.Public(), claimed{"e": "AA"}))):                           "e is not an exponent",
		"jwks=" + write("xy", jwksOf(jwkOf(e.Public(), claimed{"x": "AAAA"}))):                         "x and y must have 32 bytes each",
		"jwks=" + write("pt", jwksOf(jwkOf(e.Public(), claimed{"x": b64(make([]byte, 32))}))):          "x and y are no point on the curve",
		"jwks=" + write("ed", jwksOf(jwkOf(d.Public(), claimed{"x": "AAAA"}))):                         "x must have 32 bytes",
		"jwks=" + write("n", jwksOf(jwkOf(&rsa.PublicKey{N: new(big.Int).Lsh(r.N, 8000), E: 3}, nil))): "RSA key of 9024 bits",
	} {
		config, err := Parse("jwt," + spec)
		require.NoError(t, err, spec)
		_, err = New(Options{Config: config})
		require.ErrorContains(t, err, want, spec)
		require.NotContains(t, err.Error(), "secret stuff")
	}
	older, err := Older{Type: "jwt", SignMethod: "RS256", PublicKey: "/nowhere/x"}.Config()
	require.NoError(t, err)
	_, err = New(Options{Config: older})
	require.EqualError(t, err, "--auth-jwt-pub-key /nowhere/x: no such file or directory")
}

func TestKeySetFile(t *testing.T) {
	r, r2, e, d := newRSA(t, 1024), newRSA(t, 1024), newEC(t, elliptic.P384()), newEd(t)
	e256, e521 := newEC(t, elliptic.P256()), newEC(t, elliptic.P521())
	path := writeFile(t, "keys.json", jwksOf(
		jwkOf(r.Public(), claimed{"kid": "one", "alg": "PS256", "use": "sig"}),
		jwkOf(r2.Public(), claimed{"kid": "two", "key_ops": []string{"verify"}}),
		jwkOf(e.Public(), nil),
		jwkOf(e256.Public(), claimed{"kid": "p256"}),
		jwkOf(e521.Public(), claimed{"kid": "p521"}),
		jwkOf(d.Public(), claimed{"kid": "ed"}),
		jwkOf(d.Public(), claimed{"kid": "signs only", "key_ops": []string{"sign"}}),
		jwkOf(newRSA(t, 1024).Public(), claimed{"kid": "enc", "use": "enc"}),
		claimed{"kty": "oct", "k": "AAAA", "alg": "HS256"},
		jwkOf(newRSA(t, 1024).Public(), claimed{"alg": "HS256"}),
		jwkOf(newRSA(t, 1024).Public(), claimed{"alg": "none"}),
		claimed{"kty": "EC", "crv": "secp256k1"},
		claimed{"kty": "of the future"},
	))
	p, _, _ := startSigned(t, "jwt,jwks="+path)
	require.Len(t, p.set.Load().keys, 6)
	ps := jwt.SigningMethodPS256
	for _, tc := range []struct {
		method jwt.SigningMethod
		key    crypto.Signer
		kid    string
		good   bool
	}{
		{ps, r, "one", true},
		{ps, r, "", true},
		{ps, r, "two", false},
		{ps, r, "three", false},
		{jwt.SigningMethodRS256, r, "one", false}, // its alg is another
		{jwt.SigningMethodRS256, r, "", false},
		{jwt.SigningMethodRS256, r2, "two", true},
		{jwt.SigningMethodRS512, r2, "two", false},
		{jwt.SigningMethodES384, e, "", true},
		{jwt.SigningMethodES384, e, "a name it was not given", true},
		{jwt.SigningMethodES384, e, "ed", false},
		{jwt.SigningMethodES256, e256, "p256", true},
		{jwt.SigningMethodES512, e521, "p521", true},
		{jwt.SigningMethodES512, e521, "signs only", false},
		{jwt.SigningMethodEdDSA, d, "ed", true},
	} {
		var private any = tc.key
		switch k := tc.key.(type) {
		case *rsa.PrivateKey:
			private = k
		case *ecdsa.PrivateKey:
			private = k
		case ed25519.PrivateKey:
			private = k
		}
		text := forge(t, tc.method, private, claimed{"kid": tc.kid}, claimed{"username": "a", "exp": 1_900_000_000})
		_, err := p.Read(text)
		require.Equal(t, tc.good, err == nil, "%s %q", tc.method.Alg(), tc.kid)
	}

	// Beside a pair of our own, whose method RSA keys without one take over.
	private, _ := keyFiles(t, r)
	both, _, _ := start(t, "jwt,sign-method=RS512,priv-key="+private+",jwks="+path)
	text, err := both.Issue(alice)
	require.NoError(t, err)
	_, err = both.Read(text)
	require.NoError(t, err)
	_, err = both.Read(forge(t, jwt.SigningMethodRS512, r2, claimed{"kid": "two"}, claimed{"username": "a", "exp": 1_900_000_000}))
	require.NoError(t, err)
}

// Keys are replaced while tokens of the old and the new ones are in use.
func TestKeysAreFollowed(t *testing.T) {
	k1, k2 := newEd(t), newEd(t)
	private, public := keyFiles(t, k1)
	p, c, logs := startSigned(t, "jwt,sign-method=EdDSA,priv-key="+private+",pub-key="+public)
	text1, err := p.Issue(alice)
	require.NoError(t, err)
	read1, err := p.Read(text1)
	require.NoError(t, err)
	look := func() {
		t.Helper()
		p.look()
	}
	look()
	require.True(t, read1.Good(c.now()))

	// The old public key stays for the tokens that are out there.
	writeFile(t, public, append(pkix1(k2), pkix1(k1)...))
	look()
	require.False(t, read1.Good(c.now()), "it was verified by another set")
	read1, err = p.Read(text1)
	require.NoError(t, err)
	require.True(t, read1.Good(c.now()))
	writeFile(t, private, pkcs8(k2))
	look()
	text2, err := p.Issue(alice)
	require.NoError(t, err)
	for _, text := range []string{text1, text2} {
		_, err = p.Read(text)
		require.NoError(t, err)
	}
	require.Equal(t, 2, logs.FilterMessage("the keys of tokens have changed and are in force").Len())

	// What cannot be used changes nothing, and is complained of once.
	for _, bad := range [][]byte{[]byte("words"), pkix1(k1), nil} {
		writeFile(t, public, bad)
		look()
		look()
		_, err = p.Read(text2)
		require.NoError(t, err)
	}
	require.Equal(t, 3, logs.FilterLevelExact(zap.ErrorLevel).Len())
	writeFile(t, public, append(pkix1(k2), pkix1(k1)...))
	look()
	require.True(t, must(p.Read(text1)).Good(c.now()))

	writeFile(t, public, []byte("words"))
	look()
	require.Equal(t, 4, logs.FilterLevelExact(zap.ErrorLevel).Len(), "it was well in between")

	// Other bytes for the same keys are no change.
	writeFile(t, public, slices.Concat([]byte("# who may sign\n"), pkix1(k2), pkix1(k1)))
	read1 = must(p.Read(text1))
	look()
	require.True(t, read1.Good(c.now()))

	// And at last it goes.
	writeFile(t, public, pkix1(k2))
	look()
	_, err = p.Read(text1)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = p.Read(text2)
	require.NoError(t, err)
	requireSilent(t, logs, strings.Split(string(pkcs8(k2)), "\n")[1], text1, text2)
}

// The files are looked at without anybody asking.
func TestRoutineFollow(t *testing.T) {
	k := newEd(t)
	private, _ := keyFiles(t, k)
	p, c, _ := start(t, "jwt,sign-method=EdDSA,priv-key="+private)
	read := must(p.Read(must(p.Issue(alice))))
	writeFile(t, private, pkcs8(newEd(t)))
	require.Eventually(t, func() bool { return !read.Good(c.now()) }, 20*time.Second, 10*time.Millisecond)
	p.Close()
	p.Close()
}

func TestManyReaders(t *testing.T) {
	k1, k2 := newEd(t), newEd(t)
	private, public := keyFiles(t, k1)
	p, c, _ := startSigned(t, "jwt,sign-method=EdDSA,priv-key="+private+",pub-key="+public)
	text := must(p.Issue(alice))
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := range 2000 {
				read, err := p.Read(text)
				if err != nil || !read.Vouches(alice.account()) {
					t.Error("a good token was refused")
					return
				}
				read.Good(c.now())
				if _, err := p.Read(text[:len(text)-3-i%7]); err == nil {
					t.Error("a bad token was taken")
					return
				}
			}
		})
	}
	for i := range 20 {
		writeFile(t, public, append(pkix1(k1), pkix1(k2)...))
		if i%2 == 0 {
			writeFile(t, public, pkix1(k1))
		}
		p.look()
	}
	readers.Wait()
}

func TestReadRememberedTakesNoMemory(t *testing.T) {
	private, _ := keyFiles(t, newRSA(t, 1024))
	p, c, _ := start(t, "jwt,sign-method=RS512,priv-key="+private)
	text := must(p.Issue(alice))
	read := must(p.Read(text))
	copied := string(append([]byte(nil), text...))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if again, err := p.Read(copied); err != nil || again != read || !again.Good(c.now()) {
			t.Error("it is not remembered")
		}
	}))
}

// A token is read alike by those that know RFC 7519 from elsewhere.
func FuzzRead(f *testing.F) {
	k, other := newRSA(f, 1024), newRSA(f, 1024)
	private, _ := keyFiles(f, k)
	p, c, _ := start(f, "jwt,sign-method=RS256,priv-key="+private)
	header, body := []byte(`{"alg":"RS256"}`), []byte(`{"username":"alice","exp":1900000000}`)
	for how := range byte(8) {
		f.Add(header, body, how, uint16(0))
	}
	f.Add([]byte(`{"alg":"none"}`), body, byte(0), uint16(0))
	f.Add([]byte(`{"alg":"HS256","kid":""}`), body, byte(2), uint16(0))
	f.Add([]byte(`{"alg":"RS256","kid":"x","crit":[]}`), []byte(`{"username":"a","revision":1e3,"exp":1.9e9,"nbf":-1,"aud":["x",null]}`), byte(0), uint16(3))
	f.Add(header, []byte(`{"username":"a","username":"","exp":null,"pwf":"AAAAAAAAAAAAAAAAAAAAAA"}`), byte(0), uint16(0))
	f.Fuzz(func(t *testing.T, header, body []byte, how byte, at uint16) {
		var method jwt.SigningMethod = jwt.SigningMethodRS256
		var by any = k
		switch how % 4 {
		case 1:
			by = other
		case 2:
			method, by = jwt.SigningMethodHS256, pkix1(k)
		case 3:
			method = jwt.SigningMethodRS384
		}
		text := forgeRaw(t, method, by, header, body)
		if at > 0 { // one byte becomes another
			b := []byte(text)
			b[int(at)%len(b)] ^= how | 1
			text = string(b)
		}
		want, good := plainly(text, &k.PublicKey, c.now())
		for range 2 {
			read, err := p.Read(text)
			require.Equal(t, good, err == nil, "%q", text)
			if good {
				require.Equal(t, want, read.User)
			} else {
				require.Equal(t, ErrInvalid, err)
			}
		}
	})
}

// plainly verifies with the library's own parser.
func plainly(text string, public *rsa.PublicKey, now time.Time) (user string, good bool) {
	if len(text) > longest || strings.ContainsAny(text, "\r\n") {
		return "", false
	}
	parsed, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()).
		Parse(text, func(*jwt.Token) (any, error) { return public, nil })
	if err != nil {
		return "", false
	}
	if _, critical := parsed.Header["crit"]; critical {
		return "", false
	}
	if kid := parsed.Header["kid"]; kid != nil {
		if _, ok := kid.(string); !ok {
			return "", false
		}
	}
	claims := parsed.Claims.(jwt.MapClaims)
	user, _ = claims["username"].(string)
	exp, ok := claims["exp"].(float64)
	if user == "" || !ok || exp*1e9 <= float64(now.UnixNano()) {
		return "", false
	}
	if nbf, ok := claims["nbf"].(float64); claims["nbf"] != nil && (!ok || nbf*1e9 > float64(now.UnixNano())) {
		return "", false
	}
	if revision := claims["revision"]; revision != nil {
		// A number with a point or an exponent is not a revision.
		var o map[string]json.RawMessage
		body, _ := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		var n uint64
		if json.Unmarshal(body, &o) != nil || json.Unmarshal(o["revision"], &n) != nil {
			return "", false
		}
	}
	if print := claims["pwf"]; print != nil {
		s, ok := print.(string)
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if !ok || err != nil || len(b) != 16 {
			return "", false
		}
	}
	if iss := claims["iss"]; iss != nil {
		if _, ok := iss.(string); !ok {
			return "", false
		}
	}
	switch aud := claims["aud"].(type) {
	case nil, string:
	case []any:
		for _, a := range aud {
			if _, ok := a.(string); !ok && a != nil {
				return "", false
			}
		}
	default:
		return "", false
	}
	return user, true
}

func BenchmarkReadRemembered(b *testing.B) {
	private, _ := keyFiles(b, newRSA(b, 1024))
	config := must(Parse("jwt,sign-method=RS512,priv-key=" + private))
	p := must(New(Options{Config: config, ClusterID: cluster}))
	defer p.Close()
	text := must(p.Issue(alice))
	text = string(append([]byte(nil), text...)) // not the very string that is remembered
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(text); err != nil {
			b.Fatal(err)
		}
	}
}

// What is done for each call on a connection that has kept its token.
func BenchmarkGoodAndVouches(b *testing.B) {
	private, _ := keyFiles(b, newRSA(b, 1024))
	p := must(New(Options{Config: must(Parse("jwt,sign-method=RS512,priv-key=" + private)), ClusterID: cluster}))
	defer p.Close()
	read := must(p.Read(must(p.Issue(alice))))
	account, now := alice.account(), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if !read.Good(now) || !read.Vouches(account) {
			b.Fatal("it is not good")
		}
	}
}

func BenchmarkReadUnknown(b *testing.B) {
	for _, method := range []string{"RS512", "ES256", "EdDSA", "HS256"} {
		b.Run(method, func(b *testing.B) {
			key := map[string][]byte{"RS512": pkcs8(newRSA(b, 1024)), "ES256": pkcs8(newEC(b, elliptic.P256())), "EdDSA": pkcs8(newEd(b)), "HS256": []byte("secret")}[method]
			path := writeFile(b, "key", key)
			p := must(New(Options{Config: must(Parse("jwt,sign-method=" + method + ",priv-key=" + path))})).(*signed)
			defer p.Close()
			text := must(p.Issue(alice))
			now, set := time.Now(), p.set.Load()
			b.ReportAllocs()
			for b.Loop() {
				if p.verify(set, text, now) == nil {
					b.Fatal("it was refused")
				}
			}
		})
	}
}

func BenchmarkIssue(b *testing.B) {
	private, _ := keyFiles(b, newRSA(b, 1024))
	p := must(New(Options{Config: must(Parse("jwt,sign-method=RS512,priv-key=" + private))}))
	defer p.Close()
	for b.Loop() {
		must(p.Issue(alice))
	}
}
