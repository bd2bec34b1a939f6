package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// jwk is one key of a JSON web key set, RFC 7517 and 7518.
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Kid    string   `json:"kid"`
	Crv    string   `json:"crv"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
}

// parseKeySet reads the keys of a set that verify signatures. As the RFC has it,
// keys of other kinds and for other uses are passed over; a broken one is an error.
// configured is how an RSA key signs that does not say it.
func parseKeySet(data []byte, configured string) ([]key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("it is not a JSON web key set")
	}
	var keys []key
	for i, j := range set.Keys {
		if !j.verifies() {
			continue
		}
		public, err := j.public()
		if err != nil {
			return nil, fmt.Errorf("key %d (kid %q): %w", i, j.Kid, err)
		}
		if j.Alg == "" {
			j.Alg = defaultAlg(public, configured)
		}
		k, err := publicKey(public, j.Kid, j.Alg)
		if err != nil {
			return nil, fmt.Errorf("key %d (kid %q): %w", i, j.Kid, err)
		}
		if keys = append(keys, k); len(keys) > maxKeys {
			return nil, fmt.Errorf("it holds more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key in it that verifies signatures")
	}
	return keys, nil
}

// verifies says whether it is a key that we have to understand.
func (j *jwk) verifies() bool {
	switch {
	case j.Use != "" && j.Use != "sig":
		return false
	case len(j.KeyOps) > 0 && !slices.Contains(j.KeyOps, "verify"):
		return false
	case j.Alg != "" && (j.Alg[0] == 'H' || !slices.Contains(signMethods, j.Alg)):
		return false
	}
	switch j.Kty {
	case "RSA":
		return true
	case "EC":
		return j.curve() != nil
	case "OKP":
		return j.Crv == "Ed25519"
	}
	return false
}

func (j *jwk) curve() elliptic.Curve {
	switch j.Crv {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	case "P-521":
		return elliptic.P521()
	}
	return nil
}

func (j *jwk) public() (any, error) {
	switch j.Kty {
	case "RSA":
		n, err := number("n", j.N)
		if err != nil {
			return nil, err
		}
		e, err := number("e", j.E)
		if err != nil {
			return nil, err
		}
		exponent := new(big.Int).SetBytes(e)
		if !exponent.IsInt64() || exponent.Int64() < 2 || exponent.Int64() > 1<<31-1 {
			return nil, errors.New("e is not an exponent that is used")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	case "EC":
		x, err := number("x", j.X)
		if err != nil {
			return nil, err
		}
		y, err := number("y", j.Y)
		if err != nil {
			return nil, err
		}
		size := (j.curve().Params().BitSize + 7) / 8
		if len(x) != size || len(y) != size {
			return nil, fmt.Errorf("x and y must have %d bytes each", size)
		}
		point := slices.Concat([]byte{4}, x, y)
		p, err := ecdsa.ParseUncompressedPublicKey(j.curve(), point)
		if err != nil {
			return nil, errors.New("x and y are no point on the curve")
		}
		return p, nil
	}
	x, err := number("x", j.X)
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("x must have %d bytes", ed25519.PublicKeySize)
	}
	return ed25519.PublicKey(x), nil
}

func number(name, text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is missing, or not base64url", name)
	}
	return b, nil
}
