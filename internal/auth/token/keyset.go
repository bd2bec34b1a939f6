package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// keySet are the keys that are in force together, and what was judged by them. It
// does not change; another takes its place.
type keySet struct {
	keys    []key
	signer  *key // which of keys private belongs to
	private any  // nil: tokens are only verified here

	era     *era
	known   *memory
	refused *refusals
}

// key verifies by one algorithm.
type key struct {
	id     string // its thumbprint, the "kid" of our tokens
	name   string // the "kid" of its entry in a JSON file; empty for none
	method jwt.SigningMethod
	public any // for HS* the secret
}

// newKeySet makes a set of what was read from the files.
func newKeySet(keys []key, signer int, private any) *keySet {
	s := &keySet{keys: keys, private: private, era: &era{}, known: newMemory(), refused: &refusals{}}
	if private != nil {
		s.signer = &s.keys[signer]
	}
	return s
}

// mayVerify says whether there is a key for a token with this header.
func (s *keySet) mayVerify(h header) bool {
	return slices.ContainsFunc(s.candidates(h), func(k bool) bool { return k })
}

// candidates marks the keys that a token with this header may be verified with. A
// kid that is known selects its key. One that is not can only mean a key whose name
// we were never told, from a PEM file.
func (s *keySet) candidates(h header) []bool {
	known := h.kid != "" && slices.ContainsFunc(s.keys, func(k key) bool { return k.answersTo(h.kid) })
	may := make([]bool, len(s.keys))
	for i, k := range s.keys {
		switch {
		case k.method.Alg() != h.alg:
		case known:
			may[i] = k.answersTo(h.kid)
		default:
			may[i] = h.kid == "" || k.name == ""
		}
	}
	return may
}

func (k *key) answersTo(kid string) bool { return k.id == kid || k.name == kid }

// verify says whether one of the keys has signed.
func (s *keySet) verify(h header, p parts) bool {
	for i, may := range s.candidates(h) {
		if may && s.keys[i].method.Verify(p.signed, p.signature, s.keys[i].public) == nil {
			return true
		}
	}
	return false
}

// same says whether two sets judge every token alike and sign alike.
func (s *keySet) same(o *keySet) bool {
	if (s.signer == nil) != (o.signer == nil) || s.signer != nil && !s.signer.same(*o.signer) {
		return false
	}
	return slices.EqualFunc(s.keys, o.keys, func(a, b key) bool { return a.same(b) })
}

func (k *key) same(o key) bool {
	return k.id == o.id && k.name == o.name && k.method.Alg() == o.method.Alg()
}

// largestRSA bounds the work of a verification: 16 times that of 2,048 bits.
const largestRSA = 8192

// publicKey makes a key of what a file holds, pinned to an algorithm that fits it.
func publicKey(public any, name, alg string) (key, error) {
	k := key{name: name, method: jwt.GetSigningMethod(alg), public: public}
	kind := ""
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < 1024 || bits > largestRSA {
			return k, fmt.Errorf("it is an RSA key of %d bits; there may be %d to %d", bits, 1024, largestRSA)
		}
		switch k.method.(type) {
		case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		default:
			kind = "an RSA key"
		}
		k.id = thumbprint(`{"e":"%s","kty":"RSA","n":"%s"}`, big.NewInt(int64(p.E)).Bytes(), p.N.Bytes())
	case *ecdsa.PublicKey:
		m, ok := k.method.(*jwt.SigningMethodECDSA)
		if !ok || m.CurveBits != p.Curve.Params().BitSize {
			kind = "a key on the curve " + p.Curve.Params().Name
		}
		point, err := p.Bytes()
		if err != nil {
			return k, err
		}
		half := len(point) / 2 // after the first byte
		k.id = thumbprint(`{"crv":"`+p.Curve.Params().Name+`","kty":"EC","x":"%s","y":"%s"}`, point[1:1+half], point[1+half:])
	case ed25519.PublicKey:
		if _, ok := k.method.(*jwt.SigningMethodEd25519); !ok {
			kind = "an Ed25519 key"
		}
		k.id = thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, p)
	default:
		return k, errors.New("it is a key of a kind that signs no tokens")
	}
	if kind != "" {
		return k, fmt.Errorf("it is %s, which does not sign with %s", kind, alg)
	}
	return k, nil
}

// secretKey makes a key of a shared secret. Its id tells less of the secret than a
// signature does.
func secretKey(secret []byte, alg string) key {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("etcd token key id"))
	return key{id: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]), method: jwt.GetSigningMethod(alg), public: secret}
}

// thumbprint is RFC 7638's, of the key whose JSON has the numbers in base64.
func thumbprint(form string, numbers ...[]byte) string {
	texts := make([]any, len(numbers))
	for i, n := range numbers {
		texts[i] = base64.RawURLEncoding.EncodeToString(n)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, form, texts...))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// signs makes sure that the private key signs what the key verifies.
func (k *key) signs(private any) error {
	const probe = "a probe"
	signature, err := k.method.Sign(probe, private)
	if err == nil {
		err = k.method.Verify(probe, signature, k.public)
	}
	return err
}

// defaultAlg is how a key signs that does not say it: as was configured, if it can.
func defaultAlg(public any, configured string) string {
	switch p := public.(type) {
	case *rsa.PublicKey:
		switch jwt.GetSigningMethod(configured).(type) {
		case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
			return configured
		}
		return "RS256"
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P384():
			return "ES384"
		case elliptic.P521():
			return "ES512"
		}
		return "ES256"
	}
	return "EdDSA"
}
